"""Exercises: what students get, and what becomes of everything that they may hand in."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from click.testing import CliRunner

from mnist_course import cli
from mnist_course.grading import class_report, grade, release, sandbox, submissions
from mnist_helpers import _files
from tests.processes import alive, family, kill_all, until, until_gone

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

CELLS = ("double", "double-tests", "double-hidden", "number", "number-tests")  # of the tiny exercise
EXERCISES = sorted(release.EXERCISES.glob("*.ipynb"))
LESSONS = [path.stem for path in EXERCISES]
isolating = pytest.mark.skipif(not sandbox.can_isolate(), reason="no namespaces for ordinary accounts here")

# --- a tiny exercise, so that what is not about the real ones is quick ---


def code(name: str, source: str, **nbgrader: object) -> nbformat.NotebookNode:
    settings = {"grade": False, "solution": False, "locked": True, "schema_version": 3, "task": False}
    metadata = {"nbgrader": settings | {"grade_id": name} | nbgrader}
    return nbformat.v4.new_code_cell(source, id=name, metadata=metadata)


def copy_of(cell: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """A cell as it is after copy and paste: another id, the same metadata."""
    copied = copy.deepcopy(cell)
    copied.id = name
    return copied


def tiny() -> nbformat.NotebookNode:
    """Two tasks, three points."""
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
            "assert double(2) is not None, 'Task 1 is not done yet.'\n"
            "assert double(3) != 9, 'This is the square: 9.'\nassert double(3) == 6, 'Twice 3 is another number.'",
            grade=True,
            points=1,
        ),
        code(
            "double-hidden",
            "# Hidden tests\n### BEGIN HIDDEN TESTS\n"
            "assert double(2) is not None, 'Task 1 is not done yet.'\nassert double(5) == 10\n### END HIDDEN TESTS",
            grade=True,
            points=1,
        ),
        nbformat.v4.new_markdown_cell("### Task 2: a number", id="task-2"),
        code("number", "number = None\n### BEGIN SOLUTION\nnumber = 7\n### END SOLUTION", **answer),
        code(
            "number-tests",
            "assert number is not None, 'Task 2 is not done yet.'\nassert number == 7, f'{number} is not 7.'",
            grade=True,
            points=1,
        ),
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


@pytest.fixture(scope="session")
def tiny_exercises(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exercises")
    nbformat.write(tiny(), folder / "tiny.ipynb")
    return folder


@pytest.fixture
def exercises(tiny_exercises, monkeypatch, tmp_path) -> Path:
    """A folder with the tiny exercise, in place of the real ones."""
    folder = tmp_path / "exercises"
    shutil.copytree(tiny_exercises, folder)
    monkeypatch.setattr(release, "EXERCISES", folder)
    return folder


@pytest.fixture
def folder(exercises, tmp_path) -> Path:
    """A course with the tiny exercise."""
    release.build(tmp_path / "course")
    return tmp_path / "course"


def solved(**answers: str) -> nbformat.NotebookNode:
    """The tiny exercise with its solutions, or other answers."""
    return answered(tiny(), answers)


def answered(notebook: nbformat.NotebookNode, answers: dict[str, str]) -> nbformat.NotebookNode:
    for cell in notebook.cells:
        cell.source = answers.get(submissions.name_of(cell), cell.source)
    return notebook


def hand_in(folder: Path, student: str, notebook: nbformat.NotebookNode, name: str = "tiny.ipynb") -> Path:
    path = folder / "submitted" / student / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook))
    return path


def points(folder: Path, student: str, lesson: str = "tiny") -> dict[str, float]:
    """The marks in nbgrader's gradebook: test -> points."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        submission = book.find_submission(lesson, student)
        return {grade.name: grade.score for notebook in submission.notebooks for grade in notebook.grades}


def messages(folder: Path, student: str, lesson: str = "tiny") -> dict[str, str]:
    """What the failed tests of the kept notebook say."""
    notebook = nbformat.read(folder / "autograded" / student / lesson / f"{lesson}.ipynb", as_version=4)
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
    return "\n".join(entry["remark"] for entry in found if entry["student"] == student)


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")} if folder.is_dir() else {}


# --- build and release ---


def test_students_get_gaps_and_no_hidden_tests(folder, exercises):
    notebook = nbformat.read(folder / "release" / "tiny" / "tiny.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert text.count("# write your code here") == 2
    assert not re.search(r"HIDDEN TESTS|SOLUTION|2 \* x|number = 7", text)
    assert "raise" not in text
    assert (folder / "source" / "tiny" / "tiny.ipynb").read_text() == (exercises / "tiny.ipynb").read_text()
    assert not list((folder / "submitted").iterdir())


def test_release_writes_what_build_releases(folder, tmp_path):
    (tmp_path / "own").mkdir()
    written = release.release(tmp_path / "own")
    assert written == [tmp_path / "own" / "tiny.ipynb"]
    assert written[0].read_text() == (folder / "release" / "tiny" / "tiny.ipynb").read_text()
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["tiny.ipynb"]


def test_without_nbgrader_the_message_names_the_extra(exercises, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    for call in (release.build, release.release, grade.grade):
        with pytest.raises(ValueError, match="extra `teach`"):
            call(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_exercise_that_nbgrader_refuses_is_named_and_nothing_is_written(exercises, tmp_path):
    broken = tiny()
    broken.cells.append(copy_of(broken.cells[2], "again"))
    nbformat.write(broken, exercises / "tiny.ipynb")
    with pytest.raises(ValueError, match=r"refuses exercise tiny: .*Duplicate grade id: double"):
        release.build(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- bad input ---


def _other_things(place: Path) -> None:
    (place / "c").mkdir()
    (place / "c" / "thesis.txt").write_text("mine")


def _foreign_course(place: Path) -> None:
    (place / "c" / "source").mkdir(parents=True)
    (place / "c" / "nbgrader_config.py").write_text("c = get_config()\n")


def _file(place: Path) -> None:
    (place / "c").write_text("a file")


def _no_exercises(place: Path) -> None:
    (place / "exercises" / "tiny.ipynb").unlink()


def _nothing(place: Path) -> None:
    pass


def _empty(place: Path) -> None:
    (place / "c").mkdir()


def _built(place: Path) -> None:
    release.build(place / "c")


def _stray_file(place: Path) -> None:
    _built(place)
    (place / "c" / "submitted" / "tiny.ipynb").write_text("{}")


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (_other_things, ["build", "c"], "holds other things"),
        (_foreign_course, ["build", "c"], "holds other things"),
        (_file, ["build", "c"], "is not a folder"),
        (_nothing, ["build", "exercises/tiny.ipynb/c"], "is not a folder"),
        (_no_exercises, ["build", "c"], "There are no exercises"),
        (_nothing, ["build", ""], "holds other things"),
        (_nothing, ["build", "."], "holds other things"),
        (_nothing, ["build", "\0"], "zero byte"),
        (_nothing, ["build"], "Missing argument"),
        (_nothing, ["grade", "c"], "is no course with exercises"),
        (_nothing, ["grade", "\0"], "zero byte"),
        (_empty, ["grade", "c"], "is no course with exercises"),
        (_other_things, ["grade", "c"], "is no course with exercises"),
        (_foreign_course, ["grade", "c"], "is no course with exercises"),
        (_file, ["grade", "c"], "is no course with exercises"),
        (_built, ["grade", "c"], "Nothing was handed in"),
        (_stray_file, ["grade", "c"], "Nothing was handed in"),
        *(
            (_nothing, ["grade", "c", option, value], option)
            for option, values in {
                "--seconds": ("", "0", "-1", "1.5", "many", "nan", "9" * 20),
                "--memory": ("", "0", "0.5", "-1", "much", "nan", "inf"),
                "--workers": ("", "0", "-1", "1.5", "two", "9" * 9),
            }.items()
            for value in values
        ),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(
    exercises, tmp_path, monkeypatch, prepare, arguments, words
):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    before = snapshot(tmp_path)
    done = CliRunner().invoke(cli.main, ["assignments", *arguments])
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert done.output.count("Error") == 1
    assert snapshot(tmp_path) == before


# --- what is repaired, without a kernel ---


def repaired(notebook: nbformat.NotebookNode) -> tuple[list[str], list[str]]:
    release, _ = answered(tiny(), {"double": "def double(x):\n    pass", "number": "number = None"}), None
    release.cells[4].source = "# Hidden tests"
    done, problems = submissions.repair(notebook, release, tiny())
    nbformat.validate(done)
    names = [submissions.name_of(cell) for cell in done.cells if submissions.name_of(cell)]
    assert sorted(names) == ["double", "double-hidden", "double-tests", "number", "number-tests"]
    for cell in done.cells:
        if submissions.name_of(cell).endswith(("tests", "hidden")):
            (original,) = [
                known for known in tiny().cells if submissions.name_of(known) == submissions.name_of(cell)
            ]
            assert (cell.source, cell.metadata) == (original.source, original.metadata)
    return names, problems


def test_what_is_whole_is_left_as_it_is():
    assert repaired(tiny()) == (["double", "double-tests", "double-hidden", "number", "number-tests"], [])


@pytest.mark.parametrize("missing", range(8))
def test_any_missing_cell_is_put_back_in_its_place(missing):
    notebook = tiny()
    removed = notebook.cells.pop(missing)
    names, problems = repaired(notebook)
    assert names == ["double", "double-tests", "double-hidden", "number", "number-tests"]
    expected = [] if removed.cell_type == "markdown" else [f"cell {removed.id} was missing"]
    assert [problem.split(";")[0] for problem in problems] == expected


def test_an_empty_notebook_is_filled():
    names, problems = repaired(nbformat.v4.new_notebook())
    assert names == ["double", "double-tests", "double-hidden", "number", "number-tests"]
    assert len(problems) == 6


def _tag_to_skip(notebook):
    notebook.cells[3].metadata["tags"] = ["skip-execution"]


def _more_points(notebook):
    notebook.cells[3].metadata["nbgrader"]["points"] = 100


def _as_solution(notebook):
    notebook.cells[3].metadata["nbgrader"]["solution"] = True


def _without_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = {}


def _strange_metadata(notebook):
    notebook.cells[3].metadata["nbgrader"] = "none"
    notebook.cells[4].metadata["nbgrader"] = {"grade_id": ["x"], "schema_version": 99}
    notebook.metadata["kernelspec"] = {"name": "bash", "display_name": "bash"}


@pytest.mark.parametrize(
    "change", [_tag_to_skip, _more_points, _as_solution, _without_metadata, _strange_metadata]
)
def test_metadata_are_the_teachers(change):
    notebook = tiny()
    change(notebook)
    assert repaired(notebook)[1] == []


@pytest.mark.parametrize("kind", ["markdown", "raw"])
@pytest.mark.parametrize("number", [2, 3])
def test_the_type_of_a_cell_is_the_teachers(number, kind):
    notebook = tiny()
    old = notebook.cells[number]
    new = {"markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}[kind]
    notebook.cells[number] = new(old.source, id=old.id, metadata=old.metadata)
    assert repaired(notebook)[1] == [f"cell {old.id} was a {kind} cell; it is a code cell again"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"cells": [{}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"nbformat": 99}',
        "[" * 100_000,
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": ' + "9" * 5000 + "}",
        "\ud800",
        "\0",
        "<html>please log in</html>",
    ],
)
def test_what_is_no_notebook_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "tiny.ipynb"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match="is no notebook "):
        submissions.read(path)


def test_old_notebooks_can_be_read(tmp_path):
    notebook = tiny()
    notebook.nbformat_minor = 2
    for cell in notebook.cells:
        del cell["id"]
    (tmp_path / "tiny.ipynb").write_text(json.dumps(notebook))
    assert repaired(submissions.read(tmp_path / "tiny.ipynb"))[1] == []


def test_hand_ins_are_found_by_name(tmp_path):
    for name in (
        "anna/a/a.ipynb",
        "anna/b.ipynb",
        "anna/notes.txt",
        "anna/c.ipynb",
        "anna/.ipynb_checkpoints/a.ipynb",
        "anna/a/timestamp.txt",
        "ben/a-Copy1.ipynb",
        "ben/b (2).ipynb",
        "eve/a.ipynb",
        "eve/a-Copy2.ipynb",
        "=cmd()/a.ipynb",
        "[x]/a.ipynb",
        "jo.doe+1@x.org/a_copy.ipynb",
        "b.ipynb",
        "Ann O'Hara/a.ipynb",
        "Zo\u0065\u0308/a.ipynb",  # as macOS writes it
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "eve" / "b.ipynb").symlink_to(tmp_path / "anna" / "b.ipynb")
    (tmp_path / "mallory").symlink_to(tmp_path / "anna")
    (tmp_path / "zoe").mkdir()
    nbformat.write(tiny(), tmp_path / "eve" / "homework.ipynb")
    found, problems = submissions.find(tmp_path, {"a": ["x", "y"], "b": ["x", "z"], "tiny": CELLS})
    assert {
        (student, lesson, str(path.relative_to(tmp_path)))
        for student, lesson, path, can_be_graded in found
        if can_be_graded
    } == {
        ("Ann O'Hara", "a", "Ann O'Hara/a.ipynb"),
        ("Zoe\u0308", "a", "Zoe\u0308/a.ipynb"),
        ("eve", "tiny", "eve/homework.ipynb"),
        ("anna", "a", "anna/a/a.ipynb"),
        ("anna", "b", "anna/b.ipynb"),
        ("ben", "a", "ben/a-Copy1.ipynb"),
        ("ben", "b", "ben/b (2).ipynb"),
        ("eve", "a", "eve/a.ipynb"),
        ("jo.doe+1@x.org", "a", "jo.doe+1@x.org/a_copy.ipynb"),
    }
    assert list(problems) == [
        *("", "=cmd()", "[x]", "Ann O'Hara", "anna", "ben", "eve", "jo.doe+1@x.org", "zoe", "Zoe\u0308")
    ]
    assert [hand_in.student for hand_in in found if not hand_in.can_be_graded] == ["=cmd()", "[x]"]
    assert problems["[x]"][0].startswith("rename the folder, then grade again")
    assert problems["anna"] == [
        f"{name} belongs to no exercise; not graded" for name in ("c.ipynb", "notes.txt")
    ]
    assert problems["eve"] == [
        "b.ipynb is a link; not followed",
        "a-Copy2.ipynb was left out: a.ipynb counts",
        "homework.ipynb was taken for tiny.ipynb",
    ]
    assert problems["zoe"] == []
    assert [problem.split()[0] for problem in problems[""]] == ["'b.ipynb'", "'mallory'"]


# --- the report, without a kernel ---


def reported(folder: Path, hand_ins: dict[str, dict], **problems: list[str]) -> tuple[dict, str]:
    """The report of a class on two exercises, of which nobody has handed in the second."""
    tasks = class_report.tasks_of(tiny())
    said = class_report.write(
        folder,
        tasks={"tiny": tasks, "other": tasks},
        hand_ins=hand_ins,
        problems={student: [] for student in hand_ins} | problems,
        limits=sandbox.Limits(),
    )
    return _files.read_json(folder / "report.json"), said


def entry(*marks: float, problems: tuple[str, ...] = (), **said: str) -> dict:
    """What is known of a hand-in to the tiny exercise."""
    return {
        "marks": dict(zip(("double-tests", "double-hidden", "number-tests"), marks, strict=False)),
        "messages": {name.replace("_", "-"): message for name, message in said.items()},
        "problems": list(problems),
        "seconds": 1.0 if marks else None,
        "isolated": True,
    }


def test_marks_for_a_school_have_a_row_for_every_student(tmp_path):
    broken = entry(problems=("is no notebook; not graded",))
    report, said = reported(
        tmp_path,
        {"Zoë": {"tiny": entry(1, 1, 0.5)}, "eve": {"tiny": broken}, "nobody": {}, "=1+1": {}},
        **{"=1+1": ["rename the folder, then grade again; not graded"]},
    )
    text = (tmp_path / "marks.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    assert list(csv.reader(text.decode("utf-8-sig").splitlines())) == [
        ["student", "tiny", "total", "maximum"],
        ["Zoë", "2.5", "2.5", "3"],
        ["eve", "not graded", "0", "3"],
        ["nobody", "", "0", "3"],
        ["'=1+1", "", "0", "3"],
    ]
    assert [student["not_graded"] for student in report["students"]] == [0, 1, 0, 0]
    assert "NOT GRADED (2):\n" in said
    assert "  - eve/tiny: is no notebook; not graded\n" in said
    assert said.endswith(f"Marks:   {tmp_path / 'marks.csv'}")
    page = (tmp_path / "report.html").read_text()
    assert "0 of 3; 1 not graded" in page
    assert "<h2>other</h2>" not in page


def test_the_report_begins_with_what_to_take_up_next(tmp_path):
    square, undone = "This is the square: 9.", "Task 1 is not done yet."
    report, _ = reported(
        tmp_path,
        {
            "a": {"tiny": entry(0, 0, 1, double_tests=undone, double_hidden=undone)},
            "b": {"tiny": entry(0, 0, 1, double_tests=undone, double_hidden=undone)},
            "c": {"tiny": entry(0, 0, 1, double_tests=square)},
            "d": {"tiny": entry(1, 1, 0, number="SyntaxError in the answer: x", number_tests="NameError: y")},
        },
    )
    first, second = report["lessons"][0]["tasks"]
    assert (first["not_done"], first["wrong_answers"]) == (2, [{"count": 1, "message": square}])
    assert second["wrong_answers"] == [{"count": 1, "message": "SyntaxError in the answer: x"}]
    assert [task["title"] for task in report["next_session"]] == ["Task 1: double", "Task 2: a number"]
    assert report["next_session"][0]["wrong_answer"]["message"] == square
    headings = re.findall("<h2>(.*?)</h2>", (tmp_path / "report.html").read_text())
    assert headings[:3] == ["Next session", "Students", "Remarks on hand-ins"]


def test_an_error_in_the_answer_is_told_apart_from_that_of_the_test():
    notebook = tiny()
    for position, name, text in (
        (0, "ImportError", "no"),
        (2, "SyntaxError", "'(' was never closed (1234.py, line 3)"),
        (3, "NameError", "name 'double' is not defined"),
        (7, "AssertionError", "7.5 is not 7."),
    ):
        notebook.cells[position].outputs = [
            nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[])
        ]
    assert grade._messages(notebook) == {
        "double": "SyntaxError in the answer: '(' was never closed",
        "double-tests": "NameError: name 'double' is not defined",
        "number-tests": "7.5 is not 7.",
    }


@pytest.mark.parametrize(
    ("problem", "limits", "again"),
    [
        ("cell 3 (double) took half of the time that was left, and was stopped", (30, 2**30), False),
        ("the 30 s of the notebook were over before cell 3 (double)", (20, 2**30), False),
        ("it ran longer than the 30 s that it may take, and was ended", (31, 2**30), True),
        ("it ran longer than the 30 s that it may take, and was ended", (30, 2**31), True),
        ("it did not begin", (30, 2**30), True),
    ],
)
def test_what_met_the_time_limit_is_tried_again_with_larger_limits_only(tmp_path, problem, limits, again):
    outcome = sandbox.Outcome({}, [problem], 30.0, True)
    too_small = [30, 2**30] if outcome.out_of_time else None
    before = {"anna/tiny": {"key": "k", "try_again": True, "too_small": too_small}}
    job = grade._Job(submissions.Submission("anna", "tiny", tmp_path), "k", tmp_path)
    assert grade._is_graded(before, job, sandbox.Limits(*limits)) != again
    assert not grade._is_graded(before, job._replace(key="new"), sandbox.Limits(*limits))


# --- everything that can happen to a hand-in, in one run ---


def _deleted(notebook):
    notebook.cells = [cell for cell in notebook.cells if cell.id not in ("imports", "double-tests", "number")]


def _copied(notebook):
    for place, name in ((0, "number-tests"), (3, "double"), (9, "double-tests")):
        (cell,) = [cell for cell in notebook.cells if cell.id == name]
        notebook.cells.insert(place, copy_of(cell, f"copy-{place}"))


def _split(notebook):
    second = copy_of(notebook.cells[2], "second-half")
    second.source = "y = 1"
    notebook.cells.insert(3, second)


def _reordered(notebook):
    notebook.cells = [*notebook.cells[:2], *notebook.cells[5:], *notebook.cells[2:5]]


def _edited_tests(notebook):
    for number in (3, 4, 7):
        notebook.cells[number].source = "pass"


WARNS = "def double(x):\n    warnings.warn('careful')\n    return 2 * x"
SCRIPTS = (
    "number = 7\nfrom IPython.display import HTML, Javascript, SVG, display\n"
    "display(HTML('<b>bold</b><script>evil()</script><img src=x onerror=evil()>'), Javascript('evil()'))\n"
    "display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><script>evil()</script></svg>'))"
)
STUBBORN = (
    "import time\nwhile True:\n    try:\n        time.sleep(0.01)\n    except BaseException:\n        pass"
)
MANY_PROCESSES = (
    "import subprocess\nothers = [subprocess.Popen(['sleep', '987']) for _ in range(150)]\n"
    "import time\ntime.sleep(100)"
)
SABOTAGE = (
    "import os, signal, psutil\n"
    'open(\'outputs.json\', \'w\').write(\'{"cells": {"3": {"outputs": [7]}}, "problems": []}\')\n'
    "os.kill(os.getppid(), signal.SIGKILL)"
)
FORGED = (
    "from IPython import get_ipython\ndef double(x):\n    get_ipython().displayhook(99)\n    return 2 * x"
)

# name -> notebook, expected points (double-tests, double-hidden, number-tests), words of the remarks
DAMAGED: dict[str, tuple[Callable[[], nbformat.NotebookNode], tuple[float, float, float], list[str]]] = {}


def damaged(
    name: str, expected: tuple[float, float, float], *words: str, change: Callable | None = None, **answers
):
    def make() -> nbformat.NotebookNode:
        notebook = solved(**answers)
        if change:
            change(notebook)
        return notebook

    DAMAGED[name] = (make, expected, list(words))


damaged("whole", (1, 1, 1))
damaged(
    "deleted",
    (1, 1, 0),
    "cell imports was missing",
    "cell double-tests was missing",
    "cell number was missing",
    change=_deleted,
)
damaged(
    "copied",
    (1, 1, 1),
    "cell double is there 2 times",
    "cell double-tests is there 2 times",
    "cell number-tests is there 2 times",
    change=_copied,
)
damaged("split", (1, 1, 1), "cell double is there 2 times", change=_split)
damaged("reordered", (1, 1, 1), "another order", change=_reordered)
damaged(
    "edited-tests",
    (0, 0, 1),
    "cell double-tests was changed",
    "cell double-hidden was changed",
    change=_edited_tests,
    double="def double(x):\n    return x * x",
)
damaged("skip-tag", (0, 0, 1), change=_tag_to_skip, double="def double(x):\n    return x * x")
damaged("warns", (1, 1, 1), double=WARNS)
damaged("scripts", (1, 1, 1), number=SCRIPTS)
damaged(
    "loop",
    (0, 0, 1),
    "cell 3 (double) took half of the time that was left, and was stopped",
    double="while True:\n    pass",
)
damaged(
    "stubborn",
    (0, 0, 1),
    "cell 3 (double) took half of the time that was left, and could not be stopped",
    double=STUBBORN,
)
damaged("hog", (1, 1, 0), number="import numpy as np\nnumber = None\nnumber = np.ones(2**28).sum()")
damaged("dies", (0, 0, 1), "cell 3 (double) ended the kernel", double="import os\nos._exit(1)")
damaged("exits", (0, 0, 1), "cell 3 (double) ended the kernel", double="exit()")
damaged("floods", (1, 1, 1), number="number = 7\nfor _ in range(2000):\n    print('x' * 10_000)")
damaged("processes", (1, 1, 0), "more than 100 processes", number=MANY_PROCESSES)
damaged("sabotage", (0, 0, 0), "cannot be read", "ended by itself", double=SABOTAGE)
damaged("forged", (0, 0, 1), double=FORGED)
LIMITS = sandbox.Limits(seconds=30, memory_bytes=2**30)


@pytest.fixture(scope="session")
def class_of_damaged(tiny_exercises, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "course"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "EXERCISES", tiny_exercises)
        patch.setenv("SECRET_TOKEN", "hunter2")
        release.build(folder)
        for student, (make, _, _) in DAMAGED.items():
            hand_in(folder, student, make())
        (folder / "submitted" / "no-json").mkdir()
        (folder / "submitted" / "no-json" / "tiny.ipynb").write_text("<html>")
        (folder / "submitted" / "huge").mkdir()
        with (folder / "submitted" / "huge" / "tiny.ipynb").open("wb") as file:
            file.truncate(30 * 2**20)
        (folder / "submitted" / "is-folder" / "tiny.ipynb").mkdir(parents=True)
        hand_in(folder, "stranger", nbformat.v4.new_notebook(), "other.ipynb")
        hand_in(folder, "Ann-Kathrin O’Hara", solved(), "homework.ipynb")
        hand_in(folder, "a*b", solved())
        hand_in(folder, "copy-only", solved(), "tiny-Copy1.ipynb")
        hand_in(folder, "nbgraders", solved(), "tiny/tiny.ipynb")
        (folder / "submitted" / "nbgraders" / "tiny" / "timestamp.txt").write_text("2026-05-04 10:00:00 UTC")
        spy = f"import os\nprint(sorted(os.environ))\nhere, course = os.getcwd(), {str(folder)!r}\n"
        spy += "print('beside', os.listdir(os.path.dirname(here)))\n"
        spy += "print('course', os.listdir(course))\n"
        spy += "print('processes', [p for p in os.listdir('/proc') if p.isdigit()])\n"
        for line in (
            "open(course + '/gradebook.db', 'rb')",
            "open(course + '/submitted/whole/tiny.ipynb')",
            f"open({str(Path(cli.__file__))!r}, 'a')",
            "open(os.path.dirname(course) + '/planted', 'w')",
            "import socket; socket.create_connection(('127.0.0.1', 80), 1)",
        ):
            spy += (
                f"try:\n    {line}\n    print('DID', {line!r})\nexcept OSError as error:\n    print(error)\n"
            )
        hand_in(folder, "spy", solved(number=f"number = 7\n{spy}"))
        grade.grade(folder, limits=LIMITS, workers=2)
    return folder


@pytest.mark.course
@pytest.mark.parametrize("student", DAMAGED)
def test_a_damaged_hand_in_gets_its_points_and_its_remarks(class_of_damaged, student):
    _, expected, words = DAMAGED[student]
    assert points(class_of_damaged, student) == dict(
        zip(("double-tests", "double-hidden", "number-tests"), expected, strict=True)
    )
    said = remarks(class_of_damaged, student)
    for word in words:
        assert word in said
    assert bool(said) == bool(words), said
    assert (class_of_damaged / "feedback" / student / "tiny" / "tiny.html").is_file()


@pytest.mark.course
@pytest.mark.parametrize(
    ("student", "words", "total"),
    [
        ("no-json", "is no notebook", None),
        ("huge", "has 30 MiB, and 20 may be handed in", None),
        ("is-folder", "is no file", None),
        ("stranger", "other.ipynb belongs to no exercise", None),
        ("Ann-Kathrin O’Hara", "homework.ipynb was taken for tiny.ipynb", 3),
        ("a*b", "rename the folder, then grade again", None),
        ("copy-only", "tiny-Copy1.ipynb was taken for tiny.ipynb", 3),
        ("nbgraders", "", 3),
    ],
)
def test_a_file_that_is_no_hand_in_is_reported(class_of_damaged, student, words, total):
    assert words in remarks(class_of_damaged, student)
    (entry,) = [
        entry
        for entry in _files.read_json(class_of_damaged / "report.json")["students"]
        if entry["student"] == student
    ]
    assert entry["points"] == (total or 0)
    assert [lesson["points"] for lesson in entry["lessons"].values()] == (
        [] if student == "stranger" else [total]
    )


@pytest.mark.course
def test_messages_say_why(class_of_damaged):
    assert messages(class_of_damaged, "edited-tests")["double-tests"] == "This is the square: 9."
    assert "half of the time that was left" in messages(class_of_damaged, "loop")["double"]
    assert "Unable to allocate" in messages(class_of_damaged, "hog")["number"]
    assert messages(class_of_damaged, "hog")["number-tests"] == "Task 2 is not done yet."
    assert messages(class_of_damaged, "sabotage")["number-tests"] == "This test did not run."
    assert "no test gives" in messages(class_of_damaged, "forged")["double-tests"]
    assert len(printed(class_of_damaged, "floods")) < 2 * 2**20


@pytest.mark.course
def test_when_it_was_handed_in_is_kept(class_of_damaged):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{class_of_damaged}/gradebook.db") as book:
        assert str(book.find_submission("tiny", "nbgraders").timestamp) == "2026-05-04 10:00:00"
        assert book.find_submission("tiny", "whole").timestamp is None


@isolating
@pytest.mark.course
def test_a_hand_in_sees_neither_the_others_nor_the_marks_nor_the_network(class_of_damaged):
    assert _files.read_json(class_of_damaged / "report.json")["isolated"]
    seen = printed(class_of_damaged, "spy")
    assert "DID" not in seen
    assert "SECRET_TOKEN" not in seen
    assert "course []" in seen
    assert re.search(r"beside \['\d+'\]", seen)
    assert len(re.search(r"processes \[(.*)\]", seen)[1].split(",")) < 10
    assert seen.count("No such file or directory") == 2
    assert seen.count("Read-only file system") == 2
    assert "Network is unreachable" in seen
    assert not (class_of_damaged.parent / "planted").exists()
    assert points(class_of_damaged, "spy")["number-tests"] == 1


@pytest.mark.course
def test_feedback_and_report_run_nobodys_scripts(class_of_damaged):
    page = (class_of_damaged / "feedback" / "scripts" / "tiny" / "tiny.html").read_text()
    assert "<b>bold</b>" in page
    assert not re.search(r"<script>evil|<img[^>]*onerror|<svg", page)
    report = (class_of_damaged / "report.html").read_text()
    assert "<script" not in report
    assert report.count("<h1>") == 1
    assert report.count("<th scope=") == report.count("<th ")


@pytest.mark.course
def test_nothing_of_a_hand_in_is_left_running(class_of_damaged):
    assert not [process for process in psutil.process_iter() if _command(process)[:2] == ["sleep", "987"]]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.course
def test_nbgrader_itself_goes_on_from_there(class_of_damaged, tmp_path):
    command = [sys.executable, "-m", "nbgrader", "export", "--to", str(tmp_path / "grades.csv")]
    subprocess.run(command, cwd=class_of_damaged, check=True, capture_output=True)
    with (tmp_path / "grades.csv").open(newline="") as file:
        (whole,) = [row for row in csv.DictReader(file) if row["student_id"] == "whole"]
    assert (whole["assignment"], whole["score"], whole["max_score"]) == ("tiny", "3.0", "3.0")


@pytest.mark.course
def test_the_report_counts_wrong_answers(class_of_damaged):
    report = _files.read_json(class_of_damaged / "report.json")
    first, second = report["lessons"][0]["tasks"]
    assert (first["title"], first["max_points"]) == ("Task 1: double", 2)
    assert {"count": 2, "message": "This is the square: 9."} in first["wrong_answers"]
    graded = report["lessons"][0]["hand_ins"]
    assert graded == len(DAMAGED) + 4
    solved_it = sum(expected[2] for _, expected, _ in DAMAGED.values()) + 4
    assert second["success_rate"] == pytest.approx(solved_it / graded)
    rows = (class_of_damaged / "report.csv").read_text().splitlines()
    assert rows[0] == "student,lesson,task,test,points,max_points"
    assert "edited-tests,tiny,double,double-tests,0.0,1.0" in rows
    assert len(rows) == 1 + 3 * graded


# --- once more, with less, and interrupted ---


@pytest.mark.course
def test_only_what_has_changed_is_graded_again(folder, exercises, capsys):
    from nbgrader.api import Gradebook

    hand_in(folder, "anna", solved())
    hand_in(folder, "ben", solved(number="number = 8"))
    grade.grade(folder)
    assert points(folder, "ben")["number-tests"] == 0
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        book.find_grade("number-tests", "tiny", "tiny", "anna").manual_score = 0.5
        book.db.commit()
    hand_in(folder, "ben", solved())
    capsys.readouterr()
    grade.grade(folder)
    said = capsys.readouterr().out
    assert "anna/tiny: graded before" in said
    assert re.search(r"ben/tiny: \d", said)
    assert points(folder, "ben")["number-tests"] == 1
    assert points(folder, "anna")["number-tests"] == 0.5
    page = (folder / "feedback" / "anna" / "tiny" / "tiny.html").read_text()
    assert "(Score: 2.5 / 3.0)" in page
    assert "Task 1: double · double-hidden</a>" in page
    assert "Test cell" not in page
    assert "anna,tiny,number,number-tests,0.5,1.0" in (folder / "report.csv").read_text()

    changed = tiny()
    changed.cells[7].source = "assert number == 8"
    nbformat.write(changed, exercises / "tiny.ipynb")
    release.build(folder)
    grade.grade(folder)
    assert points(folder, "ben")["number-tests"] == 0
    assert "graded before" not in capsys.readouterr().out

    changed.cells.append(code("new-tests", "assert True", grade=True, points=1))
    nbformat.write(changed, exercises / "tiny.ipynb")
    before = snapshot(folder)
    with pytest.raises(ValueError, match=r"other cells than when hand-ins to it were graded \(new-tests\)"):
        release.build(folder)
    assert snapshot(folder) == before
    assert points(folder, "anna")["number-tests"] == 0.5


@pytest.mark.course
def test_without_isolation_the_report_says_so(folder, monkeypatch):
    monkeypatch.setattr(sandbox, "can_isolate", lambda: False)
    hand_in(folder, "anna", solved())
    hand_in(folder, "processes", solved(number=MANY_PROCESSES))
    said = grade.grade(folder, limits=sandbox.Limits(60, 2**30))
    assert "no isolation" in said
    assert "did not all run isolated" in (folder / "report.html").read_text()
    assert sum(points(folder, "anna").values()) == 3
    assert points(folder, "processes") == {"double-tests": 1, "double-hidden": 1, "number-tests": 0}
    test_nothing_of_a_hand_in_is_left_running(folder)


def _grading(folder: Path, **streams) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "mnist_course.cli",
        "assignments",
        "grade",
        str(folder),
        "--workers",
        "1",
    ]
    environment = os.environ | {"TMPDIR": str(folder.parent)}  # SIGKILL leaves temporary files
    # A job in the background of a shell ignores Ctrl-C, and what it starts does so too.
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    return subprocess.Popen(command, env=environment, **streams, **(heeds if os.name == "posix" else {}))


@pytest.mark.course
@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_interrupted_it_leaves_nothing_running_and_keeps_the_marks(folder, how, status):
    hand_in(folder, "anna", solved())
    hand_in(folder, "ben", solved(number="import time\ntime.sleep(1000)"))
    process = _grading(folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: "anna/tiny" in process.stdout.readline())
        until(lambda: any("ipykernel_launcher" in _command(member) for member in family(process.pid)))
        members = family(process.pid)
        process.send_signal(how)
        assert process.wait(30) == status
        until_gone(members)
    finally:
        kill_all(process)
    assert list(_files.read_json(folder / "graded.json")) == ["anna/tiny"]
    assert sum(points(folder, "anna").values()) == 3
    if how != signal.SIGKILL:
        assert remarks(folder, "ben") == "not graded yet"


@pytest.mark.course
def test_one_grader_at_a_time_and_a_bar_on_a_terminal(folder):
    import fcntl
    import pty
    import struct
    import termios

    hand_in(folder, "anna", solved(number="number = 7\nimport time\ntime.sleep(3)"))
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = _grading(folder, stdout=subprocess.DEVNULL, stderr=end)
    os.close(end)
    try:
        until(lambda: any("ipykernel_launcher" in _command(member) for member in family(process.pid)))
        with pytest.raises(ValueError, match="Another process grades"):
            grade.grade(folder)
        assert process.wait(60) == 0
        shown = b""
        with contextlib.suppress(OSError):  # as a terminal ends
            while part := os.read(terminal, 10_000):
                shown += part
    finally:
        kill_all(process)
        os.close(terminal)
    assert b"1/1" in shown
    assert not alive(family(process.pid))


# --- the real exercises ---


def build_and_grade(folder: Path, fill: Callable[[Path], None]) -> tuple[Path, str, float]:
    """One command for a class; returns its folder, what was printed, and the seconds it took."""
    release.build(folder)
    fill(folder)
    command = [sys.executable, "-m", "mnist_course.cli", "assignments", "grade", str(folder)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, time.monotonic() - began


def _put(folder: Path, student: str, lesson: str, notebook: Path) -> None:
    (folder / "submitted" / student).mkdir(exist_ok=True)
    shutil.copy(notebook, folder / "submitted" / student / f"{lesson}.ipynb")


def _solutions_and_gaps(folder: Path) -> None:
    for lesson in LESSONS:
        _put(folder, "solved", lesson, folder / "source" / lesson / f"{lesson}.ipynb")
        _put(folder, "untouched", lesson, folder / "release" / lesson / f"{lesson}.ipynb")


@pytest.fixture(scope="session")
def both_ends(tmp_path_factory) -> Path:
    return build_and_grade(tmp_path_factory.mktemp("both") / "course", _solutions_and_gaps)[0]


def most_points(folder: Path, lesson: str) -> dict[str, float]:
    notebook = nbformat.read(folder / "source" / lesson / f"{lesson}.ipynb", as_version=4)
    cells = [cell.metadata.nbgrader for cell in notebook.cells if submissions.name_of(cell)]
    return {cell.grade_id: float(cell.points) for cell in cells if cell.grade}


@pytest.mark.course
@pytest.mark.parametrize("lesson", LESSONS)
def test_the_solution_gets_full_points(both_ends, lesson):
    assert points(both_ends, "solved", lesson) == most_points(both_ends, lesson)
    assert messages(both_ends, "solved", lesson) == {}


@pytest.mark.course
@pytest.mark.parametrize("lesson", LESSONS)
def test_the_untouched_release_gets_nothing_and_every_test_says_not_done_yet(both_ends, lesson):
    assert points(both_ends, "untouched", lesson) == dict.fromkeys(most_points(both_ends, lesson), 0)
    said = messages(both_ends, "untouched", lesson)
    assert said.keys() == most_points(both_ends, lesson).keys()
    assert [text for text in said.values() if not re.match(r"Task \d is not done yet", text)] == []


@pytest.mark.course
def test_whole_hand_ins_draw_no_remark(both_ends):
    assert remarks(both_ends, "solved") + remarks(both_ends, "untouched") == ""


def wrong_answers(lesson: str) -> list[dict]:
    path = Path(__file__).parent / "wrong_answers" / f"{lesson}.yaml"
    return yaml.safe_load(path.read_text()) if path.is_file() else []


def in_few_hand_ins(lesson: str) -> list[list[dict]]:
    """Wrong answers of different tasks, together: the k-th of every task."""
    by_task: dict[str, list[dict]] = {}
    for answer in wrong_answers(lesson):
        by_task.setdefault(answer["task"], []).append(answer)
    most = max(map(len, by_task.values()), default=0)
    return [[answers[k] for answers in by_task.values() if k < len(answers)] for k in range(most)]


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_exercise_has_at_least_three_wrong_answers(lesson):
    assert len({answer["name"] for answer in wrong_answers(lesson)}) == len(wrong_answers(lesson)) >= 3


def _thirty_students(folder: Path) -> None:
    """One student per set of wrong answers; the rest have mixed up, damaged or half finished something."""
    _solutions_and_gaps(folder)
    for lesson in LESSONS:
        for k, answers in enumerate(in_few_hand_ins(lesson)):
            source = nbformat.read(folder / "source" / lesson / f"{lesson}.ipynb", as_version=4)
            replaced = {answer["task"]: answer["code"] for answer in answers}
            hand_in(folder, f"wrong-{lesson[:2]}-{k}", answered(source, replaced), f"{lesson}.ipynb")
    number = 0
    while number < len(LESSONS) or len(list((folder / "submitted").iterdir())) < 30:
        lesson = LESSONS[number % len(LESSONS)]
        notebook = nbformat.read(folder / "source" / lesson / f"{lesson}.ipynb", as_version=4)
        graded = [cell for cell in notebook.cells if submissions.name_of(cell)]
        notebook.cells.remove(graded[-1 - number // len(LESSONS)])
        notebook.cells.insert(0, copy_of(graded[-2], "copied"))
        hand_in(folder, f"damaged-{number}", notebook, f"{lesson}.ipynb")
        number += 1
    (folder / "submitted" / "untouched" / f"{LESSONS[0]}.ipynb").write_text("half a downl")


@pytest.fixture(scope="session")
def whole_class(tmp_path_factory) -> tuple[Path, str, float]:
    return build_and_grade(tmp_path_factory.mktemp("class") / "course", _thirty_students)


@pytest.mark.long
@pytest.mark.parametrize(
    ("lesson", "k", "answer"),
    [
        pytest.param(lesson, k, answer, id=f"{lesson[:2]}-{answer['name']}")
        for lesson in LESSONS
        for k, answers in enumerate(in_few_hand_ins(lesson))
        for answer in answers
    ],
)
def test_a_wrong_answer_gets_its_points_and_its_hint(whole_class, lesson, k, answer):
    folder, student = whole_class[0], f"wrong-{lesson[:2]}-{k}"
    marks, said = points(folder, student, lesson), messages(folder, student, lesson)
    assert {test: marks[test] for test in answer["points"]} == answer["points"], said
    hint = next(said[test] for test in answer["points"] if test in said)
    assert answer["hint"] in hint


@pytest.mark.long
def test_a_class_of_thirty_is_graded_in_one_command_in_time(whole_class):
    folder, said, seconds = whole_class
    report = _files.read_json(folder / "report.json")
    assert len(report["students"]) >= 30
    found = sum(len(student["lessons"]) for student in report["students"])
    assert len(re.findall(r"^[\w.-]+/0\d_\w+: ", said, re.MULTILINE)) == found
    assert seconds < 15 * 60
    assert "is no notebook" in remarks(folder, "untouched")
    for student in (entry["student"] for entry in report["students"]):
        if student.startswith("damaged"):
            assert "is there 2 times" in remarks(folder, student)
            assert "was missing" in remarks(folder, student)
    (solved_all,) = [entry for entry in report["students"] if entry["student"] == "solved"]
    assert solved_all["points"] == solved_all["max_points"]
