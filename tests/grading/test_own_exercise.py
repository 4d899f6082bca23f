"""The example in TEACHING.md of an exercise of one's own works as it is written there."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from mnist_course.grading import class_report, release
from mnist_helpers import checks
from tests.grading import in_process
from tests.grading.tiny import STUB

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]
ROOT = Path(__file__).parent.parent.parent
NAME = "exercise_06"


@pytest.fixture(scope="module")
def section() -> str:
    text = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
    return text.split("\n## A task or an exercise of your own\n")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def folder(section, tmp_path_factory) -> Path:
    """The example, made as TEACHING.md says, in a copy of the package of checks; released for a class."""
    folder = tmp_path_factory.mktemp("own")
    module, script = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    names = dict.fromkeys(re.findall(r"`(mnist_helpers/checks/\w+\.py)`", section))
    own, package = names
    shutil.copytree(ROOT / "mnist_helpers" / "checks", folder / "mnist_helpers" / "checks")
    (folder / own).write_text(module, encoding="utf-8")
    init = (folder / package).read_text(encoding="utf-8")
    assert init.count('"exercise_05"]') == 1
    (folder / package).write_text(
        init.replace('"exercise_05"]', f'"exercise_05", "{NAME}"]'), encoding="utf-8"
    )
    (folder / "notebooks" / "exercises").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(script, "make_exercise.py", "exec"), {})
        patch.setattr(release, "EXERCISES", folder / "notebooks" / "exercises")
        patch.setattr(release, "RELEASE", folder / "notebooks" / "exercises" / "release")
        release.write_release(release.RELEASE)
        release.build(folder / "class")
    return folder


@pytest.fixture
def _with_the_example(folder, monkeypatch):
    """The package of checks in which the example is."""
    monkeypatch.setattr(checks, "__path__", [str(folder / "mnist_helpers" / "checks")])
    names: dict[str, object] = {}
    source = (folder / "mnist_helpers" / "checks" / "__init__.py").read_text(encoding="utf-8")
    exec(compile(source, "__init__.py", "exec"), names)
    monkeypatch.setattr(checks, "__all__", names["__all__"])
    monkeypatch.setattr(release, "EXERCISES", folder / "notebooks" / "exercises")
    monkeypatch.setattr(release, "RELEASE", folder / "notebooks" / "exercises" / "release")
    yield
    sys.modules.pop(f"mnist_helpers.checks.{NAME}", None)
    vars(checks).pop(NAME, None)
    in_process.solved.cache_clear()


def released(folder: Path) -> nbformat.NotebookNode:
    return nbformat.read(folder / "class" / "release" / NAME / f"{NAME}.ipynb", as_version=4)


def test_students_see_one_line_of_the_check_and_no_answer(folder):
    notebook = released(folder)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert f"checks.{NAME}.ink(share_of_ink)" in text
    assert not re.search(r"BEGIN|image > 0|single stroke|np\.eye", text)
    assert STUB in text
    assert nbformat.read(folder / "notebooks/exercises/release" / f"{NAME}.ipynb", as_version=4) == notebook


def test_the_class_report_knows_its_tasks(folder):
    tasks = class_report.tasks_of(released(folder))
    assert tasks == [
        class_report.Task("ink", "Task 1: How much ink?", {"ink-tests": 1, "ink-hidden": 1}),
        class_report.Task("explain", "Task 2: Explain in a sentence", {}, by_hand=True),
    ]
    module_text = (folder / "mnist_helpers" / "checks" / f"{NAME}.py").read_text(encoding="utf-8")
    assert [task.title.split(": ")[1] in module_text for task in tasks] == [True, True]


@pytest.mark.usefixtures("_with_the_example")
def test_the_answer_of_the_example_gets_all_points():
    _, outcome = in_process.solved(NAME)
    assert outcome.messages == {}
    assert outcome.points == {"ink-tests": 1, "ink-hidden": 1}
    assert "1 of 1 points so far. 1 more point is checked" in outcome.printed["summary"]
    hinted = importlib.import_module(f"mnist_helpers.checks.{NAME}")
    assert len(hinted.HINTS) == 2


@pytest.mark.usefixtures("_with_the_example")
def test_the_untouched_example_is_not_done_yet():
    outcome = in_process.run(in_process.untouched(NAME))
    assert set(outcome.points.values()) == {0}
    said = "Task 1 is not done yet: share_of_ink returns None. "
    said += "Does every way through the function end with a `return`?"
    assert outcome.messages == dict.fromkeys(("ink-tests", "ink-hidden"), said)


@pytest.mark.usefixtures("_with_the_example")
@pytest.mark.parametrize(
    ("answer", "points", "message"),
    [
        ("np.mean(image != 0)", 2, ""),
        ("(image > 0).sum()", 0, "not their share"),
        ("image.mean() / 255", 0, "mean brightness"),
        ("1 / 3", 1, "This is not the share of its pixels that have ink."),
        ("image.size", 0, "share_of_ink(array([[ 0, 9, 0], [ 0, 255, 0]])) returns 6."),
    ],
)
def test_right_and_wrong_answers_to_the_example(answer, points, message):
    code = f"import numpy as np\n\n\ndef share_of_ink(image):\n    return {answer}"
    outcome = in_process.run_answer(NAME, "ink", code)
    assert sum(outcome.points.values()) == points
    assert message in "\n".join(outcome.messages.values())


def test_its_commands_and_cells_are_those_of_the_course(section):
    assert "mnist-course assignments release" in section
    assert "mnist-course assignments build DIR" in section
    for marker in ("### BEGIN SOLUTION", "### END SOLUTION"):
        assert f"`{marker}`" in section
