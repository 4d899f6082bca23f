"""The students' versions of the exercises, and the grading folder that they come from.

notebooks/exercises/ -> source/, release/        (nbgrader's generate_assignment)
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mnist_course import lessons
from mnist_course.grading import course_folder, nbgrader_bridge, submissions
from mnist_helpers._errors import UserError

EXERCISES = lessons.NOTEBOOKS / "exercises"


def build(folder: Path) -> str:
    """Makes a folder an nbgrader course with all exercises; marks and hand-ins that are there stay.

    Args:
        folder: a new or empty folder, or one that this function has made.

    Returns:
        What was made, for the terminal.

    Raises:
        UserError: the folder holds other things, nbgrader is missing or refuses an exercise, or an exercise has
            other cells than when hand-ins to it were graded.
    """
    nbgrader_bridge.check_nbgrader()
    folder = folder.resolve()
    exercises = _exercises()
    course_folder.check_free(folder)
    for path in exercises:
        _check_same_cells(folder, path)
    with tempfile.TemporaryDirectory() as temporary:
        release(Path(temporary))  # what nbgrader refuses, it refuses here
    (folder / "submitted").mkdir(parents=True, exist_ok=True)
    if not (folder / course_folder.CONFIG_FILE).exists():
        course_folder.write(folder / course_folder.CONFIG_FILE, course_folder.CONFIG)
    _generate(folder, exercises)
    return (
        f"{len(exercises)} exercises: give your students {folder / 'release'}\n"
        f"What they hand in goes into {folder / 'submitted'}/STUDENT/LESSON.ipynb; then: "
        f"mnist-course assignments grade {folder}"
    )


def release(folder: Path) -> list[Path]:
    """Writes the students' versions of all exercises into a folder.

    Args:
        folder: an existing folder.

    Returns:
        The files, `<lesson>.ipynb`.

    Raises:
        UserError: nbgrader is missing or refuses an exercise.
    """
    nbgrader_bridge.check_nbgrader()
    exercises = _exercises()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary).resolve()
        course_folder.write(made / course_folder.CONFIG_FILE, course_folder.CONFIG)
        _generate(made, exercises, with_gradebook=False)
        written = []
        for path in sorted(made.glob("release/*/*.ipynb")):
            course_folder.write(folder / path.name, path.read_text(encoding="utf-8"))
            written.append(folder / path.name)
    return written


def _exercises() -> list[Path]:
    found = sorted(EXERCISES.glob("*.ipynb"))
    if not found:
        raise UserError(
            f"There are no exercises. Expected: notebooks in {EXERCISES}. Get the whole repository."
        )
    return found


def _check_same_cells(folder: Path, exercise: Path) -> None:
    """nbgrader cannot add or remove cells of an exercise once a hand-in to it has marks."""
    if not (folder / "gradebook.db").exists():
        return
    lesson = exercise.stem
    now = {name for cell in course_folder.read(exercise).cells if (name := submissions.name_of(cell))}
    with nbgrader_bridge.gradebook(folder) as book:
        before = next((found for found in book.assignments if found.name == lesson), None)
        if before is None or not before.submissions:
            return
        names = {cell.name for notebook in before.notebooks for cell in notebook.source_cells}
    if names != now:
        raise UserError(
            f"Exercise {lesson} has other cells than when hand-ins to it were graded "
            f"({', '.join(sorted(names ^ now))}), and nbgrader cannot bring their marks over. Build a new folder."
        )


def _generate(folder: Path, exercises: Sequence[Path], *, with_gradebook: bool = True) -> None:
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import SaveCells

    for path in exercises:
        source = folder / "source" / path.stem / path.name
        source.parent.mkdir(parents=True, exist_ok=True)
        course_folder.write(source, path.read_text(encoding="utf-8"))
        converter = nbgrader_bridge.converter(GenerateAssignment, folder, path.stem)
        if not with_gradebook:
            converter.no_database = True
            converter.preprocessors = [step for step in converter.preprocessors if step is not SaveCells]
        with nbgrader_bridge.own_scripts():
            nbgrader_bridge.convert(converter, f"exercise {path.stem}")
