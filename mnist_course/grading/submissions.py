"""What students hand in: found, read and repaired, before anything of it runs.

Nothing here fails on a hand-in: what is wrong with it is said in words, for the report.
"""

from __future__ import annotations

import copy
import re
import unicodedata
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat

from mnist_helpers._errors import UserError

MAX_BYTES = 20 * 2**20
_NAME = re.compile(
    r"\w(?:[\w.@+ '’-]{0,98}[\w.@+-])?"
)  # of a student: safe as a folder, in a pattern and in a spreadsheet
_COPY = re.compile(
    r"(.+?)(?:-Copy\d*|[ _]?\(\d+\)|_?copy\d*)", re.IGNORECASE
)  # as JupyterLab and browsers name them
_NOT_WORK = {"timestamp.txt"}  # nbgrader's own


class Submission(NamedTuple):
    """One notebook of one student.

    Attributes:
        student: the name of the student's folder.
        lesson: the lesson that it belongs to.
        path: where it lies.
        can_be_graded: False if the student's folder has a name that does not do.
    """

    student: str
    lesson: str
    path: Path
    can_be_graded: bool = True

    @property
    def label(self) -> str:
        """How it is called in `graded.json` and in messages."""
        return f"{self.student}/{self.lesson}"


# --- finding ---


def find(
    submitted: Path, lessons: Mapping[str, Collection[str]]
) -> tuple[list[Submission], dict[str, list[str]]]:
    """Finds the hand-ins in STUDENT/LESSON/LESSON.ipynb (as nbgrader collects them) and STUDENT/LESSON.ipynb.

    A notebook with another name belongs to the lesson whose cells it has.

    Args:
        submitted: the folder with one folder per student.
        lessons: the lessons that have an exercise -> the names of its cells.

    Returns:
        The hand-ins, sorted; and student -> what else lies there. Every student is a key; what belongs to none
        of them stands under the empty string.
    """
    found, problems = [], {"": []}
    for folder in sorted(submitted.iterdir(), key=lambda path: (path.name.casefold(), path.name)):
        if folder.name.startswith("."):
            continue
        if folder.is_symlink() or not folder.is_dir():
            problems[""].append(f"{folder.name!r} is no folder of a student; not graded")
        elif not _NAME.fullmatch(unicodedata.normalize("NFC", folder.name)):
            student = folder.name.encode("utf-8", "backslashreplace").decode()
            found += [
                hand_in._replace(student=student, can_be_graded=False)
                for hand_in in _of_student(folder, lessons, problems.setdefault(student, []))
            ]
            problems[student].append(
                "rename the folder, then grade again (letters, digits, . _ - @ + ' and spaces); not graded"
            )
        else:
            found += _of_student(folder, lessons, problems.setdefault(folder.name, []))
    return found, problems


def _of_student(folder: Path, lessons: Mapping[str, Collection[str]], said: list[str]) -> list[Submission]:
    by_lesson: dict[str, list[Path]] = {}
    for path in _files(folder):
        name = path.relative_to(folder)
        if path.is_symlink():
            said.append(f"{name} is a link; not followed")
        elif lesson := _lesson(path.name, lessons) or _lesson_by_cells(path, lessons):
            by_lesson.setdefault(lesson, []).append(path)
        elif path.name not in _NOT_WORK:
            said.append(f"{name} belongs to no exercise; not graded")
    return [
        Submission(folder.name, lesson, _chosen(by_lesson[lesson], lesson, folder, said))
        for lesson in sorted(by_lesson)
    ]


def _files(folder: Path) -> list[Path]:
    """The files of a student, two levels deep, without hidden ones."""
    files = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink() and path.suffix != ".ipynb":
            files += [inner for inner in sorted(path.iterdir()) if not inner.name.startswith(".")]
        else:
            files.append(path)
    return files


def _lesson(name: str, lessons: Collection[str]) -> str:
    """The lesson that a file belongs to by its name, or the empty string."""
    if not name.endswith(".ipynb"):
        return ""
    stem = name.removesuffix(".ipynb")
    copied = _COPY.fullmatch(stem)
    return next((known for known in (stem, copied[1] if copied else "") if known in lessons), "")


def _lesson_by_cells(path: Path, lessons: Mapping[str, Collection[str]]) -> str:
    """The lesson of which a notebook has at least half of the cells, or the empty string."""
    if path.suffix != ".ipynb":
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat's, about what `repair` mends
            names = {name_of(cell) for cell in read(path).cells}
    except ValueError:
        return ""
    shares = {
        lesson: len(names.intersection(cells)) / len(cells) for lesson, cells in lessons.items() if cells
    }
    lesson = max(shares, key=shares.__getitem__, default="")
    return lesson if shares.get(lesson, 0) >= 0.5 else ""


def _chosen(paths: list[Path], lesson: str, folder: Path, said: list[str]) -> Path:
    """The file with the exercise's own name, else the newest; the others are named."""
    exact = [path for path in paths if path.name == f"{lesson}.ipynb"]
    chosen = max(exact or paths, key=lambda path: path.stat().st_mtime)
    if not exact:
        said.append(f"{chosen.relative_to(folder)} was taken for {lesson}.ipynb")
    said += [
        f"{path.relative_to(folder)} was left out: {chosen.relative_to(folder)} counts"
        for path in paths
        if path != chosen
    ]
    return chosen


# --- reading ---


def read(path: Path) -> nbformat.NotebookNode:
    """Reads a notebook that anybody may have written.

    Raises:
        UserError: it is none; the message says so in words for the report.
    """
    if not path.is_file():
        raise UserError("is no file; not graded")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(
            f"has {size / 2**20:.0f} MiB, and {MAX_BYTES / 2**20:.0f} may be handed in; not graded"
        )
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        _, notebook = nbformat.validator.normalize(notebook)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat stumbles over strange files in many ways
        raise UserError(f"is no notebook ({type(error).__name__}: {_short(error)}); not graded") from error
    return notebook


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


# --- repairing ---


def name_of(cell: Mapping) -> str:
    """The name of a cell that nbgrader knows (its `grade_id`); empty for others."""
    nbgrader = cell["metadata"].get("nbgrader")
    name = nbgrader.get("grade_id") if isinstance(nbgrader, Mapping) else ""
    return name if isinstance(name, str) else ""


def repair(
    notebook: nbformat.NotebookNode, release: nbformat.NotebookNode, source: nbformat.NotebookNode
) -> tuple[nbformat.NotebookNode, list[str]]:
    """Brings a hand-in back to what nbgrader expects: each of its cells once, tests as the teacher wrote them.

    Args:
        notebook: what was handed in.
        release: what the student was given.
        source: the solution version, with the hidden tests.

    Returns:
        The notebook to run, and what was wrong.
    """
    given = {name: cell for cell in release.cells if (name := name_of(cell))}
    tests = {name: cell for cell in source.cells if (name := name_of(cell))}
    cells, problems = _single(copy.deepcopy(notebook.cells), given)
    names = [cells_name for cells_name, _ in cells if cells_name]
    in_order = sorted(names, key=list(given).index)
    if names != in_order:
        moved = next(name for name, right in zip(names, in_order, strict=True) if name != right)
        problems.append(f"cells stand in another order than in the exercise, from {moved} on")
    cells = [(name, _restored(name, cell, given, tests, problems)) for name, cell in cells]
    _put_back(cells, release, tests, problems)
    repaired = copy.deepcopy(release)
    repaired.cells = [cell for _, cell in cells]
    return nbformat.validator.normalize(repaired)[1], problems


def _single(
    cells: list[nbformat.NotebookNode], given: Mapping[str, nbformat.NotebookNode]
) -> tuple[list[tuple[str, nbformat.NotebookNode]], list[str]]:
    """Names the cells, each name once: of copies the last one counts, as with nbgrader."""
    names = [name_of(cell) for cell in cells]
    # Where the metadata were lost, the cell's id still tells what it was.
    names = [
        name or (cell.get("id", "") if cell.get("id") not in names else "")
        for name, cell in zip(names, cells, strict=True)
    ]
    problems = []
    for cell in cells:
        cell.metadata.pop("nbgrader", None)
    for name in given:
        places = [place for place, known in enumerate(names) if known == name]
        for place in places[:-1]:
            names[place] = ""
        if len(places) > 1:
            problems.append(f"cell {name} is there {len(places)} times; the last one counts")
    names = [name if name in given else "" for name in names]
    return list(zip(names, cells, strict=True)), problems


def _restored(
    name: str,
    cell: nbformat.NotebookNode,
    given: Mapping[str, nbformat.NotebookNode],
    tests: Mapping[str, nbformat.NotebookNode],
    problems: list[str],
) -> nbformat.NotebookNode:
    """A cell with the type and metadata that it was given with; a locked one with the teacher's text."""
    if not name:
        return cell
    original = given[name]
    restored = copy.deepcopy(original)
    if cell.cell_type != original.cell_type:
        problems.append(f"cell {name} was a {cell.cell_type} cell; it is a {original.cell_type} cell again")
    if not _is_locked(original):
        restored.source = cell.source
        return restored
    if cell.source.strip() not in (original.source.strip(), tests[name].source.strip()):
        problems.append(f"cell {name} was changed, and is not the student's to change; the original counts")
    restored.source = tests[name].source
    return restored


def _put_back(
    cells: list[tuple[str, nbformat.NotebookNode]],
    release: nbformat.NotebookNode,
    tests: Mapping[str, nbformat.NotebookNode],
    problems: list[str],
) -> None:
    """Puts missing cells back behind the one that they followed: those of nbgrader, and code such as imports."""
    after = 0
    for original in release.cells:
        name = name_of(original)
        if not name and original.cell_type != "code":
            continue
        places = [
            place
            for place, (known, cell) in enumerate(cells)
            if (known == name if name else cell.get("id") == original.id or cell.source == original.source)
        ]
        if places:
            after = places[0] + 1
            continue
        missing = copy.deepcopy(original)
        if name and _is_locked(original):
            missing.source = tests[name].source
        cells.insert(after, (name, missing))
        after += 1
        problems.append(f"cell {name or original.id} was missing; put back as it was given")


def _is_locked(cell: Mapping) -> bool:
    nbgrader = cell["metadata"]["nbgrader"]
    return not nbgrader["solution"] and (nbgrader["grade"] or nbgrader["locked"])
