"""The lessons in JupyterLab, in a real browser, with a student's mouse and keyboard."""

from __future__ import annotations

import ast
import contextlib
import re

import pytest
import yaml

from mnist_helpers import quiz, results

pytest.importorskip("playwright", reason="no Playwright here: pip install --editable '.[browser]'")
from playwright.sync_api import Locator, expect

from tests.browser.conftest import PICTURES
from tests.browser.jupyter import HIGH, WIDE
from tests.lessons import house_rules
from tests.processes import until

pytestmark = pytest.mark.browser
every_lesson = pytest.mark.parametrize("lesson", results.LESSONS)
ERRORS = ("application/vnd.jupyter.stderr", "application/vnd.jupyter.error")


def plain(text):
    """Text without Markdown's marks and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"[*`]", "", text)).strip()


# --- run all ---


@every_lesson
def test_a_lesson_runs_to_its_end_without_error_and_without_stderr(lessons, lesson):
    opened, saved, _ = lessons[lesson]
    assert not [o for o in opened.outputs() if o["kind"] in ERRORS or "WARNING" in o["text"]]
    code_cells = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code_cells] == list(range(1, len(code_cells) + 1))
    outputs = [output for cell in code_cells for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def scroll_to(image: Locator) -> None:
    """Scrolls until an image is seen: JupyterLab may render cells above it then, which moves it away again."""
    for _ in range(5):
        image.scroll_into_view_if_needed()
        with contextlib.suppress(AssertionError):
            expect(image).to_be_in_viewport(ratio=0.2, timeout=2000)
            return
    expect(image).to_be_in_viewport(ratio=0.2)


@every_lesson
def test_every_figure_is_visible_and_described(lessons, lesson):
    """What a screen reader says of a figure is what the figure says of itself."""
    opened, saved, _ = lessons[lesson]
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", [])]
    said = ["".join(o["data"]["text/plain"]) for o in outputs if "image/png" in o.get("data", {})]
    images = opened.panel.locator(".jp-OutputArea-output img:not(.mnist-quiz img)")
    assert len(said) >= 2
    assert [image["alt"] for image in opened.images()] == said
    for number, image in enumerate(opened.images()):
        assert min(image["natural"]) > 100
        assert min(image["shown"]) > 100
        scroll_to(images.nth(number))


@every_lesson
def test_the_quiz_of_a_lesson_answers_each_click(lessons, lesson):
    """`test_quiz.py` tries everything else on a made-up quiz."""
    opened = lessons[lesson].lesson
    questions = yaml.safe_load((quiz.QUIZZES / f"{lesson}.yaml").read_text(encoding="utf-8"))
    shown = opened.output(opened.number_of("quiz.show("))
    shown.scroll_into_view_if_needed()
    groups = shown.get_by_role("group")
    expect(groups).to_have_count(len(questions))
    for group, question in zip(groups.all(), questions, strict=True):
        several = [choice.get("right") for choice in question["choices"]].count(True) > 1
        assert plain(question["question"]) in plain(group.text_content())
        group.get_by_role("checkbox" if several else "radio").first.click()
        if several:
            group.get_by_role("button", name="Check").click()
        expect(group.get_by_role("status")).to_contain_text(plain(question["choices"][0]["why"]))
    expect(shown.locator(".mnist-quiz-score")).to_have_text(re.compile(rf"\d of {len(questions)} correct"))


@pytest.mark.parametrize("lesson", results.LESSONS[1:4])
def test_progress_is_shown_while_a_cell_trains(lessons, lesson):
    """Long before the last line, a student sees that something happens; lesson 3 trains by its own `train`."""
    _, saved, early = lessons[lesson]
    trained = 0
    for cell in (cell for cell in saved["cells"] if cell["cell_type"] == "code"):
        text, tree = house_rules.source(cell), ast.parse(house_rules.source(cell))
        printed = "".join("".join(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream")
        if "def " not in text and (house_rules.trains(tree) or house_rules.calls(tree, "train")):
            trained += 1
            assert printed.count("\n") > 1, f"{cell['id']} trains and prints no line for each epoch"
            if house_rules.trains(tree):
                assert len(early.get(text, "")) < len(printed), f"{cell['id']} says all at its end"
    assert trained or lesson == "04_tuning"
    assert early


# --- step by step ---


def test_lesson_2_cell_by_cell_then_again_with_another_parameter(open_lesson):
    lesson = open_lesson("stepped/02_baseline.ipynb")
    lesson.unfold()
    lesson.cells.first.click()
    for number in range(lesson.count - 1):
        lesson.run_cell(number)
    fit = lesson.number_of("\nhistory = model.fit(")
    expect(lesson.output(fit).first).to_contain_text("Epoch 3/3")
    curves = min(n for n, text in lesson.sources.items() if n > fit and "plots.learning_curves(" in text)
    figure = lesson.output(curves).locator("img").first
    before = figure.get_attribute("src")

    keyboard = lesson.page.keyboard
    keyboard.press("Escape")
    parameters = lesson.number_of("epochs: int = 3")
    for _ in range(lesson.count - 1 - parameters):
        keyboard.press("ArrowUp")
    keyboard.press("Enter")
    keyboard.press("Control+Home")
    lines = lesson.sources[parameters].splitlines()
    for _ in range(lines.index(next(line for line in lines if line.startswith("epochs: int = 3")))):
        keyboard.press("ArrowDown")
    for _ in range(len("epochs: int = ")):
        keyboard.press("ArrowRight")
    keyboard.press("Delete")
    keyboard.type("2")
    for number in range(parameters, lesson.count - 1):
        lesson.run_cell(number)

    expect(lesson.output(fit).first).to_contain_text("Epoch 2/2")
    expect(lesson.output(fit).first).not_to_contain_text("Epoch 3")
    assert figure.get_attribute("src") != before
    assert not [output for output in lesson.outputs() if output["kind"] in ERRORS]
    saved = lesson.save_and_shut_down()
    assert "\nepochs: int = 2  #" in "".join(saved["cells"][parameters]["source"])


# --- lesson 5 first ---


def test_lesson_5_first_names_the_lesson_to_run(open_lesson):
    lesson = open_lesson("empty/05_evaluation.ipynb")
    lesson.unfold()
    lesson.run_all()
    until(
        lambda: any(output["kind"] in ERRORS for output in lesson.outputs()), 20
    )  # it is shown a little later
    (error,) = [output for output in lesson.outputs() if output["kind"] in ERRORS]
    assert error["cell"] == lesson.number_of("results.load_records(")
    assert "MissingLessonError" in error["text"]
    assert "01_data_exploration" in error["text"]
    assert "Traceback" not in error["text"]
    assert len(error["text"].strip().splitlines()) <= 3
    assert not re.search(r"\d", lesson.prompt(lesson.number_of("data.load_test(")))
    lesson.save_and_shut_down()


# --- draw ---


@pytest.fixture(scope="module")
def drawn(open_lesson, lessons):
    """Lesson 5 once more, run with its kernel kept, to draw in it."""
    assert lessons["04_tuning"]
    lesson = open_lesson("drawn/05_evaluation.ipynb")
    lesson.run_all()
    yield lesson
    lesson.save_and_shut_down()


def read_drawing(lesson):
    """Runs the cells after the canvas, as a student does who has drawn; returns what the first one prints."""
    first = lesson.number_of("drawing = paper.drawing()")
    last = min(number for number in lesson.sources if number > first)  # the networks' answers
    lesson.cells.nth(first).locator(".jp-InputPrompt").click()
    for number in range(first, last + 1):
        lesson.run_cell(number)
    assert not [output for output in lesson.outputs() if output["kind"] in ERRORS]
    return lesson.output(first).first.text_content()


def answers(lesson):
    """What the models say of the drawing in MNIST's format: model -> digit."""
    rows = lesson.rows(lesson.number_of("answers[name].append("))
    return {row[0]: row[-1].split()[0] for row in rows}


def test_drawing_with_the_mouse_gives_a_prediction(drawn):
    assert "stored drawing" in drawn.output(drawn.number_of("drawing = paper.drawing()")).first.text_content()
    paper = drawn.panel.get_by_role("application", name="Draw a digit")
    mouse = drawn.page.mouse
    paper.hover(position={"x": 140, "y": 40})
    mouse.down()
    for y in range(60, 260, 20):
        paper.hover(position={"x": 140, "y": y})
    mouse.up()
    expect(drawn.panel.get_by_role("status").filter(has_text="Drawn.")).to_be_visible()
    assert "This is your drawing." in read_drawing(drawn)
    said = answers(drawn)
    assert len(said) >= 5
    assert list(said.values()).count("1") > len(said) / 2
    drawn.picture(PICTURES / "05_evaluation-drawn.png")


def test_drawing_with_the_keyboard_gives_a_prediction(drawn):
    before = answers(drawn)
    drawn.panel.get_by_role("button", name="Clear", exact=True).focus()
    drawn.page.keyboard.press("Enter")
    expect(drawn.panel.get_by_role("status").filter(has_text="Cleared.")).to_be_visible()
    drawn.page.keyboard.press("Shift+Tab")
    expect(drawn.panel.get_by_role("application", name="Draw a digit")).to_be_focused()
    keys = ["ArrowUp"] * 9 + ["ArrowLeft"] * 5 + [" "] + ["ArrowRight"] * 10 + ["ArrowDown"] * 18 + [" "]
    for key in keys:
        drawn.page.keyboard.press(key)
    expect(drawn.panel.get_by_role("status").filter(has_text="Drawn.")).to_be_visible()
    assert "This is your drawing." in read_drawing(drawn)
    assert answers(drawn) != before


# --- look ---


@every_lesson
def test_pictures_in_light_dark_and_narrow(lessons, lesson):
    """For people to look at; a narrow window cuts nothing off."""
    opened = lessons[lesson].lesson
    for theme in ("Light", "Dark"):
        opened.theme(theme)
        for width in (WIDE, 900):
            opened.page.set_viewport_size({"width": width, "height": HIGH})
            opened.picture(PICTURES / f"{lesson}-{theme.lower()}-{width}.png")
    opened.theme("Light")
    opened.narrow()
    opened.picture(PICTURES / f"{lesson}-narrow.png")
    for image in opened.images():
        assert min(image["shown"]) > 40
        assert image["right"] <= image["edge"]


def test_nothing_was_asked_of_the_network(window, lessons):
    """No script, style, font or picture comes from elsewhere: a classroom may have no network."""
    assert lessons["01_data_exploration"]
    assert window.requests
    assert not [url for url in window.requests if not re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", url)]
