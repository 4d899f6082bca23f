"""Predictions that are compared, quizzes that explain every answer; what the browser does is in tests/browser/."""

import re
import types
from collections import Counter

import numpy as np
import pytest
import yaml

from mnist_helpers import quiz, results
from tests.lessons import arithmetic

EXAMPLE = """
- question: What is 2 + 2?
  choices:
    - {text: "3.", why: "That is 2 + 1."}
    - {text: "4.", why: "Two and two more.", right: true}
- question: Which are even?
  figure: numbers
  description: "The numbers 6, 5 and 4."
  choices:
    - {text: "6.", why: "Three and three.", right: true}
    - {text: "5.", why: "That is 2 + 3."}
    - {text: "4.", why: "Two and two.", right: true}
"""


@pytest.fixture
def example(tmp_path, monkeypatch):
    (tmp_path / "sums.yaml").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.setattr(quiz, "QUIZZES", tmp_path)
    monkeypatch.setattr(quiz, "_PICTURES", tmp_path)
    return "sums"


# --- predictions ---


@pytest.mark.parametrize(
    ("typed", "value", "message"),
    [
        ("97", 0.97, "understood as 97 %"),
        ("97 %", 0.97, "understood as 97 %"),
        ("97%", 0.97, "understood as 97 %"),
        ("97,5", 0.975, "understood as 97.5 %"),
        ("0.97", 0.97, "understood as 97 %"),
        (".97", 0.97, "understood as 97 %"),
        ("1", 1, "understood as 100 %"),
        ("1 %", 0.01, "understood as 1 %"),
        ("0.5%", 0.005, "understood as 0.5 %"),
        ("about 11%", 0.11, "understood as 11 %"),
        ("100", 1, "understood as 100 %"),
        ("", None, ""),
        ("  ", None, ""),
        ("90-95", None, "Expected: a percentage from 0 to 100, such as 97."),
        ("101", None, "Expected: a percentage from 0 to 100, such as 97."),
        ("-3", None, "Expected: a percentage from 0 to 100, such as 97."),
        ("high", None, "Expected: a percentage from 0 to 100, such as 97."),
        ("nan", None, "Expected: a percentage from 0 to 100, such as 97."),
        ("9" * 400, None, "Expected: a percentage from 0 to 100, such as 97."),
        ("11٪", 0.11, "understood as 11 %"),
        ("\0", None, "Expected: a percentage from 0 to 100, such as 97."),
    ],
)
def test_a_percentage_is_read_as_people_type_it(typed, value, message):
    guess = quiz.predict("validation accuracy", "percent")
    assert guess.value is None
    guess.text = typed
    assert guess.value == pytest.approx(value)
    assert guess.message == message


@pytest.mark.parametrize(
    ("typed", "value", "message"),
    [
        ("200", 200, "understood as 200"),
        ("-3", -3, "understood as -3"),
        ("−3", -3, "understood as -3"),
        ("1e-3", 0.001, "understood as 0.001"),
        ("0,25", 0.25, "understood as 0.25"),
        ("0,250", 0.25, "understood as 0.25"),
        ("535,818", 535818, "understood as 535,818"),
        ("535 818", 535818, "understood as 535,818"),
        ("1,234,567.5", 1234567.5, "understood as 1.23e+06"),
        ("12 epochs", 12, "understood as 12"),
        ("1 2", None, "Expected: one number, such as 12 or 0.5."),
        ("1e999", None, "Expected: one number, such as 12 or 0.5."),
        ("a", None, "Expected: one number, such as 12 or 0.5."),
        ("**", None, "Expected: one number, such as 12 or 0.5."),
    ],
)
def test_a_number_is_read_as_people_type_it(typed, value, message):
    guess = quiz.predict("parameters")
    guess.text = typed
    assert guess.value == pytest.approx(value)
    assert guess.message == message


def test_only_a_choice_is_a_choice():
    guess = quiz.predict("which loss is lower?", choices=("with dropout", "without"))
    assert guess.value is None
    guess.text = "without"
    assert (guess.value, guess.message) == ("without", "")
    guess.text = "neither"
    assert guess.value is None


def test_an_unknown_kind_is_an_authors_mistake():
    with pytest.raises(ValueError, match="Expected: one of number, percent"):
        quiz.predict("loss", "share")


@pytest.mark.parametrize(
    ("kind", "choices", "line"),
    [
        ("percent", (), "Predict: what comes out (in percent)."),
        ("number", (), "Predict: what comes out (a number)."),
        ("number", ("a", "b"), "Predict: what comes out (a or b)."),
    ],
)
def test_where_nobody_can_type_a_prediction_is_one_line(kind, choices, line, capsys):
    guess = quiz.predict("what comes out", kind, choices=choices)
    assert capsys.readouterr().out == f"{line}\n"
    data, _ = guess._repr_mimebundle_()
    assert data["text/plain"] == line
    assert set(data) == {"text/plain", "application/vnd.jupyter.widget-view+json"}


@pytest.mark.parametrize(
    ("typed", "outcome", "said"),
    [
        ("", 0.98, ""),
        ("high", 0.98, ""),
        (
            "97",
            0.981,
            "Your prediction: 97 %. Measured: 98.1 %. The difference is 1.1 percentage points.\n",
        ),
        (
            "99",
            np.float32(0.5),
            "Your prediction: 99 %. Measured: 50 %. The difference is 49 percentage points.\n",
        ),
        (
            "98",
            0.98004,
            "Your prediction: 98 %. Measured: 98 %. The difference is 0.004 percentage points.\n",
        ),
        ("97", None, "Your prediction: 97 %. Measured: None.\n"),
        (
            "97",
            float("nan"),
            "Your prediction: 97 %. Measured: nan %. The difference is nan percentage points.\n",
        ),
    ],
)
def test_a_predicted_percentage_is_compared(typed, outcome, said, capsys):
    guess = quiz.predict("validation accuracy", "percent")
    guess.text = typed
    capsys.readouterr()
    quiz.compare(guess, outcome)
    assert capsys.readouterr().out == said


def test_other_predictions_are_compared(capsys):
    number, choice = quiz.predict("parameters"), quiz.predict("lower loss", choices=("with.", "without"))
    number.text, choice.text = "500", "with."
    capsys.readouterr()
    quiz.compare(number, 535_818)
    quiz.compare(choice, "without")
    said = "Your prediction: 500. Measured: 535,818.\nYour prediction: with. Measured: without.\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("guess", [97, "11%", True, [1], types.SimpleNamespace(value="x"), np.array([1, 2])])
def test_what_a_student_writes_instead_of_a_prediction_raises_nothing(guess, capsys):
    quiz.compare(guess, 0.98)
    assert capsys.readouterr().out.startswith("Your prediction: ")
    quiz.compare(None, 0.98)
    assert not capsys.readouterr().out


# --- the quiz ---


def test_a_quiz_has_all_that_the_browser_needs(example, tmp_path):
    (tmp_path / "quiz_numbers.png").write_bytes(b"picture")
    shown = quiz.show(example)
    assert [question["several"] for question in shown.questions] == [False, True]
    assert shown.questions[1]["picture"] == "data:image/png;base64,cGljdHVyZQ=="
    assert (shown.answers, shown.first, shown.kind) == ([[], []], [None, None], "quiz")
    shown.answers = [[1], []]
    assert quiz.show(example).answers == [[], []]


def test_page_and_terminal_say_the_same(example):
    data, _ = quiz.show(example)._repr_mimebundle_()
    assert set(data) == {"text/markdown", "text/plain", "application/vnd.jupyter.widget-view+json"}
    page, terminal = data["text/markdown"], data["text/plain"]
    assert terminal == repr(quiz.show(example))
    for mark in ("**", "<details><summary>", "</summary>", "</details>"):
        assert mark not in terminal
        page = page.replace(mark, "")
    page = page.replace(
        "![The numbers 6, 5 and 4.](pictures/quiz_numbers.png)", "Figure: The numbers 6, 5 and 4."
    )
    assert page.replace("All answers", "Answers").split() == terminal.split()
    assert "2. Which are even? Select all that apply." in terminal
    assert "- b) Right. Two and two more." in terminal
    assert "- a) Wrong. That is 2 + 1." in terminal


def test_all_answers_are_folded_away_on_a_page(example):
    before, *_ = quiz.show(example)._texts()["text/markdown"].split("<details>")
    assert "Two and two more" not in before
    assert "- b) 4." in before


def test_an_unknown_lesson_is_named(example):
    with pytest.raises(ValueError, match=r"Expected: one of sums\. Received: 'sum'"):
        quiz.show("sum")


def test_the_code_for_the_browser_loads_nothing_and_writes_no_html():
    code = quiz._Widget._esm + quiz._Widget._css
    assert "render" in code
    for way in ("http", "import ", "import(", "fetch", "@import", "url(", "innerHTML", "eval("):
        assert way not in code


# --- the lessons' quizzes ---

QUIZZES = sorted(path.stem for path in quiz.QUIZZES.glob("*.yaml"))


def questions_of(name):
    return yaml.safe_load((quiz.QUIZZES / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", QUIZZES)
def test_every_choice_is_explained(name):
    questions = questions_of(name)
    assert 3 <= len(questions) <= 7
    for question in questions:
        assert {"question", "choices"} <= set(question) <= {"question", "choices", "figure", "description"}
        assert ("figure" in question) == bool(question.get("description"))
        if "figure" in question:
            assert (quiz._PICTURES / f"quiz_{question['figure']}.png").is_file()
        choices = question["choices"]
        assert 3 <= len(choices) <= 6
        assert 1 <= sum(choice.get("right", False) for choice in choices) < len(choices)
        for choice in choices:
            assert {"text", "why"} <= set(choice) <= {"text", "why", "right"}
            assert all(isinstance(choice[field], str) for field in ("text", "why")), choice
            assert choice.get("right", True) is True
            assert len(choice["why"]) > 20
            assert choice["why"][0].isupper() or not choice["why"][0].isalpha()
            assert choice["why"].rstrip("`)*").endswith((".", "!", "?", ".'", '."')), choice["why"]
        assert len({choice["text"] for choice in choices}) == len(choices)


@pytest.mark.parametrize("name", results.LESSONS)
def test_a_quiz_has_five_questions_and_one_with_several_right_answers(name):
    questions = questions_of(name)
    assert 5 <= len(questions) <= 7
    right = [sum(choice.get("right", False) for choice in question["choices"]) for question in questions]
    assert max(right) > 1
    assert right.count(1) >= 3


def give_away(quizzes):
    """Returns the share of questions whose longest choice is the right one, and the letters' largest share."""
    questions = [question for quiz in quizzes for question in quiz]
    single = [question["choices"] for question in questions if right_positions(question)[1:] == []]
    longest = [max(choices, key=lambda choice: len(choice["text"])) for choices in single]
    letters = Counter(position for question in questions for position in right_positions(question))
    return (
        sum(choice.get("right", False) for choice in longest) / len(single),
        max(letters.values()) / letters.total(),
    )


def right_positions(question):
    return [position for position, choice in enumerate(question["choices"]) if choice.get("right")]


def test_give_aways_are_measured():
    def made_up(*lengths, right):
        choices = [{"text": "x" * length, "right": number in right} for number, length in enumerate(lengths)]
        return {"question": "", "choices": choices}

    telling, fair = made_up(1, 9, right=[1]), made_up(1, 9, right=[0])
    assert give_away([[telling, fair], [fair, fair]]) == (0.25, 0.75)
    assert give_away([[telling, made_up(1, 9, right=[0, 1])]]) == (1, 2 / 3)


def test_neither_length_nor_letter_gives_the_right_answer_away():
    longest, letter = give_away(questions_of(name) for name in results.LESSONS)
    assert longest <= 0.4
    assert letter <= 0.45


def test_there_is_one_quiz_for_each_lesson():
    assert set(results.LESSONS) <= set(QUIZZES) <= set(results.IN_ORDER)


# --- what is right, a second time ---

RIGHT = {
    "01_data_exploration": "c b d a ac c",
    "02_baseline": "b d c acd a c bd",
    "03_batchnorm_dropout": "bd a c b d b c",
    "04_tuning": "ad d b b a bc",
    "05_evaluation": "a c ac b d a",
    "ablation": "b c a bc d",
    "faster_training": "c a d ab b",
    "from_scratch": "b d a bd c",
    "pytorch": "acd b d a c b",
    "stronger_networks": "d ab a c d b a",
    "trust": "b c ac a d",
}


@pytest.mark.parametrize("name", QUIZZES)
def test_the_right_answers_are_those_that_were_found_without_the_file(name):
    """Whoever moves a choice or marks another one solves the question again, and changes the letter here."""
    found = ["".join("abcdef"[place] for place in right_positions(entry)) for entry in questions_of(name)]
    assert " ".join(found) == RIGHT[name]


# Quiz, question, and for each choice its value (None: not a number) and what its explanation must name.
CALCULATED = [
    (
        "01_data_exploration",
        "0.5, 0.5, 0.25 and 0.25",
        [
            (np.log([2, 2, 4, 4]).mean(), "/ 4 = 1.04"),
            (4 * 1.04, "sum of the four"),
            (-np.log(0.375), "−log of the mean"),
            (np.mean([0.5, 0.5, 0.25, 0.25]), "mean probability"),
        ],
    ),
    (
        "01_data_exploration",
        "200 of 1,000 evaluation images",
        [
            (90, "unseen images only"),
            ((90 + 100) / 2, "half of"),
            (20 + 0.8 * 90, "920"),
            (100, "stored images only"),
        ],
    ),
    (
        "02_baseline",
        "the inputs 2 and −1",
        [
            (2 * 0.5 - 3 + 1, "not been applied"),
            (0, "replaces"),
            (1, "drop the sign"),
            (2 * 0.5 + 3 + 1, "not 3"),
        ],
    ),
    (
        "02_baseline",
        "`Dense(128)` follows",
        [
            (64 * 128, "not the biases"),
            (64 * 129, "one bias for each"),
            (128 * 128, "only 64 inputs"),
            (65 * 128, "(64 + 1) · 128"),
        ],
    ),
    (
        "03_batchnorm_dropout",
        "`Dropout(0.2)` receives",
        [(4 / 0.8, "4.0 / 0.8"), (4, "unchanged"), (4 * 0.8, "4.0 · 0.8"), (4 / 0.2, "4.0 / 0.2")],
    ),
    (
        "03_batchnorm_dropout",
        "moving mean 0",
        [
            (0.1 * 5, "after the first batch"),
            (0.9 * 0.5 + 0.1 * 5, "after the second"),
            (0.1 * 4.5 + 0.9 * 5, "swapping"),
            (5, "mean of the batches"),
        ],
    ),
    (
        "04_tuning",
        "How long does the grid search take",
        [
            ((5 + 4 + 3) * 2, "(5 + 4 + 3) · 2"),
            (5 * 4 * 2, "5 · 4 · 2"),
            (1, "number of config"),
            (2, "120 minutes"),
        ],
    ),
    (
        "05_evaluation",
        "4,750 of 5,000",
        [
            (100 * np.sqrt(0.95 * 0.05 / 5000), "standard error"),
            (200 * np.sqrt(0.95 * 0.05 / 5000), "This is the half-width"),
            (400 * np.sqrt(0.95 * 0.05 / 5000), "94.4 to 95.6"),
            (5, "error rate"),
        ],
    ),
    (
        "ablation",
        "starts at 0.004",
        [
            (0.004, "at the start"),
            (0.004 / 4, "not a quarter"),
            (0.004 / 2, "cos(π/2) = 0"),
            (0, "at the end"),
        ],
    ),
    (
        "ablation",
        "For four seeds",
        [
            (np.subtract([8, 7, 8, 9], [10, 8, 9, 11]).mean() / 100, "their mean is −0.015"),
            (np.subtract([10, 8, 9, 11], [8, 7, 8, 9]).mean() / 100, "plain minus other"),
            (None, "no pair differs"),
            (np.subtract([8, 7, 8, 9], [10, 8, 9, 11]).sum() / 100, "sum of the differences"),
        ],
    ),
    (
        "faster_training",
        "batch size of 256",
        [
            (np.ceil(50_000 / 256), "rounded up"),
            (50_000 // 256, "last 80 images"),
            (256, "images in one step"),
            (np.ceil(50_000 / 128), "batch size of 128"),
        ],
    ),
    (
        "from_scratch",
        "two paths",
        [
            (2 * (3 - 1), "2 · 2 = 4"),
            (2 * 3 * -1, "multiplies all"),
            (2 * 3, "only the first"),
            (2 * (3 + 1), "sizes"),
        ],
    ),
    (
        "pytorch",
        "Glorot uniform",
        [
            (6 / 266, "6 / 266"),
            (np.sqrt(6 / 266), "its square root is 0.150"),
            (np.sqrt(6 / 256), "√(6 / 256)"),
            (1 / np.sqrt(256), "1 / √256"),
        ],
    ),
    (
        "stronger_networks",
        "variance 0.10 without noise",
        [
            (0.1 + 0.3, "square 0.3 first"),
            (0.1 + 0.03, "not the square"),
            (0.1, "mean 0"),
            (0.1 + 0.3**2, "0.10 + 0.09"),
        ],
    ),
    (
        "stronger_networks",
        "Kullback-Leibler",
        [
            (np.log(2) + np.log(2 / 3), "without the factors"),
            (0.5 * np.log(2) - 0.5 * np.log(2 / 3), "negative sign"),
            (0.5 * np.log(2) + 0.5 * np.log(2 / 3), "= 0.144"),
            (None, "only if both"),
        ],
    ),
    (
        "trust",
        "400 predictions",
        [(80, "wrong predictions"), (320, "80 % of 400"), (400, "100 %"), (None, "classes")],
    ),
]


@pytest.mark.parametrize(
    ("name", "asked", "expected"), CALCULATED, ids=[f"{n}: {a}" for n, a, _ in CALCULATED]
)
def test_each_number_to_choose_is_the_one_that_its_explanation_derives(name, asked, expected):
    """Explanations that are exchanged, a wrong number and a number at another place are noticed."""
    (choices,) = [entry["choices"] for entry in questions_of(name) if asked in entry["question"]]
    for choice, (number, words) in zip(choices, expected, strict=True):
        assert words in choice["why"]
        if number is not None:
            shown = (
                re.match(r"[-−+]?[\d,]*\d(?:\.\d+)?", choice["text"])[0].replace(",", "").replace("−", "-")
            )
            digits = len(shown.partition(".")[2])
            assert float(shown) == pytest.approx(number, abs=0.51 * 10**-digits)
            for written in arithmetic.written_out(choice["why"]) if choice["why"].startswith("This ") else ():
                assert written == pytest.approx(number, abs=0.51 * 10**-digits), choice["why"]


def test_every_question_whose_choices_are_numbers_is_calculated():
    asked = {
        (name, entry["question"])
        for name in QUIZZES
        for entry in questions_of(name)
        if sum(bool(re.match(r"[-−+]?\d", choice["text"])) for choice in entry["choices"]) >= 3
    }
    assert all(any(n == name and words in text for n, words, _ in CALCULATED) for name, text in asked)
