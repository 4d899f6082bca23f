"""Marks for a learning platform: what Moodle and Canvas import, and a CSV file for a school's own list.

A mark that does not exist is an empty cell, never 0: it was not submitted, not graded, not graded again after a
change, or waits for a teacher. Marks come from nbgrader's gradebook, names and numbers from `roster.csv`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mnist_course.grading import (
    by_hand,
    class_report,
    collected,
    course_folder,
    grade,
    moodle_feedback,
    nbgrader_bridge,
    placing,
    platforms,
    recorded,
    regrading,
    submissions,
)
from mnist_course.grading.course_folder import Exercise
from mnist_course.grading.recorded import Recorded
from mnist_course.grading.roster import Roster, Student, kept_roster
from mnist_course.grading.tables import defused, points_text, printable
from mnist_helpers import _files
from mnist_helpers._errors import UserError

_CANVAS_KEYS = (
    "Canvas ID, SIS User ID or SIS Login ID (a gradebook that Canvas exports is a roster that has them)"
)
_CANVAS_ADVICE = (
    "In Canvas: Grades > Import, and look at the changes that it shows. "
    "A column fills the assignment that has its name."
)
_MOODLE_FEEDBACK_ADVICE = (
    "In Moodle, for each exercise: open the assignment, and choose View all submissions > Grading action > Upload "
    "multiple feedback files in a zip. The assignment must have the feedback type Feedback files."
)
_NOT_SUBMITTED, _NOT_GRADED = "not submitted", "not graded"


class Mark(NamedTuple):
    """A student's mark in an exercise.

    Attributes:
        points: the points; `None` if there is no mark.
        status: the empty string, or "not submitted" or "not graded".
        reason: why it was not graded.
    """

    points: float | None
    status: str = ""
    reason: str = ""


class _Row(NamedTuple):
    """A student with marks: of the roster, or one that only has a folder, and why it is not known whose it is."""

    student: Student
    marks: dict[str, Mark]
    stranger: str = ""


class _Table(NamedTuple):
    """A file to write: its rows, its encoding, students who could not be matched, and what to do with it."""

    rows: list[list[str]]
    left_out: list[str]
    advice: str
    encoding: str = "utf-8"


def export(
    folder: Path,
    *,
    moodle: Path | None = None,
    canvas: Path | None = None,
    csv_file: Path | None = None,
    feedback: Path | None = None,
) -> str:
    """Writes the marks of a grading folder for learning platforms.

    Args:
        folder: a folder made by `release.build`, in which submissions were graded.
        moodle: the file for Moodle's grade import.
        canvas: the file for Canvas's gradebook import.
        csv_file: the file for a school's own list, with all students of the roster.
        feedback: a folder for zip files with the feedback pages, which Moodle gives back to the students.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: there is no file to write, no mark, or no roster for a platform; a file is there that is no
            earlier export; or another process is grading. Nothing was written then.
    """
    asked = [(moodle, _for_moodle), (canvas, _for_canvas), (csv_file, _for_lists)]
    wanted = [(path, make) for path, make in asked if path]
    if not wanted and not feedback:
        expected = "--moodle FILE, --canvas FILE, --csv FILE, --moodle-feedback FOLDER"
        raise UserError(f"Expected: at least one of {expected}. Received: none.")
    if len({path for path, _ in wanted}) < len(wanted):
        raise UserError("Expected: a different FILE for each option. Received: the same twice.")
    nbgrader_bridge.check_installed()
    folder = folder.resolve()
    exercises = {name: course_folder.read_exercise(folder, name) for name in course_folder.exercises(folder)}
    nbgrader_bridge.check_files(folder)
    roster = kept_roster(folder)
    if roster is None and (moodle or canvas):
        raise UserError(
            f"{folder} has no roster, and without one a platform cannot tell whose marks these are. First: "
            f"mnist-course assignments collect {folder} ARCHIVE --roster FILE"
        )
    with course_folder.lock(folder):
        by_hand.count_extra_credit(folder)
        marks, submitted = read_marks(folder, exercises)
        record = collected.read(folder)
        pages = _pages(folder, marks) if feedback else {}
    rows = _rows(marks, roster or Roster([]), record, submitted)
    if not any(mark.points is not None for row in rows for mark in row.marks.values()):
        raise UserError(f"There are no marks yet. First: mnist-course assignments grade {folder}")
    maxima = {
        name: class_report.maximum_of(class_report.tasks_of(exercises[name].release)) for name in submitted
    }
    tables = [(path, make(rows, maxima)) for path, make in wanted]
    for path, table in tables:
        _check_place(path, table)
    if feedback:
        moodle_feedback.check_place(feedback, exercises)
    for path, table in tables:
        _write(path, table)
    lines = _feedback(feedback, pages, record) if feedback else []
    return "\n".join(map(printable, [*_summary(tables, rows, maxima), *lines]))


# --- marks ---


def read_marks(
    folder: Path, exercises: Mapping[str, Exercise]
) -> tuple[dict[str, dict[str, Mark]], list[str]]:
    """Reads what is in `submitted/` and in the gradebook now.

    Returns:
        Student's folder -> exercise -> mark; and the exercises that count in the class report, or that somebody has
        submitted if there is no report.

    Raises:
        UserError: the gradebook or `graded.json` is damaged.
    """
    found, students, remarks = submissions.find(
        folder / course_folder.SUBMITTED, placing.releases_of(exercises)
    )
    graded, in_gradebook = course_folder.read_graded(folder), recorded.read(folder)
    marks: dict[str, dict[str, Mark]] = {student: {} for student in students}
    for submission in found:
        exercise, entry = exercises[submission.exercise], graded.get(submission.label)
        tests = class_report.tests_of(exercise.release)
        known = in_gradebook.get(submission.label, Recorded())
        if not submission.can_be_graded:
            mark = Mark(None, _NOT_GRADED, "the file has none of the answers of the exercise; see the report")
        elif entry is None:
            mark = Mark(None, _NOT_GRADED, "it was not graded yet")
        elif not grade.is_current(submission, exercise, entry):
            mark = Mark(None, _NOT_GRADED, "it has changed since it was graded")
        elif entry.seconds is None or not known.marks:
            mark = Mark(None, _NOT_GRADED, "; ".join(entry.problems) or "see the report")
        elif not regrading.is_complete(entry, known, tests):
            mark = Mark(
                None, _NOT_GRADED, "the gradebook is an older copy, without the marks that were given last"
            )
        elif known.waiting:
            mark = Mark(None, _NOT_GRADED, f"{known.waiting} waits for a mark by hand")
        else:
            mark = Mark(sum(known.marks.values()))
        marks[submission.student][submission.exercise] = mark
    # A file that was not recognised can be a submission to any exercise, or to that of its name.
    for remark in remarks:
        if remark.not_graded and remark.student in marks:
            named = placing.named_after(remark.text, exercises)
            for name in [named] if named else exercises:
                marks[remark.student].setdefault(name, Mark(None, _NOT_GRADED, remark.text))
    given = _counted(folder) or {submission.exercise for submission in found}
    return marks, [name for name in exercises if name in given]


def _counted(folder: Path) -> set[str]:
    """Returns the exercises that count in the class report (`grade --exercise`); empty if there is none yet."""
    report = _files.read_json_or_none(folder / "report.json") or {}
    return {of["exercise"] for of in report.get("exercises", []) if of.get("counted")}


def _rows(
    marks: Mapping[str, Mapping[str, Mark]],
    roster: Roster,
    record: collected.Record,
    submitted: Sequence[str],
) -> list[_Row]:
    """Returns a row for each student of the roster, then one for each folder of somebody else."""
    folders: dict[Student, list[str]] = {student: [] for student in roster.students}
    others = []
    for folder in marks:
        student = collected.student_of(folder, record, roster)
        if student:
            folders[student].append(folder)
        else:
            several = len(roster.find(folder)) > 1 and folder not in record.students
            why = (
                f"can be several students of the roster; {platforms.WAY_OUT}"
                if several
                else "not in the roster"
            )
            others.append(_Row(Student(folder), _complete(marks[folder], submitted), why))
    rows = []
    for student, mine in folders.items():
        of_student = {
            name: _merged([(of, marks[of][name]) for of in mine if name in marks[of]]) for name in submitted
        }
        rows.append(_Row(student, of_student))
    return rows + others


def _complete(marks: Mapping[str, Mark], submitted: Sequence[str]) -> dict[str, Mark]:
    return {name: marks.get(name, Mark(None, _NOT_SUBMITTED)) for name in submitted}


def _merged(found: Sequence[tuple[str, Mark]]) -> Mark:
    """Returns the mark of a student, who can have several folders, but only one of them with this exercise."""
    if len(found) > 1:
        names = ", ".join(folder for folder, _ in found)
        return Mark(None, _NOT_GRADED, f"the student has several folders with it: {names}")
    return found[0][1] if found else Mark(None, _NOT_SUBMITTED)


# --- formats ---


def _for_moodle(rows: Sequence[_Row], maxima: Mapping[str, float]) -> _Table:
    """Makes the file for Moodle: Grades > Import > CSV file.

    Moodle asks which column identifies the student, and which grade item each other column belongs to. An empty
    cell is no mark.
    """
    with_marks = _with_marks(rows)
    keys = {"Email address": "email", "ID number": "id"}

    def known(key: str) -> int:
        return sum(bool(not row.stranger and getattr(row.student, keys[key])) for row in with_marks)

    key = max(keys, key=known)
    header = [
        "Email address",
        "ID number",
        "Full name",
        *_titles(maxima),
    ]
    lines, left_out = [header], []
    for row in with_marks:
        if row.stranger or not getattr(row.student, keys[key]):
            left_out.append(_why_left_out(row, key.lower()))
            continue
        student = row.student
        lines.append(
            [student.email, student.id, defused(student.name), *(_cell(row.marks[name]) for name in maxima)]
        )
    items = ", ".join(f"{name}: {points_text(most)}" for name, most in maxima.items())
    advice = (
        f"In Moodle: Grades > Import > CSV file, encoding UTF-8, separator comma. Map from {key!r} to the same, "
        f"and each exercise to a grade item with its maximum ({items}). A new item has the maximum 100: change "
        "that first."
    )
    return _Table(lines, left_out, advice)


def _for_canvas(rows: Sequence[_Row], maxima: Mapping[str, float]) -> _Table:
    """Makes the file for Canvas: Grades > Import.

    The first five columns have Canvas's names and order; ID, SIS User ID or SIS Login ID identifies the student.
    The row "Points Possible" has the maxima, with which Canvas makes new assignments. An empty cell is no mark.
    """
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *maxima]
    lines = [header, ["    Points Possible", "", "", "", "", *map(points_text, maxima.values())]]
    left_out = []
    for row in _with_marks(rows):
        student = row.student
        if row.stranger or not (student.canvas_id or student.id or student.login):
            left_out.append(_why_left_out(row, _CANVAS_KEYS))
            continue
        identity = [
            defused(student.name),
            student.canvas_id,
            student.id,
            student.login,
            defused(student.section),
        ]
        lines.append([*identity, *(_cell(row.marks[name]) for name in maxima)])
    return _Table(lines, left_out, _CANVAS_ADVICE)


def _for_lists(rows: Sequence[_Row], maxima: Mapping[str, float]) -> _Table:
    """Makes the file for a school's own list: all students, and a word where there is no mark.

    The total is empty where a mark is missing because something was not graded.
    """
    header = [
        "Name",
        "Email",
        "ID",
        *_titles(maxima),
        "Total",
        "Maximum",
    ]
    lines = [header]
    for row in rows:
        marks = [row.marks[name] for name in maxima]
        points = [mark.points for mark in marks if mark.points is not None]
        is_whole = points and all(mark.status != _NOT_GRADED for mark in marks)
        student = row.student
        lines.append(
            [
                defused(student.name),
                student.email,
                student.id,
                *(_cell(mark) or mark.status for mark in marks),
                points_text(sum(points)) if is_whole else "",
                points_text(sum(maxima.values())),
            ]
        )
    return _Table(lines, [], "", "utf-8-sig")  # spreadsheets need the mark


def _titles(maxima: Mapping[str, float]) -> list[str]:
    return [f"{name} (of {points_text(most)})" for name, most in maxima.items()]


def _with_marks(rows: Sequence[_Row]) -> list[_Row]:
    return [row for row in rows if any(mark.points is not None for mark in row.marks.values())]


def _why_left_out(row: _Row, key: str) -> str:
    return f"{row.student.name}: {row.stranger or f'the roster has no {key}'}"


def _cell(mark: Mark) -> str:
    return "" if mark.points is None else points_text(mark.points)


# --- writing ---


def _check_place(path: Path, table: _Table) -> None:
    """Refuses to replace a file that is no earlier export, such as the roster."""
    if path.is_dir() or not _files.is_writable_place(path.parent) or not path.parent.is_dir():
        raise UserError(f"Expected: a file in a folder that can be written. Received: {path}.")
    if path.exists():
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            first = next(csv.reader([file.readline(10_000)]), [])
        if first[:3] != table.rows[0][:3]:
            raise UserError(f"{path} exists, and is no earlier export. Give another name, or delete it.")


def _write(path: Path, table: _Table) -> None:
    with (
        _files.atomic_write(path) as temporary,
        temporary.open("w", encoding=table.encoding, newline="") as file,
    ):
        csv.writer(file).writerows(table.rows)


def _pages(folder: Path, marks: Mapping[str, Mapping[str, Mark]]) -> dict[tuple[str, str], Path | None]:
    """Returns (student's folder, exercise) -> the feedback page of a mark; `None` if it shows an earlier mark."""
    graded, in_gradebook = course_folder.read_graded(folder), recorded.read(folder)
    pages: dict[tuple[str, str], Path | None] = {}
    for student, of_student in marks.items():
        for exercise in (name for name, mark in of_student.items() if mark.points is not None):
            label = f"{submissions.working_name(student)}/{exercise}"
            page = folder / "feedback" / label / f"{exercise}.html"
            is_current = graded[label].in_feedback == in_gradebook[label].in_feedback and page.is_file()
            pages[student, exercise] = page if is_current else None
    return pages


def _feedback(
    place: Path, pages: Mapping[tuple[str, str], Path | None], record: collected.Record
) -> list[str]:
    """Writes the feedback pages for Moodle, and returns lines for the terminal."""
    written, left_out = moodle_feedback.write(place, pages, record)
    lines = [f"Written: {place / name} ({count} pages)" for name, count in written.items()]
    return [*lines, *_list("Without feedback in these files", left_out), _MOODLE_FEEDBACK_ADVICE]


def _summary(
    tables: Sequence[tuple[Path, _Table]], rows: Sequence[_Row], maxima: Mapping[str, float]
) -> list[str]:
    """Returns lines for the terminal."""
    counts = [
        f"{name}: {count} {'mark' if count == 1 else 'marks'} (of {points_text(most)} points)"
        for name, most in maxima.items()
        for count in [sum(row.marks[name].points is not None for row in rows)]
    ]
    missing = [
        f"{row.student.name}/{name}: {mark.status}{f' ({mark.reason})' if mark.reason else ''}"
        for row in rows
        for name, mark in row.marks.items()
        if mark.points is None
    ]
    lines = [*counts, *_list("Without a mark, so that the cell is empty", missing)]
    for path, table in tables:
        lines += [f"Written: {path}", *_list("Left out", table.left_out), *filter(None, [table.advice])]
    return lines


def _list(title: str, entries: Sequence[str]) -> list[str]:
    return [f"{title} ({len(entries)}):", *(f"  - {entry}" for entry in entries)] if entries else []
