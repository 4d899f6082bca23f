"""nbgrader: its converters, its gradebook and its feedback pages.

nbgrader would run submissions beside its gradebook. Its `Execute` step is replaced here: each notebook has already
run in a sandbox (`sandbox.py`), and only the outputs of its cells are used.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sqlite3
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from mnist_course.grading import class_report, course_folder, reading, sandbox, submissions, tables
from mnist_helpers._errors import UserError

_TEMPLATES = Path(__file__).parent / "templates"
# Of tables that code displays, and of formatted text; without attributes, they hold nothing that runs.
_TABLE_TAGS = (
    "br",
    "caption",
    "div",
    "p",
    "pre",
    "span",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
)
_STYLE = re.compile(r"<style\b.*?</style>", re.DOTALL | re.IGNORECASE)  # pandas writes one above each table
MAX_TIMESTAMP_BYTES = 200
_MAX_SENTENCE = 2000  # characters
_HIDDEN = re.compile(r"^### BEGIN HIDDEN TESTS$.*?^### END HIDDEN TESTS$", re.MULTILINE | re.DOTALL)
_TELLING = 15  # characters of a line
# Errors of tests whose message says everything.
ONLY_MESSAGE = ("AnswerError", "AssertionError", "NotDoneError", "NotRun")
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception): ")  # the last line of a traceback


def check_installed() -> None:
    """Checks that nbgrader is installed.

    Raises:
        UserError: nbgrader is missing.
    """
    try:
        import nbgrader  # noqa: F401
    except ImportError as error:
        raise UserError(
            "Exercises need nbgrader, which is not installed. Install the extra `teach`: "
            'in the course\'s folder: pip install --constraint constraints.txt --editable ".[teach]"'
        ) from error


def check_files(folder: Path) -> None:
    """Checks the configuration and the gradebook of a folder, and changes nothing.

    Raises:
        UserError: one of them is damaged; the error message names the file.
    """
    if (folder / course_folder.CONFIG_FILE).exists():
        _check_config(folder)
    path = folder / course_folder.GRADEBOOK
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=1, uri=True)) as database:
            faults = [text for (text,) in database.execute("PRAGMA quick_check")]
            if faults != ["ok"]:
                raise sqlite3.DatabaseError(faults[0])
            database.execute("SELECT name FROM assignment")
    except sqlite3.Error as error:
        raise _gradebook_error(folder, error) from error


def _check_config(folder: Path) -> None:
    from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback

    try:
        for kind in (GenerateAssignment, Autograde, GenerateFeedback):
            steps = converter(kind, folder, "any")
            exporter = steps.exporter_class(parent=steps, config=steps.config)
            for step in steps.preprocessors or steps.sanitize_preprocessors + steps.autograde_preprocessors:
                exporter.register_preprocessor(step)
    except (Exception, SystemExit) as error:  # the file is a Python program
        raise UserError(
            f"{folder / course_folder.CONFIG_FILE} has an error ({type(error).__name__}: {error}). Correct it; a "
            "newly built folder has an intact one."
        ) from error


def _gradebook_error(folder: Path, error: sqlite3.Error) -> UserError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        advice = "Another program is using it: end that program, and give the command again."
    else:
        advice = (
            "Put back a copy of it, or delete it (marks given by hand are then lost); in both cases, then: "
            f"mnist-course assignments grade {folder}"
        )
    return UserError(f"{folder / course_folder.GRADEBOOK} cannot be used ({error}). {advice}")


# --- converters ---


class _LogCollector(logging.Handler):
    """Collects nbgrader's log lines for our error message."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().strip().splitlines()


def converter(kind: type, folder: Path, exercise: str, student: str = "*", **directories: str) -> Any:
    """Returns a converter of nbgrader for one exercise, with the folder's own configuration."""
    from nbgrader.coursedir import CourseDirectory

    config = _config(folder)
    log = logging.Logger("nbgrader")  # a separate logger: nothing reaches the terminal
    log.addHandler(_LogCollector())
    directory = CourseDirectory(
        config=config, log=log, root=str(folder), assignment_id=exercise, student_id=student, **directories
    )
    return kind(coursedir=directory, config=config, log=log, force=True)


def _config(folder: Path) -> Any:
    from traitlets.config.loader import PyFileConfigLoader

    return PyFileConfigLoader(course_folder.CONFIG_FILE, path=str(folder)).load_config()


def convert(converter: Any, what: str) -> None:
    """Runs a converter.

    Raises:
        UserError: nbgrader has given up; the error message quotes its log.
    """
    from nbgrader.converters.base import NbGraderException

    try:
        with _own_scripts(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter.start()
    except NbGraderException as error:
        lines = [line for line in converter.log.handlers[0].lines if _ERROR_LINE.match(line)]
        raise UserError(f"nbgrader refuses {what}: {(lines or [str(error)])[0]}") from error


@contextlib.contextmanager
def _own_scripts() -> Iterator[None]:
    """Puts this environment's commands on PATH: nbgrader runs `alembic` for a new gradebook."""
    before = os.environ.get("PATH", "")
    # nbgrader.utils.setenv would empty the environment for a moment, in which other threads start processes.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


# --- marks and feedback ---


@contextlib.contextmanager
def gradebook(folder: Path) -> Iterator[Any]:
    """Opens the gradebook of a grading folder.

    Raises:
        UserError: the gradebook is damaged, or another program has locked it.
    """
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory

    try:
        with (
            _own_scripts(),
            Gradebook(CourseDirectory(config=_config(folder), root=str(folder)).db_url) as book,
        ):
            yield book
    except Exception as error:  # SQLAlchemy wraps the errors of SQLite
        if not isinstance(cause := getattr(error, "orig", None), sqlite3.Error):
            raise
        raise _gradebook_error(folder, cause) from error


def with_outputs(notebook: nbformat.NotebookNode, outcome: sandbox.Outcome) -> nbformat.NotebookNode:
    """Puts the outputs of a run into the cells of a notebook.

    A test that did not run gets an error: nbgrader would take it as passed. The traceback of a test's
    error is removed, because it quotes hidden tests.
    """
    from nbgrader import utils

    for position, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        cell.update(_clean(outcome.cells.get(position, {"outputs": [], "execution_count": None})))
        if not utils.is_grade(cell):
            continue
        try:
            utils.determine_grade(cell)
            fault = "" if position in outcome.cells else "This test did not run."
        except Exception:  # a forged output
            fault = "This test has an output that tests never have."
        if any(output.output_type == "execute_result" for output in cell.outputs) and not utils.is_solution(
            cell
        ):
            fault = "This test has an output that tests never have."  # nbgrader takes a value as points
        if fault:
            cell.outputs = [nbformat.v4.new_output("error", ename="NotRun", evalue=fault, traceback=[fault])]
        if not utils.is_solution(cell):
            _shorten_errors(cell)
    return notebook


def _clean(value: Any) -> Any:
    """Returns outputs that a file can hold: without halves of characters."""
    if isinstance(value, str):
        return reading.without_surrogates(value)
    if isinstance(value, dict):
        return nbformat.from_dict({_clean(key): _clean(item) for key, item in value.items()})
    return [_clean(item) for item in value] if isinstance(value, list) else value


def hide_leaks(notebook: nbformat.NotebookNode) -> list[str]:
    """Takes out outputs in which a student's code shows lines of hidden tests, and returns remarks on them."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    hidden = {line for source in sources for part in _HIDDEN.findall(source) for line in _long_lines(part)}
    shown = {line for source in sources for line in _long_lines(_HIDDEN.sub("", source))}
    remarks = []
    for cell in notebook.cells:
        for place, output in enumerate(cell.get("outputs", [])):
            if output.output_type != "error" and any(
                line in text for text in _texts(output) for line in hidden - shown
            ):
                text = "[left out: this output shows a hidden test]\n"
                cell.outputs[place] = nbformat.v4.new_output("stream", name="stdout", text=text)
                remarks.append(f"cell {cell.id} prints lines of a hidden test; the output was left out")
    return remarks


def _long_lines(source: str) -> set[str]:
    """Returns the lines that say something about a test: neither short ones nor imports."""
    lines = {line.strip() for line in source.splitlines()}
    return {
        line for line in lines if len(line) >= _TELLING and not line.startswith(("import ", "from ", "#"))
    }


def _texts(output: nbformat.NotebookNode) -> list[str]:
    data = output.get("data", {})
    return [text for text in (output.get("text"), *data.values()) if isinstance(text, str)]


def sentences(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Returns the answers that a teacher reads: name of the cell -> text; an untouched one is left out."""
    from nbgrader import utils

    return {
        submissions.name_of(cell): cell.source[:_MAX_SENTENCE]
        for cell in notebook.cells
        if cell.cell_type == "markdown" and utils.is_grade(cell) and utils.is_solution(cell)
        if cell.metadata.nbgrader.get("checksum") != utils.compute_checksum(cell) and cell.source.strip()
    }


def _shorten_errors(test: nbformat.NotebookNode) -> None:
    for output in test.outputs:
        if output.output_type == "error":
            known = output.ename in ONLY_MESSAGE and output.evalue
            text = output.evalue if known else f"{output.ename}: {output.evalue}".rstrip(": ")
            output.traceback = text.splitlines()


def record_marks(
    folder: Path, repaired: Path, submission: submissions.Submission, notebook: nbformat.NotebookNode
) -> None:
    """Runs nbgrader's own autograde and feedback on a notebook that has already run.

    Args:
        folder: the grading folder.
        repaired: a folder for the repaired notebook.
        submission: the submission that the notebook comes from.
        notebook: the repaired notebook, with outputs.

    Raises:
        UserError: nbgrader refuses the notebook, or cannot write.
    """
    from nbgrader.converters import Autograde
    from nbgrader.preprocessors import Execute

    path = repaired / submission.working_name / submission.exercise / f"{submission.exercise}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    _copy_timestamp(
        submission.path.with_name(course_folder.TIMESTAMP), path.with_name(course_folder.TIMESTAMP)
    )
    autograde = converter(
        Autograde, folder, submission.exercise, submission.working_name, submitted_directory=str(repaired)
    )
    autograde.autograde_preprocessors = [
        functools.partial(_take_outputs, notebook) if step is Execute else step
        for step in autograde.autograde_preprocessors
    ]
    convert(autograde, f"the submission {submission.label}")
    write_feedback(folder, submission)


def write_feedback(folder: Path, submission: submissions.Submission) -> None:
    """Writes the feedback page, without hidden tests, with the points of each task at its top.

    It has the course's own template, unless the folder's `nbgrader_config.py` names another one.
    """
    from nbconvert.preprocessors.sanitize import SanitizeHTML
    from nbgrader.converters import GenerateFeedback

    student, exercise = submission.working_name, submission.exercise
    release = course_folder.read_exercise(folder, exercise).release
    feedback = converter(GenerateFeedback, folder, exercise, student)
    if "template_name" not in _config(folder).HTMLExporter:
        exporter = feedback.config.HTMLExporter
        exporter.template_name, exporter.extra_template_basedirs = "course_feedback", [str(_TEMPLATES)]
        feedback.config.CSSHTMLHeaderPreprocessor.style = "xcode"  # nbconvert's own colours are too pale
        feedback.config.SanitizeHTML.setdefault("tags", [*SanitizeHTML().tags, *_TABLE_TAGS])
    feedback.preprocessors = [
        functools.partial(_hide_tests, release),
        *feedback.preprocessors,
        functools.partial(_add_points, release),
    ]
    convert(feedback, f"the feedback to {submission.label}")


def _add_points(release: nbformat.NotebookNode, notebook: nbformat.NotebookNode, resources: dict) -> tuple:
    """Gives the template the points of each task; nbgrader's GetGrades has written them into the cells."""
    known = {name: cell.metadata.nbgrader for cell in notebook.cells if (name := submissions.name_of(cell))}
    for nbgrader in known.values():
        nbgrader["shown"] = _points_of([nbgrader]) if nbgrader.grade else ""
    tasks = [
        {
            "name": task.name,
            "title": task.title,
            "points": _points_of([known[name] for name in task.tests or [task.name]]),
            "tests": [] if task.by_hand else [(name, known[name]["shown"]) for name in task.tests],
            "comment": known[task.name].get("comment"),
        }
        for task in class_report.tasks_of(release)
    ]
    late = resources["nbgrader"]["late_penalty"]
    resources["course"] = {
        "title": class_report.title_of(release) or resources["nbgrader"]["notebook"],
        "points": f"{tables.points_text(resources['nbgrader']['score'])} of "
        f"{tables.points_text(resources['nbgrader']['max_score'])} points",
        "late": tables.points_text(late) if late else "",
        "tasks": tasks,
    }
    return notebook, resources


def _points_of(cells: Sequence[Mapping[str, Any]]) -> str:
    """Returns `1.5 of 2`; for cells without a maximum the points alone, which are extra credit, or nothing."""
    points, most = (sum(cell.get(name) or 0.0 for cell in cells) for name in ("score", "points"))
    if most:
        return f"{tables.points_text(points)} of {tables.points_text(most)}"
    return f"{tables.points_text(points)} extra" if points else ""


def _hide_tests(release: nbformat.NotebookNode, notebook: nbformat.NotebookNode, resources: dict) -> tuple:
    """Shows each test as the student has it; of a test that is hidden as a whole, only its errors remain.

    What a student's function prints in a hidden test would show the test's numbers.
    """
    given = {submissions.name_of(cell): cell.source for cell in release.cells}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if page := output.get("data", {}).get("text/html"):
                output.data["text/html"] = _STYLE.sub("", page)
        nbgrader = cell.metadata.get("nbgrader", {})
        if cell.cell_type != "code" or not nbgrader.get("grade") or nbgrader.get("solution"):
            continue
        cell.source = given.get(submissions.name_of(cell), "")
        _shorten_errors(cell)
        if all(line.startswith("#") or not line.strip() for line in cell.source.splitlines()):
            cell.outputs = [output for output in cell.outputs if output.output_type == "error"]
    return notebook, resources


def _copy_timestamp(found: Path, to: Path) -> None:
    """Copies the time of submission, if nbgrader has recorded one."""
    from nbgrader.utils import parse_utc

    with contextlib.suppress(OSError, ValueError):
        if not found.is_symlink() and found.stat().st_size < MAX_TIMESTAMP_BYTES:
            text = found.read_text(encoding="utf-8")
            parse_utc(text.strip())
            to.write_text(text, encoding="utf-8")


def _take_outputs(ran: nbformat.NotebookNode, notebook: nbformat.NotebookNode, resources: dict) -> tuple:
    """Replaces nbgrader's Execute: copies the outputs of the notebook that ran in the sandbox."""
    for cell, from_cell in zip(notebook.cells, ran.cells, strict=True):
        if cell.source != from_cell.source:
            raise RuntimeError(f"cell {submissions.name_of(cell)} is not the cell that ran")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = from_cell.outputs, from_cell.execution_count
    return notebook, resources
