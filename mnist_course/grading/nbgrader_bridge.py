"""nbgrader: its converters, its gradebook and its feedback pages.

nbgrader would run submissions beside its gradebook. Its `Execute` step is replaced here: each notebook has already
run in a sandbox (`sandbox.py`), and only the outputs of its cells come back.
"""

from __future__ import annotations

import contextlib
import functools
import html
import logging
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from mnist_course.grading import class_report, course_folder, sandbox, submissions
from mnist_helpers._errors import UserError

_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception): ")  # the last one of a traceback
_TIMESTAMP = "timestamp.txt"
_MAX_TIMESTAMP_BYTES = 200


def check_nbgrader() -> None:
    """Checks that nbgrader is installed.

    Raises:
        UserError: nbgrader is missing.
    """
    try:
        import nbgrader  # noqa: F401
    except ImportError as error:
        raise UserError(
            "Exercises need nbgrader, which is not installed. Install the extra `teach`: "
            'pip install "mnist-course[teach]", or in the course\'s folder: pip install -e ".[teach]"'
        ) from error


class _LogCollector(logging.Handler):
    """Keeps what nbgrader says, for a message of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().strip().splitlines()


def converter(kind: type, folder: Path, lesson: str, student: str = "*", **places: str) -> Any:
    """A converter of nbgrader, for one lesson, with the folder's own configuration."""
    from nbgrader.coursedir import CourseDirectory

    config = _config(folder)
    log = logging.Logger("nbgrader")  # a logger of its own: nothing reaches the terminal
    log.addHandler(_LogCollector())
    directory = CourseDirectory(
        config=config, log=log, root=str(folder), assignment_id=lesson, student_id=student, **places
    )
    return kind(coursedir=directory, config=config, log=log, force=True)


def _config(folder: Path) -> Any:
    from traitlets.config.loader import PyFileConfigLoader

    return PyFileConfigLoader(course_folder.CONFIG_FILE, path=str(folder)).load_config()


def convert(converter: Any, what: str) -> None:
    """Runs a converter.

    Raises:
        UserError: nbgrader has given up; the message says what it said.
    """
    from nbgrader.converters.base import NbGraderException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter.start()
    except NbGraderException as error:
        said = [line for line in converter.log.handlers[0].lines if _ERROR_LINE.match(line)] or [str(error)]
        raise UserError(f"nbgrader refuses {what}: {said[0]}") from error


@contextlib.contextmanager
def own_scripts() -> Iterator[None]:
    """Lets this environment's commands be found by name: a new gradebook asks for `alembic`."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextlib.contextmanager
def gradebook(folder: Path) -> Iterator[Any]:
    """Opens the gradebook of a grading folder."""
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory

    with Gradebook(CourseDirectory(config=_config(folder), root=str(folder)).db_url) as book:
        yield book


def with_outputs(notebook: nbformat.NotebookNode, outcome: sandbox.Outcome) -> nbformat.NotebookNode:
    """Puts what came back into the cells. A test that did not run has failed: nbgrader would take it for passed."""
    from nbgrader import utils

    for position, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        cell.update(outcome.cells.get(position, {"outputs": [], "execution_count": None}))
        if not utils.is_grade(cell):
            continue
        try:
            utils.determine_grade(cell)
            fault = "" if position in outcome.cells else "This test did not run."
        except Exception:  # a forged output
            fault = "This test gave an output that no test gives."
        if fault:
            cell.outputs = [nbformat.v4.new_output("error", ename="NotRun", evalue=fault, traceback=[fault])]
    return notebook


def into_gradebook(
    folder: Path, repaired: Path, hand_in: submissions.Submission, notebook: nbformat.NotebookNode
) -> None:
    """nbgrader's own autograde and feedback, on a notebook that has run already."""
    from nbgrader.converters import Autograde
    from nbgrader.preprocessors import Execute

    path = repaired / hand_in.student / hand_in.lesson / f"{hand_in.lesson}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    _bring_timestamp(hand_in.path.with_name(_TIMESTAMP), path.with_name(_TIMESTAMP))
    one = (folder, hand_in.lesson, hand_in.student)
    autograde = converter(Autograde, *one, submitted_directory=str(repaired))
    autograde.autograde_preprocessors = [
        functools.partial(_take_outputs, notebook) if step is Execute else step
        for step in autograde.autograde_preprocessors
    ]
    convert(autograde, f"the hand-in {hand_in.label}")
    write_feedback(folder, hand_in)


def write_feedback(folder: Path, hand_in: submissions.Submission) -> None:
    """nbgrader's feedback page; its index names the tasks, where nbgrader has "Test cell" each time."""
    from nbgrader.converters import GenerateFeedback

    one = (folder, hand_in.lesson, hand_in.student)
    convert(converter(GenerateFeedback, *one), f"the feedback to {hand_in.label}")
    page = folder / "feedback" / hand_in.student / hand_in.lesson / f"{hand_in.lesson}.html"
    text = page.read_text(encoding="utf-8")
    for task in class_report.tasks_of(course_folder.exercise(folder, hand_in.lesson)[0]):
        for test in task.tests:
            link = f'<a href="#{test}">'
            text = text.replace(f"{link}Test cell</a>", f"{link}{html.escape(task.title)} · {test}</a>")
    course_folder.write(page, text)


def _bring_timestamp(found: Path, to: Path) -> None:
    """When it was handed in, where nbgrader has noted it."""
    from nbgrader.utils import parse_utc

    with contextlib.suppress(OSError, ValueError):
        if not found.is_symlink() and found.stat().st_size < _MAX_TIMESTAMP_BYTES:
            text = found.read_text(encoding="utf-8")
            parse_utc(text.strip())
            to.write_text(text, encoding="utf-8")


def _take_outputs(ran: nbformat.NotebookNode, notebook: nbformat.NotebookNode, resources: dict) -> tuple:
    """Stands in for nbgrader's Execute."""
    for cell, from_cell in zip(notebook.cells, ran.cells, strict=True):
        if cell.source != from_cell.source:
            raise RuntimeError(f"cell {submissions.name_of(cell)} is not what ran")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = from_cell.outputs, from_cell.execution_count
    return notebook, resources


def given(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What the gradebook holds: hand-in -> `marks` (test -> points) and `comments` (cell -> text)."""
    with gradebook(folder) as book:
        return {
            f"{submission.student.id}/{submission.assignment.name}": {
                "marks": {
                    grade.name: float(grade.score)
                    for notebook in submission.notebooks
                    for grade in notebook.grades
                },
                "comments": {
                    comment.name: comment.comment
                    for notebook in submission.notebooks
                    for comment in notebook.comments
                },
            }
            for assignment in book.assignments
            for submission in assignment.submissions
        }
