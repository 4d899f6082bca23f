"""The checks of exercise 5, "Evaluation"."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from mnist_helpers.checks._core import (
    AnswerError,
    Exercise,
    NotDoneError,
    Row,
    Task,
    compare,
    compare_function,
    expect,
    given,
    number,
    one_of,
    returned,
    short,
)

__all__ = ["by_hand", "conclusion", "exercise", "mcnemar", "recall_precision", "shift", "summary", "wilson"]

exercise = Exercise(
    "exercise_05",
    Task(
        "by_hand",
        "Precision and recall by hand",
        2,
        hints=(
            "All three answers are in the row and the column of the digit 1. Each row is a true digit, "
            "each column a predicted digit.",
            "The number on the diagonal is the numerator of both fractions. For the recall, add up the "
            "row of the 1; for the precision, add up its column. For mistaken_for, look along the row, "
            "off the diagonal.",
        ),
    ),
    Task(
        "recall_precision",
        "Precision and recall of every class",
        1,
        1,
        hints=(
            "np.diag(matrix) holds the numbers on the diagonal, one for each class. Divide them by the "
            "sums of the rows or of the columns.",
            "matrix.sum(axis=0) adds up the numbers of each column, and matrix.sum(axis=1) those of each "
            "row. The images of a true class are in one row.",
        ),
    ),
    Task(
        "wilson",
        "The interval of an accuracy",
        1,
        2,
        hints=(
            "Compute p first, then 1 + z²/n, which you need twice, then the centre and the half-width.",
            "In Python, a / 2 * n means (a / 2) * n. Put brackets around each denominator and around "
            "each numerator with more than one term. Return centre - half and centre + half, in this "
            "order.",
        ),
    ),
    Task(
        "mcnemar",
        "McNemar's test",
        1,
        2,
        hints=(
            "`first == labels` is an array that is True where the first classifier is correct. With & "
            "(and) and ~ (not) you can combine two such arrays, and np.sum counts the True values.",
            "Each image that exactly one of the two classifies correctly is a toss. The number of heads "
            "is only_first, and the number of tosses is the sum of the two counts. Treat the case "
            "without any toss separately.",
        ),
    ),
    Task(
        "shift",
        "An experiment with shifted digits",
        3,
        hints=(
            "Change the first two lines of the experiment's cell only, and run it once for each number. "
            "In step 1 train_shifts is still [0]. Check in the picture where the digits have moved.",
            "In step 3, train_shifts is still range(-3, 4), and the validation images are not shifted to "
            "the right any more. For the reason, test each statement with what you have measured: the "
            "accuracy without a shift, the pictures, and the accuracies in steps 2 and 3.",
        ),
    ),
    Task(
        "conclusion",
        "What may be concluded?",
        2,
        hints=(
            "First look at the p-value: is it below 0.05? Only then look at which of the two classifiers "
            "alone is correct on more images.",
            "gain is the difference of the two accuracies in percent. For factor, use that n is under a "
            "square root in the half-width. For claim, ask of each statement whether the images, the "
            "classifiers and the numbers that it is about were measured.",
        ),
    ),
    Task("explain", "Explain in a sentence or two", 0, for_teacher=True),
)
summary = exercise.summary

_ROUNDED = 2.5e-3  # relative tolerance of a number that was rounded to three digits
_MORE_DIGITS = "Give at least three significant digits."


def _compare_number(answer: Any, name: str, right: float, rows: Sequence[Row], otherwise: str) -> None:
    """Compares a number that may be rounded to three digits; the check asks for more if there are fewer."""
    value = number(answer, name)
    digits = [
        Row(float(f"{right:.{places}g}"), f"{name} is rounded too much. {_MORE_DIGITS}") for places in (2, 1)
    ]
    compare(value, right, [*digits, *rows], otherwise, rtol=_ROUNDED)


# --- task 1: precision and recall by hand ---

_DIAGONAL, _ROW, _COLUMN = 17, 24, 21  # of the digit 1 in the confusion matrix of nearest_mean
_CORRECT, _IMAGES = 208, 239  # all of its correct predictions, all validation images


class Measure(NamedTuple):
    """The words for recall or precision: what is summed, and how the parts are called.

    Attributes:
        name: "recall" or "precision".
        other: the other one.
        sums: which sums of the confusion matrix the other one divides by, and what this one needs instead.
        images: which images count.
        line: where they are in the matrix.
        missed: what 1 minus this fraction is.
        rest: how the images off the diagonal, and those on it, are called.
    """

    name: str
    other: str
    sums: tuple[str, str]
    images: str
    line: str
    missed: str
    rest: tuple[str, str]


_OF_RECALL = Measure(
    "recall",
    "precision",
    ("columns", "A row holds the images that are the class"),
    "that are {one}",
    "row",
    "was not found. Recall is the fraction that was found",
    ("the mistakes", "The images that were found"),
)
_OF_PRECISION = Measure(
    "precision",
    "recall",
    ("rows", "A column holds the images that were predicted to be the class"),
    "that were predicted to be {one}",
    "column",
    "was predicted by mistake. Precision is the fraction of the predictions that is correct",
    ("the wrong predictions", "The correct ones"),
)


def _by_hand(measure: Measure, whole: int, other: int) -> tuple[Row, ...]:
    """Returns the wrong answers to `recall_1` or `precision_1`.

    Args:
        measure: its words.
        whole: number of images by which the diagonal should be divided.
        other: number of images by which the other measure divides it.
    """
    name = f"{measure.name}_1"
    images = measure.images.format(one="a 1")
    others = (_OF_PRECISION if measure is _OF_RECALL else _OF_RECALL).images.format(one="a 1")
    return (
        Row(
            _DIAGONAL / other,
            f"{name} is the {measure.other}: you have divided by the number of images {others}. The "
            f"{measure.name} looks at the images {images}.",
        ),
        Row(
            _DIAGONAL / _IMAGES,
            f"For {name} you have divided by all images. Only the images {images} count.",
        ),
        Row(
            _DIAGONAL / _CORRECT,
            f"For {name} you have divided by all correct predictions. Only the images {images} count.",
        ),
        Row(
            _CORRECT / _IMAGES,
            f"{name} is the accuracy, which concerns all ten digits. The {measure.name} of the 1 needs one "
            f"{measure.line} only.",
        ),
        Row(1 - _DIAGONAL / whole, f"{name} is the fraction that {measure.missed}."),
        Row(
            _DIAGONAL / (whole - _DIAGONAL),
            f"For {name} you have divided by {measure.rest[0]} only. {measure.rest[1]} belong to the sum, too.",
        ),
        Row(
            23 / 24,
            f"{name} is the value for the digit 0, because the first row and column belong to the 0. Use "
            "those of the 1.",
        ),
        Row(100 * _DIAGONAL / whole, f"{name} is in percent. It should be a fraction between 0 and 1."),
        Row(_DIAGONAL, f"{name} is the number of correct predictions. By what must you divide it?"),
        Row(whole, f"{name} is the number of images {images}. How many of them are classified correctly?"),
    )


PRECISION_BY_HAND = _by_hand(_OF_PRECISION, _COLUMN, _ROW)
RECALL_BY_HAND = _by_hand(_OF_RECALL, _ROW, _COLUMN)
MISTAKEN_FOR: tuple[Row, ...] = (
    Row(
        8,
        "You have looked along the column of the 1: an 8 is often mistaken for a 1. The question is what "
        "the images that are a 1 are mistaken for.",
    ),
    Row(
        1,
        "The number on the diagonal counts correct predictions, not mistakes. Which number off it is "
        "largest?",
    ),
    Row(3, "mistaken_for is the number of images. The question is which digit was predicted for them."),
    Row(
        6,
        "Some 1s are mistaken for a 6, but another mistake is more frequent.",
    ),
)


@exercise.check
def by_hand(precision_1: Any, recall_1: Any, mistaken_for: Any) -> None:
    """Checks what was read from the confusion matrix of nearest_mean.

    Args:
        precision_1: the precision of the digit 1, a fraction.
        recall_1: its recall, a fraction.
        mistaken_for: the digit that is predicted for a 1 most often by mistake.
    """
    given(precision_1=precision_1, recall_1=recall_1, mistaken_for=mistaken_for)
    _compare_number(
        precision_1,
        "precision_1",
        _DIAGONAL / _COLUMN,
        PRECISION_BY_HAND,
        "precision_1 does not fit the figure. How many images were predicted to be a 1, and how many of "
        "these are a 1? Give at least three significant digits.",
    )
    _compare_number(
        recall_1,
        "recall_1",
        _DIAGONAL / _ROW,
        RECALL_BY_HAND,
        "recall_1 does not fit the figure. How many images are a 1, and how many of these were found? "
        "Give at least three significant digits.",
    )
    compare(
        number(mistaken_for, "mistaken_for"),
        2,
        MISTAKEN_FOR,
        "mistaken_for does not fit the figure. Find the largest number in the row of the 1, off the "
        "diagonal. To which predicted digit does its column belong?",
    )


# --- task 2: precision and recall of every class ---


def _fraction(axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function that divides the diagonal by sums along an axis: 1 is the recall, 0 the precision."""
    return lambda matrix: np.diag(matrix) / matrix.sum(axis=axis)


_recall, _precision = _fraction(1), _fraction(0)


def _of_classes(measure: Measure, right: Callable[..., np.ndarray], axis: int) -> tuple[Row, ...]:
    """Returns the functions that compute the recall or the precision of each class wrongly."""
    name, images = measure.name, measure.images.format(one="the class")
    return (
        Row(
            _fraction(1 - axis),
            f"This is the {measure.other} where the {name} should be: you have divided by the sums of the "
            f"{measure.sums[0]}. {measure.sums[1]}. Return the recall first.",
        ),
        Row(
            lambda matrix: np.diag(matrix) / matrix.sum(),
            f"For the {name} you have divided by all images. It looks only at the images {images}: one "
            f"{measure.line}.",
        ),
        Row(
            lambda matrix: np.diag(matrix) / np.trace(matrix),
            f"For the {name} you have divided by all correct predictions. It looks only at the images "
            f"{images}: one {measure.line}.",
        ),
        Row(
            lambda matrix: np.diag(matrix) / (matrix.sum(axis=axis) - np.diag(matrix)),
            f"For the {name} you have divided by {measure.rest[0]} only. {measure.rest[1]} belong to the "
            "sum, too.",
        ),
        Row(
            lambda matrix: 1 - right(matrix),
            f"Where the {name} should be, you return the fraction that {measure.missed}.",
        ),
        Row(lambda matrix: 100 * right(matrix), f"The {name} is in percent. Fractions were asked for."),
        Row(
            np.diag,
            f"The {name} is only the diagonal, a number of images. Divide it by the number of all images "
            f"{images}.",
        ),
        *(
            Row(_rounded(right, digits), f"The {name} is rounded too much. {_MORE_DIGITS}")
            for digits in (1, 2)
        ),
    )


def _rounded(function: Callable[..., Any], decimals: int) -> Callable[..., Any]:
    """Returns a function that rounds what another one returns."""
    return lambda *case: np.round(function(*case), decimals)


RECALL = _of_classes(_OF_RECALL, _recall, 1)
PRECISION = _of_classes(_OF_PRECISION, _precision, 0)
_MATRICES = ([[8, 2], [1, 10]], [[6, 1, 3], [1, 5, 0], [4, 2, 9]])


@exercise.check
def recall_precision(function: Any, *, matrices: Sequence[Sequence[Sequence[int]]] = _MATRICES) -> None:
    """Checks a function that computes recall and precision of each class from a confusion matrix.

    Args:
        function: the student's function.
        matrices: confusion matrices.
    """
    name = "recall_and_precision"
    cases = [(np.array(matrix),) for matrix in matrices]
    for (matrix,) in cases:
        _check_shape_of_two(returned(function, matrix, name=name), len(matrix))
    for part, what, right, rows in ((0, "recall", _recall, RECALL), (1, "precision", _precision, PRECISION)):
        compare_function(
            _part_of(function, part, name),
            right,
            rows,
            cases,
            functools.partial(_is_not, what),
            name=name,
            rtol=_ROUNDED,
            helpers=True,
        )


def _shown(value: Any) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return short(value)


def _is_not(what: str, case: tuple, expected: np.ndarray, received: Any) -> str:
    return (
        f"The {what} of the classes for the matrix {case[0].tolist()} is not {short(received)}. Choose one class: "
        f"which images does its {what} count, and in which row or column are they?"
    )


def _check_shape_of_two(answer: Any, num_classes: int) -> None:
    parts = list(answer) if isinstance(answer, tuple | list | np.ndarray) else []
    if any(part is None for part in parts):
        raise NotDoneError("recall or precision is still None.")
    expect(
        [_shape(part) for part in parts] == [(num_classes,)] * 2,
        "recall_and_precision should return two arrays, the recall and the precision, with one number for "
        f"each class. For {num_classes} classes it returned {short(answer)}.",
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return np.shape(value)
    except ValueError:  # lists of different lengths
        return None


def _part_of(function: Any, part: int, name: str) -> Callable[..., Any]:
    """Returns a function that returns one of several values that the student's function returns."""
    return lambda *case: returned(function, *case, name=name)[part]


# --- task 3: the interval of an accuracy ---


def _wilson(num_correct: int, num_images: int, z: float = 1.96) -> tuple[float, float]:
    return _ends(_centre(num_correct, num_images, z), _half(num_correct, num_images, z))


def _ends(centre: float, half: float) -> tuple[float, float]:
    return centre - half, centre + half


def _centre(k: int, n: int, z: float = 1.96) -> float:
    return (k / n + z**2 / (2 * n)) / (1 + z**2 / n)


def _half(k: int, n: int, z: float = 1.96) -> float:
    return z / (1 + z**2 / n) * (k / n * (1 - k / n) / n + z**2 / (4 * n**2)) ** 0.5


def _wald(k: int, n: int) -> tuple[float, float]:
    return _ends(k / n, 1.96 * (k / n * (1 - k / n) / n) ** 0.5)


def _centre_without_brackets(k: int, n: int) -> float:
    return (k / n + 1.96**2 / 2 * n) / _denominator(k, n)


def _half_without_brackets(k: int, n: int) -> float:
    return 1.96 / _denominator(k, n) * (k / n * (1 - k / n) / n + 1.96**2 / 4 * n**2) ** 0.5


def _denominator(_: int, n: int) -> float:
    return 1 + 1.96**2 / n


_BRACKET = (
    "Python computes a / 2 * n as (a / 2) * n, so that the numbers become far too large: look at every bracket, "
    "above all in z²/(2n) and z²/(4n²)."
)
_DENOMINATOR = "Both centre and half are divided by 1 + z²/n. You have left this out in at least one of them."
WILSON: tuple[Row, ...] = (
    Row(
        lambda k, n: tuple(100 * end for end in _wilson(k, n)),
        "This is in percent. Fractions, between 0 and 1, were asked for.",
    ),
    Row(
        _wald,
        "This is the plain (Wald) interval, p ± z · √(p(1 − p)/n), whose ends can be above 1. Wilson's "
        "formula moves the centre, too.",
    ),
    Row(
        lambda k, n: (max(_wald(k, n)[0], 0.0), min(_wald(k, n)[1], 1.0)),
        "This is the plain (Wald) interval, cut off at 1. Wilson's formula moves the centre instead.",
    ),
    Row(
        lambda k, n: _wilson(k, n, z=stats.norm.ppf(0.95)),
        "This is the interval for 90 %: z is 1.645 there, and 1.96 for 95 %.",
    ),
    Row(
        lambda k, n: _wilson(k, n, z=1),
        "This is the interval with z = 1, which is an interval for 68 %, not for 95 %.",
    ),
    Row(
        lambda k, n: _wilson(k, n, z=2),
        "You have used z = 2, as in the approximation of lesson 5. In this task z is 1.96.",
    ),
    Row(
        lambda k, n: (_centre(k, n), _half(k, n)),
        "You return centre and half. The two ends were asked for: where does the interval begin and end?",
    ),
    Row(
        lambda k, n: _wilson(k, n)[::-1],
        "The two ends are in the wrong order. Return the lower end first.",
    ),
    Row(lambda k, n: _ends(_centre_without_brackets(k, n), _half_without_brackets(k, n)), _BRACKET),
    Row(lambda k, n: _ends(_centre_without_brackets(k, n), _half(k, n)), _BRACKET),
    Row(lambda k, n: _ends(_centre(k, n), _half_without_brackets(k, n)), _BRACKET),
    Row(lambda k, n: _ends(_centre(k, n), _half(k, n) * _denominator(k, n)), _DENOMINATOR),
    Row(lambda k, n: _ends(_centre(k, n) * _denominator(k, n), _half(k, n)), _DENOMINATOR),
    Row(lambda k, n: _ends(*(part(k, n) * _denominator(k, n) for part in (_centre, _half))), _DENOMINATOR),
    Row(
        lambda k, n: _ends(_centre(k, n), 1.96 / _denominator(k, n) * (k / n * (1 - k / n) / n) ** 0.5),
        "The second term under the square root, z²/(4n²), is missing.",
    ),
    Row(
        lambda k, n: _ends(_centre(k, n), _half(k, n) ** 2 * _denominator(k, n) / 1.96),
        "The square root is missing in half.",
    ),
    Row(_rounded(_wilson, 1), f"The two ends are rounded too much. {_MORE_DIGITS}"),
    Row(_rounded(_wilson, 2), f"The two ends are rounded too much. {_MORE_DIGITS}"),
    Row(
        lambda *_: _wilson(18, 20),
        "The function returns the same for all numbers of images. Use its arguments num_correct and "
        "num_images.",
    ),
)
_COUNTS = ((18, 20), (9774, 10_000))


@exercise.check
def wilson(function: Any, *, counts: Sequence[tuple[int, int]] = _COUNTS) -> None:
    """Checks a function that computes the Wilson interval of an accuracy.

    Args:
        function: the student's function.
        counts: pairs of correct predictions and images.
    """
    for case in counts:
        interval = returned(function, *case, name="wilson")
        expect(
            _shape(interval) == (2,),
            f"wilson should return a pair of numbers, the two ends. Received: {short(interval)}.",
        )
    compare_function(
        function,
        _wilson,
        WILSON,
        counts,
        lambda case, expected, received: (
            f"For {case[0]:,} correct predictions of {case[1]:,}, your interval goes from {_shown(received[0])} to "
            f"{_shown(received[1])}, which is not correct. Compare p, centre and half with the formula one by one, "
            "and look at every bracket."
        ),
        name="wilson",
    )


# --- task 4: McNemar's test ---


def _counts(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    only_first = np.sum((first == labels) & (second != labels))
    return int(only_first), int(np.sum((second == labels) & (first != labels)))


def _coin(heads: int, tosses: int, alternative: str = "two-sided") -> float:
    return float(stats.binomtest(int(heads), int(tosses), alternative=alternative).pvalue) if tosses else 1.0


def _p_value(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    only_first, only_second = _counts(labels, first, second)
    return _coin(only_first, only_first + only_second)


def _one_sided(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    only_first, only_second = _counts(labels, first, second)
    return _coin(max(only_first, only_second), only_first + only_second, "greater")


def _of_mistakes(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    mistakes = int(np.sum(first != labels))
    return _coin(mistakes, mistakes + int(np.sum(second != labels)))


def _unpaired(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The test of two proportions from different images."""
    one, other, n = np.mean(first == labels), np.mean(second == labels), len(labels)
    p = (one + other) / 2
    return float(2 * stats.norm.sf(abs(one - other) / np.sqrt(2 * p * (1 - p) / n)))


def _chi_squared(correction: float) -> Callable[..., float]:
    def p_value(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
        one, other = _counts(labels, first, second)
        if not one + other:
            return 1.0
        return float(stats.chi2.sf((abs(one - other) - correction) ** 2 / (one + other), 1))

    return p_value


_CHI_SQUARED = "This p-value is the chi-squared approximation. The exact test with a coin was asked for."
COUNTED: tuple[Row, ...] = (
    Row(
        lambda labels, first, second: (np.sum(first != labels), np.sum(second != labels)),
        "You have counted all mistakes of each classifier, also on the images that both classify "
        "wrongly. These images do not tell which of the two is better.",
    ),
    Row(
        lambda labels, first, second: (np.sum(first == labels), np.sum(second == labels)),
        "You have counted all images that each classifies correctly, also the images that both do. These "
        "images do not tell which of the two is better.",
    ),
    Row(
        lambda *case: _counts(*case)[::-1],
        "The two counts are swapped: only_first counts the images that only the first classifies correctly.",
    ),
    Row(
        lambda labels, first, second: (
            np.sum((first == labels) & (second == labels)),
            np.sum((first != labels) & (second != labels)),
        ),
        "You have counted the images that both classify correctly, and the images that both classify wrongly. "
        "Exactly one of the two should be correct.",
    ),
    Row(
        lambda labels, first, second: (np.sum(first != second),) * 2,
        "You have counted the images on which the two predictions differ. Count separately which of them "
        "is correct.",
    ),
    Row(
        lambda *case: tuple(count / len(case[0]) for count in _counts(*case)),
        "only_first and only_second are fractions. Numbers of images were asked for.",
    ),
)
P_VALUE: tuple[Row, ...] = (
    Row(
        _one_sided,
        "This p-value is one-sided. Nobody knew beforehand which classifier would be better, so both "
        "sides count.",
    ),
    Row(
        lambda *case: _coin(_counts(*case)[0], sum(_counts(*case)), "greater"),
        "This p-value is one-sided: it counts only results that favour the first classifier.",
    ),
    Row(
        lambda *case: _coin(_counts(*case)[0], sum(_counts(*case)), "less"),
        "This p-value is one-sided: it counts only results that favour the second classifier.",
    ),
    Row(
        _of_mistakes,
        "This p-value tosses a coin for each mistake, also where both are wrong. An image is a toss only "
        "if exactly one of the two classifies it correctly.",
    ),
    Row(
        lambda *case: _coin(_counts(*case)[0], len(case[0])),
        "For this p-value, images on which both agree, because both are correct or both wrong, were "
        "counted as tosses. They do not tell which classifier is better.",
    ),
    Row(
        _unpaired,
        "This p-value compares two accuracies as if they came from different images. Both classifiers "
        "have classified the same images.",
    ),
    Row(
        lambda *case: 2 * float(stats.binom.cdf(min(_counts(*case)), sum(_counts(*case)), 0.5)),
        "This p-value is twice that of one side, which is larger than 1 if both counts are equal. No probability "
        "is larger than 1.",
    ),
    Row(_rounded(_p_value, 1), f"The p-value is rounded too much. {_MORE_DIGITS}"),
    Row(_rounded(_p_value, 2), f"The p-value is rounded too much. {_MORE_DIGITS}"),
    Row(_chi_squared(0), _CHI_SQUARED),
    Row(_chi_squared(1), _CHI_SQUARED),
    Row(
        lambda *case: float(stats.binom.pmf(_counts(*case)[0], sum(_counts(*case)), 0.5)),
        "This is the probability of exactly this result. The p-value counts all results that are at "
        "least as uneven.",
    ),
    Row(
        lambda *case: 1 - _p_value(*case),
        "You return 1 − p. The p-value is small if the result is uneven.",
    ),
    Row(
        lambda *case: 100 * _p_value(*case),
        "The p-value is in percent. It should be a number between 0 and 1.",
    ),
)
_PAIRED = ((8, 2, 85, 5), (4, 11, 60, 9), (3, 3, 41, 6), (2, 10, 70, 8), (0, 0, 90, 10))
_NO_TOSS = (
    "If no image is classified correctly by exactly one of the two, there is no toss. Return p = 1 then."
)


@exercise.check
def mcnemar(function: Any, *, counts: Sequence[tuple[int, int, int, int]] = _PAIRED) -> None:
    """Checks a function that compares two classifiers with McNemar's exact test.

    Args:
        function: the student's function.
        counts: for each case, how many images only the first, only the second, both and none classify correctly.
    """
    cases = [made_up(*case) for case in counts]
    for place, case in enumerate(cases):
        _check_three(function, case, first_one=place == 0)
    tosses = [case for case in cases if sum(_counts(*case))]
    compare_function(
        lambda *case: returned(function, *case, name="mcnemar")[:2],
        _counts,
        COUNTED,
        tosses,
        lambda case, expected, received: (
            f"For {len(case[0])} images, your counts are {_shown(received[0])} and {_shown(received[1])}, which "
            "is not correct. Each counts the images that one classifier predicts correctly and the other one "
            "does not."
        ),
        name="mcnemar",
        helpers=True,
    )
    compare_function(
        _part_of(function, 2, "mcnemar"),
        _p_value,
        P_VALUE,
        tosses,
        lambda case, expected, received: (
            f"Your counts are correct, {_counts(*case)[0]} and {_counts(*case)[1]}, but {_shown(received)} is not "
            "the p-value. How many tosses are there, how many of them are heads, and how likely is a result at "
            "least this uneven, in either direction?"
        ),
        name="mcnemar",
        rtol=1.5e-2,  # rounding to three decimals is accepted
        helpers=True,
    )
    for case in cases:
        if not sum(_counts(*case)):
            answer = returned(function, *case, name="mcnemar")
            compare(list(answer), [0, 0, 1], (), f"{_NO_TOSS} The two counts are 0.")


def _check_three(function: Any, case: tuple[np.ndarray, ...], first_one: bool) -> None:
    try:
        answer = returned(function, *case, name="mcnemar")
    except NotDoneError as error:
        if first_one:
            raise
        raise AnswerError(f"{error} It should return three values in all cases. {_NO_TOSS}") from None
    except AnswerError as error:
        raise AnswerError(f"{error} {_NO_TOSS}" if not sum(_counts(*case)) else f"{error}") from None
    third = answer[2] if isinstance(answer, tuple | list) and len(answer) == 3 else None
    expect(
        not hasattr(third, "pvalue"),
        "The third value is everything that the test returns. The p-value is one attribute of it: see the text of "
        "the task.",
    )
    expect(
        _shape(answer) == (3,),
        f"mcnemar should return three numbers: only_first, only_second, p_value. Received: {short(answer)}.",
    )


def made_up(
    only_first: int, only_second: int, both: int, none: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes labels and the predictions of two classifiers, in random order.

    Args:
        only_first: images that only the first classifies correctly.
        only_second: images that only the second classifies correctly.
        both: images that both classify correctly.
        none: images that both classify wrongly; on some of them the predictions differ.

    Returns:
        The labels, the predictions of the first and those of the second.
    """
    rng = np.random.default_rng(5)
    kinds = np.array([(True, False), (False, True), (True, True), (False, False)])
    correct = rng.permutation(np.repeat(kinds, [only_first, only_second, both, none], axis=0))
    labels = rng.integers(10, size=len(correct))
    wrong = (labels[:, None] + rng.integers(1, 10, size=correct.shape)) % 10
    first, second = np.where(correct, labels[:, None], wrong).T
    return labels, first, second


# --- task 5: an experiment with shifted digits ---

_THREE_RIGHT, _TRAINED, _THREE_DOWN = 124 / _IMAGES, 234 / _IMAGES, 117 / _IMAGES

ACCURACY_RIGHT: tuple[Row, ...] = (
    Row(
        234 / _IMAGES,
        "accuracy_right is the accuracy without a shift, or with shifted training images. In step 1 only "
        "the validation images are shifted.",
    ),
    Row(
        115 / _IMAGES,
        "accuracy_right is the accuracy after a shift to the left, or the fraction of wrong predictions. "
        "Shift to the right, and write down the number that is printed.",
    ),
    Row(114 / _IMAGES, "accuracy_right is the accuracy after a shift downwards. Change `right`, not `down`."),
    Row(107 / _IMAGES, "accuracy_right is the accuracy after a shift upwards. Change `right`, not `down`."),
    Row(
        226 / _IMAGES,
        "accuracy_right is the accuracy after a shift of one pixel. The question is about three pixels.",
    ),
    Row(
        202 / _IMAGES,
        "accuracy_right is the accuracy after a shift of two pixels. The question is about three pixels.",
    ),
    Row(
        43 / _IMAGES,
        "accuracy_right is the accuracy after a shift of four pixels. The question is about three pixels.",
    ),
    Row(100 * _THREE_RIGHT, "accuracy_right is in percent. Write the fraction that the cell prints."),
)
ACCURACY_TRAINED: tuple[Row, ...] = (
    Row(
        124 / _IMAGES,
        "accuracy_trained is the accuracy of step 1. Change train_shifts as well, and run the cell again.",
    ),
    Row(
        226 / _IMAGES,
        "Some shifts are missing in train_shifts: range(-3, 3) ends at 2, because the last number of a "
        "range is left out.",
    ),
    Row(
        235 / _IMAGES,
        "For accuracy_trained, the validation images are shifted three pixels to the right, as in step "
        "1, and train_shifts is range(-3, 4).",
    ),
    Row(
        117 / _IMAGES,
        "accuracy_trained is the accuracy after a shift downwards. In step 2 the validation images are "
        "still shifted to the right.",
    ),
    Row(100 * _TRAINED, "accuracy_trained is in percent. Write the fraction that the cell prints."),
)
ACCURACY_DOWN: tuple[Row, ...] = (
    Row(
        114 / _IMAGES,
        "accuracy_down is the accuracy of a classifier that was trained without shifted images. In step "
        "3, train_shifts is still range(-3, 4).",
    ),
    Row(110 / _IMAGES, "accuracy_down is the accuracy after a shift upwards. Shift the digits downwards."),
    Row(
        118 / _IMAGES,
        "For accuracy_down you have shifted the digits downwards and to the right. In step 3, `right` is "
        "0 again.",
    ),
    Row(
        234 / _IMAGES,
        "accuracy_down is the accuracy of step 2. Shift the validation images downwards instead.",
    ),
    Row(
        124 / _IMAGES,
        "accuracy_down is the accuracy of step 1. Shift the validation images downwards, and keep the "
        "training images of step 2.",
    ),
    Row(
        235 / _IMAGES,
        "accuracy_down is the accuracy without a shift. Shift the validation images three pixels downwards.",
    ),
    Row(
        56 / _IMAGES,
        "accuracy_down is the accuracy after a shift of four pixels. The question is about three pixels.",
    ),
    Row(1 - _THREE_DOWN, "accuracy_down is the fraction of wrong predictions. The accuracy was asked for."),
    Row(100 * _THREE_DOWN, "accuracy_down is in percent. Write the fraction that the cell prints."),
)
REASON: tuple[Row, ...] = (
    Row(
        "A",
        "Look at the pictures of the shifted digits: can you read them less well than before? The reason "
        "must be one that holds for the classifier and not for you.",
    ),
    Row(
        "B",
        "Compare the pictures with and without the shift. Is any stroke cut off at the right edge after a shift "
        "of three pixels?",
    ),
    Row(
        "D",
        "The validation images are unseen images, too. How accurate is the classifier on them when they "
        "are not shifted? Overfitting would reduce this accuracy as well.",
    ),
)


@exercise.check
def shift(accuracy_right: Any, accuracy_trained: Any, accuracy_down: Any, reason: Any) -> None:
    """Checks what was observed in the experiment with shifted digits.

    Args:
        accuracy_right: accuracy on validation images shifted three pixels to the right.
        accuracy_trained: the same, of a classifier trained with images shifted to the left and to the right.
        accuracy_down: accuracy of that classifier on validation images shifted three pixels down.
        reason: why the first is low, "A" to "D".
    """
    given(
        accuracy_right=accuracy_right,
        accuracy_trained=accuracy_trained,
        accuracy_down=accuracy_down,
        reason=reason,
    )
    observed = (
        ("accuracy_right", accuracy_right, _THREE_RIGHT, ACCURACY_RIGHT, "step 1: down, right = 0, 3"),
        (
            "accuracy_trained",
            accuracy_trained,
            _TRAINED,
            ACCURACY_TRAINED,
            "step 2: train_shifts = range(-3, 4)",
        ),
        ("accuracy_down", accuracy_down, _THREE_DOWN, ACCURACY_DOWN, "step 3: down, right = 3, 0"),
    )
    for name, answer, right, rows, step in observed:
        _compare_number(
            answer,
            name,
            right,
            rows,
            f"{name} is not what the experiment gives. Check the settings of {step}. Run the cell again and "
            "write down at least three decimal places of the accuracy.",
        )
    compare(one_of(reason, "reason", "ABCD"), "C", REASON, "Think about reason again.")


# --- task 6: what may be concluded? ---

VERDICTS = ("better", "worse", "not shown to differ", "equally good")
_GAIN = 100 * (234 - 208) / _IMAGES

VERDICT_1: tuple[Row, ...] = (
    Row(
        "worse",
        "verdict_1 is about five_neighbours. Which of the two classifiers alone is correct on more images?",
    ),
    Row(
        "not shown to differ",
        "For verdict_1, compare the p-value with 0.05: how often would a fair coin be that uneven?",
    ),
    Row(
        "equally good",
        "verdict_1: no test shows that two classifiers are equally good, and here the counts are very "
        "uneven.",
    ),
)
VERDICT_2: tuple[Row, ...] = (
    Row(
        "better",
        "verdict_2 is about five_neighbours. Look at the p-value first: may you claim any difference?",
    ),
    Row(
        "worse",
        "verdict_2 claims more than the test allows: with one image more or less, a fair coin is often "
        "that uneven. Look at the p-value first.",
    ),
    Row(
        "equally good",
        "verdict_2: a large p-value does not show that two classifiers are equally good, only that these "
        "images do not tell which is better.",
    ),
)
VERDICT_3: tuple[Row, ...] = (
    Row(
        "better",
        "verdict_3 is about nearest_mean. A small p-value says that the two differ; the counts say in "
        "which direction.",
    ),
    Row(
        "not shown to differ",
        "For verdict_3, compare the p-value with 0.05: how often would a fair coin be that uneven?",
    ),
    Row(
        "equally good",
        "verdict_3: no test shows that two classifiers are equally good, and here the counts are very "
        "uneven.",
    ),
)
GAIN: tuple[Row, ...] = (
    Row(_GAIN / 100, "gain is a fraction. It should be in percentage points."),
    Row(
        100 * (234 - 208) / 208,
        "gain is the relative difference: you have divided by the images that nearest_mean classifies "
        "correctly. A difference in percentage points is one percentage minus the other.",
    ),
    Row(
        100 * (234 - 208) / 234,
        "gain is the relative difference: you have divided by the images that five_neighbours classifies "
        "correctly. A difference in percentage points is one percentage minus the other.",
    ),
    Row(-_GAIN, "gain has the wrong sign: five_neighbours is the more accurate of the two on these images."),
    Row(
        26, "gain is a number of images. It should be in percentage points: how many images are there in all?"
    ),
    Row(
        100 * (235 - 208) / _IMAGES,
        "gain is the difference between one_neighbour and nearest_mean. The question is about "
        "five_neighbours.",
    ),
)
FACTOR: tuple[Row, ...] = (
    Row(
        10,
        "factor: ten times as many images divide the width by √10, about 3, because n is under a square "
        "root.",
    ),
    Row(
        20,
        "factor: four times as many images halve the width, but the two numbers are not proportional, "
        "because n is under a square root.",
    ),
    Row(40, "factor: four times as many images halve the width. How often must you halve it?"),
    Row(
        np.sqrt(10),
        "factor: you have taken the square root of 10. n is under the root, so which number has the root 10?",
    ),
    Row(
        1 / 100,
        "factor: this would be fewer images. Does a narrower interval need fewer images or more?",
    ),
    Row(1 / 10, "factor: this would be fewer images. Does a narrower interval need fewer images or more?"),
    Row(
        100 * _IMAGES,
        "factor is the number of images itself. The question is how many times as many are needed.",
    ),
)
CLAIM: tuple[Row, ...] = (
    Row(
        "A",
        "claim: a large p-value does not show that two classifiers are equally accurate, only that these "
        "images do not tell which is better.",
    ),
    Row(
        "C",
        "claim: two trained classifiers were compared, on one kind of images. The statement is about all "
        "classifiers of two kinds and about images that were not measured.",
    ),
    Row(
        "D",
        "claim: which images were measured? Think of task 5. Moreover, an accuracy is uncertain: what "
        "does its interval say?",
    ),
)


@exercise.check
def conclusion(verdict_1: Any, verdict_2: Any, verdict_3: Any, gain: Any, factor: Any, claim: Any) -> None:
    """Checks the conclusion from three comparisons, as choices and numbers.

    Args:
        verdict_1: of five_neighbours compared with nearest_mean, one of `VERDICTS`.
        verdict_2: of five_neighbours compared with one_neighbour.
        verdict_3: of nearest_mean compared with one_neighbour.
        gain: difference in accuracy of the first comparison, in percentage points.
        factor: how many times as many images make an interval ten times as narrow.
        claim: the claim that the results support, "A" to "D".
    """
    given(
        verdict_1=verdict_1, verdict_2=verdict_2, verdict_3=verdict_3, gain=gain, factor=factor, claim=claim
    )
    verdicts = (
        ("verdict_1", verdict_1, "better", VERDICT_1),
        ("verdict_2", verdict_2, "not shown to differ", VERDICT_2),
        ("verdict_3", verdict_3, "worse", VERDICT_3),
    )
    for name, answer, right, rows in verdicts:
        compare(one_of(answer, name, VERDICTS), right, rows, f"Think about {name} again.")
    _compare_number(
        gain,
        "gain",
        _GAIN,
        GAIN,
        "gain is not the difference of the two accuracies. How many of all images does each classify "
        "correctly, in percent?",
    )
    compare(
        number(factor, "factor"),
        100,
        FACTOR,
        "factor is not correct. The half-width of the interval is proportional to 1/√n. By what must n "
        "be multiplied so that √n becomes ten times as large?",
    )
    compare(one_of(claim, "claim", "ABCD"), "B", CLAIM, "Think about claim again.")
