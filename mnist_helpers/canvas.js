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
  for (const focused of [canvas, clear]) {
    focused.setAttribute("data-lm-suppress-shortcuts", "true");  // else D, D deletes the cell
  }
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
