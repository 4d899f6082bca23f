"""Submissions with the same answers."""

from __future__ import annotations

import pytest

from mnist_course.grading import similar
from tests.grading.tiny import SENTENCE, STUB, solved

RELEASE = {
    "double": "def double(x):\n    '''Twice x.'''\n    # write your code here",
    "number": "number = None\n# write your code here",
    "explain": STUB,
}
ANSWERS = {"double": "def double(x):\n    return 2 * x", "number": "number = 7", "explain": SENTENCE}


def said(**answers: dict[str, str]) -> dict[str, str]:
    """Student -> the remark, for students with these answers to the tiny exercise."""
    digests = {student: {"tiny": similar.digests(solved(**given))} for student, given in answers.items()}
    found = similar.remarks(digests, {"tiny": similar.digests(solved(**RELEASE))})
    assert {(remark.exercise, remark.not_graded) for remark in found} <= {("tiny", False)}
    return {remark.student: remark.text for remark in found}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("double", "# mine\n\ndef double( x ):\n\n        return 2*x  # twice\n"),
        ("double", "def double(x):\r\n\treturn 2 * x"),
        ("number", "number = \\\n  7"),
        ("explain", f"  {SENTENCE.replace(' ', '  ')}\n"),
    ],
)
def test_comments_and_spaces_make_no_difference(name, other):
    found = said(anna=ANSWERS, ben=ANSWERS | {name: other}, cara=ANSWERS | {"number": "number = 8"})
    assert sorted(found) == ["anna", "ben"]
    assert "identical to those of ben, apart from comments and spaces (3 of 3 answers" in found["anna"]
    assert "identical to those of anna," in found["ben"]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("double", "def double(y):\n    return 2 * y"),
        ("double", "def double(x):\n    if x:\n        return 2 * x"),
        ("number", "number = '# 7'"),
        ("explain", f"{SENTENCE} Always."),
    ],
)
def test_one_other_answer_is_enough_to_differ(name, other):
    assert said(anna=ANSWERS, ben=ANSWERS | {name: other}) == {}


def test_the_level_of_a_line_counts():
    first, second = ("if a:\n    b\n    c", "if a:\n    b\nc")
    assert said(anna=ANSWERS | {"number": first}, ben=ANSWERS | {"number": second}) == {}


def test_those_who_have_not_begun_are_not_named():
    """Also if they have added spaces or comments only."""
    assert said(anna=RELEASE, ben=RELEASE, cara=RELEASE | {"number": "# ?\nnumber = None\n"}) == {}


def test_one_answer_is_enough_to_have_begun():
    found = said(anna=RELEASE | {"number": "number = 8"}, ben=RELEASE | {"number": "number=8"})
    assert "(1 of 3 answers were filled in)" in found["anna"]


def test_many_names_are_counted():
    found = said(**{f"s{number}": ANSWERS for number in range(8)})
    assert len(found) == 8
    assert "identical to those of s1, s2, s3, s4, s5 and 2 others," in found["s0"]


@pytest.mark.parametrize(
    "source",
    [
        "!pip install x",
        "%time f(x)",
        'def f(:\n  """',
        "(" * 500,
        "\0",
        "x = '\ud800'",
        " 1\n2",
        "-" * 10**5,
        '"\\' * 10**6,
    ],
)
def test_any_text_can_be_compared(source):
    changed = ANSWERS | {"number": source}
    found = said(anna=changed, ben=changed | {"explain": f" {SENTENCE}"}, cara=ANSWERS)
    assert sorted(found) == ["anna", "ben"]


def test_each_exercise_is_compared_with_itself():
    digests = similar.digests(solved(**ANSWERS))
    release = similar.digests(solved(**RELEASE))
    found = {"anna": {"tiny": digests}, "ben": {"small": digests}}
    assert similar.remarks(found, {"tiny": release, "small": release}) == []


def test_what_is_not_known_is_not_compared():
    release = {"tiny": similar.digests(solved(**RELEASE))}
    assert similar.remarks({"anna": {"tiny": {}}, "ben": {"tiny": {}}}, release) == []
