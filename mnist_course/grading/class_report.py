"""The report of a class: marks, messages and remarks -> `marks.csv`, `report.json`, `report.csv`, `report.html`.

A mark that does not exist is never shown as 0: what was not submitted and what was not graded are told apart, and
there is no total where a mark is missing.

Messages, names and remarks are other people's text: the page shows them as text, and `report.csv` leaves them out.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import datetime
import re
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import nbformat

from mnist_course.grading import distribution, sandbox, student_marks, submissions, tables
from mnist_course.grading.submissions import Remark
from mnist_course.reports.page import LOOK, Table
from mnist_helpers import _files

_MAX_WRONG_ANSWERS = 5
_NEXT_SESSION = 3  # tasks
_NUMBER = re.compile(r"[-−]?\d[\d.,e+-]*")


class Task(NamedTuple):
    """A task of an exercise.

    Attributes:
        name: the name of the cell with the answer.
        title: its heading.
        tests: name of a test cell -> its maximum of points; of an answer that is graded by hand, the answer itself
            if it has points.
        by_hand: whether a teacher reads the answer.
    """

    name: str
    title: str
    tests: dict[str, float]
    by_hand: bool = False


class Result(NamedTuple):
    """What is known about one submission.

    Attributes:
        marks: test -> points; empty if it was not graded.
        messages: failed test, or answer that raised an error -> its message.
        not_done: failed tests that say that the answer is missing.
        sentences: answer that a teacher reads -> its text.
        seconds: duration of its run; `None` if it was not graded.
        isolated: whether it ran in isolation.
    """

    marks: dict[str, float]
    messages: dict[str, str]
    not_done: Sequence[str]
    sentences: Mapping[str, str]
    seconds: float | None
    isolated: bool


class ByHand(NamedTuple):
    """What a teacher has given for one cell of a submission, in nbgrader's gradebook.

    Attributes:
        student: the student.
        exercise: the exercise.
        cell: the name of the cell.
        by_tests: points that the tests gave; `None` if no test gives points to the cell.
        points: points that count instead; `None` if none were given.
        extra_credit: points that count in addition; `None` if none were given.
        comment: the comment to the student, or the empty string.
    """

    student: str
    exercise: str
    cell: str
    by_tests: float | None = None
    points: float | None = None
    extra_credit: float | None = None
    comment: str = ""


class Rules(NamedTuple):
    """What a teacher decides about the marks of a class.

    Attributes:
        pass_mark: percentage of the points from which a student passes, 0 to 100.
        given: exercises that the class was given, which count in the totals; empty for all that anybody has
            submitted.
        absent: students of the roster who have no folder.
    """

    pass_mark: float = 50
    given: Collection[str] = ()
    absent: Sequence[str] = ()


_NO_RULES = Rules()
Results = Mapping[str, Mapping[str, Result]]  # student -> exercise -> result


def title_of(release: nbformat.NotebookNode) -> str:
    """Returns the title of an exercise, its first heading; empty if there is none."""
    headings = (re.search(r"^# (.+)", cell.source, re.MULTILINE) for cell in release.cells)
    return next((heading[1].strip() for heading in headings if heading), "")


def tasks_of(release: nbformat.NotebookNode) -> list[Task]:
    """Returns the tasks of an exercise: each is a heading, an answer and its tests, in this order."""
    tasks: list[Task] = []
    title = ""
    for cell in release.cells:
        heading = re.search(r"^#{2,4} (.+)", cell.source, re.MULTILINE)
        if heading and cell.cell_type == "markdown":
            title = heading[1].strip()
        if not submissions.name_of(cell):
            continue
        nbgrader = cell.metadata.nbgrader
        if nbgrader.solution:
            points = float(nbgrader.points) if nbgrader.grade else 0.0
            tests = {nbgrader.grade_id: points} if points else {}
            tasks.append(Task(nbgrader.grade_id, title or nbgrader.grade_id, tests, bool(nbgrader.grade)))
        elif nbgrader.grade and tasks:
            tasks[-1].tests[nbgrader.grade_id] = float(nbgrader.points)
    return tasks


def tests_of(release: nbformat.NotebookNode) -> set[str]:
    """Returns the names of the tests of an exercise."""
    return {test for task in tasks_of(release) for test in task.tests}


def maximum_of(tasks: Sequence[Task]) -> float:
    """Returns the maximum of an exercise."""
    return sum(sum(task.tests.values()) for task in tasks)


def write(
    folder: Path,
    titles: Mapping[str, str],
    tasks: Mapping[str, list[Task]],
    results: Results,
    remarks: Sequence[Remark],
    limits: sandbox.Limits,
    *,
    by_hand: Sequence[ByHand] = (),
    rules: Rules = _NO_RULES,
    about_isolation: str = "",
) -> str:
    """Writes the report of a class.

    Args:
        folder: the grading folder.
        titles: exercise -> its title.
        tasks: exercise -> its tasks.
        results: student -> exercise -> result; a key for every student.
        remarks: what was wrong.
        limits: the limits of each notebook.
        by_hand: points and comments that were given by hand.
        rules: what the teacher decides.
        about_isolation: which tool isolates submissions on this system, or what to do where none does.

    Returns:
        A summary for the terminal.
    """
    results = {**results, **{name: {} for name in rules.absent}}
    submitted = [name for name in tasks if any(name in of_student for of_student in results.values())]
    counted = [name for name in tasks if name in (rules.given or submitted)]
    remarks = [*remarks, *([] if rules.given else _rare(submitted, results))]
    max_points = {name: maximum_of(tasks[name]) for name in tasks}
    exercises = [
        {"title": titles[name], "counted": name in counted}
        | _exercise(name, max_points[name], tasks[name], results, rules.pass_mark)
        for name in tasks
    ]
    counted_points = {name: max_points[name] for name in counted}
    unclear = {remark.student for remark in remarks if remark.not_graded and not remark.exercise}
    students = [
        student_marks.entry_of(student, counted_points, rules.pass_mark, of_student, student in unclear)
        for student, of_student in results.items()
    ]
    whole = [student["percent"] for student in students if student["percent"] is not None]
    content: dict[str, Any] = {
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "pass_mark": rules.pass_mark,
        "exercises": exercises,
        "submitted": [name for name in tasks if name in submitted or name in counted],
        "counted": counted,
        "not_submitted_anything": [name for name, of in results.items() if not of and name not in unclear],
        "total": distribution.of(whole, rules.pass_mark),
        "next_session": _next_session(exercises),
        "students": students,
        "by_hand": [mark._asdict() for mark in by_hand],
        "remarks": [dataclasses.asdict(remark) for remark in sorted(remarks, key=_order)],
        "isolated": all(result.isolated for of_student in results.values() for result in of_student.values()),
        "about_isolation": about_isolation,
        "seconds_limit": limits.seconds,
        "memory_limit_bytes": limits.memory_bytes,
    }
    _files.write_json(folder / "report.json", content)
    columns = ["student", "exercise", "task", "test", "points", "max_points"]
    _write_csv(folder / "report.csv", columns, _points_by_test(tasks, results))
    columns = [name for exercise in content["submitted"] for name in (exercise, f"{exercise} maximum")]
    tables.write(
        folder / "marks.csv",
        ["student", *columns, "total", "maximum", "percent", "passed"],
        student_marks.rows(content, max_points),
    )
    folders = [Path(__file__).parent, LOOK.parent]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, trim_blocks=True
    )
    environment.filters |= {"quote": quote, "points": tables.points_text}
    page = environment.get_template("class_report.html.j2").render(content)
    _files.write(folder / "report.html", page)
    return _summary(content, folder)


def _rare(submitted: Sequence[str], results: Results) -> list[Remark]:
    """Returns a remark on each exercise that few students have submitted, which nevertheless counts for all."""
    counts = {name: sum(name in of_student for of_student in results.values()) for name in submitted}
    return [
        Remark(
            "",
            name,
            f"{count} of {len(results)} students submitted it, and it counts in the totals of all students; if the "
            "class was not given it, name the exercises that it was given: --exercise NAME",
        )
        for name, count in counts.items()
        if count < max(counts.values()) / 2
    ]


def _order(remark: Remark) -> tuple:
    return (remark.student.casefold(), *dataclasses.astuple(remark))


def _exercise(
    exercise: str, max_points: float, tasks: list[Task], results: Results, pass_mark: float
) -> dict[str, Any]:
    by_student = {name: of[exercise] for name, of in results.items() if exercise in of and of[exercise].marks}
    graded = list(by_student.values())
    submitted = sum(exercise in of for of in results.values())
    points = [sum(result.marks.values()) for result in graded]
    percentages = [100 * value / max_points for value in points] if max_points else []
    return {
        "exercise": exercise,
        "graded": len(graded),
        "not_graded": submitted - len(graded),
        "not_submitted": len(results) - submitted,
        "max_points": max_points,
        "mean_points": _mean(points),
        "median_points": statistics.median(points) if points else None,
        "distribution": distribution.of(percentages, pass_mark),
        "tasks": [_task(task, graded) | {"sentences": _sentences(task, by_student)} for task in tasks],
    }


def _task(task: Task, graded: list[Result]) -> dict[str, Any]:
    points = [sum(result.marks.get(test, 0) for test in task.tests) for result in graded]
    full = sum(task.tests.values())
    return {
        "task": task.name,
        "title": task.title,
        "by_hand": task.by_hand,
        "max_points": full,
        "mean_points": _mean(points),
        "success_rate": None if task.by_hand else _mean([float(received >= full) for received in points]),
        "not_done": sum(_failure(task, result) in result.not_done for result in graded),
        "wrong_answers": _wrong_answers(task, graded),
    }


def _sentences(task: Task, by_student: Mapping[str, Result]) -> list[dict[str, str]]:
    return [
        {"student": student, "text": result.sentences[task.name]}
        for student, result in by_student.items()
        if task.name in result.sentences
    ]


def _failure(task: Task, result: Result) -> str:
    """Returns the answer if it raised an error, otherwise the first failed test; empty if no test failed."""
    failed = [test for test in task.tests if test in result.messages]
    return next((cell for cell in (task.name, *failed) if cell in result.messages), "") if failed else ""


def _wrong_answers(task: Task, graded: list[Result]) -> list[dict[str, Any]]:
    """Returns the most frequent failures; messages that differ only in numbers are counted together."""
    counts: collections.Counter[str] = collections.Counter()
    messages: dict[str, str] = {}
    for result in graded:
        failure = _failure(task, result)
        message = result.messages.get(failure, "").strip()
        if message and failure not in result.not_done:
            kind = _NUMBER.sub("#", message.splitlines()[0])
            counts[kind] += 1
            messages.setdefault(kind, message)
    frequent = counts.most_common(_MAX_WRONG_ANSWERS)
    return [{"count": count, "message": messages[kind]} for kind, count in frequent]


def _next_session(exercises: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the tasks with the lowest success rates, each with its most frequent wrong answer."""
    weak = [
        {
            "exercise": exercise["exercise"],
            "title": task["title"],
            "success_rate": task["success_rate"],
            "wrong_answer": task["wrong_answers"][0] if task["wrong_answers"] else None,
        }
        for exercise in exercises
        for task in exercise["tasks"]
        if task["success_rate"] is not None and task["success_rate"] < 1
    ]
    return sorted(weak, key=lambda task: task["success_rate"])[:_NEXT_SESSION]


def _points_by_test(tasks: Mapping[str, list[Task]], results: Results) -> list[list]:
    """Returns a row per test; and per sentence without points that has received some."""
    rows = []
    for student, of_student in results.items():
        for exercise, result in of_student.items():
            for task in tasks[exercise]:
                extra = {} if task.tests or not result.marks.get(task.name) else {task.name: 0.0}
                rows += [
                    [tables.defused(student), exercise, task.name, test, result.marks[test], most]
                    for test, most in (task.tests | extra).items()
                    if test in result.marks
                ]
    return rows


def _write_csv(path: Path, columns: list[str], rows: list[list]) -> None:
    with _files.atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _summary(content: Mapping[str, Any], folder: Path) -> str:
    rows = [
        [of["exercise"], *map(str, (of["graded"], of["not_graded"], of["not_submitted"]))]
        + [tables.points_text(of[name]) for name in ("mean_points", "median_points", "max_points")]
        for of in content["exercises"]
        if of["exercise"] in content["submitted"]
    ]
    columns = ["exercise", "graded", "not graded", "not submitted", "mean points", "median", "of"]
    return (
        f"\n{Table('', columns, rows).text()}\n\n{len(content['students'])} students; "
        f"{len(content['remarks'])} remarks, all in the report."
        f"\n{_ISOLATION[content['isolated']]}\n{content['about_isolation']}\n{_not_graded(content)}"
        f"Report:  {folder / 'report.html'}\nMarks:   {folder / 'marks.csv'}"
    )


def _not_graded(content: Mapping[str, Any]) -> str:
    """Lists what got no marks; file names are other people's text, so control characters are replaced."""
    lines = [
        f"  - {'/'.join(filter(None, [remark['student'], remark['exercise']]))}: {remark['text']}"
        for remark in content["remarks"]
        if remark["not_graded"]
    ]
    shown = [tables.printable(line) for line in lines]
    return "\n".join([f"NOT GRADED ({len(shown)}):", *shown, ""]) if shown else ""


_ISOLATION = {
    True: "Each submission ran in isolation: without access to the other submissions, the marks or the network.",
    False: "WARNING: not all submissions ran in isolation: one could read the others and the marks.",
}
