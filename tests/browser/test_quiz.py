"""Predictions and quizzes in JupyterLab, by mouse and by keyboard, in a made-up notebook; and the first page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes

pytest.importorskip("playwright", reason="no Playwright here: pip install --editable '.[browser]'")
from playwright.sync_api import expect

from mnist_course import lessons as course
from tests.browser.conftest import PICTURES
from tests.browser.jupyter import HIGH, WIDE

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="no axe-core here: pip install --editable '.[browser]'"
)
pytestmark = pytest.mark.browser
QUESTIONS = """
- question: What is `2 + 2`?
  choices:
    - {text: "3.", why: "That is 2 + 1."}
    - {text: "4.", why: "Two and *two* more.", right: true}
    - {text: "5.", why: "That is 2 + 3."}
- question: Which are even?
  choices:
    - {text: "6.", why: "Three and three.", right: true}
    - {text: "5.", why: "That is 2 + 3, which is odd."}
    - {text: "4.", why: "Two and two.", right: true}
"""
CELLS = [
    "import pathlib\nfrom mnist_helpers import quiz\nquiz.QUIZZES = pathlib.Path.cwd()",
    'guess = quiz.predict("validation accuracy after the last epoch", "percent")',
    "quiz.compare(guess, 0.125)\nguess.value",
    'choice = quiz.predict("which loss is lower?", choices=("with dropout", "without"))',
    'quiz.compare(choice, "without")',
    'quiz.show("sums")',
]


@pytest.fixture(scope="module")
def notebook(open_lesson, root):
    """The made-up notebook, open, with all cells run and its kernel kept."""
    folder = root / "quiz"
    folder.mkdir()
    (folder / "sums.yaml").write_text(QUESTIONS, encoding="utf-8")
    cells = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(CELLS)
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (folder / "made_up.ipynb").write_text(json.dumps(content), encoding="utf-8")
    lesson = open_lesson("quiz/made_up.ipynb")
    lesson.run_all()
    yield lesson
    lesson.save_and_shut_down()


@pytest.fixture
def questions(notebook):
    """The two questions of the quiz, unanswered."""
    shown = notebook.output(5)
    shown.get_by_role("button", name="Start again").click()
    return shown.get_by_role("group")


def score(notebook):
    return notebook.output(5).locator(".mnist-quiz-score")


# --- predictions ---


@pytest.mark.parametrize(
    ("typed", "understood", "printed"),
    [
        (
            "11%",
            "understood as 11 %",
            "Your prediction: 11 %. Measured: 12.5 %. The difference is 1.5 percentage",
        ),
        ("0,5", "understood as 50 %", "Your prediction: 50 %."),
        ("high", "Expected: a percentage from 0 to 100, such as 97.", ""),
    ],
)
def test_a_prediction_is_typed_understood_and_compared(notebook, typed, understood, printed):
    field = notebook.output(1).get_by_label("Predict: validation accuracy after the last epoch")
    field.fill("")
    field.press_sequentially(typed)
    field.press("Tab")
    expect(notebook.output(1).get_by_role("status")).to_have_text(understood)
    notebook.cells.nth(2).locator(".jp-InputPrompt").click()
    notebook.run_cell(2)
    output = notebook.cells.nth(2).locator(".jp-OutputArea")
    if printed:
        expect(output).to_contain_text(printed)
    else:
        expect(output).not_to_contain_text("Your prediction")


def test_a_choice_is_made_with_the_keyboard(notebook):
    choices = notebook.output(3).get_by_role("radio")
    choices.first.focus()
    notebook.page.keyboard.press("ArrowDown")
    expect(choices.nth(1)).to_be_focused()
    expect(choices.nth(1)).not_to_be_checked()  # an arrow key only moves
    notebook.page.keyboard.press("Space")
    expect(choices.nth(1)).to_be_checked()
    notebook.cells.nth(4).locator(".jp-InputPrompt").click()
    notebook.run_cell(4)
    expect(notebook.output(4)).to_contain_text("Your prediction: without. Measured: without.")


# --- the quiz ---


def test_the_quiz_by_mouse(notebook, questions):
    one, several = questions.nth(0), questions.nth(1)
    assert one.locator("legend").inner_text() == "1. What is 2 + 2?"
    expect(one.locator("legend code")).to_have_text("2 + 2")
    expect(one.get_by_role("status")).to_be_empty()
    one.get_by_text("a) 3.").click()
    expect(one.get_by_role("status")).to_contain_text("Wrong. That is 2 + 1.")
    one.get_by_text("b) 4.").click()
    expect(one.get_by_role("status")).to_contain_text("Right. Two and two more.")
    expect(one.get_by_role("status")).not_to_contain_text("That is 2 + 1.")
    expect(score(notebook)).to_have_text("1 of 2 questions answered, 0 correct on the first try")
    assert several.locator("legend").inner_text().endswith("Select all that apply.")
    check = several.get_by_role("button", name="Check")
    check.click()
    expect(several.get_by_role("status")).to_have_text("Select at least one answer.")
    several.get_by_text("a) 6.").click()
    several.get_by_text("c) 4.").click()
    check.click()
    expect(several.get_by_role("status")).to_contain_text(
        "b) Correctly left out. That is 2 + 3, which is odd."
    )
    expect(score(notebook)).to_have_text("1 of 2 correct on the first try")
    questions.nth(1).get_by_text("b) 5.").click()
    check.click()
    expect(several.get_by_role("status")).to_contain_text("b) Wrong. That is 2 + 3")
    expect(score(notebook)).to_have_text("1 of 2 correct on the first try")  # the first try counts
    notebook.output(5).get_by_role("button", name="Start again").click()
    expect(score(notebook)).to_have_text("0 of 2 questions answered, 0 correct on the first try")
    expect(several.get_by_role("checkbox", checked=True)).to_have_count(0)
    expect(one.get_by_role("status")).to_be_empty()


def test_the_quiz_by_keyboard(notebook, questions):
    """Tab, arrow keys and Space; no key reaches JupyterLab, where D, D would delete the cell."""
    keyboard = notebook.page.keyboard
    count = notebook.cells.count()
    one, several = questions.nth(0), questions.nth(1)
    expect(one.get_by_role("radio").first).to_be_focused()  # after "Start again"
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    expect(one.get_by_role("status")).to_be_empty()
    keyboard.press("ArrowUp")
    keyboard.press("Space")
    expect(one.get_by_role("status")).to_contain_text("Right.")
    keyboard.press("Tab")
    expect(several.get_by_role("checkbox").first).to_be_focused()
    keyboard.press("Space")
    keyboard.press("d")
    keyboard.press("d")
    for _ in range(3):
        keyboard.press("Tab")
    expect(several.get_by_role("button", name="Check")).to_be_focused()
    keyboard.press("Enter")
    expect(several.get_by_role("status")).to_contain_text("c) This one is true, too. Two and two.")
    expect(score(notebook)).to_have_text("1 of 2 correct on the first try")
    assert notebook.cells.count() == count


def test_the_page_that_is_saved_has_the_questions_as_text(notebook):
    notebook.page.keyboard.press("Control+s")
    saved = processes.until(lambda: "Which are even?" in notebook.path.read_text(encoding="utf-8"), 30)
    assert saved
    data = json.loads(notebook.path.read_text(encoding="utf-8"))["cells"][5]["outputs"][0]["data"]
    assert {"text/plain", "text/markdown"} <= set(data)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_is_readable_in_both_themes_and_two_widths(notebook, questions, theme):
    questions.nth(0).get_by_text("a) 3.").click()
    questions.nth(1).get_by_text("b) 5.").click()
    questions.nth(1).get_by_role("button", name="Check").click()
    expect(notebook.output(3).get_by_role("radio").nth(1)).to_be_checked()  # another widget's, made before
    notebook.theme(theme)
    try:
        for width in (WIDE, 900):
            notebook.page.set_viewport_size({"width": width, "height": HIGH})
            notebook.picture(PICTURES / f"quiz-{theme.lower()}-{width}.png")
        answer = axe.Axe().run(notebook.page, context=".mnist-quiz-all").response
        wrong = [
            f"{violation['id']}: {node['html']}"
            for violation in answer["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        assert wrong == []
    finally:
        notebook.page.set_viewport_size({"width": WIDE, "height": HIGH})
        notebook.theme("Light")


# --- the first page ---


@pytest.fixture
def lab(tmp_path):
    """`make lab`, as a student types it: the address that it prints, and all that it prints."""
    root = course.NOTEBOOKS.parent
    kept = ("PATH", "LANG", "PYTHONPATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(tmp_path)}
    options = "--no-browser --allow-root --ip=127.0.0.1 --port=0"
    ready = tmp_path / "ready"  # newer than any file of the checkout, in whatever order git wrote them
    ready.touch()
    command = ["make", "-s", "lab", f"BIN={Path(sys.executable).parent}", f"READY={ready}"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, f"DIR={tmp_path / 'my-course'}", f"LAB_OPTIONS={options}"],
            cwd=root,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    family = {}

    def address():
        assert process.poll() is None, log.read_text()
        return re.search(r"http://127\.0\.0\.1:\d+/\S+token=\w+", log.read_text())

    try:
        found = processes.until(address, 120)
        family = processes.family(process.pid)
        yield found[0], log.read_text()
    finally:
        processes.kill_all(process)
        for left in processes.alive(family):
            left.kill()


def test_make_lab_opens_the_first_page_and_says_little(lab, window):
    address, printed = lab
    assert "nbgrader" not in printed.lower()
    assert not re.search(r"^\[[EWI] ", printed, re.M), printed
    page = window.new_page()
    page.set_viewport_size({"width": WIDE, "height": HIGH})
    page.goto(address)
    expect(page.get_by_role("heading", name="Start here")).to_be_visible(timeout=60_000)
    expect(page.locator(".lm-TabBar-tabLabel").get_by_text("START_HERE.ipynb")).to_be_visible()
    page.screenshot(path=PICTURES / "start-here-light.png")
    page.get_by_role("link", name="1 · Data", exact=True).first.click()
    expect(page.locator(".lm-TabBar-tabLabel").get_by_text("01_data_exploration.ipynb")).to_be_visible()
    page.close()
