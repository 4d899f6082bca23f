"""The answers that a teacher reads: one page (`sentences.html`) and a table for the marks (`sentences.csv`).

Marks come back with `mnist-course assignments mark`, from the table or from what the page saves.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from mnist_course.grading import by_hand, class_report, tables
from mnist_course.grading.by_hand import ByHand
from mnist_course.reports.page import LOOK
from mnist_helpers import _files
from mnist_helpers._errors import UserError

PAGE, TABLE = "sentences.html", "sentences.csv"
_COLUMNS = ("student", "exercise", "task", "sentence", "points", "comment")


class Sentence(NamedTuple):
    """An answer of a student, with the marks that it has in the gradebook.

    Attributes:
        student: the student.
        exercise: the exercise.
        task: the name of the cell.
        text: the answer.
        points: the points that a teacher gave, or the empty string.
        comment: the comment that a teacher gave, or the empty string.
    """

    student: str
    exercise: str
    task: str
    text: str
    points: str
    comment: str


def collect(
    tasks: Mapping[str, list[class_report.Task]], results: class_report.Results, marks: Sequence[ByHand]
) -> list[Sentence]:
    """Returns all sentences, sorted by exercise, task and student (in the order of `results`)."""
    given = {(mark.student, mark.exercise, mark.cell): mark for mark in marks}
    found = []
    for exercise, of_exercise in tasks.items():
        for task in of_exercise:
            for student, of_student in results.items():
                result = of_student.get(exercise)
                if result is None or task.name not in result.sentences:
                    continue
                mark = given.get((student, exercise, task.name), ByHand(student, exercise, task.name))
                value = mark.points if task.tests else mark.extra_credit
                points = "" if value is None else f"{value:.10g}"
                text = result.sentences[task.name]
                found.append(Sentence(student, exercise, task.name, text, points, mark.comment))
    return found


def write(
    folder: Path,
    titles: Mapping[str, str],
    tasks: Mapping[str, list[class_report.Task]],
    results: class_report.Results,
    marks: Sequence[ByHand],
) -> str:
    """Writes the page and the table.

    A table in which a teacher has filled in marks that are not in the gradebook yet is left as it is.

    Args:
        folder: the grading folder.
        titles: exercise -> its title.
        tasks: exercise -> its tasks.
        results: student -> exercise -> result.
        marks: what was given by hand.

    Returns:
        Lines for the terminal; empty if there are no sentences.
    """
    found = collect(tasks, results, marks)
    of_tasks = []
    for exercise, of_exercise in tasks.items():
        maximum = class_report.maximum_of(of_exercise)
        for task in of_exercise:
            of_task = [row for row in found if (row.exercise, row.task) == (exercise, task.name)]
            if of_task:
                full = sum(task.tests.values())
                entry: dict[str, Any] = {"exercise": exercise, "title": titles[exercise], "task": task.title}
                entry |= {"name": task.name, "maximum": full, "most": full or maximum, "sentences": of_task}
                of_tasks.append(entry)
    _files.write(folder / PAGE, _page(of_tasks))
    path = folder / TABLE
    if waiting := _waiting(path, found):
        return (
            f"Sentences: {folder / PAGE}\n{path} was left as it is, because {waiting}. To bring its marks into the "
            f"gradebook: mnist-course assignments mark {folder} {path}\n"
        )
    tables.write(path, _COLUMNS, found)
    return f"Sentences: {folder / PAGE}\n" if found else ""


def _page(of_tasks: list[dict[str, Any]]) -> str:
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([here, LOOK.parent]), autoescape=True, trim_blocks=True
    )
    environment.filters["points"] = tables.points_text
    script = (here / "sentences.js").read_text(encoding="utf-8")
    # Only this script may run, whatever students have written.
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("sentences.html.j2").render(
        tasks=of_tasks, columns=_COLUMNS, script=script, allowed=allowed
    )


def _waiting(path: Path, found: Sequence[Sentence]) -> str:
    """Returns why the table must not be written again; empty if everything in it is in the gradebook."""
    if not path.exists():
        return ""
    try:
        entries = by_hand.read_table(path)
    except UserError as error:
        return f"it cannot be read ({error})"
    known = {(row.student, row.exercise, row.task): row for row in found}
    for entry in entries:
        row = known.get(entry[1:4])
        for name in ("points", "comment"):
            if by_hand.is_new(getattr(entry, name), getattr(row, name, "")):
                return f"row {entry.row} has a value in the column {name} that is not in the gradebook"
    return ""
