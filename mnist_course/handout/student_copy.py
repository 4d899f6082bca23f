"""A student's own copy of the lessons and exercises, brought up to date without touching the student's work.

    notebooks/ -> clean notebooks -> FOLDER/01_data_exploration.ipynb ... FOLDER/exercises/

A file is replaced only while it is what the course gave, byte for byte. `.mnist-course.json` in the folder
remembers that: `given` (path -> sha256 of what was written there) and `newest` (path -> sha256 of the newest
version that the student has, in its place or beside). It is written after each file; where it is lost or
damaged, every file counts as the student's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from mnist_course import lessons
from mnist_helpers import _files, results
from mnist_helpers._errors import UserError

MANIFEST = ".mnist-course.json"
EXERCISES = "exercises"
_LOCK = ".mnist-course.lock"  # the first file in a student's folder
_SOLUTION = "### BEGIN SOLUTION"  # nbgrader's mark
_LOOK = "matplotlibrc"  # matplotlib reads it from the folder that a notebook runs in

Manifest = dict[str, dict[str, str]]


def start(folder: Path) -> list[str]:
    """Brings a student's folder up to date: new files are given, untouched ones updated, all others kept.

    Args:
        folder: the student's folder; it is made where it is missing.

    Returns:
        Lines to print: what became of each file, and what to do next.

    Raises:
        UserError: the folder is no place for this, or another process is at it; nothing was written.
    """
    import filelock

    place = _checked(folder)
    files = _course_files()
    place.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(place / _LOCK, timeout=0):
            lines = _give_all(place, files)
    except filelock.Timeout as error:
        raise UserError(f"Another process fills {place} at this moment. Wait until it has ended.") from error
    return [*lines, *_about_results()]


def clean_lesson(lesson: str) -> str:
    """Returns a lesson as JSON, as a student gets it: without outputs."""
    import nbformat
    from nbconvert.preprocessors import ClearOutputPreprocessor

    notebook = nbformat.read(lessons.NOTEBOOKS / f"{lesson}.ipynb", as_version=4)
    clean, _ = ClearOutputPreprocessor().preprocess(notebook, {})
    nbformat.validate(clean)
    return nbformat.writes(clean) + "\n"


def exercises(folder: Path) -> list[Path]:
    """Writes the students' versions of the exercises into a folder.

    Args:
        folder: an existing folder.

    Returns:
        The files, `<lesson>.ipynb`, in order.

    Raises:
        UserError: they hold solutions, and nbgrader, which takes these out, is missing or refuses one.
    """
    sources = sorted((lessons.NOTEBOOKS / EXERCISES).glob("*.ipynb"))
    if any(_SOLUTION in path.read_text(encoding="utf-8") for path in sources):
        from mnist_course.grading import release

        return release.write_release(folder)
    return [
        Path(shutil.copyfile(path, folder / path.name)) for path in sources
    ]  # in a bundle, ready as they are


def _checked(folder: Path) -> Path:
    """Returns the place that is meant, without links, or refuses it."""
    place = folder.expanduser().resolve()
    if place.exists() and not place.is_dir():
        raise UserError(f"Expected: a folder of your own, new or not. Received: {place}, which is a file.")
    if _is_part_of_course(place):
        raise UserError(
            f"{place} is part of the course itself. Expected: a folder of your own, such as "
            f"{lessons.NOTEBOOKS.parent / 'my-course'}."
        )
    inner = place / EXERCISES
    if os.path.lexists(inner) and (inner.is_symlink() or not inner.is_dir()):
        raise UserError(
            f"{inner} is a link or a file, and the exercises go into a folder of that name. Move it."
        )
    for needed in (place, inner):
        nearest = next(path for path in (needed, *needed.parents) if path.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            raise UserError(f"{nearest} cannot be written. Give a folder that you may write to.")
    return place


def _is_part_of_course(place: Path) -> bool:
    """Says whether a place is in the course's tree, and in no folder there that students' copies have."""
    root = lessons.NOTEBOOKS.parent
    if not place.is_relative_to(root):
        return False
    if place == root:
        return True
    top = root / place.relative_to(root).parts[0]
    students = any((top / mark).is_file() for mark in (MANIFEST, _LOCK))
    return top.is_dir() and any(top.iterdir()) and not students


def _course_files() -> dict[str, bytes]:
    """Returns what a student gets: path in the student's folder -> content."""
    if not (lessons.NOTEBOOKS / f"{results.LESSONS[0]}.ipynb").is_file():
        raise UserError(
            f"The lessons are not here. Expected: {lessons.NOTEBOOKS}. Get the course's whole folder, and install "
            "it from there with: pip install --editable ."
        )
    look = (lessons.NOTEBOOKS / _LOOK).read_bytes()
    files = {f"{lesson}.ipynb": clean_lesson(lesson).encode() for lesson in results.LESSONS} | {_LOOK: look}
    with tempfile.TemporaryDirectory() as released:
        for path in exercises(Path(released)):
            files[f"{EXERCISES}/{path.name}"] = path.read_bytes()
    return files | {f"{EXERCISES}/{_LOOK}": look}


# --- giving ---


def _give_all(place: Path, files: dict[str, bytes]) -> list[str]:
    (place / EXERCISES).mkdir(exist_ok=True)
    for left in (*place.glob(f"{_files.PARTIAL}*"), *place.glob(f"{EXERCISES}/{_files.PARTIAL}*")):
        shutil.rmtree(left)  # by a process that was killed
    manifest = _read_manifest(place)
    lines = []
    for name, content in files.items():
        outcome = _give(place, name, content, manifest)
        _files.write_json(place / MANIFEST, manifest)
        lines.append(f"{outcome:<11} {name}" if outcome in _SHORT else f"{'kept':<11} {name}: {outcome}")
    return lines


_SHORT = ("new", "given again", "unchanged", "updated", "kept")


def _give(place: Path, name: str, content: bytes, manifest: Manifest) -> str:
    """Gives one file, or keeps the student's; returns in words what was done, and notes it in the manifest."""
    given, newest = manifest["given"], manifest["newest"]
    version = hashlib.sha256(content).hexdigest()
    path = place / name
    if not os.path.lexists(path):
        outcome = "given again" if name in given else "new"
        _write(path, content)
    elif (now := _sha256(path)) == version:
        outcome = "unchanged"
    elif now and now == given.get(name):
        outcome = "updated"
        _write(path, content)
    elif newest.get(name) == version:
        return "kept"
    else:
        beside = _beside(place, name, version, given)
        _write(place / beside, content)
        given[beside] = newest[name] = version
        return f"it is yours; the course's new version is in {Path(beside).name}"
    given[name] = newest[name] = version
    return outcome


def _beside(place: Path, name: str, version: str, given: dict[str, str]) -> str:
    """Returns a path beside `name` that is free of the student's work: `02_baseline.new.ipynb`, `...new-2.ipynb`"""
    number = 1
    while True:
        mark = ".new" if number == 1 else f".new-{number}"
        beside = Path(name).with_name(f"{Path(name).stem}{mark}{Path(name).suffix}").as_posix()
        if not os.path.lexists(place / beside) or _sha256(place / beside) in (version, given.get(beside)):
            return beside
        number += 1


def _write(path: Path, content: bytes) -> None:
    with _files.atomic_write(path) as partial:
        partial.write_bytes(content)


def _sha256(path: Path) -> str:
    """Returns the sha256 of a plain file, and an empty string for a link, a folder and whatever else."""
    if path.is_symlink() or not path.is_file():
        return ""
    return _files.sha256(path)


def _read_manifest(place: Path) -> Manifest:
    try:
        content = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        return {part: dict(content[part]) for part in ("given", "newest")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"given": {}, "newest": {}}


def _about_results() -> list[str]:
    """Says where results go if that is not the course's own folder, and whether they can."""
    folder = results.results_dir()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        expected = "MNIST_COURSE_RESULTS" in os.environ or folder.parent == lessons.NOTEBOOKS.parent
        return [] if expected else [f"The lessons save their results in {folder}."]
    return [
        f"The lessons save their results in {folder}, where you may not write: before you open JupyterLab, set "
        "MNIST_COURSE_RESULTS to a folder of your own (or in each lesson its parameter results_dir)."
    ]
