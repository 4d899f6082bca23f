"""How the percentages of a class are distributed: what the report draws and says."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

_WIDTH = 10  # percentage points of a bar
_TOLERANCE = 1e-9  # of a percentage: 7 of 10 points are 70 %, also as a floating-point number


def passes(percent: float, pass_mark: float) -> bool:
    """Returns whether a percentage reaches the pass mark."""
    return percent >= pass_mark - _TOLERANCE


def of(percentages: Iterable[float], pass_mark: float) -> dict[str, Any]:
    """Describes percentages of the maximum.

    Args:
        percentages: one for each mark, from 0; extra credit can bring one above 100.
        pass_mark: percentage from which a student passes.

    Returns:
        `count`, `mean`, `median`, `lowest`, `highest` (each `None` without marks), `passed` (a number of marks),
        and `bars`: for each ten per cent from 0 on, its `name` and `count`. The last one has everything from 90 %
        on.
    """
    values = list(percentages)
    counts = [0] * (100 // _WIDTH)
    for value in values:
        counts[min(int((value + _TOLERANCE) // _WIDTH), len(counts) - 1)] += 1
    names = [f"{start} to {start + _WIDTH - 1}" for start in range(0, 100 - _WIDTH, _WIDTH)]
    names.append(f"{100 - _WIDTH} or more")
    return {
        "count": len(values),
        "mean": statistics.fmean(values) if values else None,
        "median": statistics.median(values) if values else None,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
        "passed": sum(passes(value, pass_mark) for value in values),
        "bars": [{"name": name, "count": count} for name, count in zip(names, counts, strict=True)],
    }
