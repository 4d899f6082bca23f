"""What tests rely on stays as it was, whatever a student's code replaces; each case runs in a kernel."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from mnist_course.grading import (
    isolation,
    kernel_guard,
    nbgrader_bridge,
    release,
    sandbox,
    sandbox_child,
    submissions,
)
from tests.grading.test_submissions import given_out
from tests.grading.tiny import answered, solved, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

TOOL = isolation.find().tool
SQUARE = "\ndef double(x):\n    return x * x"
TWICE = "\ndef double(x):\n    return 2 * x"
SHELL = "from IPython import get_ipython\nshell = get_ipython()\n"
RICH = "import rich.traceback\nrich.traceback.install()"
NO_TRACEBACK = f"{SHELL}shell.showtraceback = None"
CUSTOM = f"{SHELL}shell.set_custom_exc((Exception,), lambda *arguments, **options: None)"
DEBUGGER = f"{SHELL}shell.call_pdb = True"
NO_ASSERT = f"""{SHELL}import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
    visit_Raise = visit_Assert
shell.ast_transformers.append(Drop())"""
NO_ASSERT_TEXT = f"""{SHELL}
shell.input_transformers_post.append(lambda lines: [line.replace("assert", "0 and") for line in lines])"""
DEEP = f"""{SHELL}before = type(shell).run_cell_async
async def run(self, raw_cell, **options):
    text = raw_cell.replace("assert", "0 and")
    return await before(self, text, **options | {{"transformed_cell": text}})
type(shell).run_cell_async = run"""
OPTIMISED = (
    "import builtins\nreal = compile\n"
    "builtins.compile = lambda *given, **more: real(*given, **more | {'optimize': 2})"
)
SHADOWS = "str = list = len = isinstance = float = KeyError = hasattr = 7"
PATCHED = (
    "import builtins, sys\nimport numpy as np\nfrom mnist_helpers.checks import _core\n"
    "np.allclose = lambda *given, **more: True\n"
    "_core.compare.__code__ = (lambda *given, **more: None).__code__\n"
    "_core.AnswerError = Warning\nsys.modules['mnist_helpers.checks._core'] = sys"
)
FAKE = """
class fake:
    class _core:
        class NotDoneError(Exception): pass
        class AnswerError(Exception): pass
import mnist_helpers
mnist_helpers.checks = fake"""
FAKE_EVERYWHERE = f"""{FAKE}
import sys
sys.modules['mnist_helpers.checks'] = fake
sys.modules['mnist_helpers.checks._core'] = fake._core
sys.modules['mnist_helpers'].__dict__['checks'] = fake"""
SPY = """
import linecache, os, sys
files = [open(name).read() for name in os.listdir('.') if os.path.isfile(name)]
seen = [In, shell.history_manager.input_hist_raw, linecache.cache, files]
seen += [getattr(sys, 'last_value', ''), shell._last_traceback]
print('seen:', sum(str(5 * 106 + 1) in str(part) for part in seen))
try:
    open(f'/proc/{os.getppid()}/mem', 'rb')
except OSError as error:
    print('refused:', type(error).__name__)
"""


class Case(NamedTuple):
    """What runs before the first answer; points of its two tests and of the next task's; words of the remarks."""

    code: str
    points: tuple[int, int, int]
    words: tuple[str, ...] = ()
    number: str = "number = 7"


CASES = {
    "square, rich": Case(RICH + SQUARE, (0, 0, 1)),
    "square, no traceback": Case(NO_TRACEBACK + SQUARE, (0, 0, 1)),
    "square, custom exception": Case(CUSTOM + SQUARE, (0, 0, 1)),
    "square, no assertions": Case(NO_ASSERT + SQUARE, (0, 0, 1), ("ast_transformers",)),
    "square, no assertions in the text": Case(
        NO_ASSERT_TEXT + SQUARE, (0, 0, 1), ("input_transformers_post",)
    ),
    "square, assertions dropped below IPython": Case(
        DEEP + SQUARE, (0, 0, 0), ("not notice a false assertion",)
    ),
    "square, optimised": Case(OPTIMISED + SQUARE, (0, 0, 1), ("builtins.compile",)),
    "right, displays replaced": Case(f"{RICH}\n{NO_TRACEBACK}\n{CUSTOM}\n{DEBUGGER}{TWICE}", (1, 1, 1)),
    "right, names shadowed": Case(SHADOWS + TWICE, (1, 1, 1), number="number = len  # 7"),
    "right, checks patched": Case(
        PATCHED + TWICE, (1, 1, 0), ("numpy.allclose", "_core.compare", "_core.AnswerError"), "number = 8"
    ),
    "square, checks replaced": Case(FAKE + SQUARE, (0, 0, 1), ("mnist_helpers.checks",)),
    "square, checks replaced everywhere": Case(
        FAKE_EVERYWHERE + SQUARE, (0, 0, 1), ("mnist_helpers.checks",)
    ),
    "right, half a character": Case("print('\\ud83d')" + TWICE, (1, 1, 1)),
    "right, reads what it can": Case(SHELL + TWICE, (1, 1, 1), number=f"number = 7{SPY}"),
}
QUICK = ["square, no traceback", "square, no assertions", "right, checks patched", "right, reads what it can"]


def ran(notebook: nbformat.NotebookNode, folder: Path, *versions: nbformat.NotebookNode) -> tuple:
    """Points of the tests, remarks, and the notebook."""
    from nbgrader import utils

    repaired, problems = submissions.repair(notebook, *versions)
    outcome = sandbox.run(
        repaired,
        folder,
        limits=sandbox.Limits(120, 2**32),
        hidden=[folder.parent],
        tool=TOOL,
        stop=threading.Event(),
    )
    done = nbgrader_bridge.with_outputs(repaired, outcome)
    nbformat.writes(done).encode()
    points = [
        utils.determine_grade(cell)[0]
        for cell in done.cells
        if utils.is_grade(cell) and not utils.is_solution(cell)
    ]
    return tuple(points), problems + outcome.problems, done


@pytest.mark.course
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in CASES]
)
def test_a_mark_is_right_whatever_is_replaced(tmp_path, name):
    case = CASES[name]
    points, problems, done = ran(solved(double=case.code, number=case.number), tmp_path, given_out(), tiny())
    assert points == case.points
    said = "\n".join(problems)
    assert [word for word in case.words if word not in said] == []
    assert bool(said) == bool(case.words), said
    written = nbformat.writes(done)
    assert "assert False" not in written
    if SPY in case.number:
        assert "seen: 0" in written
        assert "refused: PermissionError" in written or not TOOL


def test_no_word_no_point(tmp_path, monkeypatch):
    """A reply without an error, and one with another error, are no proof that a test ran."""
    run = sandbox_child._Run(tiny(), 30, io.StringIO(), b"")
    monkeypatch.setattr(run, "save", lambda *positions: None)
    client = sandbox_child._Client(run)
    for content, expected in (
        ({"status": "error", "ename": "AssertionError", "evalue": "w", "traceback": []}, ""),
        ({"status": "ok"}, "NotRun"),
        ({"status": "aborted"}, "NotRun"),
        ({"status": "error", "ename": "AssertionError", "evalue": "", "traceback": []}, "AssertionError"),
    ):
        client.word = "w"
        cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text="w")])
        client._look(cell, 3, {"content": content})
        assert [output.get("ename") for output in cell.outputs] == [expected] * bool(expected)
    assert len(run.problems) == 1


def test_half_a_character_is_packed():
    assert kernel_guard.pack({"text": "\ud83d", "number": float("nan")}) == (
        b'{"text": "\\ud83d", "number": "nan"}'
    )


def test_replies_of_the_guard_are_other_peoples_text():
    def words(text: str) -> list[str]:
        return sandbox_child._words({"user_expressions": {"asked": {"data": {"text/plain": text}}}})

    assert words("['numpy.allclose']") == ["numpy.allclose"]
    for text in ("7", "open('x')", "[", "None"):
        assert words(text) == []
    assert sandbox_child._words({"status": "error"}) == []


@pytest.mark.long
def test_right_answers_to_exercise_1_get_all_points_whatever_their_variables_are_called(tmp_path):
    """The sample standard deviation is accepted, and the names of an answer disturb no test."""
    source = nbformat.read(release.EXERCISES / "exercise_01.ipynb", as_version=4)
    given = nbformat.read(release.RELEASE / "exercise_01.ipynb", as_version=4)
    shadows = "\nstr = list = round = 7\nre = layers = metrics = None\n"  # no later answer needs these
    answers = {cell.id: cell.source for cell in source.cells}
    notebook = answered(
        nbformat.from_dict(source),
        {
            "memory": answers["memory"] + shadows,
            "standardise": answers["standardise"].replace("std(axis=0)", "std(axis=0, ddof=1)"),
        },
    )
    points, problems, _ = ran(notebook, tmp_path, given, source)
    assert sum(points) == sum(
        cell.metadata.nbgrader.points
        for cell in source.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    )
    assert problems == []
