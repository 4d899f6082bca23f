"""An exercise in JupyterLab: a right answer, a hint, a wrong answer that stops Run All, the summary."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mnist_course.grading import release

pytestmark = pytest.mark.browser
SCREENSHOTS = Path(__file__).parent / "screenshots"
RIGHT = "num_bytes = 60_000 * 28 * 28\nnum_bytes_float32 = 4 * num_bytes"
WRONG = "def rescaled(images):\n    return images // 255"


@pytest.fixture(scope="module")
def exercise(root, open_lesson):
    """The students' version of exercise 1 with two answers and a request for a hint, after Run All."""
    notebook = json.loads((release.RELEASE / "exercise_01.ipynb").read_text(encoding="utf-8"))
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    cells["memory"]["source"], cells["rescale"]["source"] = RIGHT, WRONG
    check = "".join(cells["rescale-tests"]["source"])
    asked = {"cell_type": "code", "id": "asked", "metadata": {}, "execution_count": None, "outputs": []}
    place = notebook["cells"].index(cells["rescale-tests"])
    notebook["cells"].insert(place, asked | {"source": check.replace(")", ", hint=1)")})
    folder = root / "checks"
    folder.mkdir()
    (folder / "exercise_01.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    opened = open_lesson("checks/exercise_01.ipynb")
    opened.run_all()
    summary = opened.number_of("checks.exercise_01.summary()")
    opened.cells.nth(summary).locator(".jp-InputArea-editor").click()
    opened.page.keyboard.press("Shift+Enter")
    expect(opened.output(summary)).to_contain_text("points so far")
    return opened


def test_a_right_answer_says_so(exercise):
    shown = exercise.output(exercise.number_of("checks.exercise_01.memory("))
    expect(shown).to_have_text("Task 1: correct (1 of 1 point)")


def test_a_hint_is_printed(exercise):
    expect(exercise.output(exercise.number_of("hint=1"))).to_contain_text("Task 2, hint 1 of ")


def test_a_wrong_answer_is_one_message_and_stops_run_all(exercise):
    check = next(n for n, text in exercise.sources.items() if text == "checks.exercise_01.rescale(rescaled)")
    shown = exercise.output(check)
    expect(shown).to_contain_text("Task 2 is not correct yet: ")
    expect(shown).to_contain_text("For a hint: checks.exercise_01.rescale(..., hint=1)")
    for word in ("Traceback", "Error", "File ", "site-packages", "--->"):
        expect(shown).not_to_contain_text(word)
    later = next(
        n for n, text in exercise.sources.items() if text.startswith("checks.exercise_01.standardise(")
    )
    assert exercise.output(later).count() == 0


def test_the_summary_lists_the_tasks(exercise):
    shown = exercise.output(exercise.number_of("checks.exercise_01.summary()"))
    for line in (
        "1 of 1  correct",
        "0 of 1  not correct yet",
        "not done yet",
        "read by your teacher",
        "Still open: tasks 2",
    ):
        expect(shown).to_contain_text(line)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [1280, 900])
def test_pictures_of_the_checks(exercise, theme, width):
    """To look at: tests/browser/screenshots/."""
    exercise.theme(theme)
    exercise.page.set_viewport_size({"width": width, "height": 900})
    exercise.picture(SCREENSHOTS / f"exercise_01-{theme.lower()}-{width}.png")
    summary = exercise.output(exercise.number_of("checks.exercise_01.summary()"))
    fits = summary.evaluate("output => output.scrollWidth <= output.clientWidth + 1")
    assert fits, "the summary needs a scroll bar"
