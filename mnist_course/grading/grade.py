"""Grade what students submit: the queue, what is graded already, and the entries of the class report.

submitted/ -> autograded/, feedback/, gradebook.db  (nbgrader's autograde and generate_feedback) -> class report
"""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from mnist_course import cores
from mnist_course.grading import class_report, course_folder, nbgrader_bridge, sandbox, submissions
from mnist_course.grading.sandbox import Limits
from mnist_helpers import _files
from mnist_helpers._errors import UserError

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
    nbgrader_bridge.check_nbgrader()
    folder = folder.resolve()
    lessons = course_folder.built(folder)
    found, problems = submissions.find(folder / "submitted", course_folder.cells(folder, lessons))
    if not any(problems):
        raise UserError(
            f"Nothing was handed in. Expected: {folder / 'submitted'}/STUDENT/LESSON.ipynb, a folder per student."
        )
    with course_folder.alone(folder):
        graded = {} if fresh else course_folder.read_graded(folder)
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


def _grade_all(
    folder: Path,
    found: Sequence[submissions.Submission],
    graded: dict[str, dict[str, Any]],
    limits: Limits,
    workers: int,
    isolated: bool,
) -> None:
    from tqdm import tqdm

    exercises = {hand_in.lesson: course_folder.exercise(folder, hand_in.lesson) for hand_in in found}
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
                    tqdm.write(f"{hand_in.label}: {_before(graded[hand_in.label])}")
                else:
                    jobs[pool.submit(_ran, job, exercises[hand_in.lesson], run)] = job
            for future in as_completed(jobs):
                entry = _stored(folder, base, jobs[future], future, limits) | {"isolated": isolated}
                graded[jobs[future].hand_in.label] = entry
                _files.write_json(folder / course_folder.GRADED_FILE, graded)
                bar.update()
                tqdm.write(_line(jobs[future].hand_in, entry))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _key(hand_in: submissions.Submission, exercise: Sequence[nbformat.NotebookNode]) -> str:
    digest = hashlib.sha256(nbformat.writes(exercise[1]).encode())
    if hand_in.path.is_file():
        with hand_in.path.open("rb") as file:
            digest.update(file.read(submissions.MAX_BYTES + 1))
    return digest.hexdigest()


def _is_graded(graded: Mapping[str, Mapping[str, Any]], job: _Job, limits: Limits) -> bool:
    entry = graded.get(job.hand_in.label, {})
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
        notebook = nbgrader_bridge.with_outputs(ran.notebook, ran.outcome)
        nbgrader_bridge.into_gradebook(folder, base / "repaired", job.hand_in, notebook)
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


def _line(hand_in: submissions.Submission, entry: Mapping[str, Any]) -> str:
    time = "not run" if entry["seconds"] is None else f"{entry['seconds']:.1f} s"
    return "".join([f"{hand_in.label}: {time}", *(f"\n  - {problem}" for problem in entry["problems"])])


def _renew_feedback(
    folder: Path, found: Sequence[submissions.Submission], graded: dict[str, dict[str, Any]]
) -> None:
    """Writes the feedback anew where marks or comments are others than when it was written."""
    given = nbgrader_bridge.given(folder)
    for hand_in in found:
        label = hand_in.label
        if label not in given or label not in graded:
            continue
        # A hand-in that has just been graded has its feedback from the same marks.
        in_feedback = graded[label].setdefault("in_feedback", given[label])
        kept = folder / "autograded" / hand_in.student / hand_in.lesson
        if in_feedback != given[label] and kept.is_dir():
            nbgrader_bridge.write_feedback(folder, hand_in)
            graded[label]["in_feedback"] = given[label]
    _files.write_json(folder / course_folder.GRADED_FILE, graded)


def _report(
    folder: Path,
    found: Sequence[submissions.Submission],
    problems: Mapping[str, list[str]],
    *,
    isolated: bool,
    limits: Limits,
) -> str:
    """Writes the class report from the gradebook, marks given by hand included."""
    graded = course_folder.read_graded(folder)
    given = nbgrader_bridge.given(folder)
    hand_ins = {student: {} for student in problems if student}
    for hand_in in found:
        label = hand_in.label
        why = ["not graded yet"] if hand_in.can_be_graded else []  # else it is said of the folder
        nothing = {"problems": why, "messages": {}, "seconds": None, "isolated": isolated}
        entry = graded.get(label, nothing)
        marks = given.get(label, {}).get("marks", {}) if entry["seconds"] is not None else {}
        hand_ins[hand_in.student][hand_in.lesson] = entry | {"marks": marks}
    tasks = {
        lesson: class_report.tasks_of(course_folder.exercise(folder, lesson)[0])
        for lesson in course_folder.built(folder)
    }
    return class_report.write(folder, tasks=tasks, hand_ins=hand_ins, problems=problems, limits=limits)
