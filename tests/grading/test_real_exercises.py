"""Right and wrong answers to the course's own exercises, through the whole grading."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from mnist_course.grading import class_report, course_folder, grade, release
from tests.grading.tiny import answered, messages, points, remarks, submit

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

FUNCTIONAL = """def build_network(widths):
    inputs = keras.Input((28, 28))
    values = layers.Flatten()(inputs) / 255.0
    for width in widths:
        values = layers.ReLU()(layers.Dense(width)(values))
    return keras.Model(inputs, layers.Softmax()(layers.Dense(10)(values)))"""
EXACT = """def wilson(num_correct, num_images):
    interval = stats.binomtest(int(num_correct), int(num_images)).proportion_ci(0.95, "wilson")
    return interval.low, interval.high"""
HELPERS = {
    "wilson": "def wilson(num_correct, num_images):\n    return metrics.accuracy_interval(num_correct, num_images)",
    "mcnemar": "def mcnemar(labels, first, second):\n"
    "    test = metrics.mcnemar(labels, first, second)\n"
    "    return test.only_first, test.only_second, test.p_value",
}
IN_OTHER_FORMS = {
    "by-hand": "precision_1, recall_1, mistaken_for = 0.8095, 0.708, 2.0",
    "wilson": EXACT,
    "conclusion": "verdict_1, verdict_2, verdict_3 = 'Better', 'not shown to differ ', 'WORSE'\n"
    "gain, factor, claim = 10.9, 100.0, 'b'",
    "explain": "We did not look at the test set; I am far from certain: .0138 is no difference. 92.9 239",
}
FAKE = """
class fake:
    class exercise_01:
        memory = rescale = standardise = nearest_mean = shared = summary = staticmethod(lambda *a, **k: print("ok"))
import mnist_helpers
mnist_helpers.checks = fake
"""
FAKE_METHODS = """
from mnist_helpers import checks
from mnist_helpers.checks import _core
nothing = lambda *given, **more: None
kinds = [value for value in vars(_core).values() if isinstance(value, type)]
for kind in [kind for kind in kinds if kind.__module__ == _core.__name__]:
    for name in [name for name in vars(kind) if not name.startswith("__")]:
        try:
            setattr(kind, name, nothing)
        except (AttributeError, TypeError):
            pass
    try:
        vars(checks.exercise_01.exercise)["check"] = nothing
    except AttributeError:
        pass
"""
CLASS = {  # student: exercise, answers, and the tests that give no points
    "functional": ("exercise_02", {"build": FUNCTIONAL}, set()),
    "solution": ("exercise_05", {}, set()),
    "other-forms": ("exercise_05", IN_OTHER_FORMS, set()),
    "helpers": (
        "exercise_05",
        HELPERS,
        {"wilson-tests", "wilson-hidden", "mcnemar-tests", "mcnemar-hidden"},
    ),
}


def test_m6_m8_m14_m15_right_answers_in_any_form_get_all_points_and_helpers_none(tmp_path):
    folder = tmp_path / "class"
    release.build(folder)
    for student, (exercise, answers, _) in CLASS.items():
        notebook = nbformat.read(release.EXERCISES / f"{exercise}.ipynb", as_version=4)
        submit(folder, student, answered(notebook, answers), f"{exercise}.ipynb")
    grade.grade(folder)
    for student, (exercise, _, without) in CLASS.items():
        expected = _maxima(folder, exercise) | dict.fromkeys(without, 0.0)
        found = {name: value for name, value in points(folder, student, exercise).items() if name in expected}
        assert found == expected, messages(folder, student, exercise)
    assert {
        name: text for name, text in messages(folder, "helpers", "exercise_05").items() if "tests" in name
    }
    for text in messages(folder, "helpers", "exercise_05").values():
        assert "may not be used" in text or "yourself" in text
    assert {student: remarks(folder, student) for student in CLASS} == dict.fromkeys(CLASS, "")
    said = json.loads((folder / "report.json").read_text())["exercises"]
    assert IN_OTHER_FORMS["explain"] in str(said)


def test_replaced_checks_give_no_points_and_are_named(tmp_path):
    folder = tmp_path / "class"
    release.build(folder)
    for student, code in (("attribute", FAKE), ("methods", FAKE_METHODS)):
        notebook = nbformat.read(release.RELEASE / "exercise_01.ipynb", as_version=4)
        submit(folder, student, answered(notebook, {"memory": code}), "exercise_01.ipynb")
    grade.grade(folder)
    expected = dict.fromkeys(_maxima(folder, "exercise_01"), 0.0)
    for student, words in (("attribute", "mnist_helpers.checks"), ("methods", "mnist_helpers.checks._core.")):
        found = points(folder, student, "exercise_01")
        assert {name: value for name, value in found.items() if name in expected} == expected, student
        assert words in remarks(folder, student)


def test_an_answer_counts_in_whichever_cell_it_is(tmp_path):
    """Two answers in one cell, the other cell deleted: what is put back must not undo the answer."""
    folder = tmp_path / "class"
    release.build(folder)
    source = nbformat.read(release.EXERCISES / "exercise_01.ipynb", as_version=4)
    answers = {cell.id: cell.source for cell in source.cells}
    merged = answered(source, {"memory": f"{answers['memory']}\n{answers['rescale']}"})
    merged.cells = [cell for cell in merged.cells if cell.id != "rescale"]
    submit(folder, "merged", merged, "exercise_01.ipynb")
    grade.grade(folder)
    expected = _maxima(folder, "exercise_01")
    found = points(folder, "merged", "exercise_01")
    assert {name: value for name, value in found.items() if name in expected} == expected
    assert "cell rescale was missing; what another cell defines counts" in remarks(folder, "merged")


def _maxima(folder: Path, exercise: str) -> dict[str, float]:
    tasks = class_report.tasks_of(course_folder.read_exercise(folder, exercise).release)
    return {test: most for task in tasks for test, most in task.tests.items()}
