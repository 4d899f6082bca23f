// The two widgets of quiz.py: a field for a prediction, and a quiz.
// Each widget has its own copy of this file, so a counter would give two of them the same id.
const newId = () => "mnist-quiz-" + Math.random().toString(36).slice(2);

function make(tag, properties = {}, ...children) {
  const { role, live, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  if (role) { element.setAttribute("role", role); }
  if (live) { element.setAttribute("aria-live", live); }
  element.append(...children);
  return element;
}

// `code`, **bold** and *emphasis* of Markdown; everything else is text.
function rich(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/).map((part) => {
    if (/^`.+`$/.test(part)) { return make("code", { textContent: part.slice(1, -1) }); }
    if (/^\*\*.+\*\*$/.test(part)) { return make("strong", { textContent: part.slice(2, -2) }); }
    if (/^\*.+\*$/.test(part)) { return make("em", { textContent: part.slice(1, -1) }); }
    return part;
  });
}

function send(model, values) {
  for (const [name, value] of Object.entries(values)) { model.set(name, value); }
  model.save_changes();
}

// Else JupyterLab would take the keys: D, D deletes the cell. Ctrl+S and the like stay JupyterLab's.
function keepKeys(root) {
  const keep = (kept) => root.querySelectorAll("input, button").forEach((control) => {
    if (kept) { control.setAttribute("data-lm-suppress-shortcuts", "true"); }
    else { control.removeAttribute("data-lm-suppress-shortcuts"); }
  });
  root.addEventListener("keydown", (event) => { if (["Control", "Meta"].includes(event.key)) { keep(false); } });
  root.addEventListener("keyup", (event) => { keep(!event.ctrlKey && !event.metaKey); });
  root.addEventListener("focusin", () => keep(true));
  keep(true);
}

// Arrow keys move the focus only; a browser would also choose, and each choice is an answer.
function moveWithArrows(event) {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  const controls = [...event.currentTarget.querySelectorAll("input")];
  const at = controls.indexOf(event.target);
  const modified = event.altKey || event.ctrlKey || event.metaKey;
  if (step && at >= 0 && !modified && event.target.type !== "text") {
    event.preventDefault();
    controls[(at + step + controls.length) % controls.length].focus();
  }
}

function renderPrediction(model, root) {
  const id = newId();
  const message = make("span", { role: "status", live: "polite" });
  const unit = model.get("kind") === "percent" ? " (in percent)" : "";
  const label = `Predict: ${model.get("what")}${unit}`;
  let update;
  if (model.get("kind") === "choice") {
    const group = make("fieldset", {}, make("legend", {}, ...rich(label)));
    const controls = model.get("choices").map((choice) => {
      const control = make("input", { type: "radio", name: id, value: choice });
      control.addEventListener("change", () => send(model, { text: choice }));
      group.append(make("label", {}, control, make("span", {}, ...rich(choice))));
      return control;
    });
    update = () => controls.forEach((control) => { control.checked = control.value === model.get("text"); });
    root.append(group);
  } else {
    const field = make("input", { type: "text", id, size: 10, autocomplete: "off" });
    let waiting;
    const store = () => {
      clearTimeout(waiting);
      if (field.value !== model.get("text")) { send(model, { text: field.value }); }
    };
    field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(store, 300); });
    field.addEventListener("change", store);
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") { store(); } });
    root.append(make("label", { htmlFor: id }, ...rich(label)), field);
    update = () => { if (document.activeElement !== field) { field.value = model.get("text"); } };
  }
  root.append(message);
  const tell = () => { message.textContent = model.get("message"); };
  root.addEventListener("keydown", moveWithArrows);
  model.on("change:text", update);
  model.on("change:message", tell);
  update();
  tell();
}

function renderQuestion(model, number, changed) {
  const question = model.get("questions")[number];
  const { choices, several } = question;
  const id = newId();
  const group = make("fieldset");
  group.append(make("legend", {}, `${number + 1}. `, ...rich(question.question),
    ...(several ? [" Select all that apply."] : [])));
  if (question.picture) { group.append(make("img", { src: question.picture, alt: question.description || "" })); }
  const explanation = make("div", { className: "mnist-quiz-explanation", role: "status", live: "polite" });
  const controls = choices.map((choice, position) => {
    const control = make("input", { type: several ? "checkbox" : "radio", name: id });
    const letter = `${"abcdefghij"[position]}) `;
    group.append(make("label", {}, control, make("span", {}, letter, ...rich(choice.text))));
    if (!several) { control.addEventListener("change", () => answer()); }
    return control;
  });
  const selected = () => controls.flatMap((control, position) => (control.checked ? [position] : []));

  function line(position, verdict) {
    const right = ["Right.", "Correctly left out."].includes(verdict);
    const mark = make("strong", { className: right ? "mnist-quiz-right" : "mnist-quiz-wrong" }, verdict);
    const letter = several ? [`${"abcdefghij"[position]}) `] : [];
    return make("p", {}, ...letter, mark, " ", ...rich(choices[position].why));
  }
  function explain(chosen) {
    if (!chosen.length) { explanation.replaceChildren(); return; }
    if (!several) {
      explanation.replaceChildren(line(chosen[0], choices[chosen[0]].right ? "Right." : "Wrong."));
      return;
    }
    const verdicts = choices.map((choice, position) => {
      const ticked = chosen.includes(position);
      if (Boolean(choice.right) === ticked) { return line(position, ticked ? "Right." : "Correctly left out."); }
      return line(position, ticked ? "Wrong." : "This one is true, too.");
    });
    explanation.replaceChildren(...verdicts);
  }
  function answer() {
    const chosen = selected();
    if (!chosen.length) { explanation.replaceChildren(make("p", {}, "Select at least one answer.")); return; }
    const answers = [...model.get("answers")];
    const first = [...model.get("first")];
    answers[number] = chosen;
    if (first[number] === null) {
      first[number] = choices.every((choice, position) => Boolean(choice.right) === chosen.includes(position));
    }
    explain(chosen);
    send(model, { answers, first });
    changed();
  }

  if (several) {
    const check = make("button", { type: "button", textContent: "Check" });
    check.addEventListener("click", answer);
    controls.forEach((control) => control.addEventListener("change", () => explanation.replaceChildren()));
    group.append(check);
  }
  group.append(explanation);
  group.addEventListener("keydown", moveWithArrows);
  const restore = () => {
    const chosen = model.get("answers")[number];
    controls.forEach((control, position) => { control.checked = chosen.includes(position); });
    explain(chosen);
  };
  restore();
  return { group, restore };
}

function renderQuiz(model, root) {
  const score = make("p", { className: "mnist-quiz-score", role: "status", live: "polite" });
  const count_score = () => {
    const first = model.get("first");
    const answered = first.filter((result) => result !== null).length;
    const right = first.filter(Boolean).length;
    score.textContent = answered < first.length
      ? `${answered} of ${first.length} questions answered, ${right} correct on the first try`
      : `${right} of ${first.length} correct on the first try`;
  };
  const parts = model.get("questions").map((_, number) => renderQuestion(model, number, count_score));
  const again = make("button", { type: "button", textContent: "Start again" });
  again.addEventListener("click", () => {
    send(model, { answers: parts.map(() => []), first: parts.map(() => null) });
    parts.forEach((part) => part.restore());
    count_score();
    root.querySelector("input").focus();
  });
  root.append(...parts.map((part) => part.group), score, again);
  count_score();
}

function render({ model, el }) {
  const root = make("div", { className: "mnist-quiz" });
  el.append(root);
  if (model.get("kind") === "quiz") {
    root.classList.add("mnist-quiz-all");
    renderQuiz(model, root);
  } else {
    root.classList.add("mnist-quiz-prediction");
    renderPrediction(model, root);
  }
  keepKeys(root);
}
export default { render };
