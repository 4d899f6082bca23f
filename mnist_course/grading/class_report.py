"""Marks and messages of a class -> `marks.csv`, `run_report.json`, `run_report.csv` and `run_report.html`.

Messages, names and problems are other people's text: the page shows them as text, and the table of numbers
leaves them out.
"""

from __future__ import annotations

import collections
import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import nbformat

from mnist_course.grading import sandbox, submissions
from mnist_course.reports.page import Table
from mnist_helpers import _files

_MAX_WRONG_ANSWERS = 5
_NEXT_SESSION = 3  # tasks
_NOT_DONE = re.compile(r"Task \d+ is not done yet")
_NOT_GRADED = "not graded"
_NUMBER = re.compile(r"[-−]?\d[\d.,e+-]*")


class Task(NamedTuple):
    """A task of an exercise.

    Attributes:
        name: the name of the cell with the answer.
        title: its heading.
        tests: name of a test cell -> the most points it gives.
    """

    name: str
    title: str
    tests: dict[str, float]


def tasks_of(release: nbformat.NotebookNode) -> list[Task]:
    """Returns the tasks of an exercise: a heading, an answer and its tests, in this order."""
    tasks, title = [], ""
    for cell in release.cells:
        if cell.cell_type == "markdown" and (
            heading := re.search(r"^#{2,4} (.+)", cell.source, re.MULTILINE)
        ):
            title = heading[1].strip()
        if not submissions.name_of(cell):
            continue
        nbgrader = cell.metadata.nbgrader
        if nbgrader.solution:
            tasks.append(Task(nbgrader.grade_id, title or nbgrader.grade_id, {}))
        elif nbgrader.grade and tasks:
            tasks[-1].tests[nbgrader.grade_id] = float(nbgrader.points)
    return tasks


def write(
    folder: Path,
    *,
    tasks: Mapping[str, list[Task]],
    hand_ins: Mapping[str, Mapping[str, Mapping[str, Any]]],
    problems: Mapping[str, list[str]],
    limits: sandbox.Limits,
) -> str:
    """Writes the report of a class.

    Args:
        folder: where to write.
        tasks: lesson -> its tasks.
        hand_ins: student -> lesson -> `marks` (test -> points), `messages` (failed test, or answer with an
            error -> what it said), `problems`, `seconds`, `isolated`.
        problems: student -> what else was wrong; under the empty string, what belongs to no student.
        limits: what each notebook was allowed.

    Returns:
        A summary, for the terminal.
    """
    handed_in = {
        lesson: found for lesson, found in tasks.items() if any(lesson in of for of in hand_ins.values())
    }
    lessons = [_lesson(lesson, tasks[lesson], hand_ins) for lesson in tasks]
    content = {
        "lessons": lessons,
        "handed_in": list(handed_in),
        "next_session": _next_session(lessons),
        "students": [_student(student, handed_in, of_student) for student, of_student in hand_ins.items()],
        "remarks": _remarks(hand_ins, problems),
        "isolated": all(entry["isolated"] for lessons in hand_ins.values() for entry in lessons.values()),
        "seconds_limit": limits.seconds,
        "memory_limit_bytes": limits.memory_bytes,
    }
    _files.write_json(folder / "report.json", content)
    _write_csv(folder / "report.csv", tasks, hand_ins)
    _write_marks(folder / "marks.csv", content)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    environment.filters |= {"quote": quote, "points": _points}
    with _files.atomic_write(folder / "report.html") as beside:
        beside.write_text(environment.get_template("class_report.html.j2").render(content), encoding="utf-8")
    return _summary(content, folder)


def _lesson(lesson: str, tasks: list[Task], hand_ins: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    entries = [lessons[lesson] for lessons in hand_ins.values() if lessons.get(lesson, {}).get("marks")]
    totals = [sum(entry["marks"].values()) for entry in entries]
    return {
        "lesson": lesson,
        "hand_ins": len(entries),
        "max_points": sum(sum(task.tests.values()) for task in tasks),
        "mean_points": _mean(totals),
        "tasks": [_task(task, entries) for task in tasks],
    }


def _task(task: Task, entries: list[Mapping[str, Any]]) -> dict[str, Any]:
    points = [sum(entry["marks"].get(test, 0) for test in task.tests) for entry in entries]
    full = sum(task.tests.values())
    return {
        "task": task.name,
        "title": task.title,
        "max_points": full,
        "mean_points": _mean(points),
        "success_rate": _mean([float(received == full) for received in points]),
        "not_done": sum(bool(_NOT_DONE.match(_failure(task, entry))) for entry in entries),
        "wrong_answers": _wrong_answers(task, entries),
    }


def _failure(task: Task, entry: Mapping[str, Any]) -> str:
    """The error of an answer that failed, else what the first failed test said; empty if none failed."""
    messages = entry["messages"]
    failed = [messages[test].strip() for test in task.tests if test in messages]
    return messages.get(task.name, failed[0]) if failed else ""


def _wrong_answers(task: Task, entries: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The commonest failures; messages that differ in numbers only count as one."""
    counts: collections.Counter[str] = collections.Counter()
    messages: dict[str, str] = {}
    for message in (_failure(task, entry) for entry in entries):
        if message and not _NOT_DONE.match(message):
            kind = _NUMBER.sub("#", message.splitlines()[0])
            counts[kind] += 1
            messages.setdefault(kind, message)
    return [
        {"count": count, "message": messages[kind]} for kind, count in counts.most_common(_MAX_WRONG_ANSWERS)
    ]


def _next_session(lessons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The weakest tasks of what was handed in, each with its commonest wrong answer."""
    weak = [
        {
            "lesson": lesson["lesson"],
            "title": task["title"],
            "success_rate": task["success_rate"],
            "wrong_answer": task["wrong_answers"][0] if task["wrong_answers"] else None,
        }
        for lesson in lessons
        for task in lesson["tasks"]
        if task["success_rate"] is not None and task["success_rate"] < 1
    ]
    return sorted(weak, key=lambda task: task["success_rate"])[:_NEXT_SESSION]


def _student(
    student: str, tasks: Mapping[str, list[Task]], lessons: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    of_lessons = {
        lesson: {
            "points": sum(entry["marks"].values()) if entry["marks"] else None,
            "seconds": entry["seconds"],
            "feedback": f"feedback/{student}/{lesson}/{lesson}.html" if entry["marks"] else None,
        }
        for lesson, entry in lessons.items()
    }
    return {
        "student": student,
        "points": sum(entry["points"] or 0 for entry in of_lessons.values()),
        "not_graded": sum(entry["points"] is None for entry in of_lessons.values()),
        "max_points": sum(sum(task.tests.values()) for found in tasks.values() for task in found),
        "lessons": of_lessons,
    }


def _remarks(
    hand_ins: Mapping[str, Mapping[str, Mapping[str, Any]]], problems: Mapping[str, list[str]]
) -> list[dict[str, str]]:
    """What was wrong: with a notebook, with what else a student handed in, or with what belongs to no student."""
    said = [(student, "", problem) for student, found in problems.items() for problem in found]
    said += [
        (student, lesson, problem)
        for student, lessons in hand_ins.items()
        for lesson, entry in lessons.items()
        for problem in entry["problems"]
    ]
    return [
        {"student": student, "lesson": lesson, "remark": remark}
        for student, lesson, remark in sorted(said, key=lambda one: (one[0].casefold(), *one))
    ]


def _write_csv(
    path: Path, tasks: Mapping[str, list[Task]], hand_ins: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> None:
    with _files.atomic_write(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["student", "lesson", "task", "test", "points", "max_points"])
        for student, lessons in hand_ins.items():
            for lesson, entry in lessons.items():
                table.writerows(
                    [student, lesson, task.name, test, entry["marks"][test], most]
                    for task in tasks[lesson]
                    for test, most in task.tests.items()
                    if test in entry["marks"]
                )


def _write_marks(path: Path, content: Mapping[str, Any]) -> None:
    """A row per student, for a school's own list; with a byte order mark, for spreadsheets."""
    handed_in = content["handed_in"]
    with _files.atomic_write(path) as beside, beside.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow(["student", *handed_in, "total", "maximum"])
        for student in content["students"]:
            marks = [
                _mark(student["lessons"][lesson]) if lesson in student["lessons"] else ""
                for lesson in handed_in
            ]
            name = student["student"]
            # No spreadsheet shall take a name for a formula.
            name = name if re.match(r"\w", name) else f"'{name}"
            table.writerow([name, *marks, _points(student["points"]), _points(student["max_points"])])


def _mark(entry: Mapping[str, Any]) -> str:
    return _NOT_GRADED if entry["points"] is None else _points(entry["points"])


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def _summary(content: Mapping[str, Any], folder: Path) -> str:
    rows = [
        [
            lesson["lesson"],
            str(lesson["hand_ins"]),
            _points(lesson["mean_points"]),
            _points(lesson["max_points"]),
        ]
        for lesson in content["lessons"]
    ]
    table = Table("", ["lesson", "graded", "mean points", "of"], rows).text()
    return (
        f"\n{table}\n\n{len(content['students'])} students; {len(content['remarks'])} remarks, each in the report."
        f"\n{_ISOLATION[content['isolated']]}\n{_not_graded(content)}"
        f"Report:  {folder / 'report.html'}\nMarks:   {folder / 'marks.csv'}"
    )


def _not_graded(content: Mapping[str, Any]) -> str:
    """What got no marks, by name; file names are other people's text, and the terminal shows them as text."""
    without = {
        (student["student"], lesson)
        for student in content["students"]
        for lesson, entry in student["lessons"].items()
        if entry["points"] is None
    }
    lines = [
        f"  - {'/'.join(filter(None, [said['student'], said['lesson']]))}: {said['remark']}"
        for said in content["remarks"]
        if (said["student"], said["lesson"]) in without or said["remark"].endswith(_NOT_GRADED)
    ]
    shown = ["".join(sign if sign.isprintable() else "?" for sign in line) for line in lines]
    return "\n".join([f"NOT GRADED ({len(shown)}):", *shown, ""]) if shown else ""


_ISOLATION = {
    True: "Each hand-in ran isolated: without the other hand-ins, the marks and the network.",
    False: "This system offers no isolation: a hand-in could read the others, and the marks.",
}
