"use strict";
const fields = [...document.querySelectorAll("article")].map((article) => ({
  key: [article.dataset.student, article.dataset.exercise, article.dataset.task, article.dataset.text],
  inputs: [article.querySelector("input"), article.querySelector("textarea")],
}));
// A spreadsheet must not take a text for a formula.
const safe = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
const cell = (text) => `"${safe(text).replaceAll('"', '""')}"`;
// An emptied field withdraws what it held.
const value = (input) => input.value.trim() || (input.defaultValue.trim() ? "-" : "");
const status = document.querySelector("[role=status]");
let saved = true;

document.addEventListener("input", () => { saved = false; status.textContent = "Not saved yet."; });
window.addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
document.querySelector("button").addEventListener("click", () => {
  const wrong = document.querySelector("input:invalid");
  if (wrong) { wrong.reportValidity(); return; }
  const rows = fields.map(({ key, inputs }) => [...key, ...inputs.map(value)]);
  const head = document.querySelector("button").dataset.columns.split(",");
  const text = [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text, "\r\n"], { type: "text/csv" }));
  link.download = "sentences.csv";
  link.click();
  saved = true;
  status.textContent = "Saved as sentences.csv in the downloads of this browser.";
});
