"""Exercises for a class, with nbgrader: what students get, and what becomes of what they hand in.

    notebooks/exercises/ -> source/, release/        (nbgrader's generate_assignment)
    submitted/ -> autograded/, feedback/, gradebook.db  (its autograde and generate_feedback) -> a class report

Hand-ins are other people's programs. nbgrader would run them beside its gradebook; here its `Execute` is replaced:
each notebook is repaired, runs apart (`sandbox.py`), and only the outputs of its cells come back.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import html
import logging
import os
import re
import shutil
import sysconfig
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from mnist_course import cores, lessons
from mnist_course.grading import class_report, sandbox, submissions
from mnist_course.grading.sandbox import Limits
from mnist_helpers import _files
from mnist_helpers._errors import UserError

__all__ = ["Limits", "build", "grade", "release"]

EXERCISES = lessons.NOTEBOOKS / "exercises"
GRADED_FILE = "graded.json"
_CONFIG_FILE = "nbgrader_config.py"
_MADE_BY = "# Made by mnist-course assignments build."
_CONFIG = f"""{_MADE_BY} nbgrader reads this file too, and lines may be added.
c = get_config()  # noqa: F821

# A gap is a comment, not an error: the tests say what is not done yet.
c.ClearSolutions.code_stub = {{"python": "# write your code here"}}
# nbgrader takes all that a test cell writes to standard error for a failure, warnings too.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s)."
# A student's HTML may hold scripts; whoever reads the feedback would run them.
c.SanitizeHTML.enabled = True
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    "nbconvert.preprocessors.sanitize.SanitizeHTML",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
"""
_TIMESTAMP = "timestamp.txt"
_MAX_TIMESTAMP_BYTES = 200
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception): ")  # the last one of a traceback
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FILE_AND_LINE = re.compile(r" \([^()]*, line \d+\)$")  # of a syntax error: the file is a temporary one


class _Job(NamedTuple):
    """One notebook to grade.

    Attributes:
        hand_in: whose, of which lesson, where.
        key: names the contents of hand-in and exercise.
        work: the folder it may use.
    """

    hand_in: submissions.Submission
    key: str
    work: Path


class _Ran(NamedTuple):
    """A notebook that ran: repaired, what came back, and what was wrong with it."""

    notebook: nbformat.NotebookNode
    outcome: sandbox.Outcome
    problems: list[str]


# --- what students get ---


def build(folder: Path) -> str:
    """Makes a folder an nbgrader course with all exercises; marks and hand-ins that are there stay.

    Args:
        folder: a new or empty folder, or one that this function has made.

    Returns:
        What was made, for the terminal.

    Raises:
        UserError: the folder holds other things, nbgrader is missing or refuses an exercise, or an exercise has
            other cells than when hand-ins to it were graded.
    """
    _check_nbgrader()
    folder = folder.resolve()
    exercises = _exercises()
    _check_free(folder)
    for path in exercises:
        _check_same_cells(folder, path)
    with tempfile.TemporaryDirectory() as temporary:
        release(Path(temporary))  # what nbgrader refuses, it refuses here
    (folder / "submitted").mkdir(parents=True, exist_ok=True)
    if not (folder / _CONFIG_FILE).exists():
        _write(folder / _CONFIG_FILE, _CONFIG)
    _generate(folder, exercises)
    return (
        f"{len(exercises)} exercises: give your students {folder / 'release'}\n"
        f"What they hand in goes into {folder / 'submitted'}/STUDENT/LESSON.ipynb; then: "
        f"mnist-course assignments grade {folder}"
    )


def release(folder: Path) -> list[Path]:
    """Writes the students' versions of all exercises into a folder.

    Args:
        folder: an existing folder.

    Returns:
        The files, `<lesson>.ipynb`.

    Raises:
        UserError: nbgrader is missing or refuses an exercise.
    """
    _check_nbgrader()
    exercises = _exercises()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary).resolve()
        _write(made / _CONFIG_FILE, _CONFIG)
        _generate(made, exercises, with_gradebook=False)
        written = []
        for path in sorted(made.glob("release/*/*.ipynb")):
            _write(folder / path.name, path.read_text(encoding="utf-8"))
            written.append(folder / path.name)
    return written


def _check_nbgrader() -> None:
    try:
        import nbgrader  # noqa: F401
    except ImportError as error:
        raise UserError(
            "Exercises need nbgrader, which is not installed. Install the extra `teach`: "
            'pip install "mnist-course[teach]", or in the course\'s folder: pip install -e ".[teach]"'
        ) from error


def _exercises() -> list[Path]:
    found = sorted(EXERCISES.glob("*.ipynb"))
    if not found:
        raise UserError(
            f"There are no exercises. Expected: notebooks in {EXERCISES}. Get the whole repository."
        )
    return found


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give a new or an empty one.")
    if folder.is_dir() and any(folder.iterdir()) and not _is_ours(folder):
        raise UserError(
            f"{folder} holds other things. Expected: a new or an empty folder, or one that "
            "`mnist-course assignments build` has made."
        )
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest} is not a folder. Give another place.")


def _is_ours(folder: Path) -> bool:
    path = folder / _CONFIG_FILE
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith(_MADE_BY)


def _check_same_cells(folder: Path, exercise: Path) -> None:
    """nbgrader cannot add or remove cells of an exercise once a hand-in to it has marks."""
    if not (folder / "gradebook.db").exists():
        return
    lesson = exercise.stem
    now = {name for cell in _read(exercise).cells if (name := submissions.name_of(cell))}
    with _gradebook(folder) as book:
        before = next((found for found in book.assignments if found.name == lesson), None)
        if before is None or not before.submissions:
            return
        names = {cell.name for notebook in before.notebooks for cell in notebook.source_cells}
    if names != now:
        raise UserError(
            f"Exercise {lesson} has other cells than when hand-ins to it were graded "
            f"({', '.join(sorted(names ^ now))}), and nbgrader cannot bring their marks over. Build a new folder."
        )


def _generate(folder: Path, exercises: Sequence[Path], *, with_gradebook: bool = True) -> None:
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import SaveCells

    for path in exercises:
        source = folder / "source" / path.stem / path.name
        source.parent.mkdir(parents=True, exist_ok=True)
        _write(source, path.read_text(encoding="utf-8"))
        converter = _converter(GenerateAssignment, folder, path.stem)
        if not with_gradebook:
            converter.no_database = True
            converter.preprocessors = [step for step in converter.preprocessors if step is not SaveCells]
        with _own_scripts():
            _convert(converter, f"exercise {path.stem}")


@contextlib.contextmanager
def _own_scripts() -> Iterator[None]:
    """Lets this environment's commands be found by name: a new gradebook asks for `alembic`."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


# --- nbgrader's converters ---


class _Heard(logging.Handler):
    """Keeps what nbgrader says, for a message of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().strip().splitlines()


def _converter(kind: type, folder: Path, lesson: str, student: str = "*", **places: str) -> Any:
    """A converter of nbgrader, for one lesson, with the folder's own configuration."""
    from nbgrader.coursedir import CourseDirectory

    config = _config(folder)
    log = logging.Logger("nbgrader")  # a logger of its own: nothing reaches the terminal
    log.addHandler(_Heard())
    directory = CourseDirectory(
        config=config, log=log, root=str(folder), assignment_id=lesson, student_id=student, **places
    )
    return kind(coursedir=directory, config=config, log=log, force=True)


def _config(folder: Path) -> Any:
    from traitlets.config.loader import PyFileConfigLoader

    return PyFileConfigLoader(_CONFIG_FILE, path=str(folder)).load_config()


def _convert(converter: Any, what: str) -> None:
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
def _gradebook(folder: Path) -> Iterator[Any]:
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory

    with Gradebook(CourseDirectory(config=_config(folder), root=str(folder)).db_url) as book:
        yield book


# --- grading ---


def grade(folder: Path, *, limits: Limits = Limits(), workers: int = 0, fresh: bool = False) -> str:  # noqa: B008
    """Grades what students have handed in, into nbgrader's gradebook, and writes the class report.

    A hand-in that was graded before is not run again, unless it or its exercise has changed, or it did not run
    through; one that met the time limit only with larger limits. Marks and comments given by hand since then get
    into the report and into the student's feedback.

    Args:
        folder: made by `build`.
        limits: time and memory of each notebook.
        workers: notebooks at a time; 0 for one per core.
        fresh: True to grade all of them anew.

    Returns:
        A summary, for the terminal.

    Raises:
        UserError: the folder is no such course, nothing was handed in, or another process grades in it.
    """
    _check_nbgrader()
    folder = folder.resolve()
    lessons = _built(folder)
    found, problems = submissions.find(folder / "submitted", _cells(folder, lessons))
    if not any(problems):
        raise UserError(
            f"Nothing was handed in. Expected: {folder / 'submitted'}/STUDENT/LESSON.ipynb, a folder per student."
        )
    with _alone(folder):
        graded = {} if fresh else _graded(folder)
        isolated = sandbox.can_isolate()
        try:
            with warnings.catch_warnings():  # here, because threads share the filters
                warnings.simplefilter(
                    "ignore"
                )  # nbformat's and SQLAlchemy's, about what we repair, and nbgrader
                to_grade = [hand_in for hand_in in found if hand_in.can_be_graded]
                _grade_all(folder, to_grade, graded, limits, workers or cores.usable_cores(), isolated)
                _renew_feedback(folder, to_grade, graded)
        finally:
            page = _report(folder, found, problems, isolated=isolated, limits=limits)
    return page


def _built(folder: Path) -> list[str]:
    lessons = sorted(path.name for path in folder.glob("release/*") if path.is_dir())
    if not (folder.is_dir() and _is_ours(folder) and lessons and (folder / "submitted").is_dir()):
        raise UserError(
            f"{folder} is no course with exercises. Expected: a folder that `mnist-course assignments build` "
            "has made."
        )
    return lessons


def _cells(folder: Path, lessons: Sequence[str]) -> dict[str, set[str]]:
    """Lesson -> the names of its cells."""
    return {
        lesson: set(filter(None, map(submissions.name_of, _exercise(folder, lesson)[0].cells)))
        for lesson in lessons
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    import filelock

    try:
        with filelock.FileLock(folder / ".grading.lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(
            f"Another process grades in {folder} at this moment. Wait until it has ended."
        ) from error


def _grade_all(
    folder: Path,
    found: Sequence[submissions.Submission],
    graded: dict[str, dict[str, Any]],
    limits: Limits,
    workers: int,
    isolated: bool,
) -> None:
    from tqdm import tqdm

    exercises = {hand_in.lesson: _exercise(folder, hand_in.lesson) for hand_in in found}
    stop = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as temporary,
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(found), unit="hand-in", disable=None, smoothing=0) as bar,
    ):
        base = Path(temporary).resolve()
        hidden = [base, folder]
        if not (elsewhere := (folder / "submitted").resolve()).is_relative_to(folder):  # a link
            hidden.append(elsewhere)
        run = functools.partial(sandbox.run, limits=limits, hidden=hidden, isolated=isolated, stop=stop)
        jobs: dict[Future, _Job] = {}
        try:
            for number, hand_in in enumerate(found):
                job = _Job(hand_in, _key(hand_in, exercises[hand_in.lesson]), base / str(number))
                if _is_graded(graded, job, limits):
                    bar.update()
                    tqdm.write(f"{_label(hand_in)}: {_before(graded[_label(hand_in)])}")
                else:
                    jobs[pool.submit(_ran, job, exercises[hand_in.lesson], run)] = job
            for future in as_completed(jobs):
                entry = _stored(folder, base, jobs[future], future, limits) | {"isolated": isolated}
                graded[_label(jobs[future].hand_in)] = entry
                _files.write_json(folder / GRADED_FILE, graded)
                bar.update()
                tqdm.write(_line(jobs[future].hand_in, entry))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _exercise(folder: Path, lesson: str) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    return tuple(_read(folder / kind / lesson / f"{lesson}.ipynb") for kind in ("release", "source"))


def _key(hand_in: submissions.Submission, exercise: Sequence[nbformat.NotebookNode]) -> str:
    digest = hashlib.sha256(nbformat.writes(exercise[1]).encode())
    if hand_in.path.is_file():
        with hand_in.path.open("rb") as file:
            digest.update(file.read(submissions.MAX_BYTES + 1))
    return digest.hexdigest()


def _is_graded(graded: Mapping[str, Mapping[str, Any]], job: _Job, limits: Limits) -> bool:
    entry = graded.get(_label(job.hand_in), {})
    if entry.get("key") != job.key:
        return False
    if not (too_small := entry.get("too_small")):
        return not entry["try_again"]
    return all(now <= before for now, before in zip(limits, too_small, strict=True))


def _before(entry: Mapping[str, Any]) -> str:
    if entry.get("too_small"):
        return "time limit met before; --fresh or a larger --seconds tries again"
    return "graded before"


def _ran(job: _Job, exercise: Sequence[nbformat.NotebookNode], run: Any) -> _Ran:
    """Reads, repairs and runs a hand-in; in a thread, so without nbgrader, which changes the process's folder."""
    notebook, problems = submissions.repair(submissions.read(job.hand_in.path), *exercise)
    job.work.mkdir()
    try:
        outcome = run(notebook, job.work)
    finally:
        shutil.rmtree(job.work, ignore_errors=True)
    return _Ran(notebook, outcome, problems + outcome.problems)


def _stored(folder: Path, base: Path, job: _Job, future: Future, limits: Limits) -> dict[str, Any]:
    """Brings one notebook's marks into the gradebook; says what the report needs of it."""
    entry = {"key": job.key, "try_again": False, "seconds": None, "messages": {}}
    try:
        ran: _Ran = future.result()
        notebook = _with_outputs(ran.notebook, ran.outcome)
        _into_gradebook(folder, base / "repaired", job.hand_in, notebook)
    except ValueError as error:
        return entry | {"problems": [str(error)]}
    except Exception as error:  # whatever one hand-in can cause, the others are graded
        problem = f"could not be graded: {type(error).__name__}: {error}"
        return entry | {"try_again": True, "problems": [problem]}
    return entry | {
        "try_again": ran.outcome.disturbed,
        "too_small": list(limits) if ran.outcome.out_of_time else None,
        "seconds": round(ran.outcome.seconds, 1),
        "problems": ran.problems,
        "messages": _messages(notebook),
    }


def _with_outputs(notebook: nbformat.NotebookNode, outcome: sandbox.Outcome) -> nbformat.NotebookNode:
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


def _into_gradebook(
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
    autograde = _converter(Autograde, *one, submitted_directory=str(repaired))
    autograde.autograde_preprocessors = [
        functools.partial(_take_outputs, notebook) if step is Execute else step
        for step in autograde.autograde_preprocessors
    ]
    _convert(autograde, f"the hand-in {_label(hand_in)}")
    _write_feedback(folder, hand_in)


def _write_feedback(folder: Path, hand_in: submissions.Submission) -> None:
    """nbgrader's feedback page; its index names the tasks, where nbgrader has "Test cell" each time."""
    from nbgrader.converters import GenerateFeedback

    one = (folder, hand_in.lesson, hand_in.student)
    _convert(_converter(GenerateFeedback, *one), f"the feedback to {_label(hand_in)}")
    page = folder / "feedback" / hand_in.student / hand_in.lesson / f"{hand_in.lesson}.html"
    text = page.read_text(encoding="utf-8")
    for task in class_report.tasks_of(_exercise(folder, hand_in.lesson)[0]):
        for test in task.tests:
            link = f'<a href="#{test}">'
            text = text.replace(f"{link}Test cell</a>", f"{link}{html.escape(task.title)} · {test}</a>")
    _write(page, text)


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


def _messages(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Returns what failed tests, and answers that raised an error, say: name of the cell -> message."""
    messages = {}
    for cell in notebook.cells:
        nbgrader = cell["metadata"].get("nbgrader", {})
        for output in cell.get("outputs", []):
            if output.output_type != "error":
                continue
            if nbgrader.get("grade"):
                kind = "" if output.ename in ("AssertionError", "NotRun") else f"{output.ename}: "
            elif nbgrader.get("solution"):
                kind = f"{output.ename} in the answer: "
            else:
                continue
            said = _FILE_AND_LINE.sub("", output.evalue)
            messages[submissions.name_of(cell)] = _ANSI.sub("", kind + said)[:1000]
    return messages


def _label(hand_in: submissions.Submission) -> str:
    return f"{hand_in.student}/{hand_in.lesson}"


def _line(hand_in: submissions.Submission, entry: Mapping[str, Any]) -> str:
    time = "not run" if entry["seconds"] is None else f"{entry['seconds']:.1f} s"
    return "".join([f"{_label(hand_in)}: {time}", *(f"\n  - {problem}" for problem in entry["problems"])])


def _graded(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / GRADED_FILE
    return _files.read_json(path) if path.is_file() else {}


# --- marks given by hand ---


def _renew_feedback(
    folder: Path, found: Sequence[submissions.Submission], graded: dict[str, dict[str, Any]]
) -> None:
    """Writes the feedback anew where marks or comments are others than when it was written."""
    given = _given(folder)
    for hand_in in found:
        label = _label(hand_in)
        if label not in given or label not in graded:
            continue
        # A hand-in that has just been graded has its feedback from the same marks.
        in_feedback = graded[label].setdefault("in_feedback", given[label])
        kept = folder / "autograded" / hand_in.student / hand_in.lesson
        if in_feedback != given[label] and kept.is_dir():
            _write_feedback(folder, hand_in)
            graded[label]["in_feedback"] = given[label]
    _files.write_json(folder / GRADED_FILE, graded)


def _given(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What the gradebook holds: hand-in -> `marks` (test -> points) and `comments` (cell -> text)."""
    with _gradebook(folder) as book:
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


# --- the report ---


def _report(
    folder: Path,
    found: Sequence[submissions.Submission],
    problems: Mapping[str, list[str]],
    *,
    isolated: bool,
    limits: Limits,
) -> str:
    """Writes the class report from the gradebook, marks given by hand included."""
    graded = _graded(folder)
    given = _given(folder)
    hand_ins = {student: {} for student in problems if student}
    for hand_in in found:
        label = _label(hand_in)
        why = ["not graded yet"] if hand_in.can_be_graded else []  # else it is said of the folder
        nothing = {"problems": why, "messages": {}, "seconds": None, "isolated": isolated}
        entry = graded.get(label, nothing)
        marks = given.get(label, {}).get("marks", {}) if entry["seconds"] is not None else {}
        hand_ins[hand_in.student][hand_in.lesson] = entry | {"marks": marks}
    tasks = {lesson: class_report.tasks_of(_exercise(folder, lesson)[0]) for lesson in _built(folder)}
    return class_report.write(folder, tasks=tasks, hand_ins=hand_ins, problems=problems, limits=limits)


def _read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def _write(path: Path, text: str) -> None:
    with _files.atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")
