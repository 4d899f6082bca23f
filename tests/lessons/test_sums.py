"""Every sum that a notebook or a quiz writes out with its result, calculated again."""

import json

import pytest
import yaml

from mnist_helpers import quiz, results
from tests.lessons import arithmetic


def prose_of(name):
    cells = json.loads(results.notebook_path(name).read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(" ".join("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown")


def quiz_of(name):
    questions = yaml.safe_load((quiz.QUIZZES / f"{name}.yaml").read_text(encoding="utf-8"))
    whys = [
        choice[field] for question in questions for choice in question["choices"] for field in ("text", "why")
    ]
    return "\n".join([question["question"] for question in questions] + whys)


FOUND = [
    (where, name, *equation)
    for where, read in (("text", prose_of), ("quiz", quiz_of))
    for name in results.IN_ORDER
    for equation in arithmetic.equations(read(name))
]


@pytest.mark.parametrize(("where", "name", "left", "shown", "percent"), FOUND)
def test_a_sum_has_the_result_that_is_written(where, name, left, shown, percent):
    assert arithmetic.agrees(left, shown, percent)


def test_the_sums_are_found():
    assert len(FOUND) > 40
    lefts = {left for *_, left, _, _ in FOUND}
    assert {"22/1,024", "2·√(0.98·0.02/10,000)", "1 − 0.95⁶", "(5 − 0.5)/√1.8", "6 / (256 + 10)"} <= lefts


@pytest.mark.parametrize(
    ("text", "equations"),
    [
        ("the p-value is 22/1,024 ≈ 0.02.", [("22/1,024", "0.02", "")]),
        ("give 1 − 0.95⁶ ≈ 26 %)", [("1 − 0.95⁶", "26", " %")]),
        ("is 2·√(0.95·0.05/5,000) = 0.0062, so", [("2·√(0.95·0.05/5,000)", "0.0062", "")]),
        ("= 1.04, because −log 0.5 = 0.69 (log 2 ≈ 0.69)", [("−log 0.5", "0.69", ""), ("log 2", "0.69", "")]),
        ("p = 0.16, seed = 3 and 5 = 5", []),
    ],
)
def test_sums_are_read_as_people_write_them(text, equations):
    assert arithmetic.equations(text) == equations
    assert all(arithmetic.agrees(*equation) for equation in equations)


@pytest.mark.parametrize(
    "equation",
    [("11/1,024", "0.02", ""), ("1 − 0.95⁶", "2.6", " %"), ("28 · 28", "786", ""), ("5 · 4 · 3", "6", "")],
)
def test_a_wrong_result_is_noticed(equation):
    assert not arithmetic.agrees(*equation)
