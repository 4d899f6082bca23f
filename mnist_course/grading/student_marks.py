"""The marks of each student: their entries in the class report, and the rows of `marks.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnist_course.grading import distribution, submissions, tables

if TYPE_CHECKING:
    from mnist_course.grading.class_report import Result


def entry_of(
    student: str,
    counted: Mapping[str, float],
    pass_mark: float,
    results: Mapping[str, Result],
    unclear: bool,
) -> dict[str, Any]:
    """Returns what the report says about a student.

    Args:
        student: the name.
        counted: exercise that counts in the total -> its maximum.
        pass_mark: percentage from which a student passes.
        results: exercise -> result.
        unclear: whether the student submitted something that was not recognised, so that it is not known whether an
            exercise is missing.
    """
    exercises: dict[str, dict[str, Any]] = {
        exercise: {
            "points": sum(result.marks.values()) if result.marks else None,
            "seconds": result.seconds,
            "feedback": f"feedback/{submissions.working_name(student)}/{exercise}/{exercise}.html"
            if result.marks
            else None,
        }
        for exercise, result in results.items()
    }
    points = sum(entry["points"] or 0 for name, entry in exercises.items() if name in counted)
    maximum = sum(counted.values())
    missing = "not recognised" if unclear else "not submitted"
    waits = any(unclear if name not in exercises else exercises[name]["points"] is None for name in counted)
    # Without a submission there is no mark, and with one that was not graded no total.
    has_total = not waits and any(name in exercises for name in counted)
    percent = 100 * points / maximum if has_total and maximum else None
    return {
        "student": student,
        "points": points,
        "not_graded": sum(not result.marks for result in results.values()),
        "missing": missing,
        "max_points": maximum,
        "has_total": has_total,
        "total": tables.points_text(points) if has_total else "not graded" if waits else missing,
        "percent": percent,
        "passed": None if percent is None else distribution.passes(percent, pass_mark),
        "exercises": exercises,
    }


def rows(content: Mapping[str, Any], max_points: Mapping[str, float]) -> list[list[str]]:
    """Returns a row per student, for a school's own list."""
    rows = []
    for student in content["students"]:
        row = [student["student"]]
        for exercise in content["submitted"]:
            row += [
                _mark(student["exercises"].get(exercise), student["missing"]),
                tables.points_text(max_points[exercise]),
            ]
        percent, passed = student["percent"], student["passed"]
        row += [
            student["total"],
            tables.points_text(student["max_points"]),
            "" if percent is None else f"{percent:.1f}",
            "" if passed is None else "yes" if passed else "no",
        ]
        rows.append(row)
    return rows


def _mark(entry: Mapping[str, Any] | None, missing: str) -> str:
    if entry is None:
        return missing
    return "not graded" if entry["points"] is None else tables.points_text(entry["points"])
