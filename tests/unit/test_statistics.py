"""P-values, the number of seeds that a comparison needs, and intervals over seeds and images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mnist_course import statistics
from mnist_helpers import metrics


@pytest.mark.parametrize(
    "differences", [[0.1, 0.2, 0.15], [-0.1, 0.2, 0.05, 0.0], [0.3, 0.31], [1.0, 2.0, 3.0]]
)
def test_the_paired_test_is_scipys(differences):
    found = metrics.paired_difference(np.zeros(len(differences)), differences)
    assert statistics.paired_p_value(found) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_the_paired_test_without_a_spread():
    assert np.isnan(statistics.paired_p_value(metrics.mean_interval([0.1])))
    assert statistics.paired_p_value(metrics.mean_interval([0.0, 0.0, 0.0])) == 1
    assert statistics.paired_p_value(metrics.mean_interval([0.5, 0.5])) == 0


@pytest.mark.parametrize(("sd", "difference"), [(0.085, 0.05), (0.05, 0.05), (1.0, 3.0), (0.2, 0.04)])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_seeds_that_are_needed_are_those_of_the_noncentral_t(sd, difference, power):
    def of(n):
        shift, limit = difference / sd * np.sqrt(n), stats.t.ppf(0.975, n - 1)
        return stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)

    n = statistics.seeds_needed(sd, difference, power)
    assert of(n) >= power
    assert n == 2 or of(n - 1) < power


@pytest.mark.parametrize(
    "wrong",
    [
        (0, 1, 0.8),
        (1, 0, 0.8),
        (1, -1, 0.8),
        (1, np.inf, 0.8),
        (np.inf, 1, 0.8),
        (np.nan, 1, 0.8),
        (1, 1, 1),
        (1, 1, 80),
        (1, 1, 0.01),
    ],
)
def test_power_needs_positive_numbers(wrong):
    with pytest.raises(ValueError, match=r"^Expected: .* Received: "):
        statistics.seeds_needed(*wrong)


@pytest.mark.parametrize(("of_seeds", "of_images"), [(0.05, 0.1), (0.02, 0.1), (0.02, 0.02), (0.002, 0.1)])
@pytest.mark.parametrize(("num_seeds", "least"), [(3, 88), (5, 91), (10, 92)])
def test_a_two_way_interval_covers_the_mean_although_seeds_and_images_vary(
    num_seeds, least, of_seeds, of_images
):
    """With few seeds, too, and whichever of the two matters most; and it is not much wider than necessary."""
    dice, covered, widths = np.random.default_rng(1), 0, []
    for repeat in range(150):
        parts = dice.normal(0, of_seeds, (num_seeds, 1)), dice.normal(0, of_images, (1, 80))
        table = 0.9 + parts[0] + parts[1] + dice.normal(0, 0.1, (num_seeds, 80))
        low, high = statistics.two_way_interval(table, repeats=200, seed=repeat)
        covered += low <= 0.9 <= high
        widths.append(high - low)
    assert covered >= least / 100 * 150
    error = np.sqrt(of_seeds**2 / num_seeds + of_images**2 / 80 + 0.1**2 / 80 / num_seeds)
    assert np.mean(widths) < {3: 2, 5: 1.45, 10: 1.35}[num_seeds] * 2 * 1.96 * error


def test_a_two_way_interval_can_be_repeated_and_needs_two_of_each():
    table = np.random.default_rng(1).random((3, 50)) < 0.9
    assert statistics.two_way_interval(table) == statistics.two_way_interval(table)
    assert statistics.two_way_interval(table) != statistics.two_way_interval(table, seed=1)
    for wrong in (table[:1], table[:, :1], table[0], np.where(table, 1, np.nan)):
        with pytest.raises(ValueError, match=r"finite numbers of shape \(seeds, images\)"):
            statistics.two_way_interval(wrong)
    with pytest.raises(ValueError, match="repeats, 100 or more"):
        statistics.two_way_interval(table, repeats=10)


@pytest.mark.parametrize(("vary", "number"), [("seeds", 40), ("images", 200)])
def test_a_two_way_interval_draws_seeds_and_images(vary, number):
    """If only one of the two makes a difference, its bootstrap gives the usual interval of a mean."""
    effects = np.random.default_rng(2).normal(size=number)
    table = np.repeat(effects[:, None], 50, axis=1) if vary == "seeds" else np.tile(effects, (50, 1))
    low, high = statistics.two_way_interval(table)
    half = 1.96 * effects.std() / np.sqrt(number)
    assert (low, high) == pytest.approx((effects.mean() - half, effects.mean() + half), abs=0.15 * half)


def test_two_way_intervals_of_several_models_are_those_of_each_alone():
    dice = np.random.default_rng(1)
    tables = {name: {seed: dice.random(60) for seed in (3, 1, 2)} for name in "ab"}
    tables["c"] = {seed: dice.random(60) for seed in (2, 3, 7)}
    found = statistics.two_way_intervals(tables, [(None, "a"), ("a", "b"), ("a", "c"), (None, "c")])
    of = {name: {seed: np.array(row) for seed, row in table.items()} for name, table in tables.items()}
    for pair, seeds, rows in (
        ((None, "a"), (1, 2, 3), lambda seed: of["a"][seed]),
        (("a", "b"), (1, 2, 3), lambda seed: of["b"][seed] - of["a"][seed]),
        (("a", "c"), (2, 3), lambda seed: of["c"][seed] - of["a"][seed]),  # the seeds that both have
        ((None, "c"), (2, 3, 7), lambda seed: of["c"][seed]),
    ):
        alone = statistics.two_way_interval(np.array([rows(seed) for seed in seeds]))
        assert found[pair] == pytest.approx(alone, abs=1e-12)
    with pytest.raises(ValueError, match=r"finite numbers of shape \(seeds, images\)"):
        statistics.two_way_intervals({"a": {1: np.zeros(5)}, "b": {2: np.zeros(5)}}, [("a", "b")])
