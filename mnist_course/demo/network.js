// Inference of fully connected networks, from the description and the weights that Python put into the page.

// All 65,536 numbers that 16 bits can hold.
function halfPrecision() {
  return Float32Array.from({ length: 65536 }, (_, bits) => {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    return bits >> 15 ? -size : size;  // infinities do not occur: Python refuses them
  });
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) { bytes[i] = text.charCodeAt(i); }
  return bytes;
}

// `layers`: dicts with `kind`, and the sizes of their arrays. The arrays follow each other in `base64`.
function readNetwork(layers, base64, halves) {
  const buffer = bytesOf(base64).buffer;
  let offset = 0;
  function take(Type, count) {
    const start = offset;
    offset += count * Type.BYTES_PER_ELEMENT;
    return new Type(buffer.slice(start, offset));
  }
  return layers.map((layer) => {
    if (layer.kind === "dense") {
      const kernel = Float32Array.from(take(Uint16Array, layer.rows * layer.columns), (bits) => halves[bits]);
      return { ...layer, kernel, bias: take(Float32Array, layer.columns) };
    }
    if (layer.kind === "scale") {
      return { ...layer, scale: take(Float32Array, layer.size), offset: take(Float32Array, layer.size) };
    }
    return layer;
  });
}

function dense(values, { rows, columns, kernel, bias }) {
  const sums = Float64Array.from(bias);
  for (let i = 0; i < rows; i++) {
    const value = values[i];
    if (value !== 0) {  // most pixels are paper
      const start = i * columns;
      for (let j = 0; j < columns; j++) { sums[j] += value * kernel[start + j]; }
    }
  }
  return sums;
}

function softmax(values) {
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

// `image`: 784 pixels from 0 to 255. Returns the ten probabilities, and the activations of the first hidden layer.
function answer(layers, image) {
  let values = Float64Array.from(image);
  let hidden = null;
  let isHidden = false;
  for (const layer of layers) {
    if (layer.kind === "dense") {
      isHidden = true;
      values = dense(values, layer);
    } else if (layer.kind === "scale") {
      const before = values;
      const at = (array, i) => array[array.length === 1 ? 0 : i];
      values = before.map((value, i) => value * at(layer.scale, i) + at(layer.offset, i));
    } else if (layer.kind === "relu") {
      values = values.map((value) => Math.max(0, value));
      if (isHidden) { hidden ??= values; }
    } else {
      values = softmax(values);
    }
  }
  return { probabilities: values, hidden };
}
