"""`bench.json` -> tables, figures and a page. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import marks
from benchmarks.plots import frontier, scaling
from benchmarks.schedules import CANDIDATES, RECIPES
from mnist_course.reports import page
from mnist_course.reports.page import Table, interval, number
from mnist_helpers import _files, plots
from mnist_helpers._errors import UserError

BENCH_FILE = "bench.json"


def read(folder: Path) -> dict[str, Any]:
    """Returns the content of `bench.json`.

    Raises:
        UserError: it is missing or damaged, or an earlier version of the benchmark wrote it.
    """
    path = folder / BENCH_FILE
    if not path.is_file():
        raise UserError(f"--only-report: there is no {BENCH_FILE} in {folder}. Measure it first.")
    content = _files.read_json(path)
    if not isinstance(content, dict) or "runs" not in content:
        raise UserError(
            f"{path} is from an earlier version of the benchmark. Expected: the times of each seed, as `runs`. "
            "Received: none. Measure again, into another folder or after removing this file."
        )
    return content


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Writes what `bench.json` holds as a page, `bench.md` and `bench.html`, with figures; returns its path."""
    return page.write_page(
        folder,
        "bench",
        title=f"Speed of training ({_dataset(content)})",
        conclusion=conclusion(content),
        tables=tables(content),
        details=_details(content),
        draw=lambda: figures(content),
        provenance=f"Measured on {_where(content['machine'])}.",
    )


def tables(content: dict[str, Any]) -> list[Table]:
    """Returns what `bench.json` holds as tables for a report; a part that was not measured has none."""
    dataset = _dataset(content)
    found = []
    if content["runs"]:
        found += [_marks(content, dataset), _schedules(content, dataset)]
    if content["step"]:
        found.append(_step(content, dataset))
    if content["matmul_fraction"]:
        found.append(_fractions(content, dataset))
    if content["growth"]:
        found.append(_growth(content, dataset))
    return found + ([_lessons(content)] if content["lessons"] else [])


def _details(content: dict[str, Any]) -> list[Table]:
    return [_candidates(content)] if content["validation"] else []


def _marks(content: dict[str, Any], dataset: str) -> Table:
    """A row for each target accuracy and recipe: the fastest of its schedules that reach it."""
    rows = [
        [
            f"{at['mark']:.2%}",
            name,
            entry["epochs"] if entry["reached"] else "not reached",
            number(entry["median_seconds"] if entry["reached"] else None, ".1f", " s"),
            interval(entry["low"], entry["high"], ".1f", " s") if entry["reached"] else None,
            number(entry["ratio"], ".2f"),
            interval(entry["ratio_low"], entry["ratio_high"], ".2f"),
            number(entry["mean_accuracy"], ".2%"),
            entry["n"],
        ]
        for at in content["marks"]
        for name, entry in at["recipes"].items()
    ]
    note = (
        "A schedule reaches a target accuracy if its mean accuracy over the seeds is at or above it. A recipe's "
        "time is the median over the seeds of its fastest schedule that reaches the target accuracy; the range is "
        "over the seeds, and n is their number. A recipe is compared with our fastest recipe that reaches the same "
        "target accuracy, over the seeds that both have; without such seeds there is no ratio. The ratio is that "
        "of the two medians over these seeds. Its 95 % interval is a bootstrap over the seeds, where the two times "
        f"of a seed are drawn together; for fewer than {marks.FEWEST_SEEDS} common seeds there is no interval. A "
        "recipe that does not reach a target accuracy has no time and no ratio, and the accuracy is that of its "
        "most accurate schedule. Every time holds the preparation of the arrays, building, tracing and compiling "
        "the network, and training; imports and scoring are not counted."
    )
    apart = dict.fromkeys(
        name
        for at in content["marks"]
        for name, entry in at["recipes"].items()
        if entry.get("same_session") is False
    )
    if apart:
        note += (
            f" Not always measured in the same session as our recipe: {', '.join(apart)}. For these programs, the "
            "interval draws the seeds of the two programs independently of each other, and it does not cover a "
            "difference between the sessions, such as another load of the machine."
        )
    if source := content.get("chosen_by"):
        where = f" on {_where(source['machine'])}" if source["machine"] else ""
        note += f" The schedules were chosen by an earlier validation{where}, whose times are not shown here."
    if missing := content["missing_packages"]:
        words = ", ".join(f"{name} (the package {package})" for name, package in missing.items())
        note += f" Not installed, and therefore not measured: {words}."
    columns = ["target accuracy", "recipe", "epochs", "median", "range", "ratio", "interval", "accuracy", "n"]
    return Table(f"Time to a target accuracy ({dataset})", columns, rows, note)


def _schedules(content: dict[str, Any], dataset: str) -> Table:
    """A row for each schedule that was scored on test images."""
    rows = [
        [
            name,
            number(np.median(runs["seconds"]), ".1f", " s"),
            interval(min(runs["seconds"]), max(runs["seconds"]), ".1f", " s"),
            number(np.mean(runs["accuracy"]), ".2%"),
            interval(min(runs["accuracy"]), max(runs["accuracy"]), ".2%"),
            len(runs["seeds"]),
            number(np.median(runs["import_seconds"]), ".1f", " s"),
        ]
        for name, runs in content["runs"].items()
    ]
    columns = ["schedule", "median time", "range", "mean accuracy", "range", "n", "import"]
    measured = dict.fromkeys(CANDIDATES[name].recipe for name in content["runs"])
    about = "; ".join(f"{name}: {RECIPES[name].about}" for name in measured)
    note = f"{about}. Import: the median time to import the library, which is not part of the times."
    note += _not_chosen(content)
    return Table(f"All schedules that were scored ({dataset})", columns, rows, note)


def _candidates(content: dict[str, Any]) -> Table:
    """A row for each candidate: what it reached on validation images."""
    rows = [
        [
            name,
            number(np.median(runs["seconds"]), ".1f", " s"),
            number(np.mean(runs["accuracy"]), ".2%"),
            len(runs["seeds"]),
            _scored(name, content),
            CANDIDATES[name].reason,
        ]
        for name, runs in content["validation"].items()
        if name in CANDIDATES
    ]
    columns = [
        "schedule",
        "median time",
        "validation accuracy",
        "n",
        "scored on test images",
        "why a candidate",
    ]
    note = (
        "Trained on 50,000 of the training images, and scored on the other 10,000, another split for each seed. "
        "For each target accuracy, the two fastest schedules of a recipe that are at or above it were then scored "
        "on test images, or the most accurate one if there is none."
    )
    return Table("All candidates, on validation images (mnist)", columns, rows, note, is_text=True)


def _scored(name: str, content: dict[str, Any]) -> str:
    if name in content.get("not_chosen", {}):
        return "yes, not reported"
    return "yes" if name in content["runs"] else "no"


def _not_chosen(content: dict[str, Any]) -> str:
    """Returns in words which schedules were scored although validation does not choose them."""
    names = "; ".join(content.get("not_chosen", {}))
    words = (
        " Scored earlier, but not reported, because the validation does not choose them or is not complete:"
    )
    return f"{words} {names}." if names else ""


def _step(content: dict[str, Any], dataset: str) -> Table:
    rows = [
        [
            name,
            number(entry["median"], ".1f", " ms"),
            interval(entry["low"], entry["high"], ".1f", " ms"),
            number(entry["saved"], ".0%"),
            entry["n"],
        ]
        for name, entry in content["step"].items()
    ]
    columns = ["update of the strong recipe", "median", "range", "saved", "n"]
    note = (
        "One part of the update is left out at a time; what this saves is the cost of the part, from two medians "
        "over the seeds that both have. The time of an "
        "update is the difference between a long and a short training, divided by the difference of their "
        "updates, so set-up is not part of it."
    )
    return Table(f"Where the time of an update goes ({dataset})", columns, rows, note)


def _fractions(content: dict[str, Any], dataset: str) -> Table:
    rows = [
        [name, number(entry["median"], ".0%"), interval(entry["low"], entry["high"], ".0%"), entry["n"]]
        for name, entry in content["matmul_fraction"]["changes"].items()
    ]
    return Table(
        f"Share of the processor's matmul rate ({dataset})",
        ["256-128, batches of 512", "median", "range", "n"],
        rows,
        "Work: the additions and multiplications of the matrix products, 6 per weight and image (2 for the "
        "prediction, 4 for the gradients), and 4 in the first layer, which needs no gradient of the image. The "
        "matmul rate is from the same process.",
    )


def _growth(content: dict[str, Any], dataset: str) -> Table:
    rows = []
    for what, line in content["growth"].items():
        first, last = line["points"][0], line["points"][-1]
        rows.append(
            [
                what,
                interval(first["value"], last["value"], ",.0f"),
                interval(first["seconds"], last["seconds"], ".1f", " s"),
                number(line["intercept"], ".2f", " s"),
                number(line["slope"], ".3g", " s"),
                number(line["r_squared"], ".3f"),
                interval(first["peak_memory_bytes"], last["peak_memory_bytes"], ",.0f", " MB", 1e-6),
            ]
        )
    return Table(
        f"Growth of time and memory ({dataset})",
        ["against", "from, to", "time", "start", "per unit", "R squared", "peak memory"],
        rows,
        "A straight line through the medians; units is fitted against the number of parameters. Seeds and workers "
        "are studies of whole lessons. For workers, the line is fitted against the runs of each worker; beyond the "
        "number of cores it is not straight.",
    )


def _lessons(content: dict[str, Any]) -> Table:
    rows = [
        [profile, lesson, *(number(seconds, ".1f", " s") for seconds in split.values())]
        for profile, splits in content["lessons"].items()
        for lesson, split in splits.items()
    ]
    kinds = next(iter(next(iter(content["lessons"].values())).values()))
    note = f"Wall time of each lesson, split by what its cells do. {outside_training(content)}"
    return Table("Where the time of a lesson goes", ["profile", "lesson", *kinds], rows, note)


def _where(machine: dict[str, Any]) -> str:
    processor = machine["processor"] or machine["architecture"]
    last = machine["date"]
    first = machine.get("first_date", last)
    return f"{processor}, {machine['cores']} cores, {last if first == last else f'{first} to {last}'}"


def _dataset(content: dict[str, Any]) -> str:
    return "digits, quick: the numbers mean nothing" if content["quick"] else "mnist"


def conclusion(content: dict[str, Any]) -> str:
    """Returns in words, for each target accuracy, our time and how much longer each other recipe takes."""
    if not content["runs"]:
        return f"The time to a target accuracy was not measured.{_not_chosen(content)}"
    return " ".join(_of_mark(at) for at in content["marks"] if at["recipes"])


def _of_mark(at: Mapping[str, Any]) -> str:
    mark, name = f"{at['mark']:.2%}", at["ours"]
    others = {other: entry for other, entry in at["recipes"].items() if other != name}
    if name is None:
        there = ", ".join(other for other, entry in others.items() if entry["reached"])
        is_measured = any(other in RECIPES and RECIPES[other].is_ours for other in others)
        ours = "our recipe does not reach it" if is_measured else "our recipe was not measured"
        return f"{mark} of the test images: {ours}. Reached by: {there or 'none'}."
    own = at["recipes"][name]
    words = [
        f"{mark} of the test images: {name} takes {own['median_seconds']:.1f} s (median, n={own['n']} seeds, "
        f"{own['low']:.1f} to {own['high']:.1f} s)."
    ]
    ratios = [
        f"{other} {entry['ratio']:.2f}{_within(entry)}{_over(entry, own['n'])}"
        for other, entry in others.items()
        if entry["ratio"]
    ]
    words += [f"Times as long: {', '.join(ratios)}."] if ratios else []
    alone = [other for other, entry in others.items() if entry["reached"] and not entry["ratio"]]
    words += (
        [f"Without a common seed with ours, and therefore not compared: {', '.join(alone)}."] if alone else []
    )
    late = [other for other, entry in others.items() if not entry["reached"]]
    words += [f"Not reached by: {', '.join(late)}."] if late else []
    faster = [other for other, entry in others.items() if entry["ratio"] and entry["ratio"] < 1]
    words += [f"Faster than ours: {', '.join(faster)}."] if faster else []
    return " ".join(words)


def _within(entry: Mapping[str, Any]) -> str:
    ends = interval(entry["ratio_low"], entry["ratio_high"], ".2f")
    return "" if ends == page.UNKNOWN else f" ({ends})"


def _over(entry: Mapping[str, Any], num_seeds: int) -> str:
    """Returns in words over how many seeds a ratio is, if these are not all seeds of our recipe."""
    common = entry.get("ratio_n", num_seeds)
    return "" if common == num_seeds else f" over {common} common seed{'s' * (common != 1)}"


def outside_training(content: dict[str, Any]) -> str:
    """Returns in words the share of the lessons' time that each profile spends on other things than training."""
    shares = []
    for profile, lesson_names in content["lessons"].items():
        total = sum(sum(split.values()) for split in lesson_names.values())
        training = sum(split["training"] for split in lesson_names.values())
        shares.append(f"{profile} {1 - training / total:.0%} of {total:.0f} s")
    return f"Outside training: {', '.join(shares)}."


def figures(content: dict[str, Any]) -> dict[str, plots.DescribedFigure]:
    """Returns what `bench.json` holds as figures, by name."""
    dataset, cores = _dataset(content), content["machine"]["cores"]
    found = {}
    if content["runs"]:
        title = f"Seconds to {content['target']:.2%} of the test images, {cores} cores ({dataset})"
        found["bench"] = plots.bar_times(content["time_to_target"], title)
        title = f"Test accuracy and training time, {cores} cores ({dataset})"
        found["frontier"] = frontier(points(content["runs"]), [at["mark"] for at in content["marks"]], title)
    if content["growth"]:
        found["growth"] = scaling(content["growth"], f"Training time against what it grows with ({dataset})")
    return found


def points(runs: Mapping[str, Mapping[str, list[float]]]) -> dict[str, list[tuple[float, float]]]:
    """Returns for each recipe the median seconds and the mean accuracy of its schedules, the fastest first."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, own in runs.items():
        point = float(np.median(own["seconds"])), float(np.mean(own["accuracy"]))
        found.setdefault(CANDIDATES[name].recipe, []).append(point)
    return {recipe: sorted(own) for recipe, own in found.items()}
