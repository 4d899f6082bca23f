"""`faults.json` -> a table for people. The faults are tried by `tests/faults/`, by `make faults`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FAULTS_FILE = "faults.json"


def content(rows: Sequence[dict[str, Any]], not_tried: Sequence[str]) -> dict[str, Any]:
    """Returns what `faults.json` holds.

    Args:
        rows: one per fault: `group`, `what`, `expected`, `seen`, `seconds`, `survived`.
        not_tried: what could not be tried on this machine, and why.

    Returns:
        `summary` (`tried`, `survived`, `lost`: numbers of faults), `faults` (the rows), `not_tried`.
    """
    survived = sum(row["survived"] for row in rows)
    summary = {"tried": len(rows), "survived": survived, "lost": len(rows) - survived}
    return {"summary": summary, "faults": list(rows), "not_tried": sorted(set(not_tried))}


def tables(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what `faults.json` holds as a table for a report: `title`, `columns`, `rows`, `is_text`, `note`."""
    rows = [
        [row["group"], row["what"], row["expected"], row["seen"], f"{row['seconds']:.1f} s"]
        for row in found["faults"]
    ]
    columns = ["where", "fault", "expected", "seen", "time"]
    note = (
        f"{conclusion(found)} The time of a kill is that to the end of its run, with the other kills of it."
    )
    if found["not_tried"]:
        note += f" Not tried on this machine: {'; '.join(found['not_tried'])}."
    return [{"title": "Faults", "columns": columns, "rows": rows, "is_text": True, "note": note}]


def conclusion(found: dict[str, Any]) -> str:
    """Says how many faults were survived, from the numbers."""
    summary = found["summary"]
    return f"{summary['tried']} faults were tried: {summary['survived']} survived, {summary['lost']} not."
