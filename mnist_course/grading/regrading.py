"""Grade again: a gradebook that was deleted, students whose folder was renamed, and marks given by hand.

A mark given by hand belongs to the answers that the teacher has read. It stays while they stay; for changed answers
it is cleared, and the report says what it was.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from mnist_course.grading import course_folder, nbgrader_bridge, reading, recognition, recorded, similar
from mnist_course.grading.course_folder import Exercise, Graded
from mnist_course.grading.recorded import Recorded
from mnist_course.grading.submissions import Remark, Submission, working_name


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


def is_complete(entry: Graded, known: Recorded | None, tests: Collection[str]) -> bool:
    """Returns whether the gradebook holds the marks that an earlier command has recorded.

    It does not after it was deleted, or replaced by an older copy.
    """
    if entry.seconds is None:
        return True  # the submission could not be graded, and has no marks
    if known is None or not set(tests) <= known.scores.keys():
        return False
    return not entry.scores or entry.scores == known.scores


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
            for cell, words in recorded.of_submission(found).by_hand.items()
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
    submission: Submission, cleared: Mapping[str, str], known: Recorded | None
) -> list[Remark]:
    """Returns a remark for each mark that was cleared, until another one is given by hand in the same cell."""
    now = known.by_hand if known else {}
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


def remarks_on_absent(students: Sequence[str], known: Collection[str]) -> list[Remark]:
    """Returns a remark for each student who has marks, but no folder.

    Args:
        students: the names of the folders.
        known: the submissions in the gradebook.
    """
    absent = {label.rpartition("/")[0] for label in known} - set(map(working_name, students))
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
