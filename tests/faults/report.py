"""Faults that were tried -> `faults.json` and a page. The faults are tried by `make faults`.

`python -m tests.faults.report FOLDER` writes the page of FOLDER/faults.json again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_course.reports import page
from mnist_course.reports.page import Table, number
from mnist_helpers import _files

FAULTS_FILE = "faults.json"


def content(rows: Sequence[Mapping[str, Any]], not_tried: Mapping[str, str]) -> dict[str, Any]:
    """Returns what `faults.json` holds.

    Args:
        rows: one per fault: `test`, `group`, `what`, `expected`, `seen`, `seconds`, `survived`.
        not_tried: test -> why it could not be tried on this machine.

    Returns:
        `summary` (`tried`, `survived`, `lost`: numbers of faults), `faults` (the rows), `not_tried`.
    """
    survived = sum(row["survived"] for row in rows)
    summary = {"tried": len(rows), "survived": survived, "lost": len(rows) - survived}
    return {"summary": summary, "faults": list(rows), "not_tried": dict(not_tried)}


def table(found: Mapping[str, Any]) -> Table:
    """Returns the faults as a table."""
    rows = [
        [row["group"], row["what"], row["expected"], row["seen"], number(row["seconds"], ".1f", " s")]
        for row in found["faults"]
    ]
    note = "The time of a kill is the time to the end of its run, including the other kills of that run."
    if found["not_tried"]:
        reasons = "; ".join(f"{test}: {reason}" for test, reason in found["not_tried"].items())
        note += f" Not tried on this machine: {reasons}."
    return Table("Faults", ["where", "fault", "expected", "seen", "time"], rows, note, is_text=True)


def conclusion(found: Mapping[str, Any]) -> str:
    """Returns in words how many faults were survived."""
    summary = found["summary"]
    return f"{summary['tried']} faults were tried: {summary['survived']} survived, {summary['lost']} not."


def write(path: Path) -> Path:
    """Writes the page of a `faults.json` beside it; returns the path of the HTML file."""
    found = _files.read_json(path)
    return page.write_page(
        path.parent,
        path.stem,
        title="What happens when something fails",
        conclusion=conclusion(found),
        tables=[table(found)],
    )


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) / FAULTS_FILE))
