"""A canvas to draw a digit on, in the notebook: with mouse, finger, pen or keyboard.

In the cells of a lesson::

    canvas = Canvas()
    canvas                  # last line of a cell: shows it
    canvas.drawing()        # in a later cell: what was drawn, dark ink on white paper

The code for the browser is in `pad.js`, `canvas.js` and `canvas.css`. It is sent with the widget; nothing is loaded
from the network. Where nobody can draw (papermill, nbval) or nothing was drawn, a stored drawing is used.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image

__all__ = ["SIDE", "Canvas", "stored_drawing"]

SIDE = 280  # pixels: ten for each pixel of an image
_FOLDER = Path(__file__).parent


class Canvas(anywidget.AnyWidget):
    """Shows a square of white paper that can be drawn on.

    Attributes:
        pixels: what was drawn, `SIDE` x `SIDE` bytes row by row, 255 for paper; empty before the first stroke.
    """

    # As a path, it could be reloaded live.
    _esm = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("pad.js", "canvas.js"))
    _css = (_FOLDER / "canvas.css").read_text(encoding="utf-8")
    side = traitlets.Int(SIDE).tag(sync=True)
    pixels = traitlets.CBytes().tag(sync=True)  # the browser sends a memoryview

    def drawing(self) -> np.ndarray:
        """Returns what was drawn, and prints whether it is the student's or the stored one.

        Returns:
            An array of shape `(SIDE, SIDE)`, uint8: 255 for white paper, 0 for ink.
        """
        if len(self.pixels) == SIDE * SIDE:
            drawn = np.frombuffer(self.pixels, np.uint8).reshape(SIDE, SIDE)
            if drawn.min() < drawn.max():
                print("This is your drawing.")
                return drawn.copy()
        print("Nothing was drawn, so this is a stored drawing, made on this canvas.")
        return stored_drawing()

    def __repr__(self) -> str:
        return "A canvas to draw a digit on; run this cell in JupyterLab to see it."


def stored_drawing() -> np.ndarray:
    """Returns the drawing that comes with the course, in the form of `Canvas.drawing`."""
    with Image.open(_FOLDER / "drawing.png") as picture:
        return np.asarray(picture.convert("L"))
