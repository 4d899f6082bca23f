"""Questions in a lesson: predictions before a run, and the quiz at the end.

In the cells of a lesson::

    guess = quiz.predict("validation accuracy after the last epoch", "percent")
    ...the training...
    quiz.compare(guess, val_accuracy)

    quiz.show("02_baseline")

In JupyterLab both are widgets: a field to type in, and answers to click on. Their code for the browser is in
`quiz.js` and `quiz.css`; it is sent with the widget, and nothing is loaded from the network. Where nobody can type
(papermill, nbval, a page), they are text. Nothing here raises because of what a student types.

The questions are in `notebooks/quizzes/<lesson>.yaml`, one file per lesson::

    - question: What is 2 + 2?
      figure: sum                  # optional: notebooks/pictures/quiz_sum.png
      description: "Two and two."  # the figure in words
      choices:
        - {text: "3.", why: "That is 2 + 1."}
        - {text: "4.", why: "Two and two more.", right: true}

A question with several right choices asks for all of them.
"""

from __future__ import annotations

import base64
import math
import numbers
import re
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import anywidget
import traitlets
import yaml
from IPython.display import display

from mnist_helpers._course import NOTEBOOKS
from mnist_helpers._errors import UserError

__all__ = ["QUIZZES", "Prediction", "Quiz", "compare", "predict", "show"]

QUIZZES = NOTEBOOKS / "quizzes"
_PICTURES = NOTEBOOKS / "pictures"
_FOLDER = Path(__file__).parent
_KINDS = {"number": "one number, such as 12 or 0.5", "percent": "a percentage from 0 to 100, such as 97"}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.ASCII)


class _Widget(anywidget.AnyWidget):
    """A widget that is text where there is no browser."""

    _esm = (_FOLDER / "quiz.js").read_text(encoding="utf-8")  # as a path, it could be reloaded live
    _css = (_FOLDER / "quiz.css").read_text(encoding="utf-8")
    kind = traitlets.Unicode().tag(sync=True)

    def _texts(self) -> dict[str, str]:
        """Returns the text for each type of page."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._texts()["text/plain"]

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**options)  # type: ignore[misc]
        return data | self._texts(), metadata


# --- predictions ---


class Prediction(_Widget):
    """A field for a student's prediction.

    Attributes:
        what: the thing that is predicted.
        kind: `"number"`, `"percent"` or `"choice"`.
        choices: what can be chosen; empty for a number.
        text: what the student typed or chose.
        message: how it was understood, or what was expected.
    """

    what = traitlets.Unicode().tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)

    @property
    def value(self) -> float | str | None:
        """The prediction: a number (a fraction for a percentage) or a choice; `None` until there is a valid one."""
        if self.kind == "choice":
            return self.text if self.text in self.choices else None
        return _number(self.text, self.kind)

    @traitlets.observe("text")
    def _answer(self, change: Any) -> None:
        if not self.text.strip() or self.kind == "choice":
            self.message = ""
        elif self.value is None:
            self.message = f"Expected: {_KINDS[self.kind]}."
        else:
            self.message = f"understood as {_shown(self.value, self.kind)}"

    def _texts(self) -> dict[str, str]:
        expected = " or ".join(self.choices) or {"number": "a number", "percent": "in percent"}[self.kind]
        return {"text/plain": f"Predict: {self.what} ({expected})."}


def predict(what: str, kind: str = "number", *, choices: Sequence[str] = ()) -> Prediction:
    """Shows a field for a prediction.

    Args:
        what: the thing that is predicted, such as `"validation accuracy after the last epoch"`.
        kind: `"number"` or `"percent"`.
        choices: what can be chosen, instead of a number.

    Returns:
        The prediction; its `value` is `None` until a student has entered one.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in _KINDS:
        raise UserError(f"Unknown kind. Expected: one of {', '.join(_KINDS)}. Received: {kind!r}.")
    guess = Prediction(what=what, kind="choice" if choices else kind, choices=list(choices))
    display(guess)
    return guess


def compare(guess: Any, outcome: Any) -> None:
    """Prints a student's prediction and the outcome; prints nothing without a prediction.

    Args:
        guess: what `predict` returned.
        outcome: the measured number (a fraction for a percentage), or one of the choices.
    """
    predicted, kind = getattr(guess, "value", guess), getattr(guess, "kind", "choice")
    if predicted is None:
        return
    line = f"Your prediction: {_shown(predicted, kind)}. Measured: {_shown(outcome, kind)}."
    if kind == "percent" and _is_number(outcome):
        line += f" The difference is {_shown(100 * abs(outcome - predicted), 'number')} percentage points."
    print(line)


def _number(text: str, kind: str) -> float | None:
    """Reads a number as people type it; `None` if the text holds no number, several, or an impossible one."""
    text = re.sub(r"(?<=\d)[\s_'’](?=\d{3}(?!\d))", "", text.lower().replace("−", "-"))
    if kind == "number" and re.search(r"(?<![\d.,])[1-9]\d{0,2}(,\d{3})+(?![\d,])", text):
        text = text.replace(",", "")
    found = _NUMBER.findall(re.sub(r"(?<=\d),(?=\d)|(?<!\d),(?=\d)", ".", text))
    value = float(found[0]) if len(found) == 1 else math.nan
    if kind == "percent":
        value = value / 100 if "%" in text or "percent" in text or value > 1 else value
        return value if 0 <= value <= 1 else None
    return value if math.isfinite(value) else None


def _shown(value: Any, kind: str) -> str:
    """Returns a value as a student reads it."""
    if not _is_number(value):
        return str(value).rstrip(".")
    if kind == "percent":
        return f"{100 * value:.2f}".rstrip("0").rstrip(".") + " %"
    is_whole = math.isfinite(value) and value == round(value) and abs(value) < 1e15
    return f"{value:,.0f}" if is_whole else f"{value:.3g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


# --- the quiz ---


class Quiz(_Widget):
    """A lesson's questions: answers to click on, each with its explanation, and the score.

    Attributes:
        questions: the questions as `show` read them.
        answers: for each question the choices that are selected, as positions from 0.
        first: for each question whether the first answer was right; `None` before an answer.
    """

    questions = traitlets.List(traitlets.Dict()).tag(sync=True)
    answers: traitlets.List = traitlets.List().tag(sync=True)
    first: traitlets.List = traitlets.List().tag(sync=True)

    def _texts(self) -> dict[str, str]:
        page = self._text("**", ("<details><summary>All answers</summary>\n", "\n</details>"))
        return {"text/markdown": page, "text/plain": self._text("", ("Answers", ""))}

    def _text(self, mark: str, folded: tuple[str, str]) -> str:
        lines = []
        for number, question in enumerate(self.questions, 1):
            several = " Select all that apply." if question["several"] else ""
            lines += [f"{mark}{number}. {question['question']}{several}{mark}", ""]
            if mark and question.get("figure"):
                lines += [f"![{question['description']}](pictures/quiz_{question['figure']}.png)", ""]
            elif question.get("figure"):
                lines += [f"Figure: {question['description']}", ""]
            choices = list(zip(ascii_lowercase, question["choices"], strict=False))
            lines += [f"- {letter}) {choice['text']}" for letter, choice in choices]
            lines += ["", folded[0]]
            for letter, choice in choices:
                verdict = f"{mark}Right.{mark}" if choice.get("right") else "Wrong."
                lines.append(f"- {letter}) {verdict} {choice['why']}")
            lines += [folded[1], ""] if folded[1] else [""]
        return "\n".join(lines).strip()


def show(lesson: str) -> Quiz:
    """Returns a lesson's quiz; as the last line of a cell, it is shown.

    Args:
        lesson: the lesson, such as `"02_baseline"`.

    Raises:
        UserError: there is no quiz of that name.
    """
    path = QUIZZES / f"{lesson}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in QUIZZES.glob("*.yaml")))
        raise UserError(f"Unknown lesson. Expected: one of {known}. Received: {lesson!r}.")
    questions = yaml.safe_load(path.read_text(encoding="utf-8"))
    for question in questions:
        question["several"] = sum(bool(choice.get("right")) for choice in question["choices"]) > 1
        picture = _PICTURES / f"quiz_{question.get('figure')}.png"
        if picture.is_file():
            question["picture"] = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    empty: list[list[int]] = [[] for _ in questions]
    return Quiz(kind="quiz", questions=questions, answers=empty, first=[None] * len(questions))
