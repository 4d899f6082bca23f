// The page: it joins the drawing, the sliders, the examples and what is shown of the networks' answers.
const SIDE = 280;  // pixels of the paper, as in lesson 5
const SHEET = 400;  // the paper fits in it at every angle
const TILES = 12;
const element = (id) => document.getElementById(id);
const jsonOf = (id) => JSON.parse(element(id).textContent);
const networks = jsonOf("descriptions").map((network) => ({ ...network, ready: false, answer: null }));
const examples = jsonOf("example-drawings");
const sliders = ["right", "down", "turn", "width"].map(element);
const sheet = document.createElement("canvas");
sheet.width = sheet.height = SHEET;
const sheetPen = sheet.getContext("2d", { willReadFrequently: true });
let settings = {};
let example = null;  // the one that is shown
let image = null;  // the 28 x 28 pixels, or null without a drawing
let isCut = false;  // whether ink was moved out of the image

const pad = drawingPad(
  SIDE,
  "Draw one digit, with mouse, finger or pen. Keyboard: arrow keys move the pen, Space lowers or lifts it, Delete clears.",
  { ink, end: () => say(areReady() ? "The networks have answered." : "Drawn."), clear: startAgain },
);
element("pad").append(pad.root);

function areReady() { return networks.every(({ ready }) => ready); }

function say(text) { pad.status.textContent = text; }

function ink() {
  chooseExample(null);
  update();
}

function startAgain() {
  element("sliders").reset();
  chooseExample(null);
  update();
}

// --- words and numbers ---

function percent(probability) {
  if (probability > 0.9995) { return "over 99.9\u00a0%"; }
  return probability < 0.0005 ? "under 0.1\u00a0%" : `${(100 * probability).toFixed(1)}\u00a0%`;
}

function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

function pixels(count) { return `${Math.abs(count)} pixel${Math.abs(count) === 1 ? "" : "s"}`; }

function rotation(degrees) {
  return `${Math.abs(degrees)}°${degrees < 0 ? " anticlockwise" : degrees > 0 ? " clockwise" : ""}`;
}

function sliderTexts() {
  const { right, down, turn, width } = settings;
  return {
    right: `${pixels(right)}${right < 0 ? " to the left" : ""}`,
    down: `${pixels(down)}${down < 0 ? " up" : ""}`,
    turn: rotation(turn),
    width: width === 1 ? "as drawn" : `${width} times`,
  };
}

function changes() {
  const { right, down, turn, width } = settings;
  const moves = [
    right && `${pixels(right)} to the ${right < 0 ? "left" : "right"}`,
    down && `${pixels(down)} ${down < 0 ? "up" : "down"}`,
  ].filter(Boolean);
  return [
    width !== 1 && `the pen is ${width} times as wide as in your drawing`,
    turn && `the drawing was rotated by ${rotation(turn)}`,
    moves.length && `the image was moved by ${listed(moves)}`,
    isCut && "part of the ink has left the image",
  ].filter(Boolean);
}

// What is known of the answers if an example is shown; without `digit`, people can see two digits in it.
function correctness() {
  if (example?.digit === undefined) { return []; }
  if (example.digit === null) { return ["The drawing is not a single digit, so every answer is wrong."]; }
  const wrong = networks.filter(({ digit }) => digit !== example.digit);
  const meant = `The drawing is meant as ${example.digit === 8 ? "an" : "a"} ${example.digit}`;
  if (!wrong.length || wrong.length === networks.length) {
    const all = networks.length === 1 ? "the answer is" : "all answers are";
    return [`${meant}: ${all} ${wrong.length ? "wrong" : "correct"}.`];
  }
  return [`${meant}, so ${titles(wrong)} ${wrong.length === 1 ? "is" : "are"} wrong.`];
}

function titles(group) { return listed(group.map(({ title }) => `“${title}”`)); }

function verdict() {
  if (!areReady()) { return ["The networks are being loaded."]; }
  if (!image) { return ["Nothing is drawn yet. Draw a digit, or choose one of the drawings below."]; }
  const byDigit = new Map();
  for (const network of networks) {
    byDigit.set(network.digit, [...(byDigit.get(network.digit) ?? []), network]);
  }
  const groups = [...byDigit].sort((one, other) => other[1].length - one[1].length);
  const sentences = groups.map(([digit, group]) => {
    const [least, most] = [Math.min, Math.max].map((of) => percent(of(...group.map(({ confidence }) => confidence))));
    const range = least === most ? `a confidence of ${least}` : `confidences from ${least} to ${most}`;
    return { digit, who: titles(group), verb: group.length === 1 ? "answers" : "answer", range };
  });
  const known = correctness();
  const lines = [];
  if (networks.length === 1) {
    lines.push(`The network answers ${sentences[0].digit}, with ${sentences[0].range}.`);
    lines.push(...(known.length ? known : ["A high confidence does not show that the answer is correct."]));
  } else if (groups.length === 1) {
    const all = ["Both", "All three", "All four", "All five"][networks.length - 2] ?? `All ${networks.length}`;
    lines.push(`${all} networks answer ${sentences[0].digit}, with ${sentences[0].range}.`);
    const advice = "If this is not the digit that you see, all of them are wrong, although they agree.";
    lines.push(...(known.length ? known : [advice]));
  } else {
    lines.push("The networks disagree.");
    lines.push(...sentences.map(({ digit, who, verb, range }) => `${who} ${verb} ${digit}, with ${range}.`));
    const advice = "At most one of these answers can be correct. The confidences do not show which.";
    lines.push(...(known.length ? known : [advice]));
  }
  const changed = changes();
  if (changed.length) {
    const text = listed(changed);
    lines.push(`${text[0].toUpperCase()}${text.slice(1)}.`);
  }
  return lines;
}

// --- from the drawing to the answers ---

// The drawing as it is, or drawn again: rotated, with another width of the pen.
function prepared() {
  if (!pad.strokes.length) { return null; }
  const isChanged = settings.turn !== 0 || settings.width !== 1;
  return isChanged ? prepareDrawing(drawnAgain(), SHEET, SHEET) : prepareDrawing(pad.grey(), SIDE, SIDE);
}

function drawnAgain() {
  sheetPen.setTransform(1, 0, 0, 1, 0, 0);
  sheetPen.fillStyle = "white";
  sheetPen.fillRect(0, 0, SHEET, SHEET);
  sheetPen.save();
  sheetPen.translate(SHEET / 2, SHEET / 2);
  sheetPen.rotate((settings.turn * Math.PI) / 180);
  sheetPen.translate(-SIDE / 2, -SIDE / 2);
  sheetPen.beginPath();
  sheetPen.rect(0, 0, SIDE, SIDE);
  sheetPen.clip();  // the paper ends here
  preparePen(sheetPen, SIDE);
  sheetPen.lineWidth *= settings.width;
  for (const stroke of pad.strokes) {
    stroke.forEach((to, i) => drawSegment(sheetPen, stroke[Math.max(0, i - 1)], to));
  }
  sheetPen.restore();
  return greyOf(sheetPen, SHEET);
}

function compute() {
  settings = Object.fromEntries(sliders.map((slider) => [slider.id, slider.valueAsNumber]));
  const centred = prepared();
  image = centred && shiftImage(centred, settings.right, settings.down);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  isCut = Boolean(image) && sum(image) < sum(centred);
  for (const network of networks.filter(({ ready }) => ready)) {
    network.answer = image && answer(network.layers, image);
    if (image) {
      network.confidence = Math.max(...network.answer.probabilities);
      network.digit = network.answer.probabilities.indexOf(network.confidence);
    }
  }
}

// --- what is shown ---

let isAsked = false;
let words = 0;

// Shows everything again with the next picture of the screen, and the words when the hand rests.
function update() {
  if (isAsked) { return; }
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    compute();
    showSliders();
    showImage();
    networks.forEach(showProbabilities);
    showInside();
    // Not before the numbers are known: a page in the background computes nothing.
    clearTimeout(words);
    words = setTimeout(showWords, 250);
  });
}

function showWords() {
  const paragraphs = verdict().map((text) => Object.assign(document.createElement("p"), { textContent: text }));
  const [shown, now] = [element("verdict"), paragraphs.map(({ textContent }) => textContent).join("")];
  if (shown.textContent !== now) { shown.replaceChildren(...paragraphs); }  // else a screen reader repeats it
}

function showSliders() {
  for (const [name, text] of Object.entries(sliderTexts())) {
    element(`${name}-value`).textContent = text;
    element(name).setAttribute("aria-valuetext", text);
  }
}

// `colour(i)`: red, green and blue of pixel i.
function paint(canvas, width, height, colour) {
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  const picture = pen.createImageData(width, height);
  for (let i = 0; i < width * height; i++) { picture.data.set([...colour(i), 255], 4 * i); }
  pen.putImageData(picture, 0, 0);
}

function showImage() {
  paint(element("seen"), 28, 28, (i) => Array(3).fill(image ? image[i] : 0));
  const inked = image ? image.filter((value) => value > 0).length : 0;
  const text = image ? `Your drawing as 28 by 28 pixels; ${inked} of them have ink.` : "The image is empty.";
  element("seen").setAttribute("aria-label", text);
}

function showProbabilities(network, number) {
  element(`network-${number}`).querySelectorAll("tbody tr").forEach((row, digit) => {
    const probability = network.answer?.probabilities[digit];
    row.className = network.answer && digit === network.digit ? "best" : "";
    row.querySelector(".bar").style.width = network.answer ? `${100 * probability}%` : "0";
    row.querySelector(".percent").textContent = network.answer ? percent(probability) : "–";
  });
}

function showInside() {
  const network = networks[element("inside").value];
  const hidden = network?.answer?.hidden;
  element("activations").hidden = element("neurons").hidden = !hidden;
  if (!hidden) {
    element("inside-text").textContent = image ? "" : "Draw a digit first.";
    return;
  }
  const largest = Math.max(...hidden);
  const active = hidden.filter((value) => value > 0).length;
  const text = `For this image, ${active} of the ${hidden.length} neurons of the first hidden layer have an activation `
    + "above 0.";
  element("inside-text").textContent = `${text} The brighter a cell of the next picture, the larger is the activation `
    + "of its neuron.";
  const columns = Math.min(64, hidden.length);
  const canvas = element("activations");
  paint(canvas, columns, Math.ceil(hidden.length / columns), (i) => Array(3).fill((255 * (hidden[i] ?? 0)) / (largest || 1)));
  canvas.setAttribute("aria-label", text);
  const order = [...hidden.keys()].sort((one, other) => hidden[other] - hidden[one] || one - other);
  const chosen = order.slice(0, TILES).filter((neuron) => hidden[neuron] > 0);
  const first = network.layers.find(({ kind }) => kind === "dense");
  element("neurons").replaceChildren(...chosen.map((neuron) => tile(first, neuron, hidden[neuron])));
}

function tile({ kernel, columns }, neuron, activation) {
  const weights = Float32Array.from({ length: 784 }, (_, i) => kernel[i * columns + neuron]);
  const largest = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
  const canvas = document.createElement("canvas");
  canvas.className = "pixels";
  paint(canvas, 28, 28, (i) => {
    const strength = (Math.abs(weights[i]) / largest) * (0.15 + (0.85 * image[i]) / 255);
    return (weights[i] > 0 ? [1, 115, 178] : [222, 143, 5]).map((part) => 255 + strength * (part - 255));
  });
  const text = `neuron ${neuron + 1}: activation ${activation.toFixed(2)}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Weights of ${text}`);
  const item = document.createElement("li");
  item.append(canvas, text);
  return item;
}

// --- controls ---

function chooseExample(chosen) {
  example = chosen === null ? null : examples[chosen];
  element("examples").querySelectorAll("button").forEach((button, number) => {
    button.setAttribute("aria-pressed", String(number === chosen));
  });
  element("example-text").textContent = example ? example.text : "";
}

element("examples").querySelectorAll("button").forEach((button, number) => {
  button.addEventListener("click", () => {
    element("sliders").reset();
    chooseExample(number);
    for (const [name, value] of Object.entries(example.sliders ?? {})) { element(name).value = value; }
    pad.draw(example.strokes);
    say(`The drawing is: ${example.name}.`);
    update();
  });
});
element("sliders").addEventListener("input", update);
element("sliders").addEventListener("reset", () => setTimeout(update));  // the values change after the event
element("inside").addEventListener("change", update);

// One network after the other, so that the page stays responsive.
function load(number, halves) {
  const network = networks[number];
  if (!network) { return; }
  const holder = element(`weights-${number}`);
  network.layers = readNetwork(network.layers, holder.textContent, halves);
  holder.remove();  // its memory is free again
  network.ready = true;
  if (network.layers.filter(({ kind }) => kind === "dense").length > 1) {
    element("inside").append(new Option(network.title, number));
  }
  update();
  setTimeout(() => load(number + 1, halves));
}

document.addEventListener("DOMContentLoaded", () => setTimeout(() => load(0, halfPrecision())));
update();
