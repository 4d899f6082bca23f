"""Runs the cells of an exercise in this process: seconds faster than a kernel and a sandbox for each answer."""

from __future__ import annotations

import contextlib
import functools
import io
import linecache
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import nbformat

from mnist_course.grading import release


class Outcome(NamedTuple):
    """What came of the graded cells of an exercise.

    Attributes:
        points: cell -> points.
        messages: graded cell, or answer that raised an exception -> the error's text.
        printed: cell -> what it printed.
    """

    points: dict[str, float]
    messages: dict[str, str]
    printed: dict[str, str]


def solution(exercise: str) -> nbformat.NotebookNode:
    """The solution version of an exercise, with hidden tests."""
    return nbformat.read(release.EXERCISES / f"{exercise}.ipynb", as_version=4)


def students(exercise: str) -> nbformat.NotebookNode:
    """The students' version of an exercise."""
    return nbformat.read(release.RELEASE / f"{exercise}.ipynb", as_version=4)


def run(notebook: nbformat.NotebookNode, names: dict[str, Any] | None = None) -> Outcome:
    """Runs the code cells of a notebook from top to bottom; an error ends its cell only.

    Args:
        notebook: the notebook.
        names: the namespace of its cells.
    """
    return _run([cell for cell in notebook.cells if cell.cell_type == "code"], {} if names is None else names)


def run_answer(exercise: str, task: str, code: str) -> Outcome:
    """Runs one answer and the checks of its task, on top of the solutions of all tasks.

    Args:
        exercise: name of the exercise.
        task: name of the cell with the answer.
        code: what a student wrote there.
    """
    cells = [cell for cell in solution(exercise).cells if cell.cell_type == "code"]
    first = next(place for place, cell in enumerate(cells) if cell.id == task)
    after = [place for place in range(first + 1, len(cells)) if _nbgrader(cells[place]).get("solution")]
    own = cells[first : after[0] if after else len(cells)]
    while not _nbgrader(own[-1]).get("grade"):  # what belongs to the next task
        own.pop()
    own[0] = nbformat.v4.new_code_cell(code, id=task, metadata=own[0].metadata)
    return _run(own, dict(solved(exercise)[0]))


@functools.cache
def solved(exercise: str) -> tuple[Mapping[str, Any], Outcome]:
    """The names that the solutions of an exercise leave behind, to be copied, and what came of their checks."""
    names: dict[str, Any] = {}
    outcome = run(solution(exercise), names)
    return names, outcome


def untouched(exercise: str) -> nbformat.NotebookNode:
    """The students' version of an exercise with the tests, also the hidden ones, of the solution version."""
    notebook, tests = students(exercise), {cell.id: cell for cell in solution(exercise).cells}
    for cell in notebook.cells:
        if _nbgrader(cell).get("grade") and not _nbgrader(cell).get("solution"):
            cell.source = tests[cell.id].source
    return notebook


def _nbgrader(cell: nbformat.NotebookNode) -> Mapping[str, Any]:
    return cell.metadata.get("nbgrader", {})


def _run(cells: list[nbformat.NotebookNode], names: dict[str, Any]) -> Outcome:
    outcome = Outcome({}, {}, {})
    names["__name__"] = "__main__"
    for cell in cells:
        printed = io.StringIO()
        failed = None
        linecache.cache[cell.id] = (len(cell.source), None, cell.source.splitlines(keepends=True), cell.id)
        try:
            with contextlib.redirect_stdout(printed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a kernel shows them, and goes on
                exec(compile(cell.source, cell.id, "exec"), names)
        except Exception as error:
            failed = error
        plt.close("all")
        outcome.printed[cell.id] = printed.getvalue()
        if _nbgrader(cell).get("grade"):
            outcome.points[cell.id] = 0 if failed else _nbgrader(cell)["points"]
        if failed:
            outcome.messages[cell.id] = f"{failed}" if _nbgrader(cell).get("grade") else repr(failed)
    return outcome
