"""`bench.json` -> tables, figures and a page. Nothing is measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.plots import scaling
from mnist_course.reports import page
from mnist_course.reports.page import Table, interval, number
from mnist_helpers import plots

BENCH_FILE = "bench.json"


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Writes what `bench.json` holds as a page, `bench.md` and `bench.html`, with figures; returns its path."""
    return page.write_page(
        folder,
        "bench",
        title=f"Speed of training ({_dataset(content)})",
        conclusion=conclusion(content),
        tables=tables(content),
        draw=lambda: figures(content),
        provenance=f"Measured on {_where(content['machine'])}.",
    )


def tables(content: dict[str, Any]) -> list[Table]:
    """Returns what `bench.json` holds as tables for a report."""
    dataset = _dataset(content)
    found = [_times(content, dataset), _fractions(content, dataset), _growth(content, dataset)]
    return found + ([_lessons(content)] if content["lessons"] else [])


def _times(content: dict[str, Any], dataset: str) -> Table:
    rows = [
        [
            name,
            number(entry["median_seconds"], ".1f", " s"),
            interval(entry["low"], entry["high"], ".1f", " s"),
            entry["n"],
            number(entry["mean_accuracy"], ".2%"),
            "yes" if entry["reached"] else "no, time to the end",
        ]
        for name, entry in content["time_to_target"].items()
    ]
    return Table(
        f"Time to {content['target']:.2%} of the test images ({dataset})",
        ["recipe", "median", "range", "n", "mean accuracy", "reached"],
        rows,
        f"Measured on {_where(content['machine'])}. Set-up is counted; imports and scoring are not.",
    )


def _fractions(content: dict[str, Any], dataset: str) -> Table:
    rows = [
        [name, number(entry["median"], ".0%"), interval(entry["low"], entry["high"], ".0%"), entry["n"]]
        for name, entry in content["matmul_fraction"]["changes"].items()
    ]
    return Table(
        f"Share of the processor's matmul rate ({dataset})",
        ["reference network, batches of 512", "median", "range", "n"],
        rows,
        "Useful work: 6 operations per weight and image. The matmul rate is from the same process.",
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
    return f"{processor}, {machine['cores']} cores, {machine['date']}"


def _dataset(content: dict[str, Any]) -> str:
    return "digits, quick: the numbers mean nothing" if content["quick"] else "mnist"


def conclusion(content: dict[str, Any]) -> str:
    """Returns in words how much longer than our recipe each other recipe takes."""
    times = dict(content["time_to_target"])
    ours = times.pop("fast_recipe")
    others = [
        f"{name} {entry['median_seconds'] / ours['median_seconds']:.1f}"
        + ("" if entry["reached"] else f" (not there after {entry['scored']} epochs)")
        for name, entry in times.items()
    ]
    found = (
        f"Our recipe takes {ours['median_seconds']:.1f} s to {content['target']:.2%} of the test images "
        f"(median, n={ours['n']} seeds, {ours['low']:.1f} to {ours['high']:.1f} s)"
        if ours["reached"]
        else f"Our recipe did not reach {content['target']:.2%} of the test images"
    )
    return f"{found}. Times as long: {', '.join(others)}." if others else f"{found}."


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
    title = f"Seconds to {content['target']:.2%} of the test images, {cores} cores ({dataset})"
    return {
        "bench": plots.bar_times(content["time_to_target"], title),
        "growth": scaling(content["growth"], f"Training time against what it grows with ({dataset})"),
    }
