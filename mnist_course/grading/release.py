"""The students' versions of the exercises, and the grading folder.

notebooks/exercises/ -> release/        (nbgrader's generate_assignment takes out solutions and hidden tests)
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mnist_course import lessons
from mnist_course.grading import course_folder, nbgrader_bridge, submissions
from mnist_helpers import _files
from mnist_helpers._errors import UserError

EXERCISES = lessons.NOTEBOOKS / "exercises"
RELEASE = EXERCISES / "release"


def build(folder: Path) -> str:
    """Makes a grading folder with all exercises; marks and submissions that it already holds are kept.

    Args:
        folder: a new or empty folder, or one that this function has made.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder holds other things or damaged files, nbgrader is missing or refuses an exercise, or
            an exercise has other cells than when submissions to it were graded; or another process is grading.
    """
    nbgrader_bridge.check_installed()
    folder = folder.resolve()
    paths = _solution_versions()
    course_folder.check_place(folder)
    nbgrader_bridge.check_files(folder)
    with tempfile.TemporaryDirectory() as temporary:
        # An exercise that nbgrader refuses is refused before anything is written.
        write_release(Path(temporary))
    (folder / course_folder.SUBMITTED).mkdir(parents=True, exist_ok=True)
    with course_folder.lock(folder):
        for path in paths:
            _check_same_cells(folder, path)
        if not (folder / course_folder.CONFIG_FILE).exists():
            _files.write(folder / course_folder.CONFIG_FILE, course_folder.CONFIG)
        _generate(folder, paths)
    return (
        f"{len(paths)} exercises: give your students {folder / 'release'}\n"
        f"What they submit goes into {folder / course_folder.SUBMITTED}/STUDENT/EXERCISE.ipynb; then: "
        f"mnist-course assignments grade {folder}"
    )


def write_release(folder: Path) -> list[Path]:
    """Writes the students' versions of all exercises into a folder.

    Args:
        folder: the folder; it is created if it is missing.

    Returns:
        The files, `exercise_01.ipynb` and so on.

    Raises:
        UserError: nbgrader is missing or refuses an exercise.
    """
    nbgrader_bridge.check_installed()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary).resolve()
        _files.write(made / course_folder.CONFIG_FILE, course_folder.CONFIG)
        _generate(made, _solution_versions(), with_gradebook=False)
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for path in sorted(made.glob("release/*/*.ipynb")):
            _files.write(folder / path.name, path.read_text(encoding="utf-8"))
            written.append(folder / path.name)
    return written


def _solution_versions() -> list[Path]:
    if not (found := sorted(EXERCISES.glob("*.ipynb"))):
        raise UserError(
            f"The solutions of the exercises were not found. Expected: notebooks in {EXERCISES}. An installed "
            "package holds the students' versions only: get the course's repository, and install it with: "
            'pip install --editable ".[teach]"'
        )
    return found


def _check_same_cells(folder: Path, path: Path) -> None:
    """Refuses changed cells of a graded exercise: nbgrader cannot add or remove them."""
    if not (folder / course_folder.GRADEBOOK).exists():
        return
    exercise = path.stem
    now = {name for cell in course_folder.read(path).cells if (name := submissions.name_of(cell))}
    with nbgrader_bridge.gradebook(folder) as book:
        before = next((found for found in book.assignments if found.name == exercise), None)
        if before is None or not before.submissions:
            return
        names = {cell.name for notebook in before.notebooks for cell in notebook.source_cells}
    if names != now:
        raise UserError(
            f"{exercise} has other cells than when submissions to it were graded "
            f"({', '.join(sorted(names ^ now))}), and nbgrader cannot keep their marks. Build a new folder."
        )


def _generate(folder: Path, paths: Sequence[Path], *, with_gradebook: bool = True) -> None:
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import SaveCells

    for path in paths:
        source = folder / "source" / path.stem / path.name
        source.parent.mkdir(parents=True, exist_ok=True)
        _files.write(source, path.read_text(encoding="utf-8"))
        converter = nbgrader_bridge.converter(GenerateAssignment, folder, path.stem)
        if not with_gradebook:
            converter.no_database = True
            converter.preprocessors = [step for step in converter.preprocessors if step is not SaveCells]
        nbgrader_bridge.convert(converter, path.stem)
