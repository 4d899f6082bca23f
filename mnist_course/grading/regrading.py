"""Grade again: a gradebook that was deleted, students whose folder was renamed, and marks given by hand.

A mark given by hand belongs to the answers that the teacher has read. It stays while they stay; for changed answers
it is cleared, and the report says what it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from mnist_course.grading import course_folder, nbgrader_bridge, reading, recognition, similar
from mnist_course.grading.course_folder import Exercise, Graded
from mnist_course.grading.submissions import Remark, Submission, working_name


@dataclasses.dataclass
class Recorded:
    """What the gradebook holds about one submission.

    Attributes:
        scores: test -> points that the test gave.
        by_hand: cell -> what a teacher gave there, in words.
    """

    scores: dict[str, float | None] = dataclasses.field(default_factory=dict)
    by_hand: dict[str, str] = dataclasses.field(default_factory=dict)


def restore_exercises(folder: Path, exercises: Collection[str]) -> None:
    """Records the cells of exercises that the gradebook does not know, because it was deleted.

    Raises:
        UserError: the gradebook is damaged or locked, or nbgrader refuses an exercise.
    """
    from nbgrader.converters import GenerateAssignment

    with nbgrader_bridge.gradebook(folder) as book:
        known = {assignment.name for assignment in book.assignments if assignment.notebooks}
    for exercise in sorted(set(exercises) - known):
        with tempfile.TemporaryDirectory() as temporary:
            converter = nbgrader_bridge.converter(
                GenerateAssignment, folder, exercise, release_directory=str(Path(temporary).resolve())
            )
            nbgrader_bridge.convert(converter, exercise)


def read(folder: Path) -> dict[str, Recorded]:
    """Returns submission (STUDENT/EXERCISE) -> what the gradebook holds about it."""
    with nbgrader_bridge.gradebook(folder) as book:
        return {
            f"{submission.student.id}/{assignment.name}": _recorded(submission)
            for assignment in book.assignments
            for submission in assignment.submissions
        }


def _recorded(submission: Any) -> Recorded:
    recorded = Recorded()
    for notebook in submission.notebooks:
        recorded.scores |= {grade.name: grade.auto_score for grade in notebook.grades}
        for grade in notebook.grades:
            words = [f"{grade.manual_score:g} points"] if grade.manual_score is not None else []
            words += [f"{grade.extra_credit:g} extra points"] if grade.extra_credit else []
            _add(recorded.by_hand, grade.name, words)
        for comment in notebook.comments:
            words = [f"the comment {comment.manual_comment!r}"] if comment.manual_comment else []
            _add(recorded.by_hand, comment.name, words)
    return recorded


def _add(by_hand: dict[str, str], name: str, words: list[str]) -> None:
    if words:
        by_hand[name] = ", ".join([by_hand[name], *words] if name in by_hand else words)


def is_complete(entry: Graded, recorded: Recorded | None, tests: Collection[str]) -> bool:
    """Returns whether the gradebook holds the marks that an earlier command has recorded.

    It does not after it was deleted, or replaced by an older copy.
    """
    if entry.seconds is None:
        return True  # the submission could not be graded, and has no marks
    if recorded is None or not set(tests) <= recorded.scores.keys():
        return False
    return not entry.scores or entry.scores == recorded.scores


# --- marks given by hand ---


def outdated_marks(
    folder: Path, submission: Submission, notebook: nbformat.NotebookNode, before: Graded | None
) -> dict[str, str]:
    """Finds marks and comments that were given by hand for other answers than those of a new submission.

    Args:
        folder: the grading folder.
        submission: the submission.
        notebook: the repaired notebook.
        before: what `graded.json` holds about the earlier submission.

    Returns:
        Cell -> what was given there, in words; empty if the answers are still the same.
    """
    if not (folder / course_folder.GRADEBOOK).exists() or _same_answers(folder, submission, notebook, before):
        return {}
    with nbgrader_bridge.gradebook(folder) as book:
        return {
            cell: words
            for found in _of_student(book, submission)
            for cell, words in _recorded(found).by_hand.items()
        }


def clear_marks(folder: Path, submission: Submission) -> None:
    """Clears all marks and comments of a submission that were given by hand."""
    with nbgrader_bridge.gradebook(folder) as book:
        for found in _of_student(book, submission):
            for notebook in found.notebooks:
                for grade in notebook.grades:
                    grade.manual_score = grade.extra_credit = None
                for comment in notebook.comments:
                    comment.manual_comment = None
        book.db.commit()


def _of_student(book: Any, submission: Submission) -> list[Any]:
    """Returns the submission as the gradebook knows it; none if it was never graded."""
    return [
        found
        for assignment in book.assignments
        if assignment.name == submission.exercise
        for found in assignment.submissions
        if found.student.id == submission.working_name
    ]


def _same_answers(
    folder: Path, submission: Submission, notebook: nbformat.NotebookNode, before: Graded | None
) -> bool:
    """Compares with the notebook that was graded; without it, with the hashes of its answers."""
    place = folder / "autograded" / submission.working_name / submission.exercise
    try:
        graded = reading.read(place / f"{submission.exercise}.ipynb")
    except (reading.NotReadableError, OSError):
        return before is not None and before.answers == similar.digests(notebook)
    return _answers(graded, notebook) == _answers(notebook, notebook)


def _answers(notebook: nbformat.NotebookNode, like: nbformat.NotebookNode) -> list[list[str]]:
    """Returns the text of all cells that a student may change, also of cells that the student has added."""
    locked = {
        name
        for cell in like.cells
        if (name := reading.name_of(cell))
        and "solution" in cell.metadata.nbgrader
        and recognition.is_locked(cell)
    }
    return [
        recognition.lines(cell.source)
        for cell in notebook.cells
        if reading.name_of(cell) not in locked and cell.source.strip()
    ]


def remarks_on_cleared(
    submission: Submission, cleared: Mapping[str, str], recorded: Recorded | None
) -> list[Remark]:
    """Returns a remark for each mark that was cleared, until another one is given by hand in the same cell."""
    now = recorded.by_hand if recorded else {}
    return [
        Remark(
            submission.student,
            submission.exercise,
            f"cell {cell}: given by hand for earlier answers, and cleared: {words}",
        )
        for cell, words in cleared.items()
        if cell not in now
    ]


# --- renamed students ---


def follow_renamed(
    folder: Path,
    found: Sequence[Submission],
    students: Collection[str],
    keys: Mapping[str, str],
    graded: dict[str, Graded],
    exercises: Mapping[str, Exercise],
) -> list[Remark]:
    """Gives students whose folder was renamed their earlier marks, comments and feedback.

    A student is taken for a renamed one if the folder holds the same submission, with answers, as that of exactly
    one student whose folder is gone.

    Args:
        folder: the grading folder.
        found: the submissions that can be graded.
        students: the names of all folders.
        keys: submission -> hash of its and the exercise's contents.
        graded: the content of `graded.json`, which is changed.
        exercises: exercise -> its versions.

    Returns:
        Remarks: who was renamed, and of whom there are marks but no folder.
    """
    present = set(map(working_name, students))
    known = {label.rpartition("/")[0] for label in graded}
    pairs = [
        (label.rpartition("/")[0], submission.working_name)
        for label, entry in graded.items()
        for submission in found
        if label.rpartition("/")[0] not in present
        and submission.working_name not in known
        and keys.get(submission.label) == entry.key
        and label.rpartition("/")[2] == submission.exercise
        and _has_answers(submission, exercises)
    ]
    remarks = []
    for old, new in sorted(set(pairs)):
        if {pair for pair in pairs if old in pair or new in pair} == {(old, new)}:
            _rename(folder, old, new)
            for label in [label for label in graded if label.rpartition("/")[0] == old]:
                graded[f"{new}/{label.rpartition('/')[2]}"] = graded.pop(label)
            student = next(of.student for of in found if of.working_name == new)
            remarks.append(Remark(student, "", f"was called {old} before; marks given by hand were kept"))
    return remarks


def remarks_on_absent(students: Sequence[str], recorded: Collection[str]) -> list[Remark]:
    """Returns a remark for each student who has marks, but no folder.

    Args:
        students: the names of the folders.
        recorded: the submissions in the gradebook.
    """
    absent = {label.rpartition("/")[0] for label in recorded} - set(map(working_name, students))
    text = "has marks in the gradebook, but no folder in submitted/ any more: it was renamed or removed"
    return [Remark(student, "", text) for student in sorted(absent)]


def _has_answers(submission: Submission, exercises: Mapping[str, Exercise]) -> bool:
    with contextlib.suppress(reading.NotReadableError, OSError):
        notebook = reading.read(submission.path)
        return recognition.num_answers(notebook, exercises[submission.exercise].release) > 0
    return False


def _rename(folder: Path, old: str, new: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / course_folder.GRADEBOOK)) as database, database:
        if database.execute("SELECT 1 FROM student WHERE id = ?", [new]).fetchone() is None:
            database.execute("UPDATE student SET id = ? WHERE id = ?", [new, old])
            database.execute(
                "UPDATE submitted_assignment SET student_id = ? WHERE student_id = ?", [new, old]
            )
    for kind in ("autograded", "feedback"):
        if (folder / kind / old).is_dir() and not (folder / kind / new).exists():
            (folder / kind / old).rename(folder / kind / new)
