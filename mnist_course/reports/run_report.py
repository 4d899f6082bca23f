"""Records -> report: `summary.json`, `report.md`, a self-contained `report.html` and their figures.

Every number in a report comes from a record of the run; nothing is measured here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np

from mnist_course import lessons
from mnist_course.run import runner
from mnist_helpers import _files, plots, results

_COLUMNS = {
    "model": "model",
    "num_params": "parameters",
    "train_seconds": "training",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "test_accuracy": "test accuracy",
    "interval": "95 % interval",
    "test_loss": "test loss",
}


_LESSON_COLUMNS = ["lesson", "wall time", "without start and imports", "longest cell", "peak memory"]
_RUN_NOTE = (
    "Accuracies are fractions of the images; the interval is Wilson's, about the test images, for one training run."
    " Loss is the mean of −log(probability of the right digit). A dash: not measured, or not defined."
)


def write_report(folder: Path) -> Path:
    """Writes the report of a finished run into its folder.

    Args:
        folder: the run folder, with the records of all lessons.

    Returns:
        The path of `report.html`.

    Raises:
        results.MissingLessonError: a lesson of the run is missing; the message names it.
    """
    records = results.load_records(folder)
    rows = summary(records)
    _files.write_json(folder / "summary.json", rows)
    tables = [
        {
            "title": "Results",
            "columns": list(_COLUMNS.values()),
            "rows": [list(_cells(row).values()) for row in rows],
            "note": _RUN_NOTE,
        }
    ]
    details = [
        {"title": "Lessons", "columns": _LESSON_COLUMNS, "rows": _lessons(folder, records)},
        {"title": "Settings", "columns": ["parameter", "value"], "rows": list(settings_of(records).items())},
    ]
    evaluation = records["05_evaluation"]
    return write_page(
        folder,
        title=f"Report of run {folder.name}",
        conclusion=evaluation["conclusion"],
        tables=tables,
        details=details,
        draw=lambda: _figures(records),
        versions=evaluation["versions"],
        machine=evaluation["machine"],
    )


def write_page(folder: Path, *, draw: Callable[[], dict[str, plots.DescribedFigure]], **content: Any) -> Path:
    """Writes the figures, `report.md` and `report.html` of a run or a study.

    Args:
        folder: where to write.
        draw: makes the figures, by name; called with the course's style.
        **content: what the templates show: `title`, `conclusion`, `tables`, `details` (tables below the figures);
            each table has `title`, `columns`, `rows`, perhaps a `note`, and `is_text` if its cells are sentences;
            `versions`, `machine`.

    Returns:
        The path of `report.html`.
    """
    with matplotlib.rc_context(fname=lessons.NOTEBOOKS / "matplotlibrc"):
        figures = draw()
        images = {name: figure.png() for name, figure in figures.items()}
    for name, image in images.items():
        with _files.atomic_write(folder / f"{name}.png") as beside:
            beside.write_bytes(image)
    content["figures"] = [
        {"name": name, "description": figure.description, "base64": base64.b64encode(images[name]).decode()}
        for name, figure in figures.items()
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name.endswith(".html.j2"),
    )
    for name in ("report.md", "report.html"):
        with _files.atomic_write(folder / name) as beside:
            beside.write_text(environment.get_template(f"{name}.j2").render(content), encoding="utf-8")
    return folder / "report.html"


def summary(records: dict[str, dict]) -> list[dict[str, Any]]:
    """Returns the results table as rows of raw numbers, fields as in `results.ROW_FIELDS`; unknown is `None`."""
    table = results.model_table(records)
    return json.loads(table.to_json(orient="records", double_precision=15))


def text_table(rows: list[dict[str, Any]]) -> str:
    """Returns the results table as aligned text, for a terminal."""
    return aligned([list(_COLUMNS.values()), *(list(_cells(row).values()) for row in rows)])


def aligned(lines: list[list[str]]) -> str:
    """Returns rows of cells as text in columns, the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs)
        )
        for pairs in (zip(line, widths, strict=True) for line in lines)
    )


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """Formats a row for people."""

    def show(name: str, form: str, unit: str = "") -> str:
        return "–" if row[name] is None else format(row[name], form) + unit

    return {
        "model": row["model"],
        "num_params": show("num_params", ",.0f"),
        "train_seconds": show("train_seconds", ".1f", " s"),
        "val_accuracy": show("val_accuracy", ".2%"),
        "val_loss": show("val_loss", ".4f"),
        "test_accuracy": show("test_accuracy", ".2%"),
        "interval": f"{show('test_accuracy_low', '.2%')} to {show('test_accuracy_high', '.2%')}",
        "test_loss": show("test_loss", ".4f"),
    }


def _figures(records: dict[str, dict]) -> dict[str, plots.DescribedFigure]:
    name = records["05_evaluation"]["dataset"]["name"]
    models = {model: entry for record in records.values() for model, entry in record["models"].items()}
    histories = {
        model: entry["history"]
        for lesson in results.LESSONS[:-1]
        for model, entry in records[lesson]["models"].items()
        if "history" in entry
    }
    tested = {model: entry for model, entry in models.items() if model in histories}
    matrix = np.array(records["05_evaluation"]["confusion_matrix"])
    return {
        "accuracy": plots.metric_by_model(
            histories, "accuracy", f"Training and validation accuracy ({name})"
        ),
        "loss": plots.metric_by_model(histories, "loss", f"Training and validation loss ({name})"),
        "test_accuracy": plots.accuracies(
            list(tested),
            *([entry[f"test_accuracy{end}"] for entry in tested.values()] for end in ("", "_low", "_high")),
            f"Test accuracy on {matrix.sum():,} images ({name})",
        ),
        "confusion_matrix": plots.confusion_matrix(matrix, f"What the tuned model takes for what ({name})"),
    }


def settings_of(records: dict[str, dict]) -> dict[str, Any]:
    """Every parameter of the run, once; the places of files are left out."""
    settings: dict[str, Any] = {"dataset": next(iter(records.values()))["dataset"]["name"]}
    for record in records.values():
        settings |= {name: value for name, value in record["params"].items() if name not in settings}
    return {name: value for name, value in settings.items() if name not in ("run", "results_dir", "data_dir")}


def _lessons(folder: Path, records: dict[str, dict]) -> list[list[str]]:
    """Time and memory of each lesson; the whole wall time is known only of lessons that the runner started."""
    timings = runner.timings(folder)
    lessons = []
    for lesson, record in records.items():
        timing = timings.get(lesson, {})
        lessons.append(
            [
                lesson,
                f"{timing['wall_seconds']:.1f} s" if timing else "–",
                f"{record['seconds']:.1f} s",
                f"{timing['longest_cell_seconds']:.1f} s" if timing else "–",
                f"{record['peak_memory_bytes'] / 2**30:.2f} GiB",
            ]
        )
    return lessons
