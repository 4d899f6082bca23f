"""What students submit: find it, read it and repair it, before anything of it runs.

A faulty submission never raises an error: what is wrong with it becomes a remark in the report.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import unicodedata
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import nbformat

from mnist_helpers._errors import UserError

MAX_BYTES = 20 * 2**20
# A student's name must be safe as a folder, in a glob pattern and in a spreadsheet.
_NAME = re.compile(r"\w(?:[\w.@+ '’-]{0,98}[\w.@+-])?")
# JupyterLab and browsers give these names to copies.
_COPY = re.compile(r"(.+?)(?:-Copy\d*|[ _]?\(\d+\)|_?copy\d*)", re.IGNORECASE)
_IGNORED = {"timestamp.txt"}  # nbgrader's own


class NotReadableError(UserError):
    """The content of a submission cannot be read as a notebook; another attempt gives the same result."""


@dataclasses.dataclass(frozen=True)
class Submission:
    """One notebook of one student.

    Attributes:
        student: the name of the student's folder.
        exercise: the exercise that it belongs to.
        path: the file.
        can_be_graded: False if the student's folder has a name that cannot be used.
    """

    student: str
    exercise: str
    path: Path
    can_be_graded: bool = True

    @property
    def label(self) -> str:
        """Its name in `graded.json` and in messages."""
        return f"{self.student}/{self.exercise}"


@dataclasses.dataclass(frozen=True)
class Remark:
    """Something that the teacher should know.

    Attributes:
        student: the student concerned, or the empty string.
        exercise: the exercise concerned, or the empty string.
        text: what is wrong.
        not_graded: True if something was not graded for this reason.
    """

    student: str
    exercise: str
    text: str
    not_graded: bool = False


# --- finding ---


def find(
    submitted: Path, exercises: Mapping[str, Collection[str]]
) -> tuple[list[Submission], list[str], list[Remark]]:
    """Finds submissions in STUDENT/EXERCISE/EXERCISE.ipynb (nbgrader's layout) and STUDENT/EXERCISE.ipynb.

    A notebook with another name belongs to the exercise whose cells it has.

    Args:
        submitted: the folder with one folder per student.
        exercises: exercise -> the names of its cells.

    Returns:
        The submissions, all students (also those without a submission), and remarks about everything else that
        was found.
    """
    found: list[Submission] = []
    students: list[str] = []
    remarks: list[Remark] = []
    for folder in sorted(submitted.iterdir(), key=lambda path: (path.name.casefold(), path.name)):
        if folder.name.startswith("."):
            continue
        if folder.is_symlink() or not folder.is_dir():
            remarks.append(Remark("", "", f"{folder.name!r} is not a student's folder", not_graded=True))
            continue
        student = folder.name.encode("utf-8", "backslashreplace").decode()
        can_be_graded = bool(_NAME.fullmatch(unicodedata.normalize("NFC", folder.name)))
        students.append(student)
        if not can_be_graded:
            text = "rename the folder, then grade again (letters, digits, . _ - @ + ' and spaces)"
            remarks.append(Remark(student, "", text, not_graded=True))
        found += [
            Submission(student, exercise, path, can_be_graded)
            for exercise, path in _of_student(folder, student, exercises, remarks)
        ]
    return found, students, remarks


def _of_student(
    folder: Path, student: str, exercises: Mapping[str, Collection[str]], remarks: list[Remark]
) -> list[tuple[str, Path]]:
    by_exercise: dict[str, list[Path]] = {}
    for path in _files(folder):
        name = path.relative_to(folder)
        if path.is_symlink():
            remarks.append(Remark(student, "", f"{name} is a link; it was not followed"))
        elif exercise := _exercise_by_name(path.name, exercises) or _exercise_by_cells(path, exercises):
            by_exercise.setdefault(exercise, []).append(path)
        elif path.name not in _IGNORED:
            remarks.append(Remark(student, "", f"{name} belongs to no exercise", not_graded=True))
    chosen = []
    for exercise, paths in sorted(by_exercise.items()):
        path, texts = _chosen(paths, exercise, folder)
        chosen.append((exercise, path))
        remarks += [Remark(student, "", text) for text in texts]
    return chosen


def _files(folder: Path) -> list[Path]:
    """Returns the files of a student, two levels deep, without hidden ones."""
    files: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink() and path.suffix != ".ipynb":
            files += [inner for inner in sorted(path.iterdir()) if not inner.name.startswith(".")]
        else:
            files.append(path)
    return files


def _exercise_by_name(name: str, exercises: Collection[str]) -> str:
    """Returns the exercise that a file belongs to by its name, or the empty string."""
    if not name.endswith(".ipynb"):
        return ""
    stem = name.removesuffix(".ipynb")
    copied = _COPY.fullmatch(stem)
    return next((known for known in (stem, copied[1] if copied else "") if known in exercises), "")


def _exercise_by_cells(path: Path, exercises: Mapping[str, Collection[str]]) -> str:
    """Returns the exercise of which a notebook has at least half of the cells, or the empty string."""
    if path.suffix != ".ipynb":
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat warns about what `repair` corrects
            names = {name_of(cell) for cell in read(path).cells}
    except (NotReadableError, OSError):
        return ""
    shares = {
        exercise: len(names.intersection(cells)) / len(cells)
        for exercise, cells in exercises.items()
        if cells
    }
    exercise = max(shares, key=shares.__getitem__, default="")
    return exercise if shares.get(exercise, 0) >= 0.5 else ""


def _chosen(paths: list[Path], exercise: str, folder: Path) -> tuple[Path, list[str]]:
    """Returns the file with the exercise's own name, otherwise the newest one, and remarks about the others."""
    exact = [path for path in paths if path.name == f"{exercise}.ipynb"]
    chosen = max(exact or paths, key=lambda path: path.stat().st_mtime)
    name = chosen.relative_to(folder)
    texts = [] if exact else [f"{name} was taken for {exercise}.ipynb"]
    texts += [f"{path.relative_to(folder)} was left out: {name} counts" for path in paths if path != chosen]
    return chosen, texts


# --- reading ---


def read(path: Path) -> nbformat.NotebookNode:
    """Reads a notebook with any content.

    Raises:
        NotReadableError: the file is not a notebook; the error is a remark for the report.
        OSError: the file cannot be read now.
    """
    if not path.is_file():
        raise NotReadableError("is not a file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise NotReadableError(f"has {size / 2**20:.0f} MiB; at most {MAX_BYTES / 2**20:.0f} MiB are read")
    content = path.read_bytes()
    try:
        notebook = nbformat.reads(content.decode("utf-8"), as_version=4)
        _, notebook = nbformat.validator.normalize(notebook)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises many kinds of errors on damaged files
        reason = (str(error).strip() or "no details").splitlines()[0][:200]
        raise NotReadableError(f"is not a notebook ({type(error).__name__}: {reason})") from error
    return notebook


# --- repairing ---


def name_of(cell: Mapping) -> str:
    """Returns the name of a cell that nbgrader knows (its `grade_id`), or the empty string."""
    nbgrader = cell["metadata"].get("nbgrader")
    name = nbgrader.get("grade_id") if isinstance(nbgrader, Mapping) else ""
    return name if isinstance(name, str) else ""


def repair(
    notebook: nbformat.NotebookNode, release: nbformat.NotebookNode, source: nbformat.NotebookNode
) -> tuple[nbformat.NotebookNode, list[str]]:
    """Brings a submission into the form that nbgrader expects: each cell once, with the teacher's tests.

    Args:
        notebook: the submission.
        release: the student's version of the exercise.
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
        problems.append(f"the cells are in another order than in the exercise, from {moved} on")
    cells = [(name, _restored(name, cell, given, tests, problems)) for name, cell in cells]
    _put_back(cells, release, tests, problems)
    repaired = copy.deepcopy(release)
    repaired.cells = [cell for _, cell in cells]
    return nbformat.validator.normalize(repaired)[1], problems


def _single(
    cells: list[nbformat.NotebookNode], given: Mapping[str, nbformat.NotebookNode]
) -> tuple[list[tuple[str, nbformat.NotebookNode]], list[str]]:
    """Names the cells, each name once: the last of several copies counts, as in nbgrader."""
    names = [name_of(cell) for cell in cells]
    # A cell that has lost its metadata is still recognised by its id.
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
    """Returns a cell with its original type and metadata; a locked cell also with the teacher's text."""
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
        problems.append(f"cell {name} is locked and was changed; the original counts")
    restored.source = tests[name].source
    return restored


def _put_back(
    cells: list[tuple[str, nbformat.NotebookNode]],
    release: nbformat.NotebookNode,
    tests: Mapping[str, nbformat.NotebookNode],
    problems: list[str],
) -> None:
    """Inserts missing cells after the one that they followed: nbgrader's cells, and code such as imports."""
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
        problems.append(f"cell {name or original.id} was missing; the original was put back")


def _is_locked(cell: Mapping) -> bool:
    nbgrader = cell["metadata"]["nbgrader"]
    return not nbgrader["solution"] and (nbgrader["grade"] or nbgrader["locked"])
