"""Numbers from labels and probabilities.

Labels are integers 0-9 of shape `(n,)`; probabilities are floats of shape `(n, 10)` whose rows add up to 1.
scikit-learn and statsmodels do the counting; this module fixes the conventions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from mnist_helpers._errors import check, check_same_length

__all__ = ["LABELS", "Comparison", "MeanInterval", "accuracy_interval", "apply_temperature", "brier_score"]
__all__ += ["calibration_error", "confusion_matrix", "fit_temperature", "mcnemar", "mcnemar_pairs"]
__all__ += ["mean_interval", "most_confident_mistakes", "negative_log_likelihood", "paired_difference"]
__all__ += ["per_class", "reliability"]

LABELS = tuple(range(10))


class Comparison(NamedTuple):
    """Two classifiers on the same images.

    Attributes:
        only_first: images that only the first got right.
        only_second: images that only the second got right.
        p_value: of the exact McNemar test, 0-1.
    """

    only_first: int
    only_second: int
    p_value: float


class MeanInterval(NamedTuple):
    """A number that was measured several times, once per seed.

    Attributes:
        mean: the arithmetic mean.
        sd: the sample standard deviation; NaN for one value.
        n: how many values.
        low: lower end of the 95 % interval of the mean (Student's t); NaN for one value.
        high: its upper end.
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float


def mean_interval(values: Iterable[float]) -> MeanInterval:
    """Summarises the results of several seeds (Student 1908, "The probable error of a mean", Biometrika 6, p. 1).

    The interval concerns the seeds: it estimates the mean of many more training runs, evaluated on the same images.

    Args:
        values: a number per seed.

    Returns:
        A `MeanInterval`.

    Raises:
        ValueError: there are no values, or one is not a finite number.
    """
    from statsmodels.stats.weightstats import DescrStatsW

    found = np.array([*values], float)
    is_right = found.ndim == 1 and len(found) and np.isfinite(found).all()
    check(is_right, "one finite number per seed, at least one", found.tolist())
    if len(found) == 1:
        return MeanInterval(float(found[0]), np.nan, 1, np.nan, np.nan)
    low, high = DescrStatsW(found).tconfint_mean()
    mean, sd = float(found.mean()), float(found.std(ddof=1))
    return MeanInterval(mean, sd, len(found), float(low), float(high))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> MeanInterval:
    """Summarises `second - first`, paired by seed.

    The interval is narrower than that of two unpaired means if both results vary together over the seeds, and
    wider if they vary in opposite directions.

    Args:
        first: a number per seed.
        second: another one for the same seeds, in the same order.

    Returns:
        A `MeanInterval` of the differences.

    Raises:
        ValueError: the lengths differ, or as `mean_interval`.
    """
    check_same_length(first=first, second=second)
    return mean_interval(np.subtract(second, first))


def accuracy_interval(num_correct: int, num_images: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson interval of an accuracy (Wilson 1927, "Probable inference", JASA 22, p. 209).

    Args:
        num_correct: images classified correctly.
        num_images: images in all.
        confidence: between 0 and 1.

    Returns:
        The lower and the upper end, as fractions.

    Raises:
        ValueError: the counts do not fit together, or `confidence` is not between 0 and 1.

    Example:
        >>> low, high = accuracy_interval(9774, 10000)
        >>> round(low, 4), round(high, 4)
        (0.9743, 0.9801)
    """
    from statsmodels.stats.proportion import proportion_confint

    check(0 < confidence < 1, "confidence between 0 and 1, such as 0.95", confidence)
    is_possible = _is_whole(num_correct, 0) and _is_whole(num_images, 1) and num_correct <= num_images
    counts = f"num_correct={num_correct}, num_images={num_images}"
    check(is_possible, "whole numbers with 0 <= num_correct <= num_images, num_images >= 1", counts)
    low, high = proportion_confint(num_correct, num_images, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


def negative_log_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The loss of a classifier: the mean of -log(probability given to the right digit).

    Args:
        labels: true labels, `(n,)`.
        probabilities: float `(n, 10)`. As in Keras' cross-entropy, a value below 1e-7 counts as 1e-7.

    Returns:
        The loss in nats, 0 or more.

    Raises:
        ValueError: there are no images, the shapes do not fit, a label is not an integer from 0 to 9, a
            probability is below 0 or not a number, or a row does not add up to 1 within 0.001.
    """
    labels, probabilities = _checked_probabilities(labels, probabilities)
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(right, 1e-7, 1)).mean())


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compares two classifiers on the same images (McNemar 1947, Psychometrika 12, p. 153; exact binomial form).

    Only images that exactly one of the two classifies correctly count.

    Args:
        labels: true labels, `(n,)`.
        first: the first classifier's predicted labels, `(n,)`.
        second: the second's, `(n,)`.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: there are no images, the shapes differ, or a label is not an integer from 0 to 9.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    labels, first, second = _labels(labels=labels, first=first, second=second)
    only_first = int(np.sum((first == labels) & (second != labels)))
    only_second = int(np.sum((first != labels) & (second == labels)))
    p_value = float(exact_test([[0, only_first], [only_second, 0]], exact=True).pvalue)
    return Comparison(only_first, only_second, min(p_value, 1.0))


def mcnemar_pairs(labels: np.ndarray, predictions: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Compares every pair of classifiers on the same images, and corrects for their number.

    Args:
        labels: true labels, `(n,)`.
        predictions: name -> predicted labels, `(n,)`; two names or more.

    Returns:
        A table with a row per pair: `first`, `second`, `only_first`, `only_second`, `p_value` (exact McNemar), and
        `p_holm`, corrected for the number of pairs (Holm 1979, Scandinavian Journal of Statistics 6, p. 65).

    Raises:
        ValueError: there are fewer than two classifiers, or as `mcnemar`.
    """
    from statsmodels.stats.multitest import multipletests

    check(len(predictions) > 1, "two classifiers or more", list(predictions))
    rows = []
    for first, second in itertools.combinations(predictions, 2):
        comparison = mcnemar(labels, predictions[first], predictions[second])
        rows.append({"first": first, "second": second, **comparison._asdict()})
    table = pd.DataFrame(rows)
    table["p_holm"] = multipletests(table["p_value"], method="holm")[1]
    return table


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The Brier score: mean squared distance between probabilities and truth (Brier 1950, p. 1).

    Args:
        labels: true labels, `(n,)`.
        probabilities: float `(n, 10)`.

    Returns:
        The mean over images of the sum over digits of (probability - truth)^2: 0 is best, 2 is worst.

    Raises:
        ValueError: as `negative_log_likelihood`.
    """
    from sklearn.metrics import brier_score_loss

    labels, probabilities = _checked_probabilities(labels, probabilities)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)  # else float32 gets a warning
    return float(brier_score_loss(labels, probabilities, labels=LABELS, scale_by_half=False))


def reliability(labels: np.ndarray, probabilities: np.ndarray, num_bins: int = 15) -> pd.DataFrame:
    """Groups images by the classifier's confidence (Guo et al. 2017, section 2: equal-width bins).

    Args:
        labels: true labels, `(n,)`.
        probabilities: float `(n, 10)`.
        num_bins: groups between confidence 0 and 1.

    Returns:
        A table with a row per group that is not empty: `confidence` (mean of the largest probability), `accuracy`
        (share that is right) and `images`.

    Raises:
        ValueError: as `negative_log_likelihood`.
    """
    labels, probabilities = _checked_probabilities(labels, probabilities)
    check(_is_whole(num_bins, 1), "num_bins, a whole number from 1", num_bins)
    confidence = probabilities.max(axis=1)
    group = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": probabilities.argmax(axis=1) == labels})
    groups = table.groupby(group)
    return groups.mean().assign(images=groups.size()).reset_index(drop=True)


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, num_bins: int = 15) -> float:
    """The expected calibration error, ECE (Guo et al. 2017, equation 3).

    Args:
        labels: true labels, `(n,)`.
        probabilities: float `(n, 10)`.
        num_bins: groups between confidence 0 and 1.

    Returns:
        The mean over images of the absolute difference of accuracy and confidence of their group, 0-1.

    Raises:
        ValueError: as `negative_log_likelihood`.
    """
    groups = reliability(labels, probabilities, num_bins)
    return float(np.average((groups["accuracy"] - groups["confidence"]).abs(), weights=groups["images"]))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Counts how often each digit was classified as each digit.

    Args:
        labels: true labels, `(n,)`.
        predictions: predicted labels, `(n,)`.

    Returns:
        int64 `(10, 10)`: row = true digit, column = predicted digit.

    Raises:
        ValueError: as `mcnemar`.
    """
    from sklearn.metrics import confusion_matrix as count

    labels, predictions = _labels(labels=labels, predictions=predictions)
    return count(labels, predictions, labels=LABELS)


def per_class(labels: np.ndarray, predictions: np.ndarray) -> pd.DataFrame:
    """Precision and recall of each digit.

    Args:
        labels: true labels, `(n,)`.
        predictions: predicted labels, `(n,)`.

    Returns:
        A table with a row per digit: `precision`, `recall`, `f1` (fractions; 0 where there is nothing to
        divide by) and `images`.

    Raises:
        ValueError: as `mcnemar`.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels, predictions = _labels(labels=labels, predictions=predictions)
    scores = precision_recall_fscore_support(labels, predictions, labels=LABELS, zero_division=0)
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "images"), scores, strict=True)))
    return table.rename_axis("digit")


def most_confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Finds the wrong predictions with the highest confidence.

    Args:
        labels: true labels, `(n,)`.
        probabilities: float `(n, 10)`.
        count: how many at most.

    Returns:
        Indices, the highest confidence first; fewer than `count` if there are fewer mistakes.

    Raises:
        ValueError: as `negative_log_likelihood`, or `count` is negative.
    """
    labels, probabilities = _checked_probabilities(labels, probabilities)
    check(_is_whole(count, 0), "count, a whole number from 0", count)
    predictions = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order][:count]


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Makes probabilities softer or sharper (Guo et al. 2017, "On calibration of modern networks", section 4.2).

    Args:
        probabilities: float `(n, 10)`, outputs of a softmax.
        temperature: what the softmax' inputs are divided by; above 1 softer, below 1 sharper.

    Returns:
        float `(n, 10)`; the largest value of each row stays where it was.

    Raises:
        ValueError: `probabilities` are none, or `temperature` is not a finite number above 0.
    """
    from scipy.special import softmax

    check(0 < temperature < np.inf, "temperature, a number above 0", temperature)
    return softmax(np.log(np.clip(_rows_of_probabilities(probabilities), 1e-7, 1)) / temperature, axis=1)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Fits the temperature that gives the least loss (Guo et al. 2017, section 4.2).

    Args:
        labels: true labels of validation images, `(n,)`.
        probabilities: float `(n, 10)`, for the same images.

    Returns:
        The temperature, 0.05-20: above 1 for an overconfident classifier.

    Raises:
        ValueError: as `negative_log_likelihood`.
    """
    from scipy.optimize import minimize_scalar

    labels, probabilities = _checked_probabilities(labels, probabilities)

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(labels, apply_temperature(probabilities, np.exp(log_temperature)))

    return float(np.exp(minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded").x))


def _checked_probabilities(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (labels,) = _labels(labels=labels)
    return labels, _rows_of_probabilities(probabilities, len(labels))


def _rows_of_probabilities(probabilities: np.ndarray, num_images: int | None = None) -> np.ndarray:
    rows = np.asarray(probabilities, float)
    shape = (num_images or max(1, rows.size // len(LABELS)), len(LABELS))
    is_right = rows.shape == shape and (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3)
    check(
        is_right,
        f"probabilities of shape {shape}, none below 0, each row adding up to 1",
        f"shape {rows.shape}",
    )
    return rows


def _labels(**arrays: np.ndarray) -> list[np.ndarray]:
    """Checks labels: integers 0-9 in arrays of shape `(n,)`, the same for all, with one image at least."""
    checked = {name: np.asarray(array) for name, array in arrays.items()}
    check_same_length(one_dimensional=True, **checked)
    for name, array in checked.items():
        check(array.size > 0, f"{name} of one image or more", array)
        wrong = array[~np.isin(array, LABELS)]
        check(not wrong.size, f"{name} that are integers from 0 to 9", wrong[:1])
    return [array.astype(int) for array in checked.values()]


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least
