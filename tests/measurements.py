"""What measurements of whole systems write: a record, its picture and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_course.reports import page
from mnist_helpers import _files, plots


def write(
    folder: Path,
    name: str,
    record: dict[str, Any],
    *,
    title: str,
    conclusion: str,
    table: page.Table,
    figure: plots.DescribedFigure,
) -> Path:
    """Writes `name` with the endings .json, .png, .md and .html; returns the path of the page.

    Args:
        folder: where to write; it is created if it is missing.
        name: of the files.
        record: what was measured, with its `date`.
        title: the heading of the page.
        conclusion: the result in words.
        table: the result as a table.
        figure: the result as a picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_json(folder / f"{name}.json", record)
    return page.write_page(
        folder,
        name,
        title=title,
        conclusion=conclusion,
        tables=[table],
        draw=lambda: {name: figure},
        provenance=f"Measured on {record['date']}.",
    )
