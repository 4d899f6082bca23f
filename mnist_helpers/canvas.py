"""A canvas to draw a digit on, in the notebook: with mouse, finger, pen or keyboard.

    canvas = Canvas()
    canvas                  # last line of a cell: shows it
    canvas.drawing()        # in a later cell: what was drawn, dark ink on white paper

The browser's half is the code below, sent along with the widget; nothing is loaded from elsewhere. Where nobody can
draw (papermill, nbval), or nobody has, a stored drawing takes its place.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image

SIDE = 280  # pixels; ten to one of an image
_STORED = Path(__file__).with_name("drawing.png")

_JAVASCRIPT = """
function render({ model, el }) {
  const side = model.get("side");
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  canvas.className = "mnist-canvas";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Draw a digit");
  const help = document.createElement("p");
  help.id = "mnist-canvas-help-" + Math.random().toString(36).slice(2);
  help.textContent = "Draw one digit, large. Keyboard: arrow keys move the pen, Space lowers or lifts it, "
    + "Delete clears.";
  canvas.setAttribute("aria-describedby", help.id);
  const clear = document.createElement("button");
  clear.type = "button";
  clear.textContent = "Clear";
  const status = document.createElement("p");
  status.setAttribute("role", "status");
  const root = document.createElement("div");
  root.className = "mnist-canvas-root";
  root.setAttribute("data-lm-suppress-shortcuts", "true");  // else D, D deletes the cell
  root.append(help, canvas, clear, status);
  el.append(root);

  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = side / 12;
  let point = [side / 2, side / 2];
  let down = false;

  function paper() {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, side, side);
  }
  function show() {
    const grey = model.get("pixels");
    if (!grey || !grey.byteLength) { return; }
    const picture = pen.createImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      picture.data.fill(grey.getUint8(i), 4 * i, 4 * i + 3);
      picture.data[4 * i + 3] = 255;
    }
    pen.putImageData(picture, 0, 0);
  }
  function send() {
    const colours = pen.getImageData(0, 0, side, side).data;
    const grey = new Uint8Array(side * side);
    for (let i = 0; i < grey.length; i++) { grey[i] = colours[4 * i]; }
    model.set("pixels", new DataView(grey.buffer));
    model.save_changes();
    status.textContent = "Drawn. Run the next cell, or go on drawing.";
  }
  function line(to) {
    pen.beginPath();
    pen.moveTo(...point);
    pen.lineTo(...to);
    pen.stroke();
    point = to;
  }
  function wipe() {
    paper();
    model.set("pixels", new DataView(new ArrayBuffer(0)));
    model.save_changes();
    status.textContent = "Cleared.";
  }
  function place(event) {
    const scale = side / canvas.clientWidth;
    return [event.offsetX * scale, event.offsetY * scale];
  }

  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    point = place(event);
    down = true;
    line(point);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (down && event.buttons) { line(place(event)); }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { if (down) { down = false; send(); } });
  }
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const step = side / 28;
    if (event.key in moves) {
      const [x, y] = moves[event.key];
      const inside = (value) => Math.min(side - step, Math.max(step, value));
      const to = [inside(point[0] + step * x), inside(point[1] + step * y)];
      if (down) { line(to); } else { point = to; }
      const where = `column ${Math.round(to[0] / step)}, row ${Math.round(to[1] / step)} of 28`;
      status.textContent = `Pen ${down ? "down" : "up"}, ${where}.`;
    } else if (event.key === " ") {
      down = !down;
      if (down) { line(point); status.textContent = "Pen down."; } else { send(); }
    } else if (event.key === "Delete" || event.key === "Backspace") {
      down = false;
      wipe();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("blur", () => { if (down) { down = false; send(); } });
  clear.addEventListener("click", wipe);

  paper();
  show();
}
export default { render };
"""

_STYLE = """
.mnist-canvas-root { width: fit-content; max-width: 100%; }
.mnist-canvas-root p { margin: 0.3em 0; min-height: 1.2em; }
.mnist-canvas { display: block; max-width: 100%; height: auto; border: 2px solid #767676; background: white;
  touch-action: none; cursor: crosshair; }
.mnist-canvas:focus-visible { outline: 3px solid #0173b2; outline-offset: 2px; }
.mnist-canvas-root button { margin-top: 0.5em; padding: 0.3em 1em; font: inherit; }
"""


class Canvas(anywidget.AnyWidget):
    """Shows a square of white paper that can be drawn on.

    Attributes:
        pixels: what was drawn, `SIDE` x `SIDE` bytes row by row, 255 for paper; empty before the first stroke.
    """

    _esm = _JAVASCRIPT
    _css = _STYLE
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
    with Image.open(_STORED) as picture:
        return np.asarray(picture.convert("L"))
