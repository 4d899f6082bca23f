"""Questions in a lesson: predictions before a run, and the quiz at the end. All of it is text.

    prediction = None  # validation accuracy, 0 to 1
    ...the training...
    quiz.compare(prediction, val_accuracy, "validation accuracy")

    quiz.show("02_baseline", [None, "b", None, None])

The questions are in `notebooks/quizzes/<lesson>.yaml`, one file per lesson:

    - question: What is 2 + 2?
      choices:
        - {text: "3.", why: "That is 2 + 1."}
        - {text: "4.", why: "Two and two more.", right: true}

Nothing here raises because of what a student writes: a lesson that is run from top to bottom runs to its end.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import yaml

from mnist_helpers._course import NOTEBOOKS
from mnist_helpers._errors import UserError

__all__ = ["QUIZZES", "Quiz", "compare", "show"]

QUIZZES = NOTEBOOKS / "quizzes"


# --- predictions ---


def compare(
    prediction: Any, outcome: Any, what: str, *, form: str = ".4g", choices: Sequence[str] = ()
) -> None:
    """Prints a student's prediction and the outcome; prints nothing without a prediction.

    Args:
        prediction: a number or one of `choices`; `None` for no prediction.
        outcome: the measured number, or the right choice.
        what: the thing that was predicted, such as `"validation accuracy"`.
        form: how numbers are shown, a format such as `".1%"`.
        choices: what could be chosen; empty for a number.
    """
    if prediction is None:
        return
    verdict = _choice(prediction, outcome, choices) if choices else _number(prediction, outcome, form)
    print(f"Your prediction ({what}): {verdict}")


def _choice(prediction: Any, outcome: str, choices: Sequence[str]) -> str:
    if not isinstance(prediction, str) or prediction not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        return f"expected one of {expected}, received {prediction!r}. It was {outcome!r}."
    verdict = "as you predicted" if prediction == outcome else f"you predicted {prediction!r}"
    return f"it is {outcome!r}, {verdict}."


def _number(prediction: Any, outcome: float, form: str) -> str:
    shown = format(outcome, form)
    is_number = isinstance(prediction, numbers.Real) and not isinstance(prediction, bool)
    if not is_number or not abs(prediction) < 1e9:  # NaN, too
        return f"expected a number, received {prediction!r}. It was {shown}."
    predicted = format(prediction, form)
    if predicted == shown:
        return f"{predicted}, and so it is."
    hint = " (Write a share: 0.9 for 90 %.)" if form.endswith("%") and prediction > 1 else ""
    return f"{predicted}. It is {shown}, {'more' if outcome > prediction else 'less'} than you thought.{hint}"


# --- the quiz ---


class Quiz:
    """A lesson's questions with a student's answers: Markdown for a page, plain text for a terminal."""

    def __init__(self, questions: Sequence[dict[str, Any]], answers: Sequence[str | None]):
        self.questions, self.answers = questions, answers

    def __repr__(self) -> str:
        return self._text(mark="", folded=("Answers", ""))

    def _repr_markdown_(self) -> str:
        return self._text(mark="**", folded=("<details><summary>All answers</summary>\n", "\n</details>"))

    def _text(self, mark: str, folded: tuple[str, str]) -> str:
        lines = []
        for number, (question, answer) in enumerate(zip(self.questions, self.answers, strict=True), 1):
            lines += [f"{mark}{number}. {question['question']}{mark}", ""]
            lines += [f"- {letter}) {choice['text']}" for letter, choice in _lettered(question)]
            lines += ["", _verdict(question, answer, mark), "", folded[0]]
            for letter, choice in _lettered(question):
                right = f"{mark}Right.{mark} " if choice.get("right") else "No. "
                lines.append(f"- {letter}) {right}{choice['why']}")
            lines += [folded[1], ""] if folded[1] else [""]
        return "\n".join(lines).strip()


def show(lesson: str, answers: Sequence[str | None] = ()) -> Quiz:
    """Returns a lesson's quiz; as the last line of a cell, it is shown.

    Args:
        lesson: the lesson, such as `"02_baseline"`.
        answers: a letter for each question, as a list or as a string such as `"bacb"`; `None` where a student has
            not answered yet. An answer is followed by an explanation of that answer.

    Raises:
        UserError: there is no quiz of that name.
    """
    path = QUIZZES / f"{lesson}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in QUIZZES.glob("*.yaml")))
        raise UserError(f"Unknown lesson. Expected: one of {known}. Received: {lesson!r}.")
    questions = yaml.safe_load(path.read_text(encoding="utf-8"))
    given: list[Any] = list(answers) if isinstance(answers, list | tuple | str) else [answers]
    return Quiz(questions, [*given, *[None] * len(questions)][: len(questions)])


def _lettered(question: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(zip(ascii_lowercase, question["choices"], strict=False))


def _verdict(question: dict[str, Any], answer: Any, mark: str) -> str:
    if answer is None:
        return "Your answer: none yet."
    choices = dict(_lettered(question))
    chosen = choices.get(str(answer).strip().lower().strip("()"))
    if chosen is None:
        letters = ", ".join(repr(letter) for letter in choices)
        return f"Your answer: expected one of {letters}, received {answer!r}."
    verdict = "Right." if chosen.get("right") else "Not so."
    return f"Your answer: {answer}. {mark}{verdict}{mark} {chosen['why']}"
