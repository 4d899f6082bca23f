"""The canvas without a browser; what the browser does is tested in tests/browser/."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from mnist_helpers import canvas, data


def drawn(**ink):
    paper = np.full((canvas.SIDE, canvas.SIDE), 255, np.uint8)
    paper[ink.get("rows", slice(40, 200)), ink.get("columns", slice(120, 150))] = 0
    return paper


@pytest.mark.parametrize(
    "sent", [bytes, memoryview]
)  # Jupyter hands over what the browser sends as a memoryview
def test_what_was_drawn_is_returned(sent, capsys):
    paper = canvas.Canvas()
    paper.set_state({"pixels": sent(drawn().tobytes())})
    np.testing.assert_array_equal(paper.drawing(), drawn())
    assert capsys.readouterr().out == "This is your drawing.\n"


@pytest.mark.parametrize(
    "pixels", [b"", b"\xff" * canvas.SIDE**2, b"\0" * 7], ids=["no stroke", "white paper", "cut short"]
)
def test_without_a_drawing_the_stored_one_is_taken_and_said_so(pixels, capsys):
    paper = canvas.Canvas(pixels=pixels)
    np.testing.assert_array_equal(paper.drawing(), canvas.stored_drawing())
    assert "stored drawing" in capsys.readouterr().out


def test_the_stored_drawing_has_the_form_of_a_drawing():
    stored = canvas.stored_drawing()
    assert stored.shape == (canvas.SIDE, canvas.SIDE)
    assert stored.dtype == np.uint8
    assert (stored.min(), stored.max()) == (0, 255)
    assert stored[[0, -1]].min() == stored[:, [0, -1]].min() == 255  # nothing is cut off
    assert data.to_mnist_format(stored).max() == 255


def test_nothing_is_loaded_from_elsewhere():
    code = canvas.Canvas._esm + canvas.Canvas._css
    assert "pointerdown" in code
    assert ".mnist-canvas" in code
    assert not re.search(r"https?:|//\w+\.|\bimport\b|\brequire\b|\bfetch\b|url\(", code)


def test_the_browser_gets_the_files_as_text_and_no_thread_watches_them(monkeypatch):
    monkeypatch.setenv("ANYWIDGET_HMR", "1")
    threads = threading.active_count()
    widget = canvas.Canvas()
    pad, code, css = (
        Path(canvas.__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("pad.js", "canvas.js", "canvas.css")
    )
    assert (widget._esm, widget._css) == (pad + code, css)
    assert threading.active_count() == threads


def test_it_says_what_it_is_where_it_cannot_be_shown():
    assert "JupyterLab" in repr(canvas.Canvas())
