"""Grade what students submit: the queue, what is graded already, and the entries of the class report.

    submitted/ -> autograded/, feedback/, gradebook.db  (nbgrader's autograde and generate_feedback) -> class report

Submissions are other people's programs: each notebook is repaired and runs in a sandbox (`sandbox.py`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import nbformat

from mnist_course import cores
from mnist_course.grading import (
    by_hand,
    class_report,
    collected,
    course_folder,
    isolation,
    nbgrader_bridge,
    placing,
    reading,
    recorded,
    regrading,
    sandbox,
    sentences,
    similar,
    submissions,
)
from mnist_course.grading.course_folder import Exercise, Graded
from mnist_course.grading.recorded import Recorded
from mnist_course.grading.roster import Roster, kept_roster
from mnist_course.grading.sandbox import Limits
from mnist_course.grading.submissions import Remark, Submission
from mnist_helpers._errors import UserError
from mnist_helpers.checks._core import NotDoneError

_DEFAULT_LIMITS = Limits()
_Ran = tuple[nbformat.NotebookNode, sandbox.Outcome]  # a repaired notebook, and what came of its run
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FILE_AND_LINE = re.compile(r" \([^()]*, line \d+\)$")  # of a syntax error: the file is a temporary one
_ABOUT_HINTS = re.compile(r"\nFor a hint: checks\.[^\n]*\Z")  # tells students how to get one


def grade(
    folder: Path,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    workers: int = 0,
    fresh: bool = False,
    given: Sequence[str] = (),
    pass_mark: int = 50,
    scheduler: str = "",
) -> str:
    """Grades submissions into nbgrader's gradebook, and writes the class report.

    A submission that was graded before is not run again, unless it or its exercise has changed, or it did not run
    to its end; one that reached the time limit only runs again with larger limits. Marks and comments that were
    given by hand since then appear in the report and in the student's feedback.

    Args:
        folder: a folder made by `release.build`.
        limits: time and memory of each notebook.
        workers: number of notebooks that run at the same time; 0 for one per core.
        fresh: True to grade all submissions again.
        given: exercises that the class was given, which count in the totals; empty for all that anybody has
            submitted.
        pass_mark: percentage of the points from which a student passes, 0 to 100.
        scheduler: address of a Dask scheduler whose workers run the notebooks; empty for this machine.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder is not a grading folder, a file in it is damaged, there are no submissions, `given`
            names an unknown exercise, another process is grading in the folder, or the scheduler cannot be used.
    """
    nbgrader_bridge.check_installed()
    folder = folder.resolve()
    exercises = {name: course_folder.read_exercise(folder, name) for name in course_folder.exercises(folder)}
    nbgrader_bridge.check_files(folder)
    if unknown := [name for name in given if name not in exercises]:
        raise UserError(f"Unknown exercise {unknown[0]!r}. Expected: {', '.join(exercises)}.")
    _check(folder)  # what is wrong is said before anything is written
    with (
        course_folder.lock(folder),
        _runner(scheduler) as runner,
    ):
        found, students, remarks = submissions.find(
            folder / course_folder.SUBMITTED, placing.releases_of(exercises)
        )
        absent = collected.absent(students, collected.read(folder), kept_roster(folder) or Roster(()))
        rules = class_report.Rules(pass_mark, given, absent)
        graded = course_folder.read_graded(folder)
        regrading.restore_exercises(folder, exercises)
        by_hand.count_extra_credit(folder)
        to_grade = [submission for submission in found if submission.can_be_graded]
        keys = {of.label: _key(of.path, exercises[of.exercise]) for of in to_grade}
        remarks += regrading.follow_renamed(folder, to_grade, students, keys, graded, exercises)
        if fresh:
            for entry in graded.values():
                entry.key = ""  # of no content
        course_folder.write_graded(folder, graded)
        done = _done(folder, to_grade, keys, graded, exercises, limits)
        try:
            with warnings.catch_warnings():  # here, because threads share the filters
                # nbformat warns about what we repair, SQLAlchemy about nbgrader.
                warnings.simplefilter("ignore")
                at_once = workers or runner.workers
                _grade_all(folder, exercises, to_grade, keys, done, graded, limits, at_once, runner.run)
                _renew_feedback(folder, to_grade, graded, done)
        finally:
            current = _current(folder, keys)
            results, more = _results(folder, found, students, current)
            remarks += more + _identical(current, found, exercises)
            summary = _report(folder, exercises, results, remarks, limits, rules, runner.about_isolation)
    return summary


def _check(folder: Path) -> None:
    """Checks that there are submissions, and that what earlier commands have left can be read.

    Raises:
        UserError: one of these is not so.
    """
    place = folder / course_folder.SUBMITTED
    if not any(map(submissions.is_of_student, place.iterdir())):
        raise UserError(
            f"There are no submissions. Expected: {place}/STUDENT/EXERCISE.ipynb, a folder per student."
        )
    collected.read(folder)
    kept_roster(folder)
    course_folder.read_graded(folder)


def _current(folder: Path, keys: Mapping[str, str]) -> dict[str, Graded]:
    """Returns what `graded.json` holds about submissions as they are now (`keys`).

    It holds another content's results if grading was interrupted before the turn of a submission, or if its file
    has no answers any more.
    """
    graded = course_folder.read_graded(folder)
    return {label: entry for label, entry in graded.items() if entry.key == keys.get(label)}


def _identical(
    graded: Mapping[str, Graded], found: Sequence[Submission], exercises: Mapping[str, Exercise]
) -> list[Remark]:
    answers: dict[str, dict[str, dict[str, str]]] = {}
    for submission in found:
        if submission.label in graded:
            of_student = answers.setdefault(submission.student, {})
            of_student[submission.exercise] = graded[submission.label].answers
    return similar.remarks(answers, {name: similar.digests(of.release) for name, of in exercises.items()})


def _report(
    folder: Path,
    exercises: Mapping[str, Exercise],
    results: class_report.Results,
    remarks: Sequence[Remark],
    limits: Limits,
    rules: class_report.Rules,
    about_isolation: str,
) -> str:
    """Writes the class report and the sentences, and returns the summary for the terminal."""
    tasks = {name: class_report.tasks_of(of.release) for name, of in exercises.items()}
    titles = {name: class_report.title_of(of.release) or name for name, of in exercises.items()}
    names = {submissions.working_name(student): student for student in results}
    marks = [mark._replace(student=names.get(mark.student, mark.student)) for mark in by_hand.read(folder)]
    said = sentences.write(folder, titles, tasks, results, marks)
    summary = class_report.write(
        folder,
        titles,
        tasks,
        results,
        remarks,
        limits,
        by_hand=marks,
        rules=rules,
        about_isolation=about_isolation,
    )
    return f"{summary}\n{said}".rstrip()


class _Runner(NamedTuple):
    """Where notebooks run.

    Attributes:
        workers: how many to run, or to hand over, at the same time.
        run: runs a notebook in a folder; it takes `limits`, `hidden` and `stop` by name.
        about_isolation: a sentence for the report.
    """

    workers: int
    run: Callable[..., sandbox.Outcome]
    about_isolation: str


@contextlib.contextmanager
def _runner(scheduler: str) -> Iterator[_Runner]:
    """Yields what runs notebooks: a cluster, or this machine."""
    if not scheduler:
        tool, explanation = isolation.find()
        yield _Runner(cores.usable_cores(), functools.partial(sandbox.run, tool=tool), explanation)
        return
    from mnist_course.grading import remote

    with remote.cluster(scheduler) as client:
        run = functools.partial(remote.run, client)
        yield _Runner(remote.num_waiting(client), run, "Submissions ran on a Dask cluster.")


def _grade_all(
    folder: Path,
    exercises: Mapping[str, Exercise],
    found: Sequence[Submission],
    keys: Mapping[str, str],
    done: Collection[str],
    graded: dict[str, Graded],
    limits: Limits,
    workers: int,
    runner: Callable[..., sandbox.Outcome],
) -> None:
    from tqdm import tqdm

    stop = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as temporary,
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(found), unit="submission", disable=None, smoothing=0) as bar,
    ):
        base = Path(temporary).resolve()
        hidden = [base, folder]
        if not (elsewhere := (folder / course_folder.SUBMITTED).resolve()).is_relative_to(folder):  # a link
            hidden.append(elsewhere)
        run = functools.partial(runner, limits=limits, hidden=hidden, stop=stop)
        jobs: dict[Future[_Ran], tuple[Submission, str]] = {}
        try:
            for number, submission in enumerate(found):
                exercise = exercises[submission.exercise]
                key = keys[submission.label]
                if submission.label in done:
                    bar.update()
                    reason = "time limit reached before; --fresh or a larger --seconds tries again"
                    too_small = graded[submission.label].too_small
                    tqdm.write(f"{submission.label}: {reason if too_small else 'graded before'}")
                else:
                    work = base / str(number)
                    jobs[pool.submit(_repair_and_run, submission.path, exercise, work, run)] = submission, key
            for future in as_completed(jobs):
                submission, key = jobs[future]
                _record(folder, base / "repaired", submission, key, future, limits, graded)
                course_folder.write_graded(folder, graded)
                bar.update()
                tqdm.write(_line(submission, graded[submission.label]))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _done(
    folder: Path,
    found: Sequence[Submission],
    keys: Mapping[str, str],
    graded: Mapping[str, Graded],
    exercises: Mapping[str, Exercise],
    limits: Limits,
) -> set[str]:
    """Returns the submissions that need not run again: unchanged ones whose marks are in the gradebook."""
    known = recorded.read(folder)
    tests = {name: class_report.tests_of(of.release) for name, of in exercises.items()}
    return {
        of.label
        for of in found
        if (before := graded.get(of.label))
        and _is_graded(before, keys[of.label], limits)
        and regrading.is_complete(before, known.get(of.label), tests[of.exercise])
    }


def _key(path: Path, exercise: Exercise) -> str:
    digest = hashlib.sha256(nbformat.writes(exercise.source).encode())
    with contextlib.suppress(OSError), path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def is_current(submission: Submission, exercise: Exercise, entry: Graded) -> bool:
    """Returns whether a submission and its exercise are the same as when they were graded."""
    return entry.key == _key(submission.path, exercise)


def _is_graded(before: Graded, key: str, limits: Limits) -> bool:
    if before.key != key:
        return False
    if not before.too_small:
        return not before.try_again
    return all(now <= tried for now, tried in zip(limits, before.too_small, strict=True))


def _repair_and_run(path: Path, exercise: Exercise, work: Path, run: Callable[..., sandbox.Outcome]) -> _Ran:
    """Runs a submission; in a thread, so it does not use nbgrader, which changes the process's folder."""
    notebook, problems = submissions.repair(reading.read(path), *exercise)
    work.mkdir()
    try:
        outcome = run(notebook, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return notebook, outcome._replace(problems=problems + outcome.problems)


def _record(
    folder: Path,
    repaired: Path,
    submission: Submission,
    key: str,
    future: Future[_Ran],
    limits: Limits,
    graded: dict[str, Graded],
) -> None:
    """Brings one notebook's marks into the gradebook, and puts its entry into `graded`."""
    before = graded.get(submission.label)
    cleared = dict(before.cleared) if before else {}
    entry = Graded(key, isolated=True, cleared=cleared)  # unless it runs without
    try:
        notebook, outcome = future.result()
        if outcome.disturbed and not outcome.cells and not outcome.out_of_time:
            raise UserError("; ".join(outcome.problems))  # it never ran, so it has no mark, and 0 is one
        notebook = nbgrader_bridge.with_outputs(notebook, outcome)
        leaks = nbgrader_bridge.hide_leaks(notebook)
        if outdated := regrading.outdated_marks(folder, submission, notebook, before):
            entry.cleared |= outdated
            if before is None:
                before = graded[submission.label] = Graded("", isolated=True)  # of no content
            before.cleared = dict(entry.cleared)
            # First, because an interruption must not lose what was cleared.
            course_folder.write_graded(folder, graded)
            regrading.clear_marks(folder, submission)
        nbgrader_bridge.record_marks(folder, repaired, submission, notebook)
    except reading.NotReadableError as error:
        entry.problems = [str(error)]
        if (folder / "feedback" / submission.working_name / submission.exercise).is_dir():
            entry.problems.append("the feedback and the gradebook still show an earlier submission")
    except Exception as error:  # the other submissions are graded in any case, and this one is tried again
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        entry.try_again, entry.problems = True, [f"could not be graded: {reason}"]
    else:
        entry.isolated = outcome.isolated
        entry.try_again = outcome.disturbed
        entry.too_small = list(limits) if outcome.out_of_time else None
        entry.seconds = round(outcome.seconds, 1)
        entry.problems = outcome.problems + leaks
        entry.messages, entry.not_done = _messages(notebook)
        entry.sentences = nbgrader_bridge.sentences(notebook)
        entry.answers = similar.digests(notebook)
    graded[submission.label] = entry


def _messages(notebook: nbformat.NotebookNode) -> tuple[dict[str, str], list[str]]:
    """Returns what failed tests and answers with an error say, and which tests say that the answer is missing.

    Returns:
        Name of the cell -> message; and the names of the cells whose error is `NotDoneError`.
    """
    messages, not_done = {}, []
    for cell in notebook.cells:
        nbgrader = cell["metadata"].get("nbgrader", {})
        for output in cell.get("outputs", []):
            if output.output_type != "error":
                continue
            name = submissions.name_of(cell)
            if nbgrader.get("grade"):
                kind = "" if output.ename in nbgrader_bridge.ONLY_MESSAGE else f"{output.ename}: "
                not_done += [name] if output.ename == NotDoneError.__name__ else []
            elif nbgrader.get("solution"):
                kind = f"{output.ename} in the answer: "
            else:
                continue
            message = _FILE_AND_LINE.sub("", _ABOUT_HINTS.sub("", output.evalue))
            messages[name] = _ANSI.sub("", kind + message)[:1000]
    return messages, not_done


def _line(submission: Submission, entry: Graded) -> str:
    time = "not run" if entry.seconds is None else f"{entry.seconds:.1f} s"
    return "".join([f"{submission.label}: {time}", *(f"\n  - {problem}" for problem in entry.problems)])


# --- marks given by hand, and the report ---


def _renew_feedback(
    folder: Path, found: Sequence[Submission], graded: dict[str, Graded], done: Collection[str]
) -> None:
    """Writes feedback pages again whose marks or comments have changed since.

    Args:
        folder: the grading folder.
        found: the submissions.
        graded: their entries.
        done: the submissions that did not run now. The pages of the others show the marks of now.
    """
    in_gradebook = recorded.read(folder)
    for submission in found:
        known, entry = in_gradebook.get(submission.label), graded.get(submission.label)
        if known is None or entry is None:
            continue
        entry.scores = known.scores
        now = known.in_feedback
        if entry.in_feedback is None and submission.label not in done:
            entry.in_feedback = now
        kept = folder / "autograded" / submission.working_name / submission.exercise
        if entry.in_feedback != now and kept.is_dir():
            nbgrader_bridge.write_feedback(folder, submission)
            entry.in_feedback = now
    course_folder.write_graded(folder, graded)


def _results(
    folder: Path, found: Sequence[Submission], students: Sequence[str], graded: Mapping[str, Graded]
) -> tuple[dict[str, dict[str, class_report.Result]], list[Remark]]:
    """Returns student -> exercise -> result, from the gradebook and `graded`; and remarks on submissions."""
    in_gradebook = recorded.read(folder)
    results: dict[str, dict[str, class_report.Result]] = {student: {} for student in students}
    remarks = []
    for submission in found:
        student, exercise = submission.student, submission.exercise
        # Why a file without the answers of its exercise is not graded is a remark on that file.
        problems = ["not graded yet"] if submission.can_be_graded else []
        entry = graded.get(submission.label, Graded("", isolated=True, problems=problems))
        known = in_gradebook.get(submission.label, Recorded())
        points = known.marks if entry.seconds is not None else {}
        if points and known.waiting:
            points = {}
            text = f"{known.waiting} waits for a mark by hand"
            remarks.append(Remark(student, exercise, text, not_graded=True))
        results[student][exercise] = class_report.Result(
            points, entry.messages, entry.not_done, entry.sentences, entry.seconds, entry.isolated
        )
        remarks += [Remark(student, exercise, text, not_graded=not points) for text in entry.problems]
        remarks += regrading.remarks_on_cleared(submission, entry.cleared, known)
    return results, remarks + regrading.remarks_on_absent(students, in_gradebook)
