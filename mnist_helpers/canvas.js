// The widget of canvas.py; `drawingPad` is in pad.js, which is put before this file.
function render({ model, el }) {
  const side = model.get("side");
  const help = "Draw one digit, large. Keyboard: arrow keys move the pen, Space lowers or lifts it, Delete clears.";

  function send(pixels) {
    model.set("pixels", new DataView(pixels.buffer));
    model.save_changes();
  }
  const pad = drawingPad(side, help, {
    end() {
      send(pad.grey());
      pad.status.textContent = "Drawn. Run the next cell, or go on drawing.";
    },
    clear() { send(new Uint8Array(0)); },
  });
  for (const focused of pad.root.querySelectorAll("canvas, button")) {
    focused.setAttribute("data-lm-suppress-shortcuts", "true");  // else D, D deletes the cell
  }
  el.append(pad.root);
  const pixels = model.get("pixels");
  if (pixels && pixels.byteLength) {
    pad.show(new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength));
  }
}
export default { render };
