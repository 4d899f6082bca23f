// MNIST's format, with the arithmetic of `to_mnist_format` in mnist_helpers and of Pillow, so that both give the same image.

// Half a unit goes to the even number, as in Python and NumPy.
function roundHalfEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

// Reduces one axis by means over boxes. Pillow computes with 22 binary digits and rounds to 8 bits after each axis.
function resizeAxis(source, length, lines, stepAlong, stepAcross, target) {
  const unit = 2 ** 22;
  const scale = length / target;
  const half = 0.5 * Math.max(1, scale);
  const result = new Uint8Array(target * lines);
  for (let to = 0; to < target; to++) {
    const centre = (to + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - half + 0.5));
    const end = Math.min(length, Math.trunc(centre + half + 0.5));
    const weights = [];
    for (let i = from; i < end; i++) {
      const distance = (i - centre + 0.5) / Math.max(1, scale);
      weights.push(distance > -0.5 && distance <= 0.5 ? 1 : 0);
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const whole = weights.map((weight) => Math.trunc(0.5 + (weight / total) * unit));
    for (let line = 0; line < lines; line++) {
      let sum = unit / 2;
      whole.forEach((weight, i) => { sum += weight * source[(from + i) * stepAlong + line * stepAcross]; });
      result[line * target + to] = Math.min(255, Math.floor(sum / unit));
    }
  }
  return result;
}

// Returns rows of the new size.
function resize(grey, width, height, newWidth, newHeight) {
  const narrow = newWidth === width ? grey : resizeAxis(grey, width, height, 1, width, newWidth);
  if (newHeight === height) { return narrow; }
  const columns = resizeAxis(narrow, height, newWidth, newWidth, 1, newHeight);
  return Uint8Array.from(columns, (_, i) => columns[(i % newWidth) * newHeight + Math.floor(i / newWidth)]);
}

// The first and the last index for which `isInked` holds.
function extent(length, isInked) {
  let first = 0;
  let last = length - 1;
  while (!isInked(first)) { first++; }
  while (!isInked(last)) { last--; }
  return [first, last];
}

// `grey`: dark ink on light paper, row by row. Returns 28 x 28 pixels, 255 for full ink, or null for a blank drawing.
function prepareDrawing(grey, width, height) {
  let [lightest, darkest] = [0, 255];
  for (const value of grey) {
    lightest = Math.max(lightest, value);
    darkest = Math.min(darkest, value);
  }
  if (lightest === darkest) { return null; }
  const strong = (lightest - darkest) / 4;
  const isStrong = (row, column) => lightest - grey[row * width + column] > strong;
  const [top, bottom] = extent(height, (row) => {
    for (let column = 0; column < width; column++) { if (isStrong(row, column)) { return true; } }
    return false;
  });
  const [left, right] = extent(width, (column) => {
    for (let row = top; row <= bottom; row++) { if (isStrong(row, column)) { return true; } }
    return false;
  });
  const [digitWidth, digitHeight] = [right - left + 1, bottom - top + 1];
  const digit = new Uint8Array(digitWidth * digitHeight);
  for (let row = 0; row < digitHeight; row++) {
    for (let column = 0; column < digitWidth; column++) {
      digit[row * digitWidth + column] = lightest - grey[(top + row) * width + left + column];
    }
  }
  const scale = 20 / Math.max(digitWidth, digitHeight);
  const size = [digitHeight, digitWidth].map((side) => Math.max(1, roundHalfEven(scale * side)));
  return centre(resize(digit, digitWidth, digitHeight, size[1], size[0]), size);
}

// Puts a box of ink into 28 x 28 pixels, with its centre of mass in the middle, and cuts nothing off.
function centre(box, size) {
  const [rows, columns] = size;
  let [total, fullInk] = [0, 0];
  const moments = [0, 0];  // sums of whole numbers: a tie between two positions is found exactly, as in Python
  box.forEach((value, i) => {
    total += value;
    fullInk = Math.max(fullInk, value);
    moments[0] += value * Math.floor(i / columns);
    moments[1] += value * (i % columns);
  });
  const start = size.map((side, axis) => {
    const margin = 28 - side;
    const before = Math.floor(margin / 2);
    // The mean position in the 28 x 28 pixels, as one quotient of whole numbers.
    const shift = roundHalfEven(13.5 - (moments[axis] + before * total) / total);
    return before + Math.min(margin - before, Math.max(-before, shift));
  });
  const image = new Uint8Array(784);
  const factor = 255 / fullInk;
  box.forEach((value, i) => {
    const position = (start[0] + Math.floor(i / columns)) * 28 + start[1] + (i % columns);
    image[position] = roundHalfEven(value * factor);
  });
  return image;
}

// Moves an image by whole pixels; what leaves it is lost.
function shiftImage(image, right, down) {
  const moved = new Uint8Array(784);
  for (let row = 0; row < 28; row++) {
    for (let column = 0; column < 28; column++) {
      const [toRow, toColumn] = [row + down, column + right];
      if (toRow >= 0 && toRow < 28 && toColumn >= 0 && toColumn < 28) {
        moved[toRow * 28 + toColumn] = image[row * 28 + column];
      }
    }
  }
  return moved;
}
