"""A grading folder: what is where in it, and the checks of what was found there.

source/, release/, nbgrader_config.py         written by `assignments build`
submitted/STUDENT/                            what the students hand in
autograded/, feedback/, gradebook.db          written by nbgrader
graded.json, report.*, marks.csv              written by `assignments grade`
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat

from mnist_course.grading import submissions
from mnist_helpers import _files
from mnist_helpers._errors import UserError

GRADED_FILE = "graded.json"
CONFIG_FILE = "nbgrader_config.py"
_MADE_BY = "# Made by mnist-course assignments build."
CONFIG = f"""{_MADE_BY} nbgrader reads this file too, and lines may be added.
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


def check_free(folder: Path) -> None:
    """Checks that a grading folder can be built here.

    Raises:
        UserError: the folder holds other things, or cannot be a folder.
    """
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
    path = folder / CONFIG_FILE
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith(_MADE_BY)


def built(folder: Path) -> list[str]:
    """Returns the exercises of a grading folder.

    Raises:
        UserError: `build` has not made this folder.
    """
    lessons = sorted(path.name for path in folder.glob("release/*") if path.is_dir())
    if not (folder.is_dir() and _is_ours(folder) and lessons and (folder / "submitted").is_dir()):
        raise UserError(
            f"{folder} is no course with exercises. Expected: a folder that `mnist-course assignments build` "
            "has made."
        )
    return lessons


def cells(folder: Path, lessons: Sequence[str]) -> dict[str, set[str]]:
    """Lesson -> the names of its cells."""
    return {
        lesson: set(filter(None, map(submissions.name_of, exercise(folder, lesson)[0].cells)))
        for lesson in lessons
    }


def exercise(folder: Path, lesson: str) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """Reads an exercise: what students got, and the solution version with the hidden tests."""
    return tuple(read(folder / kind / lesson / f"{lesson}.ipynb") for kind in ("release", "source"))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the lock of a grading folder.

    Raises:
        UserError: another process grades in it.
    """
    import filelock

    try:
        with filelock.FileLock(folder / ".grading.lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(
            f"Another process grades in {folder} at this moment. Wait until it has ended."
        ) from error


def read_graded(folder: Path) -> dict[str, dict[str, Any]]:
    """Reads `graded.json`: what is known of each submission that was graded."""
    path = folder / GRADED_FILE
    return _files.read_json(path) if path.is_file() else {}


def read(path: Path) -> nbformat.NotebookNode:
    """Reads a notebook of the course."""
    return nbformat.read(path, as_version=4)


def write(path: Path, text: str) -> None:
    """Writes a text file; it is complete or absent."""
    with _files.atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")
