"""A grading folder: its files, and the checks of what earlier commands have left in it.

source/, release/, nbgrader_config.py      written by `assignments build`
submitted/STUDENT/                         what students submit
autograded/, feedback/, gradebook.db       written by nbgrader
graded.json, report.*, marks.csv,          written by `assignments grade`
sentences.html, sentences.csv
roster.csv, collected.json, replaced/      written by `assignments collect`
"""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import nbformat

from mnist_helpers import _files, results
from mnist_helpers._errors import UserError

CONFIG_FILE, GRADEBOOK, SUBMITTED = "nbgrader_config.py", "gradebook.db", "submitted"
TIMESTAMP = "timestamp.txt"  # nbgrader's: when a notebook was submitted, in UTC
_GRADED_FILE = "graded.json"
_MADE_BY = "# Made by mnist-course assignments build."
CONFIG = f"""{_MADE_BY} nbgrader reads this file too, and lines may be added.
c = get_config()  # noqa: F821

# A gap is a comment, not an error: the tests say what is not done yet.
c.ClearSolutions.code_stub = {{"python": "# write your code here"}}
c.ClearSolutions.text_stub = "Write your answer here (double-click this text)."
# nbgrader counts everything that a test cell writes to standard error as a failure, also warnings.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s)."
# A student's HTML may hold scripts, which would run when the feedback is read.
c.SanitizeHTML.enabled = True
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    "nbconvert.preprocessors.sanitize.SanitizeHTML",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
"""


class Exercise(typing.NamedTuple):
    """An exercise: the version that students get, and the solution version with the hidden tests."""

    release: nbformat.NotebookNode
    source: nbformat.NotebookNode


def check_place(folder: Path) -> None:
    """Checks that a grading folder can be built here.

    Raises:
        UserError: the folder holds other things, cannot be written, or was built by an older version.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give a new or an empty one.")
    if not _files.is_writable_place(folder):
        raise UserError(f"{folder} cannot be made or written. Give another place.")
    if folder.is_dir() and any(folder.iterdir()) and not _is_built(folder):
        expected = "a new or an empty folder, or one that `mnist-course assignments build` has made"
        raise UserError(f"{folder} holds other things. Expected: {expected}.")
    _check_version(folder, [path.name for path in (*folder.glob("source/*"), *folder.glob("release/*"))])
    read_graded(folder)


def exercises(folder: Path) -> list[str]:
    """Returns the names of the exercises in a grading folder.

    Raises:
        UserError: `build` has not made this folder, or it was built by an older version.
    """
    names = sorted(path.name for path in folder.glob("release/*") if path.is_dir())
    if not (folder.is_dir() and _is_built(folder) and names and (folder / SUBMITTED).is_dir()):
        expected = "a folder that `mnist-course assignments build` has made"
        raise UserError(f"{folder} is not a grading folder. Expected: {expected}.")
    _check_version(folder, names)
    return names


def lock(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Returns what keeps a second command from changing a grading folder at the same time.

    Raises:
        UserError: another process holds it; raised on entering.
    """
    return _files.lock(
        folder / ".grading.lock", f"Another process is grading in {folder}. Wait until it has ended."
    )


def _is_built(folder: Path) -> bool:
    path = folder / CONFIG_FILE
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith(_MADE_BY)


def _check_version(folder: Path, exercises: Collection[str]) -> None:
    """In older versions an exercise had the name of its lesson."""
    if old := sorted(set(results.LESSONS).intersection(exercises)):
        raise UserError(
            f"{folder} was made by an older version of the course: it has exercise {old[0]}, and exercises are "
            f"named exercise_01 to exercise_0{len(results.LESSONS)} now. Build a new folder, and copy {SUBMITTED}/ "
            "into it: files with old names are recognised by their cells."
        )


def read_exercise(folder: Path, exercise: str) -> Exercise:
    """Reads both versions of an exercise.

    Raises:
        UserError: a file is missing or damaged.
    """
    return Exercise(*(read(folder / kind / exercise / f"{exercise}.ipynb") for kind in Exercise._fields))


def read(path: Path) -> nbformat.NotebookNode:
    """Reads a notebook of the course.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises many kinds of errors on damaged files
        reason = (str(error).strip() or "no details").splitlines()[0][:200]
        raise UserError(
            f"{path} is not a notebook ({type(error).__name__}: {reason}). To restore it, build the grading folder "
            "again."
        ) from error
    return notebook


# --- what is graded already ---


@dataclasses.dataclass
class Graded:
    """What `graded.json` holds about one submission.

    Attributes:
        key: hash of the submission's and the exercise's contents.
        isolated: whether it ran in isolation.
        try_again: True if another attempt can give another result.
        too_small: the limits (seconds, bytes) with which the submission ran out of time.
        seconds: duration of its run; `None` if it was not graded.
        problems: what was wrong with it.
        messages: failed test, or answer that raised an error -> its message.
        not_done: failed tests that say that the answer is missing.
        sentences: answer that a teacher reads -> its text.
        answers: answer -> a hash of its text, to find submissions with the same answers.
        in_feedback: the marks and comments that its feedback page shows.
        scores: test -> points that the test gave, as the gradebook then held them.
        cleared: cell -> a mark or comment, given by hand for earlier answers, that no longer counts.
    """

    key: str
    isolated: bool
    try_again: bool = False
    too_small: list | None = None
    seconds: float | None = None
    problems: list = dataclasses.field(default_factory=list)
    messages: dict = dataclasses.field(default_factory=dict)
    not_done: list = dataclasses.field(default_factory=list)
    sentences: dict = dataclasses.field(default_factory=dict)
    answers: dict = dataclasses.field(default_factory=dict)
    in_feedback: dict | None = None
    scores: dict = dataclasses.field(default_factory=dict)
    cleared: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(Graded).items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is a {type(getattr(self, name)).__name__}")
        texts = [*self.problems, *self.messages.values(), *self.not_done, *self.sentences.values()]
        texts += [*self.answers.values(), *self.cleared.values()]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a problem, a message, a sentence or the name of a test is not a text")
        if self.too_small and [type(limit) for limit in self.too_small] != [int, int]:
            raise TypeError("too_small does not hold two whole numbers")


def read_graded(folder: Path) -> dict[str, Graded]:
    """Reads `graded.json`: submission (STUDENT/EXERCISE) -> what is known about it.

    Raises:
        UserError: the file is damaged, or an older version wrote it.
    """
    path = folder / _GRADED_FILE
    advice = "Delete it: all submissions are graded again then; marks given by hand stay in gradebook.db."
    if not path.is_file():
        return {}
    content: Any = _files.read_json(path, advice)
    try:
        _check_version(folder, [label.rpartition("/")[2] for label in content])
        return {label: Graded(**entry) for label, entry in content.items()}
    except (AttributeError, TypeError) as error:
        wrong = f"{path} is damaged, or was written by another version ({error})"
        raise UserError(f"{wrong}. {advice}") from error


def write_graded(folder: Path, graded: Mapping[str, Graded]) -> None:
    """Writes `graded.json`."""
    content = {label: dataclasses.asdict(entry) for label, entry in graded.items()}
    _files.write_json(folder / _GRADED_FILE, content)
