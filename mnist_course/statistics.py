"""How sure a comparison over several seeds is: p-values, the number of seeds that it needs, and intervals.

What lessons use (means over seeds, McNemar's test, the interval of an accuracy) is in `mnist_helpers.metrics`.
"""

from __future__ import annotations

import numpy as np

from mnist_helpers._errors import check
from mnist_helpers.metrics import MeanInterval


def paired_p_value(difference: MeanInterval) -> float:
    """The p-value of the paired t-test (Student 1908, Biometrika 6, p. 1): could the true difference be 0?

    Args:
        difference: from `paired_difference`.

    Returns:
        The two-sided p-value, 0-1; NaN for fewer than two seeds.
    """
    from scipy import stats

    if difference.n < 2:
        return np.nan
    if not difference.sd:
        return 0.0 if difference.mean else 1.0
    t = difference.mean / (difference.sd / np.sqrt(difference.n))
    return float(2 * stats.t.sf(abs(t), difference.n - 1))


def seeds_needed(sd: float, difference: float, power: float = 0.8) -> int:
    """How many seeds a paired t-test at the 5 % level needs to find a difference (Cohen 1988, chapter 2).

    Args:
        sd: standard deviation of the differences between two models, over seeds.
        difference: the true mean difference, in the same unit.
        power: the probability with which the test finds it.

    Returns:
        The number of seeds, 2 or more.

    Raises:
        ValueError: a number is not positive, or `power` is not between 0.05 and 1.

    Example:
        >>> seeds_needed(sd=0.085, difference=0.05)
        25
    """
    from statsmodels.stats.power import TTestPower

    check(sd > 0 and difference > 0, "sd and difference, both above 0", (sd, difference))
    check(0.05 < power < 1, "power between 0.05 and 1", power)
    test, most = TTestPower(), 2
    while test.power(difference / sd, most, 0.05) < power:
        most *= 2
    return next(
        n
        for n in range(most // 2 if most > 2 else 2, most + 1)
        if test.power(difference / sd, n, 0.05) >= power
    )


def two_way_interval(values: np.ndarray, *, repeats: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds and test images, both of which are a choice.

    A two-way bootstrap (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1, p. 386): seeds and
    images are drawn with replacement, independently of each other. The interval is wide enough, or a little wider.

    Args:
        values: a number per seed and image, `(seeds, images)`: whether a prediction is correct, its loss, or the
            difference between two models.
        repeats: how often to draw.
        seed: makes the draws repeatable.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: there are fewer than two seeds or images, or a value is not a finite number.
    """
    values = np.asarray(values, float)
    is_table = values.ndim == 2 and min(values.shape) >= 2 and np.isfinite(values).all()
    check(bool(is_table), "finite numbers of shape (seeds, images), at least (2, 2)", values.shape)
    check(repeats >= 100, "repeats, 100 or more", repeats)
    dice = np.random.default_rng(seed)
    num_seeds, num_images = values.shape
    means = []
    for _ in range(repeats):
        of_seeds = dice.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds)) / num_seeds
        of_images = dice.multinomial(num_images, np.full(num_images, 1 / num_images)) / num_images
        means.append(of_seeds @ values @ of_images)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
