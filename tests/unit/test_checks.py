"""What the checks of all exercises share: messages, hints, points, tables, and calls of students' functions."""

from __future__ import annotations

import functools
import sys
from itertools import pairwise

import numpy as np
import pytest

from mnist_helpers import metrics
from mnist_helpers._errors import UserError
from mnist_helpers.checks import _core
from mnist_helpers.checks._core import AnswerError, Exercise, NotDoneError, Row, Task


def parameters(widths):
    return sum((inputs + 1) * neurons for inputs, neurons in pairwise(widths))


ROWS = (
    Row(
        lambda widths: sum(a * b for a, b in pairwise(widths)),
        "these are the weights",
    ),
    Row(lambda widths: (widths[0] + 1) * widths[1] + (widths[1] + 1) * widths[2], "three widths only"),
)


@pytest.fixture
def exercise():
    exercise = Exercise(
        "exercise_02",
        Task("count", "Count", 1, 1, ("look at the biases", "a neuron has one bias")),
        Task("width", "Choose", 2),
        Task("explain", "Explain", 0, for_teacher=True),
    )

    @exercise.check
    def count(function, *, cases=()):
        """Checks a count."""
        _core.compare_function(
            function,
            parameters,
            ROWS,
            cases or [([784, 100, 10],)],
            "The number of parameters is another one.",
            name="count_parameters",
        )

    @exercise.check
    def width(answer):
        _core.compare(_core.number(answer, "width"), 100, (Row(10, "that is the output"),), "another number")

    exercise.count, exercise.width = count, width
    return exercise


def test_a_right_answer_says_so_with_its_points(exercise, capsys):
    exercise.count(parameters)
    exercise.width(100.0)
    assert capsys.readouterr().out == (
        "Task 1: correct (1 of 2 points; the rest is checked when graded)\nTask 2: correct (2 of 2 points)\n"
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            ROWS[0].answer,
            "Task 1 is not correct yet: these are the weights\nFor a hint: checks.exercise_02.count(",
        ),
        (
            lambda widths: 7,
            "not correct yet: count_parameters([784, 100, 10]) returns 7. The number of parameters is another one.",
        ),
        (lambda widths: [7, 8], "count_parameters([784, 100, 10]) returns [7, 8]. Expected: one number."),
        (lambda widths: "7", "count_parameters([784, 100, 10]) returns '7'. Expected: one number."),
        (lambda widths: None, "Task 1 is not done yet: count_parameters returns None"),
        (None, "Task 1 is not done yet: count_parameters is still None"),
        (3, "Task 1 is not correct yet: count_parameters should be a function. Received: 3."),
        (lambda widths: widths["a"], "count_parameters stops with TypeError: list indices must be integers"),
        (
            lambda widths: widths.clear() or 1 / 0,
            "stops with ZeroDivisionError: division by zero, in the line `lambda",
        ),
        (lambda: 1, "count_parameters stops with TypeError"),
        (
            lambda widths: metrics.accuracy_interval(3, 9) and 79510,
            "calls accuracy_interval of the course's helpers",
        ),
        (metrics.accuracy_interval, "stops with"),
        (functools.partial(_core.same, 1, rtol=1), "calls same of the"),
        (type("Hidden", (), {"__call__": staticmethod(_core.short)})(), "calls short of the"),
        (lambda widths: sys.setprofile(None) or 79510, "count_parameters changes sys.setprofile"),
        (lambda widths: sys.exit(), "count_parameters stops with SystemExit"),
        (lambda widths: parameters_by_check(), "calls same of the course's helpers"),
    ],
)
def test_a_wrong_answer_gets_one_message(exercise, answer, message):
    with pytest.raises(AnswerError) as error:
        exercise.count(answer)
    assert message in str(error.value)
    assert error.value._render_traceback_() == str(error.value).split("\n")


def parameters_by_check():
    return 79510 if _core.same(1, 1) else 0


def test_other_cases_reach_the_function_and_do_not_share_lists(exercise):
    exercise.count(parameters, cases=[([5, 4, 3, 2],), ([3, 2],)])
    case = ([3, 2],)
    with pytest.raises(AnswerError):
        exercise.count(lambda widths: widths.append(1) or 1, cases=[case])
    assert case == ([3, 2],)


def test_the_first_row_that_agrees_in_all_cases_gives_the_message(exercise):
    """The second row is right for three widths, so it is known only by other cases."""
    exercise.count(ROWS[1].answer)
    with pytest.raises(AnswerError, match="three widths only"):
        exercise.count(ROWS[1].answer, cases=[([4, 3, 2],), ([4, 3, 2, 1],)])


def test_hints_come_in_steps_and_look_at_no_answer(exercise, capsys):
    exercise.count(..., hint=1)
    exercise.count(None, hint=2)
    assert capsys.readouterr().out == (
        "Task 1, hint 1 of 2: look at the biases (hint=2 says more)\nTask 1, hint 2 of 2: a neuron has one bias\n"
    )
    for wrong in (3, -1, "1", 1.5):
        with pytest.raises(UserError, match=r"Task 1 has 2 hints\. Expected: hint=1 to hint=2"):
            exercise.count(parameters, hint=wrong)


def test_the_summary_lists_each_task(exercise, capsys):
    exercise.summary()
    exercise.count(parameters)
    with pytest.raises(AnswerError):
        exercise.width(10)
    capsys.readouterr()
    exercise.summary()
    assert capsys.readouterr().out.splitlines() == [
        "Task 1  Count    1 of 1  correct",
        "Task 2  Choose   0 of 2  not correct yet",
        "Task 3  Explain          read by your teacher",
        "",
        "1 of 3 points so far. 1 more point is checked when the exercise is graded. Still open: task 2.",
    ]
    exercise.width(100)
    with pytest.raises(NotDoneError):
        exercise.width(None)
    capsys.readouterr()
    exercise.summary()
    assert "Task 2  Choose   0 of 2  not done yet" in capsys.readouterr().out
    exercise.width(100)
    exercise.summary()
    assert "All checks are passed." in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["12", "a", [1, 2], {"a": 1}, np.zeros(3), float("nan"), object(), b"1"])
def test_what_is_not_one_number_is_named(answer):
    with pytest.raises(AnswerError, match="x should be one number"):
        _core.number(answer, "x")


@pytest.mark.parametrize("answer", [3, 3.0, np.float32(3), np.array([3]), np.array(3), True + 2])
def test_numbers_of_any_type_are_accepted(answer):
    assert _core.number(answer, "x") == 3


def test_choices_ignore_case_and_outer_spaces():
    assert _core.one_of("  Neither ", "verdict", ("both", "neither")) == "neither"
    with pytest.raises(AnswerError, match='verdict should be one of "both", "neither"'):
        _core.one_of("one", "verdict", ("both", "neither"))
    for missing in (None, "", "  "):
        with pytest.raises(NotDoneError, match="verdict is still"):
            _core.one_of(missing, "verdict", ("both", "neither"))


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (0.35434, 0.3543, True),
        (0.35434, 0.36, False),
        ([1, 2], (1, 2), True),
        ([1, 2], [1, 2, 3], False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False),
        ({1, 2}, {2, 1}, True),
        ("a", "a", True),
        ("1", 1, False),
        (True, 1, False),
        (np.zeros((2, 3)), np.zeros((3, 2)), False),
        (np.array([np.nan]), np.array([np.nan]), True),
        (object(), 1, False),
    ],
)
def test_answers_are_equal_within_a_tolerance(first, second, equal):
    assert _core.same(first, second) is equal
    assert _core.same(second, first) is equal


class Peek:
    """Looks for the right answer in the frames of the check."""

    def __array__(self, *arguments, **options):
        frame = sys._getframe()
        while frame:
            if "second" in frame.f_locals:
                return np.asarray(frame.f_locals["second"], dtype=float)
            frame = frame.f_back
        return np.array(0.0)


class Sly(str):
    def strip(self):
        return "neither"

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


def test_objects_of_a_student_are_made_plain_before_they_are_compared(exercise):
    with pytest.raises(AnswerError, match=r"returns array\(0"):
        exercise.count(lambda widths: Peek())
    with pytest.raises(AnswerError, match="width should be one number"):
        exercise.width(Peek())
    with pytest.raises(AnswerError, match="verdict should be one of"):
        _core.one_of(Sly("wrong"), "verdict", ("both", "neither"))
    assert type(_core.returned(lambda: Sly("a"), name="f")) is str
    assert type(_core.returned(lambda: (np.float32(3), [Sly("a")]), name="f")[1][0]) is str


def test_cases_of_ones_own_do_not_count_in_the_summary(exercise, capsys):
    exercise.count(lambda widths: 0, cases=[([3],)])
    exercise.summary()
    assert "Task 1  Count    0 of 1  not done yet" in capsys.readouterr().out
    exercise.count(function=parameters)
    exercise.summary()
    assert "Task 1  Count    1 of 1  correct" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "options", "words"),
    [
        ((parameters, ([3, 2],)), {}, "too many positional arguments"),
        ((), {}, "missing a required argument: 'function'"),
        ((parameters,), {"hints": 1}, "got an unexpected keyword argument 'hints'"),
    ],
)
def test_a_call_with_other_arguments_says_how_to_call_the_check(exercise, capsys, answers, options, words):
    exercise.count(parameters)
    with pytest.raises(UserError) as error:
        exercise.count(*answers, **options)
    assert str(error.value) == (
        f"Expected: checks.exercise_02.count(function). Received: a call with other arguments ({words})."
    )
    assert isinstance(error.value, TypeError) and not isinstance(error.value, AnswerError)
    exercise.summary()
    assert "Task 1  Count    1 of 1  correct" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ([417.5, 3.25], [3.25], "returns [3.25]. Expected: a list or an array of 2 numbers."),
        ((417.5, 3.25), np.zeros(2), "returns array([0., 0.]). Look again."),
        (np.full((2, 3), 417.5), np.zeros((3, 2)), "Expected: an array of the shape (2, 3)."),
        ([np.full(2, 417.5), "tie"], 5, "returns 5. Expected: 2 values."),
        (True, 1.5, "returns 1.5. Expected: True or False."),
        ("tie", 1.5, "returns 1.5. Expected: a string."),
        ({"tie": 417.5}, 1.5, "returns 1.5. Expected: a dictionary."),
        (417.5, 1.5, "f([1, 2], an array of the shape (3, 9), array([1, 2])) returns 1.5. Look again."),
    ],
)
def test_another_answer_is_described_by_its_form_and_never_by_the_right_value(right, wrong, words):
    case = ([1, 2], np.zeros((3, 9)), np.array([1, 2]))
    with pytest.raises(AnswerError) as error:
        _core.compare_function(
            lambda *_: wrong, lambda *_: right, (), [case], "Look again.", name="f", helpers=True
        )
    assert words in str(error.value)
    assert "417.5" not in str(error.value) and "tie" not in str(error.value)


def test_a_check_has_the_name_of_a_task():
    with pytest.raises(StopIteration):
        Exercise("exercise_02", Task("count", "Count", 1)).check(len)
