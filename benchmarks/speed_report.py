"""`bench.json` -> tables and figures for people. Nothing is measured here."""

from __future__ import annotations

from typing import Any

from benchmarks.plots import scaling
from mnist_helpers import plots

BENCH_FILE = "bench.json"


def tables(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what `bench.json` holds as tables for a report: `title`, `columns`, `rows`, `note`."""
    machine = content["machine"]
    dataset = _dataset(content)
    where = f"{machine['processor'] or machine['architecture']}, {machine['cores']} cores, {machine['date']}"
    times = [
        [
            name,
            f"{entry['median_seconds']:.1f} s",
            f"{entry['low']:.1f} to {entry['high']:.1f} s",
            str(entry["n"]),
            f"{entry['mean_accuracy']:.2%}",
            "yes" if entry["reached"] else "no, time to the end",
        ]
        for name, entry in content["time_to_target"].items()
    ]
    fractions = [
        [name, f"{entry['median']:.0%}", f"{entry['low']:.0%} to {entry['high']:.0%}", str(entry["n"])]
        for name, entry in content["matmul_fraction"]["changes"].items()
    ]
    lines = []
    for what, line in content["growth"].items():
        first, last = line["points"][0], line["points"][-1]
        lines.append(
            [
                what,
                f"{first['value']:,} to {last['value']:,}",
                f"{first['seconds']:.1f} to {last['seconds']:.1f} s",
                f"{line['intercept']:.2f} s",
                f"{line['slope']:.3g} s",
                f"{line['r_squared']:.3f}",
                f"{first['peak_memory_bytes'] / 1e6:,.0f} to {last['peak_memory_bytes'] / 1e6:,.0f} MB",
            ]
        )
    lessons = [
        [profile, lesson, *(f"{seconds:.1f} s" for seconds in split.values())]
        for profile, lesson_names in content["lessons"].items()
        for lesson, split in lesson_names.items()
    ]
    found = [
        {
            "title": f"Time to {content['target']:.2%} of the test images ({dataset})",
            "columns": ["recipe", "median", "range", "n", "mean accuracy", "reached"],
            "rows": times,
            "note": f"{conclusion(content)} Measured on {where}; set-up counted, imports and scoring not.",
        },
        {
            "title": f"Share of the processor's matmul rate ({dataset})",
            "columns": ["reference network, batches of 512", "median", "range", "n"],
            "rows": fractions,
            "note": "Useful work: 6 operations per weight and image. The matmul rate is from the same process.",
        },
        {
            "title": f"Growth of time and memory ({dataset})",
            "columns": ["against", "from, to", "time", "start", "per unit", "R squared", "peak memory"],
            "rows": lines,
            "note": "A straight line through the medians. `units` is fitted against the number of parameters. "
            "Seeds and workers are studies of whole lessons; `workers` is fitted against the runs of each worker, "
            "and is no straight line beyond the cores of the machine.",
        },
    ]
    if lessons:
        kinds = list(next(iter(next(iter(content["lessons"].values())).values())))
        note = f"Wall time of each lesson, split by what its cells do. {outside_training(content)}"
        columns = ["profile", "lesson", *kinds]
        found.append(
            {"title": "Where the time of a lesson goes", "columns": columns, "rows": lessons, "note": note}
        )
    return found


def _dataset(content: dict[str, Any]) -> str:
    return "digits, quick: the numbers mean nothing" if content["quick"] else "mnist"


def conclusion(content: dict[str, Any]) -> str:
    """Says how much longer than ours each other recipe takes, from the numbers."""
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
    """Says which share of the lessons' time each profile spends on other things than training."""
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
