// A square of white paper to draw a digit on, with mouse, finger, pen or keyboard. The canvas of lesson 5 (canvas.js)
// and the page of `mnist-course demo` use it. It has no `export`, because both take it as text.

// Draws one piece of a stroke; without a length, it is a dot.
function drawSegment(pen, from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

function preparePen(pen, side) {
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = side / 12;
  pen.strokeStyle = "black";
}

// The pixels row by row; red, green and blue are equal.
function greyOf(pen, side) {
  const colours = pen.getImageData(0, 0, side, side).data;
  const grey = new Uint8Array(side * side);
  for (let i = 0; i < grey.length; i++) { grey[i] = colours[4 * i]; }
  return grey;
}

// `help` is the text above the paper. `ink` is called after each piece of a stroke, `end` after a stroke, `clear` after
// the paper was cleared by the user.
// Returns: `root`, the element; `strokes`, a list of lists of points; `status`, the element for messages;
// `grey()`, the pixels row by row, 255 for paper; `show(pixels)` and `draw(strokes)`, which replace the drawing.
function drawingPad(side, help, { ink = () => {}, end = () => {}, clear = () => {} }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  canvas.className = "mnist-canvas";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Draw a digit");
  const explanation = document.createElement("p");
  explanation.id = "mnist-canvas-help-" + Math.random().toString(36).slice(2);
  explanation.textContent = help;
  canvas.setAttribute("aria-describedby", explanation.id);
  const tip = document.createElement("span");  // where the pen is, for the keyboard
  tip.className = "mnist-canvas-pen";
  tip.hidden = true;
  const frame = document.createElement("div");
  frame.className = "mnist-canvas-frame";
  frame.append(canvas, tip);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Clear";
  const status = document.createElement("p");
  status.setAttribute("role", "status");
  const root = document.createElement("div");
  root.className = "mnist-canvas-root";
  root.append(explanation, frame, button, status);

  const pen = canvas.getContext("2d", { willReadFrequently: true });
  preparePen(pen, side);
  const strokes = [];
  let point = [side / 2, side / 2];
  let down = false;
  let pointer = null;  // the one that draws: other fingers, and the palm of the hand, draw nothing

  function wipe() {
    strokes.length = 0;
    pen.fillStyle = "white";
    pen.fillRect(0, 0, side, side);
  }
  function show(grey) {
    wipe();
    const picture = pen.createImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      picture.data.fill(grey[i], 4 * i, 4 * i + 3);
      picture.data[4 * i + 3] = 255;
    }
    pen.putImageData(picture, 0, 0);
  }
  function draw(given) {
    wipe();
    for (const stroke of given) {
      strokes.push([...stroke]);
      stroke.forEach((to, i) => drawSegment(pen, stroke[Math.max(0, i - 1)], to));
    }
  }
  function begin(at) {
    point = at;
    down = true;
    strokes.push([]);
    line(at);
  }
  function line(to) {
    drawSegment(pen, point, to);
    strokes.at(-1).push(to);
    point = to;
    ink();
  }
  function lift() {
    pointer = null;
    if (down) {
      down = false;
      end();
    }
  }
  function switchPen() {
    if (down) {
      status.textContent = "Pen up.";
      lift();
    } else {
      begin(point);
      status.textContent = "Pen down.";
    }
  }
  function erase() {
    pointer = null;
    down = false;
    wipe();
    status.textContent = "Cleared.";
    clear();
  }
  function place(event) {
    const scale = side / canvas.clientWidth;
    return [event.offsetX * scale, event.offsetY * scale];
  }
  function showTip() {
    tip.hidden = false;
    tip.classList.toggle("mnist-canvas-pen-down", down);
    [tip.style.left, tip.style.top] = point.map((value) => `${(100 * value) / side}%`);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) { return; }
    event.preventDefault();
    canvas.focus({ preventScroll: true });  // else the paper moves under the pointer
    tip.hidden = true;
    canvas.setPointerCapture(event.pointerId);
    lift();  // the pen of the keyboard
    pointer = event.pointerId;
    begin(place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId === pointer && event.buttons) { line(place(event)); }
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(name, (event) => { if (event.pointerId === pointer) { lift(); } });
  }
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) { return; }  // a shortcut of the browser
    const step = side / 28;
    if (event.key in moves) {
      const inside = (value) => Math.min(side - step, Math.max(step, value));
      const to = moves[event.key].map((move, axis) => inside(point[axis] + step * move));
      if (down) { line(to); } else { point = to; }
      const [column, row] = to.map((value) => Math.round(value / step));
      status.textContent = `Pen ${down ? "down" : "up"}, column ${column}, row ${row} of 28.`;
    } else if (event.key === " ") {
      if (!event.repeat) { switchPen(); }  // repeated while the key is held down
    } else if (event.key === "Delete" || event.key === "Backspace") {
      erase();
    } else {
      return;
    }
    showTip();
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("blur", () => {
    tip.hidden = true;
    lift();
  });
  button.addEventListener("click", erase);
  wipe();
  return { root, strokes, status, grey: () => greyOf(pen, side), show, draw };
}
