"""Records of a run -> `summary.json`, `runs.csv`, `report.md`, `report.html` and their figures.

Every number in a report comes from a record of the run; nothing is measured here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mnist_course import course_file
from mnist_course.reports import page
from mnist_course.reports.page import Link, Table, interval, number
from mnist_helpers import _files, plots, results

RUNS_FILE = "runs.csv"
_NOTE = (
    "Accuracies are fractions of the images. The interval is Wilson's; it is about the test images, for one "
    "training run. Loss is the mean of −log(probability of the right digit). A dash means: not measured, "
    "or not defined."
)
Records = Mapping[str, Mapping[str, Any]]  # lesson -> record


def write_report(folder: Path) -> Path:
    """Writes the report of a run into its folder, from the records that exist.

    Args:
        folder: the run folder, with the record of at least one lesson.

    Returns:
        The path of `report.html`.

    Raises:
        results.MissingLessonError: there is no record, or one is damaged; the error names the lesson to run.
    """
    records = records_of(folder)
    rows = summary(records)
    _files.write_json(folder / "summary.json", rows)
    write_runs(folder)
    last = list(records.values())[-1]
    settings = settings_of(records).items()
    return page.write_page(
        folder,
        title=f"Report of run {folder.name}",
        conclusion=_conclusion(records),
        tables=[results_table(rows)],
        details=[
            _lessons_table(folder, records),
            Table("Settings", ["parameter", "value"], list(settings), is_text=True),
        ],
        draw=lambda: _figures(records),
        provenance=page.provenance(last),
    )


def write_runs(folder: Path) -> None:
    """Writes `runs.csv`, what `results.table` returns for a run or a study, into its folder."""
    with _files.atomic_write(folder / RUNS_FILE) as temporary:
        results.table(folder).to_csv(temporary, index=False)


def summary(records: Records) -> list[dict[str, Any]]:
    """Returns the models of a run as rows of raw numbers, fields as in `results.ROW_FIELDS`; unknown is `None`."""
    table = results.model_table(records)
    return json.loads(table.to_json(orient="records", double_precision=15))


def results_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the models of a run, as `summary` returns them, as a table."""
    cells = [
        [
            row["model"],
            number(row["num_params"], ",.0f"),
            number(row["train_seconds"], ".1f", " s"),
            number(row["val_accuracy"], ".2%"),
            number(row["val_loss"], ".4f"),
            number(row["test_accuracy"], ".2%"),
            interval(row["test_accuracy_low"], row["test_accuracy_high"], ".2%"),
            number(row["test_loss"], ".4f"),
        ]
        for row in rows
    ]
    columns = ["model", "parameters", "training", "validation accuracy", "validation loss", "test accuracy"]
    return Table("Results", [*columns, "95 % interval", "test loss"], cells, _NOTE)


def settings_of(records: Records) -> dict[str, Any]:
    """Returns every parameter of a run once, without the paths."""
    settings: dict[str, Any] = {"dataset": next(iter(records.values()))["dataset"]["name"]}
    for record in records.values():
        settings |= {name: value for name, value in record["params"].items() if name not in settings}
    return {name: value for name, value in settings.items() if name not in ("run", "results_dir", "data_dir")}


def records_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Reads the records that a run has; refuses a run that has none."""
    return results.load_records(folder, results.recorded_lessons(folder) or results.LESSONS)


def comparisons_of(records: Records) -> list[dict[str, Any]]:
    """Returns the pairs of networks that a run has compared on its test images: `first`, `second`, `p_value`.

    The notebook `trust` compares all pairs; lesson 5 compares one, and in runs of earlier versions all of them.
    """
    for lesson in (results.FURTHER[-1], results.LESSONS[-1]):
        if "comparisons" in records.get(lesson, {}):
            return records[lesson]["comparisons"]
    pair = records.get(results.LESSONS[-1], {}).get("baseline_against_tuned")
    return [{"first": "baseline", "second": "tuned", **pair}] if pair else []


def _conclusion(records: Records) -> str:
    missing = [lesson for lesson in results.LESSONS if lesson not in records]
    sentences = [records[results.LESSONS[-1]]["conclusion"]] if results.LESSONS[-1] in records else []
    if missing:
        sentences.append(f"This report is partial. Lessons without a record: {', '.join(missing)}.")
    return " ".join(sentences)


def _figures(records: Records) -> dict[str, plots.DescribedFigure]:
    entries = [item for record in records.values() for item in record["models"].items()]
    models: dict[str, dict[str, Any]] = {}
    for name, entry in entries:
        models[name] = models.get(name, {}) | entry
    histories = {name: entry["history"] for name, entry in entries if "history" in entry}
    dataset = next(iter(records.values()))["dataset"]["name"]
    figures = {}
    for metric in ("accuracy", "loss") if histories else ():
        figures[metric] = page.metric_by_model(histories, metric, f" ({dataset})")
    evaluation = records.get(results.LESSONS[-1])
    if evaluation:
        matrix = np.array(evaluation["confusion_matrix"])
        tested = {name: models[name] for name in histories or models if "test_accuracy_low" in models[name]}
        values, lows, highs = (
            [entry[f"test_accuracy{end}"] for entry in tested.values()] for end in ("", "_low", "_high")
        )
        if tested:
            title = f"Test accuracy on {matrix.sum():,} images ({dataset})"
            figure = plots.accuracies(list(tested), values, lows, highs, title)
            figures["test_accuracy"] = page.within(figure, "x", 0, 100)
        title = f"Confusion matrix of the tuned model ({dataset})"
        figures["confusion_matrix"] = plots.confusion_matrix(matrix, title)
    return figures


def _lessons_table(folder: Path, records: Records) -> Table:
    """Returns time and memory of each lesson; only the runner measures the whole wall time."""
    timings = course_file.timings(folder)
    rows = []
    for lesson, record in records.items():
        timing = timings.get(lesson, {})
        notebook = f"{lesson}.ipynb"
        name = Link(lesson, notebook) if (folder / notebook).is_file() else lesson
        seconds = (timing.get("wall_seconds"), record["seconds"], timing.get("longest_cell_seconds"))
        memory = number(record["peak_memory_bytes"] / 2**30, ".2f", " GiB")
        rows.append([name, *(number(value, ".1f", " s") for value in seconds), memory])
    columns = ["lesson", "wall time", "without start and imports", "longest cell", "peak memory"]
    return Table("Lessons", columns, rows)
