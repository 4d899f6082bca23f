"""A tiny exercise, so that tests that do not need the real ones are quick; and what is read back from a course."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import nbformat

from mnist_course.grading import submissions
from mnist_helpers import _files

CELLS = (
    "double",
    "double-tests",
    "double-hidden",
    "number",
    "number-tests",
    "explain",
)  # of the tiny exercise
SENTENCE = "Twice a number is a `sum`."  # the model sentence of its last task
STUB = "Write your answer here (double-click this text)."


def code(name: str, source: str, **nbgrader: object) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, id=name, metadata=_metadata(name, **nbgrader))


def sentence(name: str, source: str, points: float = 0) -> nbformat.NotebookNode:
    """An answer that a teacher reads."""
    metadata = _metadata(name, grade=True, solution=True, locked=False, points=points)
    return nbformat.v4.new_markdown_cell(source, id=name, metadata=metadata)


def _metadata(name: str, **nbgrader: object) -> dict[str, dict]:
    settings = {"grade": False, "solution": False, "locked": True, "schema_version": 3, "task": False}
    return {"nbgrader": settings | {"grade_id": name} | nbgrader}


def copy_of(cell: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """A cell as it is after copy and paste: another id, the same metadata."""
    copied = copy.deepcopy(cell)
    copied.id = name
    return copied


def tiny() -> nbformat.NotebookNode:
    """Three tasks, three points; the checks are errors of the course, and plain assertions of a teacher."""
    answer = {"solution": True, "locked": False}
    cells = [
        nbformat.v4.new_code_cell("import warnings", id="imports"),
        nbformat.v4.new_markdown_cell("### Task 1: double", id="task-1"),
        code(
            "double",
            "def double(x):\n    '''Twice x.'''\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
            **answer,
        ),
        code(
            "double-tests",
            "from mnist_helpers.checks._core import AnswerError, NotDoneError\n"
            "if double(2) is None:\n    raise NotDoneError('Task 1 is not done yet.')\n"
            "if double(3) == 9:\n"
            "    raise AnswerError('This is the square: 9.\\nFor a hint: checks.tiny.double(..., hint=1)')\n"
            "assert double(3) == 6, 'Twice 3 is another number.'",
            grade=True,
            points=1,
        ),
        code(
            "double-hidden",
            "# Hidden tests\n### BEGIN HIDDEN TESTS\n"
            "from mnist_helpers.checks._core import NotDoneError\n"
            "if double(2) is None:\n    raise NotDoneError('Task 1 is not done yet.')\n"
            "assert double(531) == 1062\n### END HIDDEN TESTS",
            grade=True,
            points=1,
        ),
        nbformat.v4.new_markdown_cell("### Task 2: a number", id="task-2"),
        code("number", "number = None\n### BEGIN SOLUTION\nnumber = 7\n### END SOLUTION", **answer),
        code(
            "number-tests",
            "from mnist_helpers.checks._core import AnswerError, NotDoneError\n"
            "if number is None:\n    raise NotDoneError('Task 2 is not done yet.')\n"
            "if number != 7:\n    raise AnswerError(f'{number} is not 7.')",
            grade=True,
            points=1,
        ),
        nbformat.v4.new_markdown_cell("### Task 3: in a sentence", id="task-3"),
        sentence("explain", SENTENCE),
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def solved(**answers: str) -> nbformat.NotebookNode:
    """The tiny exercise with its solutions, or other answers."""
    return answered(tiny(), answers)


def answered(notebook: nbformat.NotebookNode, answers: dict[str, str]) -> nbformat.NotebookNode:
    for cell in notebook.cells:
        cell.source = answers.get(submissions.name_of(cell), cell.source)
    return notebook


def submit(folder: Path, student: str, notebook: nbformat.NotebookNode, name: str = "tiny.ipynb") -> Path:
    path = folder / "submitted" / student / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook))
    return path


def points(folder: Path, student: str, exercise: str = "tiny") -> dict[str, float]:
    """The marks in nbgrader's gradebook: test -> points."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        submission = book.find_submission(exercise, student)
        return {grade.name: grade.score for notebook in submission.notebooks for grade in notebook.grades}


def messages(folder: Path, student: str, exercise: str = "tiny") -> dict[str, str]:
    """What the failed tests of the kept notebook say."""
    notebook = nbformat.read(folder / "autograded" / student / exercise / f"{exercise}.ipynb", as_version=4)
    return {
        submissions.name_of(cell): output.evalue
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    }


def printed(folder: Path, student: str) -> str:
    notebook = nbformat.read(folder / "autograded" / student / "tiny" / "tiny.ipynb", as_version=4)
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def remarks(folder: Path, student: str) -> str:
    found = _files.read_json(folder / "report.json")["remarks"]
    return "\n".join(entry["text"] for entry in found if entry["student"] == student)


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")} if folder.is_dir() else {}
