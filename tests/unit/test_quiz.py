"""Predictions that are compared, quizzes that explain every answer."""

import numpy as np
import pytest
import yaml

from mnist_helpers import quiz, results

EXAMPLE = """
- question: What is 2 + 2?
  choices:
    - {text: "3.", why: "That is 2 + 1."}
    - {text: "4.", why: "Two and two more.", right: true}
- question: What is 2 · 3?
  choices:
    - {text: "6.", why: "Three and three.", right: true}
    - {text: "5.", why: "That is 2 + 3."}
"""


@pytest.fixture
def example(tmp_path, monkeypatch):
    (tmp_path / "sums.yaml").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.setattr(quiz, "QUIZZES", tmp_path)
    return "sums"


# --- predictions ---


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        (None, ""),
        (0.98, "98.0%, and so it is."),
        (0.9, "90.0%. It is 98.0%, more than you thought."),
        (1, "100.0%. It is 98.0%, less than you thought."),
        (90, "less than you thought. (Write a share: 0.9 for 90 %.)"),
        ("high", "expected a number, received 'high'. It was 98.0%."),
        (True, "expected a number, received True. It was 98.0%."),
        (np.float32(0.5), "50.0%. It is 98.0%, more than you thought."),
        (10**400, "expected a number"),
        (np.array([1, 2]), "expected a number, received array([1, 2])."),
        (float("nan"), "expected a number, received nan. It was 98.0%."),
    ],
)
def test_a_predicted_number_is_compared(prediction, said, capsys):
    quiz.compare(prediction, 0.98, "validation accuracy", form=".1%")
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(said) == bool(printed)


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        (None, ""),
        ("dropout", "it is 'dropout', as you predicted."),
        ("plain", "it is 'dropout', you predicted 'plain'."),
        ("Dropout!", "expected one of 'plain', 'dropout', received 'Dropout!'. It was 'dropout'."),
        (3, "received 3."),
        (np.array([1, 2]), "received array([1, 2])."),
    ],
)
def test_a_predicted_choice_is_compared(prediction, said, capsys):
    quiz.compare(prediction, "dropout", "lowest loss", choices=["plain", "dropout"])
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(said) == bool(printed)


# --- the quiz ---


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "Your answer: none yet."),
        ("a", "Your answer: a. **Not so.** That is 2 + 1."),
        ("b", "Your answer: b. **Right.** Two and two more."),
        (" B) ", "**Right.** Two and two more."),
        ("(b)", "**Right.** Two and two more."),
        ("z", "Your answer: expected one of 'a', 'b', received 'z'."),
        (4, "received 4."),
    ],
)
def test_an_answer_is_explained(example, answer, said):
    assert said in quiz.show(example, [answer])._repr_markdown_()


def test_answers_may_be_too_few_too_many_or_one_string(example):
    assert quiz.show(example).answers == [None, None]
    assert quiz.show(example, ["a", "b", "c"]).answers == ["a", "b"]
    assert quiz.show(example, "b").answers == ["b", None]
    assert quiz.show(example, "ba").answers == ["b", "a"]
    assert quiz.show(example, None).answers == quiz.show(example, 7).answers[1:] * 2 == [None, None]


def test_page_and_terminal_say_the_same(example):
    shown = quiz.show(example, ["b", None])
    page, terminal = shown._repr_markdown_(), repr(shown)
    for mark in ("**", "<details><summary>", "</summary>", "</details>"):
        assert mark not in terminal
        page = page.replace(mark, "")
    assert page.replace("All answers", "Answers").split() == terminal.split()


def test_all_answers_are_folded_away_on_a_page(example):
    before, *_ = quiz.show(example)._repr_markdown_().split("<details>")
    assert "Two and two more" not in before


def test_an_unknown_lesson_is_named(example):
    with pytest.raises(ValueError, match=r"Expected: one of sums\. Received: 'sum'"):
        quiz.show("sum")


@pytest.mark.parametrize("lesson", results.LESSONS)
def test_each_lesson_asks_and_explains_every_choice(lesson):
    questions = yaml.safe_load((quiz.QUIZZES / f"{lesson}.yaml").read_text(encoding="utf-8"))
    assert 3 <= len(questions) <= 6
    for question in questions:
        assert set(question) == {"question", "choices"}
        choices = question["choices"]
        assert len(choices) >= 3
        assert [choice.get("right") for choice in choices].count(True) == 1
        assert all(set(choice) <= {"text", "why", "right"} for choice in choices)
        assert all(len(choice["why"]) > 20 for choice in choices)
        assert len({choice["text"] for choice in choices}) == len(choices)
    right = [["right" in choice for choice in question["choices"]].index(True) for question in questions]
    assert len(set(right)) > 1, "the answer is always the same letter"


def test_there_is_one_quiz_for_each_lesson():
    assert sorted(path.stem for path in quiz.QUIZZES.glob("*")) == list(results.LESSONS)
