"""A student's own copy of the lessons and exercises, updated without touching the student's work.

    notebooks/ -> notebooks without outputs -> FOLDER/START_HERE.ipynb, FOLDER/01_data_exploration.ipynb ...,
                  FOLDER/further/, FOLDER/pictures/, FOLDER/exercises/, and if asked for FOLDER/exercises/solutions/

A file is replaced only if it is what the course gave: byte for byte, or, for a notebook, cell for cell. Outputs,
metadata and empty cells do not count, so a notebook that was only opened, run and saved is replaced, too. The
manifest `.mnist-course.json` in the folder holds `given` (path -> sha256 of what was written there), `cells` (path
-> sha256 of the cells of what was written there) and `newest` (path -> sha256 of the newest version that the
student has, at that path or beside it). It is written after each file; if it is lost or damaged, every file counts
as the student's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_course import lessons
from mnist_helpers import _files, results
from mnist_helpers._errors import UserError

MANIFEST = ".mnist-course.json"
EXERCISES = "exercises"
RELEASE = f"{EXERCISES}/release"  # in the course: the students' versions, without solutions
SOLUTIONS = f"{EXERCISES}/solutions"  # in a student's folder
_LOCK = ".mnist-course.lock"  # the first file in a student's folder
_FIRST = "START_HERE.ipynb"
_FOLDERS = (EXERCISES, "further", "pictures")  # in a student's folder
# Relative targets of links and pictures in Markdown and HTML.
_LINK = re.compile(r"""(\]\(|\b(?:href|src)=["'])(?![a-z]+:|[#/])""")

Manifest = dict[str, dict[str, str]]


def start(folder: Path, *, solutions: bool = False) -> list[str]:
    """Updates a student's folder: adds new files, replaces untouched ones, keeps all others.

    Args:
        folder: the student's folder; it is created if it is missing.
        solutions: whether to write the solutions of the exercises, too.

    Returns:
        Lines to print: what was done with each file, and what to do next.

    Raises:
        UserError: the folder cannot be used, another process is updating it, or this course has no solutions;
            nothing was written.
    """
    folders = (*_FOLDERS, SOLUTIONS) if solutions else _FOLDERS
    path = _checked_folder(folder, folders)
    files = _course_files() | (_solutions() if solutions else {})
    path.mkdir(parents=True, exist_ok=True)
    with _files.lock(path / _LOCK, f"Another process is updating {path}. Wait until it has ended."):
        lines = _write_all(path, folders, files)
    return [*lines, *_about_results()]


def notebooks() -> list[Path]:
    """Returns the first page, the lessons and the optional notebooks, which a student gets without outputs."""
    return [lessons.NOTEBOOKS / _FIRST, *(results.notebook_path(lesson) for lesson in results.IN_ORDER)]


def clean(path: Path) -> str:
    """Returns a notebook as JSON, as a student gets it: without outputs."""
    import nbformat
    from nbconvert.preprocessors import ClearOutputPreprocessor

    notebook = nbformat.read(path, as_version=4)
    clean, _ = ClearOutputPreprocessor().preprocess(notebook, {})
    for cell in clean.cells:
        cell.metadata.pop("source_sha256", None)
    nbformat.validate(clean)
    return nbformat.writes(clean) + "\n"


def _checked_folder(folder: Path, inside: Sequence[str]) -> Path:
    """Returns the folder without symbolic links in its path.

    Args:
        folder: the student's folder.
        inside: its own folders that the course uses.

    Raises:
        UserError: the folder cannot be used.
    """
    path = folder.expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise UserError(f"Expected: a folder of your own, new or not. Received: {path}, which is a file.")
    if _is_part_of_course(path):
        expected = "Expected: a folder of your own, such as my-course"
        raise UserError(f"{path} is part of the course itself. {expected}.")
    folders = [path / name for name in inside]
    for inner in folders:
        if os.path.lexists(inner) and (inner.is_symlink() or not inner.is_dir()):
            why = "a link or a file, and the course has a folder of that name"
            raise UserError(f"{inner} is {why}. Move it.")
    for own in (path / MANIFEST, path / _LOCK):
        if os.path.lexists(own) and (own.is_symlink() or not own.is_file()):
            why = "a link or a folder, and the course keeps a file of that name"
            raise UserError(f"{own} is {why}. Move it.")
    for needed in (path, *folders):
        if not _files.is_writable_place(needed):
            raise UserError(f"{needed} cannot be written. Give a folder that you may write to.")
    return path


def _is_part_of_course(path: Path) -> bool:
    """Returns whether a path is in the course's folder, and not in a student's folder there."""
    root = lessons.NOTEBOOKS.parent
    if not path.is_relative_to(root):
        return False
    if path == root:
        return True
    top = root / path.relative_to(root).parts[0]
    is_students = any((top / mark).is_file() for mark in (MANIFEST, _LOCK))
    return top.is_dir() and any(top.iterdir()) and not is_students


def _course_files() -> dict[str, bytes]:
    """Returns what a student gets: path in the student's folder -> content."""
    exercises = sorted((lessons.NOTEBOOKS / RELEASE).glob("*.ipynb"))
    if not exercises or not (lessons.NOTEBOOKS / f"{results.LESSONS[0]}.ipynb").is_file():
        raise UserError(
            f"The lessons and exercises are missing. Expected: notebooks in {lessons.NOTEBOOKS} and its folder "
            f"{RELEASE}. Install the course again, or get its whole repository."
        )
    files = {path.relative_to(lessons.NOTEBOOKS).as_posix(): clean(path).encode() for path in notebooks()}
    pictures = sorted((lessons.NOTEBOOKS / "pictures").glob("*.png"))
    files |= {f"pictures/{path.name}": path.read_bytes() for path in pictures}
    return files | {f"{EXERCISES}/{path.name}": path.read_bytes() for path in exercises}


def _solutions() -> dict[str, bytes]:
    """Returns the exercises with their solutions: path in the student's folder -> content."""
    paths = sorted((lessons.NOTEBOOKS / EXERCISES).glob("*.ipynb"))
    if not paths:
        raise UserError(
            f"The solutions were not found. Expected: notebooks in {lessons.NOTEBOOKS / EXERCISES}. An installed "
            "package has none: get the course's repository, and use --solutions there."
        )
    return {f"{SOLUTIONS}/{path.name}": _solution(path).encode() for path in paths}


def _solution(path: Path) -> str:
    """Returns an exercise as JSON with its answers, for a folder one deeper: no markers, no hidden tests."""
    import nbformat

    notebook = nbformat.reads(clean(path), as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(r"\1../", cell.source)
            continue
        text = re.sub(
            r"^ *### BEGIN HIDDEN TESTS\n.*?^ *### END HIDDEN TESTS\n?", "", cell.source, flags=re.M | re.S
        )
        cell.source = re.sub(r"^ *### (?:BEGIN|END) SOLUTION\n?", "", text, flags=re.M).rstrip("\n")
    return nbformat.writes(notebook) + "\n"


# --- writing ---


def _write_all(folder: Path, folders: Sequence[str], files: dict[str, bytes]) -> list[str]:
    for name in ("", *folders):
        (folder / name).mkdir(exist_ok=True)
        for left in (folder / name).glob(f"{_files.PARTIAL}*"):
            shutil.rmtree(left)  # by a process that was killed
    manifest, lines = _read_manifest(folder)
    for name, content in files.items():
        outcome = _write_one(folder, name, content, manifest)
        _files.write_json(folder / MANIFEST, manifest)
        lines.append(f"{outcome:<11} {name}" if outcome in _SHORT else f"{'kept':<11} {name}: {outcome}")
    older = {*manifest["newest"], *(f"{EXERCISES}/{lesson}.ipynb" for lesson in results.LESSONS)}
    not_asked_for = () if SOLUTIONS in folders else (f"{SOLUTIONS}/",)
    return lines + [
        f"{'kept':<11} {name}: " + (_UPDATES if name.startswith(not_asked_for) else _OLDER)
        for name in sorted(older - files.keys())
        if os.path.lexists(folder / name)
    ]


_OLDER = "it is from an older version of the course, which no longer has it"
_UPDATES = "--solutions brings its newest version"
_SHORT = ("new", "given again", "unchanged", "updated", "kept")


def _write_one(folder: Path, name: str, content: bytes, manifest: Manifest) -> str:
    """Writes one file, or keeps the student's; returns in words what was done, and enters it in the manifest."""
    given, newest, cells = manifest["given"], manifest["newest"], manifest["cells"]
    version = hashlib.sha256(content).hexdigest()
    path = folder / name
    if not os.path.lexists(path):
        outcome = "given again" if name in given else "new"
        _files.write(path, content)
    elif (now := _sha256(path)) == version:
        outcome = "unchanged"
    elif now and (now == given.get(name) or _is_untouched(path, cells.get(name))):
        if given.get(name) == version:  # only run, and saved with its outputs
            return "unchanged"
        outcome = "updated"
        _files.write(path, content)
    elif newest.get(name) == version:
        return "kept"
    else:
        new_name = _free_name(folder, name, version, given)
        _files.write(folder / new_name, content)
        given[new_name] = newest[name] = version
        return f"it is yours; the course's new version is in {Path(new_name).name}"
    given[name] = newest[name] = version
    if name.endswith(".ipynb"):
        cells[name] = _cells(content)
    return outcome


def _is_untouched(path: Path, cells: str | None) -> bool:
    """Returns whether a notebook still has the cells that the course gave."""
    return cells is not None and path.suffix == ".ipynb" and _cells(path.read_bytes()) == cells


def _cells(content: bytes) -> str:
    """Returns the sha256 of the kinds and sources of a notebook's filled cells; of other content, its own."""
    try:
        found = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(content)["cells"]]
    except (ValueError, LookupError, TypeError):
        return hashlib.sha256(content).hexdigest()
    filled = [[kind, source.strip()] for kind, source in found if source.strip()]
    return hashlib.sha256(json.dumps(filled).encode()).hexdigest()


def _free_name(folder: Path, name: str, version: str, given: dict[str, str]) -> str:
    """Returns a name beside `name` that holds no work of the student: `02_baseline.new.ipynb`, `...new-2.ipynb`."""
    number = 1
    while True:
        ending = ".new" if number == 1 else f".new-{number}"
        free = Path(name).with_name(f"{Path(name).stem}{ending}{Path(name).suffix}").as_posix()
        if not os.path.lexists(folder / free) or _sha256(folder / free) in (version, given.get(free)):
            return free
        number += 1


def _sha256(path: Path) -> str:
    """Returns the sha256 of a file; an empty string for a symbolic link, a folder or anything else."""
    if path.is_symlink() or not path.is_file():
        return ""
    return _files.sha256(path)


def _read_manifest(folder: Path) -> tuple[Manifest, list[str]]:
    """Returns the manifest, and a line to print if it is damaged or of another version of the course."""
    content = _files.read_json_or_none(folder / MANIFEST)
    parts = content if isinstance(content, dict) else {}
    manifest = {name: part for name, part in parts.items() if name in ("given", "newest") and _is_text(part)}
    if len(manifest) == 2:
        return manifest | {"cells": parts["cells"] if _is_text(parts.get("cells")) else {}}, []
    wrong = f"{MANIFEST} is damaged or of another version of the course"
    line = f"{wrong}: every file in {folder} counts as yours."
    return {"given": {}, "newest": {}, "cells": {}}, [line] if (folder / MANIFEST).exists() else []


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(value, str) for value in part.values())


def _about_results() -> list[str]:
    """Returns a line about the folder of the results, unless that is the course's own and can be written."""
    folder = results.results_dir()
    if _files.is_writable_place(folder):
        is_expected = "MNIST_COURSE_RESULTS" in os.environ or folder.parent == lessons.NOTEBOOKS.parent
        return [] if is_expected else [f"The lessons save their results in {folder}."]
    return [
        f"The lessons save their results in {folder}, where you may not write: before you open JupyterLab, set "
        "MNIST_COURSE_RESULTS to a folder of your own (or in each lesson its parameter results_dir)."
    ]
