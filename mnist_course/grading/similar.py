"""Submissions with the same answers: found for the teacher, who judges them.

Two submissions count as the same if all their answers are the same without comments and spaces, and at least one
answer differs from the exercise as it was given out. Short exercises have few good answers, so two students can
arrive at the same ones independently.
"""

from __future__ import annotations

import hashlib
import io
import tokenize
from collections.abc import Collection, Mapping

import nbformat

from mnist_course.grading import submissions
from mnist_course.grading.submissions import Remark

_MAX_NAMES = 5
_MAX_CHARACTERS = (
    20_000  # of an answer whose comments are removed; for some texts the time grows with the square
)
# Tokens without a meaning for the program. Of an indentation only its level counts.
_LEFT_OUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_STRUCTURE = {tokenize.NEWLINE: "\n", tokenize.INDENT: "\x01", tokenize.DEDENT: "\x02"}


def digests(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Returns name of an answer -> a hash of its text, which neither comments nor spaces change.

    Args:
        notebook: a repaired submission, or the release of an exercise.
    """
    answers = {
        name: _normalised(cell.source) if cell.cell_type == "code" else " ".join(cell.source.split())
        for cell in notebook.cells
        if (name := submissions.name_of(cell)) and cell.metadata.nbgrader.solution
    }
    return {
        name: hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        for name, text in answers.items()
    }


def _normalised(source: str) -> str:
    """Returns code without comments and spaces; of code that is not Python, only the spaces are removed."""
    if len(source) > _MAX_CHARACTERS:
        return " ".join(source.split())
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    # IPython's own syntax, such as `!pip install ...`, and half a character are compared as text.
    except (SyntaxError, UnicodeError, tokenize.TokenError):
        return " ".join(source.split())
    return " ".join(
        _STRUCTURE.get(token.type, token.string) for token in tokens if token.type not in _LEFT_OUT
    ).strip()


def remarks(
    answers: Mapping[str, Mapping[str, Mapping[str, str]]], releases: Mapping[str, Mapping[str, str]]
) -> list[Remark]:
    """Names the students whose submissions have the same answers.

    Args:
        answers: student -> exercise -> its `digests`; empty if they are not known.
        releases: exercise -> the `digests` of its release.

    Returns:
        One remark for each of these students and exercises.
    """
    alike: dict[tuple, list[str]] = {}
    for student, of_student in answers.items():
        for exercise, found in of_student.items():
            if _changed(found, releases[exercise]):
                alike.setdefault((exercise, *sorted(found.items())), []).append(student)
    return [
        Remark(student, exercise, _text(student, students, _changed(dict(found), releases[exercise]), found))
        for (exercise, *found), students in alike.items()
        if len(students) > 1
        for student in students
    ]


def _changed(found: Mapping[str, str], release: Mapping[str, str]) -> int:
    """Returns the number of answers that a student has changed."""
    return sum(digest != release.get(name) for name, digest in found.items())


def _text(student: str, students: Collection[str], changed: int, cells: Collection) -> str:
    others = [name for name in students if name != student]
    more = f" and {len(others) - _MAX_NAMES} others" if len(others) > _MAX_NAMES else ""
    names = ", ".join(others[:_MAX_NAMES]) + more
    return (
        f"all answers are identical to those of {names}, apart from comments and spaces ({changed} of "
        f"{len(cells)} answers were filled in); this can be a coincidence: compare the submissions"
    )
