"""Recognise the cells of a submission, and the exercise or the lesson that it belongs to, by their content.

A cell is known by its grade id, which nbgrader has written into it; else by its cell id; else by its text, or by
its place among cells that are known. Some editors and clouds remove both ids.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from mnist_course.grading import reading
from mnist_course.grading.reading import name_of
from mnist_helpers._course import NOTEBOOKS

_ENOUGH = 0.5  # of the cells
_BOUND = re.compile(r"^(?:def|class)\s+(\w+)|^(\w+)\s*=(?!=)", re.MULTILINE)


def lines(source: str) -> list[str]:
    """Returns the lines of a text without spaces at their ends and without empty lines around them."""
    return [line.rstrip() for line in source.strip().splitlines()]


def is_locked(cell: Mapping) -> bool:
    """Returns whether a named cell of an exercise is one that students may not change."""
    nbgrader = cell["metadata"]["nbgrader"]
    return not nbgrader["solution"] and (nbgrader["grade"] or nbgrader["locked"])


def named_cells(notebook: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    """Returns name of a cell -> the cell, in the order of the notebook; cells without a name are left out."""
    return {name: cell for cell in notebook.cells if (name := name_of(cell))}


def is_answered(cell: nbformat.NotebookNode, original: nbformat.NotebookNode) -> bool:
    """Returns whether a cell is neither empty nor as it was given out."""
    return lines(cell.source) not in ([], lines(original.source))


def names(
    cells: Sequence[nbformat.NotebookNode], release: nbformat.NotebookNode
) -> tuple[list[str], list[str]]:
    """Names the cells of a submission as in the exercise; a name can occur several times.

    Args:
        cells: the cells of the submission.
        release: the student's version of the exercise.

    Returns:
        A name per cell, empty for a cell that the exercise does not have; and the names that only the content of
        their cells has shown.
    """
    given = named_cells(release)
    found = [name if (name := name_of(cell)) in given else "" for cell in cells]
    for place, cell in enumerate(cells):
        if not found[place] and not name_of(cell) and (known := cell.get("id", "")) in given:
            found[place] = "" if known in found else known
    before = set(found)
    _name_by_text(cells, given, found)
    _name_by_place(cells, release, found)
    return found, [name for name in given if name in found and name not in before]


def _name_by_text(
    cells: Sequence[nbformat.NotebookNode], given: Mapping[str, nbformat.NotebookNode], found: list[str]
) -> None:
    """Names cells that have the text of a cell of the exercise; the first one of several equal ones comes first."""
    missing = [name for name in given if name not in found]
    for place, cell in enumerate(cells):
        if found[place] or not cell.source.strip():
            continue
        text = lines(cell.source)
        if name := next((name for name in missing if lines(given[name].source) == text), ""):
            found[place] = name
            missing.remove(name)


def _name_by_place(
    cells: Sequence[nbformat.NotebookNode], release: nbformat.NotebookNode, found: list[str]
) -> None:
    """Names changed answers: each is between cells that are known, and binds the names that its task asks for.

    A text has no such names: the cell before or after it must be known.
    """
    places = _places(cells, release, found)
    for number, original in enumerate(release.cells):
        name = name_of(original)
        if not name or name in found or is_locked(original):
            continue
        if not places or (original.cell_type != "code" and not {number - 1, number + 1} & places.keys()):
            continue
        first = max((places[known] for known in places if known < number), default=-1)
        last = min((places[known] for known in places if known > number), default=len(cells))
        free = [
            place
            for place in range(first + 1, last)
            if not found[place] and place not in places.values() and cells[place].source.strip()
        ]
        if fitting := [place for place in free if _fits(cells[place], original)]:
            found[fitting[-1]] = name
            places[number] = fitting[-1]


def _places(
    cells: Sequence[nbformat.NotebookNode], release: nbformat.NotebookNode, found: Sequence[str]
) -> dict[int, int]:
    """Returns number of a cell in the exercise -> its place in the submission, where it is known."""
    texts: dict[tuple[str, ...], int] = {}
    for place, cell in enumerate(cells):
        texts.setdefault(tuple(lines(cell.source)), place)
    places = {}
    for number, original in enumerate(release.cells):
        if (name := name_of(original)) in found and name:
            places[number] = found.index(name)
        elif not name and (text := tuple(lines(original.source))) in texts:
            places[number] = texts[text]
    return places


def _fits(cell: nbformat.NotebookNode, original: nbformat.NotebookNode) -> bool:
    if original.cell_type != "code":
        return cell.cell_type != "code"
    return bool(bound(cell.source) & bound(original.source))


def bound(source: str) -> set[str]:
    """Returns the names that lines of a cell bind; the cell need not be correct Python."""
    return {name for pair in _BOUND.findall(source) for name in pair if name}


def names_of_exercise(release: nbformat.NotebookNode, source: nbformat.NotebookNode) -> dict[str, Any]:
    """Returns names that tests may use, as the exercise has them and not as a student has changed them.

    Returns:
        `imports`: name -> the import statement that binds it; `answers`: the names that the solutions bind.
    """
    imports = {
        (alias.asname or alias.name).partition(".")[0]: ast.unparse(_only(node, alias))
        for cell in release.cells
        if cell.cell_type == "code" and not name_of(cell)
        for node in _statements(cell.source)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    answers = {
        name
        for cell in source.cells
        if name_of(cell) and cell.metadata.nbgrader.solution and cell.cell_type == "code"
        for name in bound(cell.source)
    }
    return {"imports": imports, "answers": sorted(answers)}


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:  # a magic command
        return []


def _only(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    """Returns an import statement with one of its names."""
    if isinstance(node, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(node.module, [alias], node.level)


# --- whole notebooks ---


def share(notebook: nbformat.NotebookNode, release: nbformat.NotebookNode) -> float:
    """Returns which part of an exercise's named cells a notebook has: 0 if it has none of the answers."""
    given = named_cells(release)
    found = set(names(notebook.cells, release)[0]) - {""}
    if not any(not is_locked(given[name]) for name in found):
        return 0.0
    return len(found) / len(given)


def exercise_of(
    notebook: nbformat.NotebookNode, exercises: Mapping[str, nbformat.NotebookNode], named: str = ""
) -> str:
    """Returns the exercise that a notebook belongs to, or the empty string.

    Args:
        notebook: the notebook.
        exercises: exercise -> the student's version.
        named: the exercise that its file name says: then one answer is enough if no other exercise fits better.
    """
    shares = {exercise: share(notebook, release) for exercise, release in exercises.items()}
    ids = named_cells(notebook).keys()

    def closeness(exercise: str) -> tuple[float, int, bool]:
        # A teacher can have made one exercise from another: then the names of cells decide, or that of the file.
        own = named_cells(exercises[exercise]).keys()
        return shares[exercise], len(ids & own), exercise == named

    best = max(exercises, key=closeness, default="")
    if shares.get(best, 0) >= _ENOUGH:
        return best
    return named if shares.get(named, 0) > 0 else ""


def num_answers(notebook: nbformat.NotebookNode, release: nbformat.NotebookNode) -> int:
    """Returns how many answers are there: cells of answers that are not as they were given out."""
    found = names(notebook.cells, release)[0]
    return sum(
        bool(name)
        and not is_locked(original)
        and any(
            is_answered(cell, original)
            for cell, known in zip(notebook.cells, found, strict=True)
            if known == name
        )
        for original in release.cells
        for name in [name_of(original)]
    )


def lesson_of(notebook: nbformat.NotebookNode) -> str:
    """Returns the notebook of the course, not an exercise, that this one is a copy of, or the empty string."""
    own = {tuple(lines(cell.source)) for cell in notebook.cells}
    best = max(_lessons(), key=lambda name: len(own & _lessons()[name]), default="")
    return best if best and len(own & _lessons()[best]) >= _ENOUGH * len(_lessons()[best]) else ""


@functools.cache
def _lessons() -> dict[str, set[tuple[str, ...]]]:
    return {path.stem: set(_texts(path)) for path in _course_notebooks()}


def _course_notebooks() -> Iterator[Path]:
    yield from NOTEBOOKS.glob("*.ipynb")
    yield from NOTEBOOKS.glob("further/*.ipynb")


def _texts(path: Path) -> Iterator[tuple[str, ...]]:
    for cell in reading.read(path).cells:
        if cell.source.strip():
            yield tuple(lines(cell.source))
