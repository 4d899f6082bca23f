"""Points and comments that a teacher gives by hand: read from nbgrader's gradebook, and written into it.

nbgrader keeps them beside the points of the tests, and counts them instead (`manual_score`) or in addition
(`extra_credit`). A cell with a maximum of 0, such as a sentence, takes points as extra credit only. nbgrader counts
extra credit only if the cell has a score, too, so such a cell gets a `manual_score` of 0 here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from mnist_course.grading import course_folder, nbgrader_bridge, submissions, tables
from mnist_course.grading.class_report import ByHand
from mnist_helpers._errors import UserError

_WITHDRAWN = "-"
_MAX_PROBLEMS = 10


class _Entry(NamedTuple):
    """A row of a table with marks: `points` and `comment` are empty, a value, or `-` to withdraw one."""

    row: int
    student: str
    exercise: str
    task: str
    sentence: str
    points: str
    comment: str


def read(folder: Path) -> list[ByHand]:
    """Returns everything in the gradebook that was given by hand, sorted by student, exercise and cell."""
    from nbgrader.api import Comment, Grade

    with nbgrader_bridge.gradebook(folder) as book:
        found: dict[tuple[str, str, str], ByHand] = {}
        given = Grade.manual_score.is_not(None) | Grade.extra_credit.is_not(None)
        for grade in book.db.query(Grade).filter(given):
            key = (grade.student.id, grade.assignment.name, grade.name)
            points, extra = grade.manual_score, grade.extra_credit
            if not grade.max_score:
                points, extra = None, (points or 0.0) + (extra or 0.0)
            found[key] = ByHand(*key, grade.auto_score, points, extra)
        for note in book.db.query(Comment).filter(Comment.manual_comment.is_not(None)):
            key = (note.student.id, note.assignment.name, note.name)
            if note.manual_comment.strip():
                found[key] = found.get(key, ByHand(*key))._replace(comment=note.manual_comment)
    return [found[key] for key in sorted(found)]


def count_extra_credit(folder: Path) -> None:
    """Makes nbgrader count the extra credit of cells without a maximum.

    A teacher who gives it in nbgrader's formgrader gives no score beside it.
    """
    from nbgrader.api import Grade

    with nbgrader_bridge.gradebook(folder) as book:
        no_score = Grade.manual_score.is_(None) & Grade.auto_score.is_(None)
        changed = [
            grade
            for grade in book.db.query(Grade).filter(no_score & Grade.extra_credit.is_not(None))
            if not grade.max_score
        ]
        for grade in changed:
            grade.manual_score = 0.0
        if changed:
            book.db.commit()


def read_table(path: Path) -> list[_Entry]:
    """Reads the rows of a table such as `sentences.csv` in which points or a comment are filled in.

    Raises:
        UserError: the file is not a table of this kind.
    """
    rows = tables.read(path, ("student", "exercise", "task", "points", "comment"))
    return [
        _Entry(number, *(row.get(name, "") for name in _Entry._fields[1:]))
        for number, row in rows
        if row["points"] or row["comment"]
    ]


def mark(folder: Path, path: Path) -> str:
    """Writes the points and comments of a table into the gradebook.

    The table has the columns student, exercise, task, points and comment, and optionally sentence; `task` is the
    name of a cell. Points are from 0 to the maximum of the cell. Where the maximum is 0, as for most sentences,
    they become extra credit, up to the maximum of the exercise. An empty field changes nothing, and `-` withdraws
    what was given before. If anything in the table is wrong, nothing is written.

    Args:
        folder: a grading folder.
        path: the table, a CSV file.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder is not a grading folder, the table is wrong, or another process is grading.
    """
    nbgrader_bridge.check_installed()
    folder = folder.resolve()
    exercises = course_folder.exercises(folder)
    nbgrader_bridge.check_files(folder)
    entries = read_table(path)
    changed = 0
    with (
        course_folder.lock(folder),
        nbgrader_bridge.gradebook(folder) as book,
        book.db.no_autoflush,
    ):
        graded = course_folder.read_graded(folder)
        problems: list[str] = []
        seen: dict[tuple, _Entry] = {}
        for entry in entries:
            key = entry[1:4]
            now = graded.get(f"{submissions.working_name(entry.student)}/{entry.exercise}")
            current = now.sentences.get(entry.task) if now else None
            try:
                if seen.setdefault(key, entry)[5:] != entry[5:]:
                    raise UserError(f"row {seen[key].row} has other marks for the same cell")
                if entry.exercise not in exercises:
                    raise UserError(
                        f"{entry.exercise!r} is not an exercise. Expected: {', '.join(exercises)}"
                    )
                if entry.sentence and not same_text(entry.sentence, current or ""):
                    raise UserError(
                        "the student has submitted another sentence since, or none; read it again"
                    )
                changed += _give(book, entry)
            except UserError as error:
                problems.append(f"row {entry.row} ({entry.student}, {entry.exercise}, {entry.task}): {error}")
        if problems:
            book.db.rollback()
            more = (
                f"\n  ... and {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
            )
            lines = "".join(f"\n  - {problem}" for problem in problems[:_MAX_PROBLEMS])
            raise UserError(f"Nothing was written, because {path} has mistakes:{lines}{more}")
        book.db.commit()
    return (
        f"{changed} points and comments were written into the gradebook; {len(entries)} rows were filled in.\n"
        f"To bring them into the report and the feedback: mnist-course assignments grade {folder}"
    )


def same_text(first: str, second: str) -> bool:
    """Returns whether two texts differ in spaces and line ends only."""
    return tables.restored(first).split() == tables.restored(second).split()


def is_new(filled: str, known: str) -> bool:
    """Returns whether a field of a table would change what is in the gradebook.

    Args:
        filled: the field: points or a comment, `-` to withdraw them, or empty.
        known: points or comment in the gradebook, or empty.
    """
    if filled == _WITHDRAWN:
        return bool(known)
    try:
        return float(filled.replace(",", ".")) != float(known)
    except ValueError:  # a comment, or nothing
        return bool(filled) and not same_text(filled, known)


def _give(book: Any, entry: _Entry) -> int:
    """Brings one row into the gradebook, and returns how many of its values are new."""
    from nbgrader.api import MissingEntry

    place = (entry.exercise, entry.exercise, submissions.working_name(entry.student))
    try:
        book.find_submission_notebook(*place)
    except MissingEntry as error:
        raise UserError("there is no graded submission of this student to this exercise") from error
    changed = 0
    if entry.points:
        try:
            grade = book.find_grade(entry.task, *place)
        except MissingEntry as error:
            raise UserError(_no_points(book, entry)) from error
        before = (grade.manual_score, grade.extra_credit)
        if grade.max_score:
            grade.manual_score = _points(entry.points, grade.max_score)
        else:
            grade.extra_credit = _points(entry.points, grade.notebook.max_score)
            grade.manual_score = None if grade.extra_credit is None else 0.0
        changed += (grade.manual_score, grade.extra_credit) != before
        # As nbgrader's formgrader does it.
        grade.needs_manual_grade = grade.manual_score is None and grade.auto_score is None
    if entry.comment:
        try:
            note = book.find_comment(entry.task, *place)
        except MissingEntry as error:
            raise UserError(
                f"a comment belongs to an answer, and {entry.task!r} is not the name of one"
            ) from error
        text = None if entry.comment == _WITHDRAWN else entry.comment
        changed += note.manual_comment != text
        note.manual_comment = text
    return changed


def _no_points(book: Any, entry: _Entry) -> str:
    student = submissions.working_name(entry.student)
    notebook = book.find_submission_notebook(entry.exercise, entry.exercise, student)
    names = ", ".join(sorted(grade.name for grade in notebook.grades))
    return f"{entry.task!r} takes no points. Expected one of: {names}"


def _points(text: str, maximum: float) -> float | None:
    """Returns the points that a teacher has written, with a point or a comma; `None` to withdraw them."""
    if text == _WITHDRAWN:
        return None
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = math.nan
    if not 0 <= points <= maximum:
        raise UserError(
            f"points must be a number from 0 to {maximum:g}, or - to withdraw them. Received: {text!r}"
        )
    return points
