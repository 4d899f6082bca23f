"""The canvas of lesson 5 with a made-up model, without a kernel; test_jupyterlab.py has it in the lesson."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_helpers import canvas

pytest.importorskip("playwright", reason="no Playwright here: pip install --editable '.[browser]'")
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
# What anywidget gives to the code: a model with `get`, `set` and `save_changes`, and an element.
SHOW = """async ([code, css, side, grey]) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const values = { side, pixels: new DataView(Uint8Array.from(grey).buffer) };
  globalThis.saved = [];
  const model = {
    get: (name) => values[name],
    set(name, value) { values[name] = value; },
    save_changes() { saved.push([...new Uint8Array(values.pixels.buffer)]); },
  };
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  (await import(url)).default.render({ model, el: document.body });
}"""


@pytest.fixture
def show(browser):
    """`show(grey)`: the canvas in a page, with pixels that an earlier stroke left."""
    page = browser.new_page()

    def open_page(grey=()):
        page.set_content('<!DOCTYPE html><html lang="en"><body></body></html>')
        page.evaluate(SHOW, [canvas.Canvas._esm, canvas.Canvas._css, canvas.SIDE, list(map(int, grey))])
        return page

    yield open_page
    page.close()


def sent(page):
    """What was sent last to Python: an empty array, or the drawing."""
    pixels = np.array(page.evaluate("saved.at(-1)"), np.uint8)
    return pixels.reshape(canvas.SIDE, canvas.SIDE) if pixels.size else pixels


def shown(page):
    """The red parts of the canvas."""
    read = f"""() => {{
        const pen = document.querySelector("canvas").getContext("2d");
        return [...pen.getImageData(0, 0, {canvas.SIDE}, {canvas.SIDE}).data].filter((_, i) => i % 4 === 0);
    }}"""
    return np.array(page.evaluate(read), np.uint8).reshape(canvas.SIDE, canvas.SIDE)


def test_a_stroke_of_the_mouse_is_sent_when_it_ends(show):
    page = show()
    paper = page.get_by_role("application", name="Draw a digit")
    paper.hover(position={"x": 140, "y": 40})
    page.mouse.down()
    paper.hover(position={"x": 140, "y": 240})
    assert page.evaluate("saved.length") == 0
    page.mouse.up()
    expect(page.get_by_role("status")).to_have_text("Drawn. Run the next cell, or go on drawing.")
    drawing = sent(page)
    assert (drawing[140, 132:148] == 0).all()
    assert (drawing[:, :120] == 255).all() and (drawing[:, 160:] == 255).all()
    assert (drawing == shown(page)).all()
    page.get_by_role("button", name="Clear").click()
    assert sent(page).size == 0
    assert shown(page).min() == 255
    expect(page.get_by_role("status")).to_have_text("Cleared.")


def test_a_stroke_of_the_keyboard_is_sent_when_the_pen_is_lifted(show):
    page = show()
    page.get_by_role("application", name="Draw a digit").focus()
    for key in ["ArrowLeft", "ArrowLeft", " ", "ArrowUp", "ArrowUp"]:
        page.keyboard.press(key)
    expect(page.get_by_role("status")).to_have_text("Pen down, column 12, row 12 of 28.")
    assert page.evaluate("saved.length") == 0
    page.keyboard.press(" ")
    expect(page.get_by_role("status")).to_have_text("Drawn. Run the next cell, or go on drawing.")
    assert (sent(page)[120:140, 120] == 0).all()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.evaluate("document.activeElement.blur()")
    assert page.evaluate("saved.length") == 2  # leaving the canvas lifts the pen
    assert sent(page)[120, 130] == 0
    page.get_by_role("application", name="Draw a digit").focus()
    page.keyboard.press("Delete")
    assert sent(page).size == 0


def test_one_pointer_draws_and_only_with_its_first_button(show):
    """A second finger, the palm of a hand and the button of a menu draw nothing, and do not end the stroke."""
    page = show()
    paper = page.get_by_role("application", name="Draw a digit")
    paper.click(button="right", position={"x": 40, "y": 40})
    paper.click(button="middle", position={"x": 40, "y": 40})
    assert shown(page).min() == 255
    paper.hover(position={"x": 140, "y": 40})
    page.mouse.down()
    for name in ("pointerdown", "pointermove", "pointerup"):
        other = {"pointerId": 77, "button": 0, "buttons": 1, "clientX": 260, "clientY": 260, "bubbles": True}
        paper.dispatch_event(name, other)
    assert page.evaluate("saved.length") == 0
    paper.hover(position={"x": 140, "y": 240})
    page.mouse.up()
    drawing = sent(page)
    assert (drawing[140, 132:148] == 0).all()
    assert (drawing[:, :120] == 255).all() and (drawing[:, 160:] == 255).all()
    paper.hover(position={"x": 20, "y": 240})
    assert (shown(page) == drawing).all()


def test_a_key_that_is_held_down_is_one_key_and_shortcuts_are_left_to_the_browser(show):
    page = show()
    paper = page.get_by_role("application", name="Draw a digit")
    paper.focus()
    for _ in range(4):  # the second one and the others are repeated
        page.keyboard.down(" ")
    page.keyboard.up(" ")
    expect(page.get_by_role("status")).to_have_text("Pen down.")
    for keys in ("Control+ArrowUp", "Alt+ArrowLeft", "Meta+ArrowDown"):
        page.keyboard.press(keys)
    expect(page.get_by_role("status")).to_have_text("Pen down.")


def test_a_touch_does_not_scroll_the_page(show):
    page = show()
    page.set_viewport_size({"width": 800, "height": 200})
    paper = page.get_by_role("application", name="Draw a digit")
    before = page.evaluate("scrollY")
    box = paper.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    assert page.evaluate("scrollY") == before
    page.mouse.up()


def test_a_drawing_is_shown_again_and_keys_are_kept_from_jupyterlab(show):
    grey = np.full((canvas.SIDE, canvas.SIDE), 255, np.uint8)
    grey[50:200, 100:130] = 7
    page = show(grey.ravel())
    assert (shown(page) == grey).all()
    assert page.locator("[data-lm-suppress-shortcuts=true]").count() == 2
