"""Everything that can happen to a submission, and to the grading of a class."""

from __future__ import annotations

import contextlib
import csv
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest

from mnist_course import cli
from mnist_course.grading import (
    course_folder,
    grade,
    isolation,
    nbgrader_bridge,
    reading,
    release,
    sandbox,
    submissions,
)
from mnist_course.grading import recorded as in_gradebook
from mnist_course.grading.course_folder import Graded
from mnist_helpers import _files
from mnist_helpers._errors import UserError
from mnist_helpers.checks import _core
from mnist_helpers.checks._core import AnswerError, Exercise, Task
from tests.grading.tiny import (
    SENTENCE,
    STUB,
    code,
    copy_of,
    messages,
    points,
    printed,
    remarks,
    snapshot,
    solved,
    submit,
    tiny,
)
from tests.processes import alive, family, kill_all, until, until_gone

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

isolating = pytest.mark.skipif(not isolation.find().tool, reason="no namespaces for ordinary accounts here")


def test_an_error_in_the_answer_is_told_apart_from_that_of_the_test():
    notebook = tiny()
    for position, name, text in (
        (0, "ImportError", "no"),
        (2, "SyntaxError", "'(' was never closed (1234.py, line 3)"),
        (3, "NameError", "name 'double' is not defined"),
        (4, "AssertionError", "Twice 531 is another number."),
        (7, "AnswerError", "Task 2 is not correct yet: 7.5."),
    ):
        notebook.cells[position].outputs = [
            nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[])
        ]
    assert grade._messages(notebook) == (
        {
            "double": "SyntaxError in the answer: '(' was never closed",
            "double-tests": "NameError: name 'double' is not defined",
            "double-hidden": "Twice 531 is another number.",
            "number-tests": "Task 2 is not correct yet: 7.5.",
        },
        [],
    )


def error_of(check: Callable[..., None], *answers: object) -> nbformat.NotebookNode:
    """The output of a check in a notebook."""
    with pytest.raises(AnswerError) as caught:
        check(*answers)
    lines = caught.value._render_traceback_()
    return nbformat.v4.new_output(
        "error", ename=type(caught.value).__name__, evalue=str(caught.value), traceback=lines
    )


def test_the_checks_messages_are_kept_without_their_kind_and_without_the_line_about_hints():
    """Whether an answer is missing is said by the kind of the error."""
    exercise = Exercise("exercise_02", Task("number", "A number", 1, hints=("Think.", "Think again.")))

    @exercise.check
    def number(answer):
        _core.compare(_core.number(answer, "number"), 7, (), "another number,\nFor a hint: none")

    notebook = tiny()
    notebook.cells[3].outputs = [error_of(number, None)]
    notebook.cells[7].outputs = [error_of(number, 8)]
    assert "checks.exercise_02.number" in notebook.cells[7].outputs[0].evalue
    assert grade._messages(notebook) == (
        {
            "double-tests": "Task 1 is not done yet: number is still None.",
            "number-tests": "Task 1 is not correct yet: another number,\nFor a hint: none",
        },
        ["double-tests"],
    )


@pytest.mark.parametrize(
    ("too_small", "try_again", "limits", "graded"),
    [
        ((30, 2**30), True, (30, 2**30), True),
        ((30, 2**30), True, (20, 2**30), True),
        ((30, 2**30), True, (31, 2**30), False),
        ((30, 2**30), True, (30, 2**31), False),
        (None, True, (30, 2**30), False),
        (None, False, (60, 2**31), True),
    ],
)
def test_what_met_the_time_limit_is_tried_again_with_larger_limits_only(too_small, try_again, limits, graded):
    before = Graded("k", True, try_again=try_again, too_small=too_small and list(too_small))
    assert grade._is_graded(before, "k", sandbox.Limits(*limits)) == graded
    assert not grade._is_graded(before, "new", sandbox.Limits(*limits))


def test_a_changed_submission_or_exercise_has_another_key(tmp_path):
    path, exercise = tmp_path / "tiny.ipynb", course_folder.Exercise(tiny(), tiny())
    keys = [grade._key(path, exercise)]
    for text in ("a", "b"):
        path.write_text(text)
        keys.append(grade._key(path, exercise))
    exercise.source.cells[7].source = "assert number == 8"
    keys.append(grade._key(path, exercise))
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("error", "try_again"),
    [
        (reading.NotReadableError("is not a notebook"), False),
        (UserError("nbgrader refuses it: the database is locked"), True),
        (OSError("no space left"), True),
        (PermissionError("not now"), True),
        (ValueError("a fault of the program"), True),
        (RuntimeError("a fault of nbgrader"), True),
    ],
)
@pytest.mark.parametrize("where", ["while it is read", "while its marks are recorded"])
def test_only_what_cannot_be_read_is_not_tried_again(tmp_path, monkeypatch, error, try_again, where):
    future: Future[grade._Ran] = Future()
    if where == "while it is read":
        future.set_exception(error)
    else:
        future.set_result((tiny(), sandbox.Outcome({}, [], 1.0, False, False)))
        monkeypatch.setattr(nbgrader_bridge, "record_marks", lambda *_: (_ for _ in ()).throw(error))
    graded: dict[str, Graded] = {}
    submission = submissions.Submission("anna", "tiny", tmp_path)
    grade._record(tmp_path, tmp_path, submission, "k", future, sandbox.Limits(), graded)
    entry = graded["anna/tiny"]
    assert (entry.key, entry.try_again, entry.seconds) == ("k", try_again, None)
    assert str(error) in entry.problems[0]


# --- what students are shown: no hidden tests ---

QUOTED = [  # the traceback of a failed hidden test
    "-----------------------------------\nAssertionError          Traceback (most recent call last)",
    "Cell In[4], line 5\n      3 if double(2) is None:\n----> 5 assert double(531) == 1062",
    "AssertionError: ",
]


def error(name: str, text: str, traceback: list[str]) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("error", ename=name, evalue=text, traceback=traceback)


def recorded(
    folder: Path, student: str, notebook: nbformat.NotebookNode, **outputs: list
) -> tuple[Path, str]:
    """Records the marks of a submission whose cells have these outputs; no kernel runs.

    Returns:
        The feedback page, and the outputs of the kept notebook as text.
    """
    repaired, _ = submissions.repair(notebook, *course_folder.read_exercise(folder, "tiny"))
    cells = {
        place: {"outputs": outputs.get(cell.id.replace("-", "_"), []), "execution_count": 1}
        for place, cell in enumerate(repaired.cells)
        if cell.cell_type == "code"
    }
    ran = nbgrader_bridge.with_outputs(repaired, sandbox.Outcome(cells, [], 1.0, False, False))
    path = submit(folder, student, notebook)
    submission = submissions.Submission(student, "tiny", path)
    nbgrader_bridge.record_marks(folder, folder.parent / "repaired", submission, ran)
    kept = nbformat.read(folder / "autograded" / student / "tiny" / "tiny.ipynb", as_version=4)
    return folder / "feedback" / student / "tiny" / "tiny.html", json.dumps(
        [cell.get("outputs", []) for cell in kept.cells]
    )


def check_nothing_hidden(page: str) -> None:
    """Neither the source, nor the numbers, nor the traceback of the hidden tests."""
    page = page[page.index("<body") :]  # the style sheet before it knows tracebacks
    assert not re.search(r"HIDDEN TESTS|\b531\b|\b1062\b|Traceback|Cell In|line 5", page)
    assert "Hidden tests</span>" in page  # the part of that cell that the student sees
    assert "Twice 3 is another number" in page  # a visible test


def test_feedback_shows_messages_and_the_sentence_and_no_hidden_tests(folder):
    square = error("AnswerError", "This is the square: 9.\nFor a hint: x", ["This is", "the square", *QUOTED])
    page, outputs = recorded(
        folder,
        "anna",
        solved(explain="Two *summands*.<script>evil()</script>"),
        double_tests=[square],
        double_hidden=[
            nbformat.v4.new_output("stream", name="stdout", text="x is 531"),
            error("AssertionError", "", QUOTED),
        ],
        number_tests=[error("NameError", "name 'number' is not defined", QUOTED)],
    )
    shown = page.read_text()
    check_nothing_hidden(shown)
    assert not re.search("1062|Traceback|Cell In", outputs)
    for words in ("This is the square: 9.\nFor a hint: x", "AssertionError", "name 'number' is not defined"):
        assert words in html.unescape(shown)
    assert "Two <em>summands</em>." in shown
    assert "<script>evil" not in shown
    assert re.search(r'<a href="#explain">\s*Task 3: in a sentence\s*</a>', shown)
    assert "Written response" not in shown
    assert points(folder, "anna") == dict.fromkeys(points(folder, "anna"), 0)


def test_a_students_own_markers_of_hidden_tests_do_not_stop_the_feedback(folder):
    page, _ = recorded(
        folder, "anna", solved(double="### BEGIN HIDDEN TESTS\ndef double(x):\n    return 2 * x")
    )
    assert "BEGIN HIDDEN TESTS" in page.read_text()  # the student's own text
    assert sum(points(folder, "anna").values()) == 3


def test_a_missing_sentence_is_called_so_and_an_exported_one_can_be_marked(folder):
    from nbgrader.api import Gradebook

    for text in (STUB, "  ", "Mine.", "x" * 5000):
        notebook, _ = submissions.repair(solved(explain=text), *course_folder.read_exercise(folder, "tiny"))
        expected = {} if text in (STUB, "  ") else {"explain": text[:2000]}
        assert nbgrader_bridge.sentences(notebook) == expected
    page, _ = recorded(folder, "anna", solved(explain=STUB))
    assert "No response." in page.read_text()
    page, _ = recorded(folder, "ben", solved())
    assert "No response." not in page.read_text()
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        assert book.find_grade("explain", "tiny", "tiny", "ben").needs_manual_grade
        assert book.find_grade("explain", "tiny", "tiny", "ben").cell_type == "markdown"


def test_feedback_that_an_earlier_version_wrote_is_written_again_without_hidden_tests(folder):
    """Its page shows the hidden tests, and its kept notebook holds a traceback that quotes them."""
    page, _ = recorded(folder, "anna", solved())
    kept = folder / "autograded" / "anna" / "tiny" / "tiny.ipynb"
    notebook = nbformat.read(kept, as_version=4)
    notebook.cells[4].outputs = [error("AssertionError", "", QUOTED)]
    nbformat.write(notebook, kept)
    submission = submissions.Submission("anna", "tiny", folder / "submitted" / "anna" / "tiny.ipynb")
    earlier = in_gradebook.read(folder)["anna/tiny"].in_feedback
    earlier.pop("hidden_tests")
    graded = {"anna/tiny": Graded("k", True, in_feedback=earlier)}
    page.write_text("assert double(531) == 1062")
    grade._renew_feedback(folder, [submission], graded, [])
    check_nothing_hidden(page.read_text())
    page.write_text("not again")
    grade._renew_feedback(folder, [submission], graded, [])
    assert page.read_text() == "not again"


# --- everything that can happen to a submission, in one run ---


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


def _tag_to_skip(notebook):
    notebook.cells[3].metadata["tags"] = ["skip-execution"]


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
SLEEP = ["sleep", f"987.{os.getpid()}"]  # nobody else's
MANY_PROCESSES = (
    f"import subprocess, time\nothers = [subprocess.Popen({SLEEP}) for _ in range(150)]\ntime.sleep(100)"
)
SABOTAGE = (
    "import os, signal, psutil\n"
    'open(\'outputs.json\', \'w\').write(\'{"cells": {"3": {"outputs": [7]}}, "problems": []}\')\n'
    "os.kill(os.getppid(), signal.SIGKILL)"
)
FORGED = (
    "from IPython import get_ipython\ndef double(x):\n    get_ipython().displayhook(99)\n    return 2 * x"
)
FORGED_POINT = FORGED.replace("99", "1.0").replace("2 * x", "x")
NO_DISPLAY = (
    "from IPython import get_ipython\nget_ipython()._showtraceback = lambda *arguments, **options: None\n"
    "get_ipython().set_custom_exc((Exception,), lambda *arguments, **options: None)\n"
    "def double(x):\n    return x * x"
)
NOT_SHOWN = (
    "class Odd(BaseException):\n    def _render_traceback_(self):\n        raise SystemExit\n"
    "    __str__ = _render_traceback_\n\n\ndef double(x):\n    raise Odd"
)

SQUARE = "def double(x):\n    return x * x"


class Case(NamedTuple):
    """A damaged submission: points of double-tests, double-hidden and number-tests, words of its remarks."""

    points: tuple[float, float, float]
    words: tuple[str, ...] = ()
    change: Callable[[nbformat.NotebookNode], None] = lambda notebook: None
    answers: dict[str, str] = {}  # noqa: RUF012

    def notebook(self) -> nbformat.NotebookNode:
        notebook = solved(**self.answers)
        self.change(notebook)
        return notebook


TOOK_HALF = "cell 3 (double) took half of the remaining time, and"
ENDED = "cell 3 (double) ended the kernel"
DAMAGED = {
    "deleted": Case(
        (1, 1, 0),
        tuple(f"cell {name} was missing" for name in ("imports", "double-tests", "number")),
        _deleted,
    ),
    "edited-tests": Case(
        (0, 0, 1),
        ("cell double-tests is locked and was changed", "cell double-hidden is locked and was changed"),
        _edited_tests,
        {"double": SQUARE},
    ),
    "loop": Case((0, 0, 1), (f"{TOOK_HALF} was stopped",), answers={"double": "while True:\n    pass"}),
    "hog": Case(
        (1, 1, 0), answers={"number": "import numpy as np\nnumber = None\nnumber = np.ones(2**28).sum()"}
    ),
    "dies": Case((0, 0, 1), (ENDED,), answers={"double": "import os\nos._exit(1)"}),
    "sabotage": Case((0, 0, 0), ("ended by itself",), answers={"double": SABOTAGE}),
    "forged": Case((0, 0, 1), answers={"double": FORGED}),
    "forged-point": Case((0, 0, 1), answers={"double": FORGED_POINT}),
    "no-display": Case((0, 0, 1), answers={"double": NO_DISPLAY}),
    "not-shown": Case((0, 0, 1), answers={"double": NOT_SHOWN}),
}
MORE_DAMAGED = {
    "whole": Case((1, 1, 1)),
    "copied": Case(
        (1, 1, 1),
        tuple(f"cell {name} is there 2 times" for name in ("double", "double-tests", "number-tests")),
        _copied,
    ),
    "split": Case((1, 1, 1), ("cell double is there 2 times",), _split),
    "reordered": Case((1, 1, 1), ("another order",), _reordered),
    "skip-tag": Case((0, 0, 1), (), _tag_to_skip, {"double": SQUARE}),
    "warns": Case((1, 1, 1), answers={"double": WARNS}),
    "stubborn": Case((0, 0, 1), (f"{TOOK_HALF} could not be stopped",), answers={"double": STUBBORN}),
    "exits": Case((0, 0, 1), (ENDED,), answers={"double": "exit()"}),
    "floods": Case(
        (1, 1, 1), answers={"number": "number = 7\nfor _ in range(2000):\n    print('x' * 10_000)"}
    ),
    "processes": Case((1, 1, 0), ("more than 100 processes",), answers={"number": MANY_PROCESSES}),
}
LIMITS = sandbox.Limits(seconds=12, memory_bytes=2**30)
# name -> words of its remark, total
FILES = {
    "no-json": ("is not a notebook", None),
    "huge": ("is not a notebook", None),
    "is-folder": ("is not a file", None),
    "stranger": ("other.ipynb belongs to no exercise", None),
    "Ann-Kathrin O’Hara": ("homework.ipynb was taken for tiny.ipynb", 1),
    "a*b": ("", 3),
    "nbgraders": ("", 3),
}


def _spy(folder: Path) -> str:
    spy = f"import os\nprint(sorted(os.environ))\nhere, course = os.getcwd(), {str(folder)!r}\n"
    spy += "print('beside', os.listdir(os.path.dirname(here)))\n"
    spy += "print('course', os.listdir(course))\n"
    spy += "print('processes', [p for p in os.listdir('/proc') if p.isdigit()])\n"
    for line in (
        "open(course + '/gradebook.db', 'rb')",
        "open(course + '/submitted/loop/tiny.ipynb')",
        f"open({str(Path(cli.__file__))!r}, 'a')",
        f"open({str(Path(cli.__file__).with_name('planted'))!r}, 'w')",
        "import socket; socket.create_connection(('127.0.0.1', 80), 1)",
    ):
        spy += f"try:\n    {line}\n    print('DID', {line!r})\nexcept OSError as error:\n    print(error)\n"
    return spy


@pytest.fixture(scope="session")
def class_of_damaged(built, tmp_path_factory) -> Path:
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("damaged") / "course"))
    for student, case in DAMAGED.items():
        submit(folder, student, case.notebook())
    submitted = folder / "submitted"
    for student in ("no-json", "huge"):
        (submitted / student).mkdir()
    (submitted / "no-json" / "tiny.ipynb").write_text("<html>")
    with (submitted / "huge" / "tiny.ipynb").open("wb") as file:
        file.truncate(30 * 2**20)
    (submitted / "is-folder" / "tiny.ipynb").mkdir(parents=True)
    submit(folder, "stranger", nbformat.v4.new_notebook(), "other.ipynb")
    submit(folder, "Ann-Kathrin O’Hara", solved(double=SQUARE), "homework.ipynb")
    submit(folder, "a*b", solved())
    submit(folder, "nbgraders", solved(), "tiny/tiny.ipynb")
    (submitted / "nbgraders" / "tiny" / "timestamp.txt").write_text("2026-05-04 10:00:00 UTC")
    submit(folder, "spy", solved(number=f"{SCRIPTS}\n{_spy(folder)}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_TOKEN", "hunter2")
        grade.grade(folder, limits=LIMITS, workers=2)
    return folder


@pytest.fixture(scope="session")
def class_of_more_damaged(built, tmp_path_factory) -> Path:
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("more") / "course"))
    for student, case in MORE_DAMAGED.items():
        submit(folder, student, case.notebook())
    submit(folder, "copy-only", solved(), "tiny-Copy1.ipynb")
    grade.grade(folder, limits=sandbox.Limits(30, 2**30), workers=2)
    return folder


def check_case(folder: Path, student: str, case: Case) -> None:
    assert tuple(points(folder, student).values()) == (*case.points, 0)
    said = "\n".join(line for line in remarks(folder, student).splitlines() if "identical" not in line)
    assert [word for word in case.words if word not in said] == []
    assert bool(said) == bool(case.words), said
    assert (folder / "feedback" / student / "tiny" / "tiny.html").is_file()


@pytest.mark.course
@pytest.mark.parametrize("student", DAMAGED)
def test_a_damaged_submission_gets_its_points_and_its_remarks(class_of_damaged, student):
    check_case(class_of_damaged, student, DAMAGED[student])


@pytest.mark.long
@pytest.mark.parametrize("student", MORE_DAMAGED)
def test_more_damaged_submissions_get_their_points_and_their_remarks(class_of_more_damaged, student):
    check_case(class_of_more_damaged, student, MORE_DAMAGED[student])


@pytest.mark.long
def test_a_copy_counts_where_there_is_no_other_and_floods_are_cut(class_of_more_damaged):
    assert "tiny-Copy1.ipynb was taken for tiny.ipynb" in remarks(class_of_more_damaged, "copy-only")
    assert sum(points(class_of_more_damaged, "copy-only").values()) == 3
    assert len(printed(class_of_more_damaged, "floods")) < 2 * 2**20
    graded = course_folder.read_graded(class_of_more_damaged)
    assert [of.split("/")[0] for of in graded if graded[of].too_small] == ["stubborn"]
    assert not left_running()


@pytest.mark.course
@pytest.mark.parametrize("student", FILES)
def test_a_file_that_is_not_a_submission_is_reported(class_of_damaged, student):
    words, total = FILES[student]
    assert words in remarks(class_of_damaged, student)
    report = _files.read_json(class_of_damaged / "report.json")
    (entry,) = [entry for entry in report["students"] if entry["student"] == student]
    assert entry["points"] == (total or 0)
    assert [exercise["points"] for exercise in entry["exercises"].values()] == (
        [] if student == "stranger" else [total]
    )
    not_graded = {remark["student"] for remark in report["remarks"] if remark["not_graded"]}
    assert (student in not_graded) == (total is None)


@pytest.mark.course
def test_what_ran_out_of_time_is_recorded_with_its_limits(class_of_damaged):
    graded = course_folder.read_graded(class_of_damaged)
    assert {of.split("/")[0]: entry.too_small for of, entry in graded.items() if entry.too_small} == {
        "loop": list(LIMITS)
    }
    assert {of.split("/")[0] for of, entry in graded.items() if entry.try_again} == {
        "loop",
        "dies",
        "sabotage",
    }


@pytest.mark.course
def test_messages_say_why(class_of_damaged):
    said = messages(class_of_damaged, "edited-tests")["double-tests"]
    assert said.splitlines()[0] == "This is the square: 9."
    assert "half of the remaining time" in messages(class_of_damaged, "loop")["double"]
    assert "Unable to allocate" in messages(class_of_damaged, "hog")["number"]
    assert messages(class_of_damaged, "hog")["number-tests"] == "Task 2 is not done yet."
    assert messages(class_of_damaged, "sabotage")["number-tests"] == "This test did not run."
    assert "tests never have" in messages(class_of_damaged, "forged")["double-tests"]


@pytest.mark.course
@pytest.mark.parametrize("student", ["edited-tests", "nbgraders"])
def test_feedback_holds_the_sentence_and_no_hidden_tests(class_of_damaged, student):
    page = (class_of_damaged / "feedback" / student / "tiny" / "tiny.html").read_text()
    check_nothing_hidden(page)
    assert "Twice a number is a <code>sum</code>." in page
    assert not re.search(r"531|1062|Traceback", printed_errors(class_of_damaged, student))


@pytest.mark.course
def test_the_time_of_submission_is_kept(class_of_damaged):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{class_of_damaged}/gradebook.db") as book:
        assert str(book.find_submission("tiny", "nbgraders").timestamp) == "2026-05-04 10:00:00"
        assert book.find_submission("tiny", "loop").timestamp is None


@isolating
@pytest.mark.course
def test_a_submission_sees_neither_the_others_nor_the_marks_nor_the_network(class_of_damaged):
    report = _files.read_json(class_of_damaged / "report.json")
    assert report["isolated"]
    assert report["about_isolation"] == isolation.find().explanation
    seen = printed(class_of_damaged, "spy")
    assert "DID" not in seen
    assert "SECRET_TOKEN" not in seen
    assert "course []" in seen
    assert re.search(r"beside \['\d+'\]", seen)
    assert len(re.search(r"processes \[(.*)\]", seen)[1].split(",")) < 10
    assert seen.count("No such file or directory") == 2
    assert seen.count("Read-only file system") == 2
    assert re.search("Network is unreachable|Connection refused", seen)  # unshare, bwrap
    assert not Path(cli.__file__).with_name("planted").exists()
    assert points(class_of_damaged, "spy")["number-tests"] == 1


@pytest.mark.course
def test_feedback_and_report_run_nobodys_scripts(class_of_damaged):
    page = (class_of_damaged / "feedback" / "spy" / "tiny" / "tiny.html").read_text()
    assert "<b>bold</b>" in page
    assert not re.search(r"<script>evil|<img[^>]*onerror|<svg", page)
    report = (class_of_damaged / "report.html").read_text()
    assert "<script" not in report
    assert report.count("<h1>") == 1
    assert report.count("<th scope=") == report.count("<th ")


def printed_errors(folder: Path, student: str) -> str:
    notebook = nbformat.read(folder / "autograded" / student / "tiny" / "tiny.ipynb", as_version=4)
    return json.dumps([cell.get("outputs", []) for cell in notebook.cells])


def left_running() -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _command(process)[:2] == SLEEP]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.long
def test_nbgrader_itself_goes_on_from_there(class_of_more_damaged, tmp_path):
    command = [sys.executable, "-m", "nbgrader", "export", "--to", str(tmp_path / "grades.csv")]
    subprocess.run(command, cwd=class_of_more_damaged, check=True, capture_output=True)
    with (tmp_path / "grades.csv").open(newline="") as file:
        (whole,) = [row for row in csv.DictReader(file) if row["student_id"] == "whole"]
    assert (whole["assignment"], whole["score"], whole["max_score"]) == ("tiny", "3.0", "3.0")


@pytest.mark.course
def test_the_report_counts_wrong_answers(class_of_damaged):
    report = _files.read_json(class_of_damaged / "report.json")
    first, second, third = report["exercises"][0]["tasks"]
    assert (third["not_done"], third["success_rate"], third["wrong_answers"]) == (0, None, [])
    assert {"student": "edited-tests", "text": SENTENCE} in third["sentences"]
    assert len(third["sentences"]) == report["exercises"][0]["graded"]
    assert second["not_done"] == 1  # hog
    assert (first["title"], first["max_points"]) == ("Task 1: double", 2)
    assert {"count": 3, "message": "This is the square: 9."} in first["wrong_answers"]
    graded = report["exercises"][0]["graded"]
    assert graded == len(DAMAGED) + 4  # Ann-Kathrin, a*b, nbgraders and spy
    solved_it = sum(case.points[2] for case in DAMAGED.values()) + 4
    assert second["success_rate"] == pytest.approx(solved_it / graded)
    rows = (class_of_damaged / "report.csv").read_text().splitlines()
    assert rows[0] == "student,exercise,task,test,points,max_points"
    assert "edited-tests,tiny,double,double-tests,0.0,1.0" in rows
    assert len(rows) == 1 + 3 * graded


# --- once more, with less, and interrupted ---


@pytest.mark.course
def test_only_what_has_changed_is_graded_again(folder, exercises, capsys):
    from nbgrader.api import Gradebook

    submit(folder, "anna", solved())
    submit(folder, "ben", solved(number="number = 8"))
    grade.grade(folder)
    assert points(folder, "ben")["number-tests"] == 0
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        book.find_grade("number-tests", "tiny", "tiny", "anna").manual_score = 0.5
        book.db.commit()
    submit(folder, "ben", solved())
    capsys.readouterr()
    grade.grade(folder)
    said = capsys.readouterr().out
    assert "anna/tiny: graded before" in said
    assert re.search(r"ben/tiny: \d", said)
    assert points(folder, "ben")["number-tests"] == 1
    assert points(folder, "anna")["number-tests"] == 0.5
    page = (folder / "feedback" / "anna" / "tiny" / "tiny.html").read_text()
    assert "2.5 of 3 points" in page
    assert '<a href="#double-hidden">double-hidden</a> 1 of 1' in page
    assert "anna,tiny,number,number-tests,0.5,1.0" in (folder / "report.csv").read_text()


@pytest.mark.long
def test_a_changed_exercise_is_graded_again(folder, exercises, capsys):
    submit(folder, "ben", solved())
    grade.grade(folder)
    assert points(folder, "ben")["number-tests"] == 1
    changed = tiny()
    changed.cells[7].source = "assert number == 8"
    nbformat.write(changed, exercises / "tiny.ipynb")
    release.build(folder)
    grade.grade(folder)
    assert points(folder, "ben")["number-tests"] == 0
    assert "graded before" not in capsys.readouterr().out


def test_an_exercise_with_other_cells_is_refused_once_a_submission_has_marks(folder, exercises):
    from nbgrader.api import Gradebook

    changed = tiny()
    changed.cells.append(code("new-tests", "assert True", grade=True, points=1))
    nbformat.write(changed, exercises / "tiny.ipynb")
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        book.add_student("anna")
        book.add_submission("tiny", "anna")
    before = snapshot(folder)
    with pytest.raises(UserError, match=r"other cells than when submissions to it were graded \(new-tests\)"):
        release.build(folder)
    assert snapshot(folder) == before


@pytest.mark.course
def test_without_isolation_the_report_says_so_and_nothing_is_left_running(folder, monkeypatch):
    monkeypatch.setattr(isolation, "find", lambda: isolation.Isolation("", "The reason & the cure."))
    submit(folder, "processes", solved(number=MANY_PROCESSES))
    summary = grade.grade(folder, limits=sandbox.Limits(60, 2**30))
    assert "WARNING: not all submissions ran in isolation" in summary
    assert "The reason & the cure." in summary
    assert "The reason &amp; the cure." in (folder / "report.html").read_text()
    assert "Not all submissions ran in isolation" in (folder / "report.html").read_text()
    expected = {"double-tests": 1, "double-hidden": 1, "number-tests": 0, "explain": 0}
    assert points(folder, "processes") == expected
    assert not left_running()


def _grading(folder: Path, **streams) -> subprocess.Popen:
    options = ["assignments", "grade", str(folder), "--workers", "1"]
    environment = os.environ | {"TMPDIR": str(folder.parent)}  # SIGKILL leaves temporary files
    # A job in the background of a shell ignores Ctrl-C, and what it starts does so too.
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_course.cli", *options],
        env=environment,
        **streams,
        **(heeds if os.name == "posix" else {}),
    )


@pytest.mark.course
@pytest.mark.parametrize(
    ("how", "status"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.long),
    ],
)
def test_interrupted_it_leaves_nothing_running_and_keeps_the_marks(folder, how, status):
    submit(folder, "anna", solved())
    submit(folder, "ben", solved(number="import time\ntime.sleep(1000)"))
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


def test_one_grader_at_a_time(folder):
    submit(folder, "anna", solved())
    with (
        _files.lock(folder / ".grading.lock", ""),
        pytest.raises(UserError, match="Another process is grading"),
    ):
        grade.grade(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.long
def test_a_bar_on_a_terminal(folder):
    import fcntl
    import pty
    import struct
    import termios

    submit(folder, "anna", solved())
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = _grading(folder, stdout=subprocess.DEVNULL, stderr=end)
    os.close(end)
    try:
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
