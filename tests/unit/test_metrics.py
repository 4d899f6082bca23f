import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mnist_helpers import metrics

LABELS = np.array([0, 1, 2, 3, 3, 3, 9, 9])
PREDICTED = np.array([0, 1, 1, 3, 5, 3, 9, 4])


def probabilities_for(predictions, sureness):
    """Rows with `sureness` on the predicted digit and the rest spread evenly."""
    rows = np.repeat(((1 - np.asarray(sureness)) / 9)[:, None], 10, axis=1)
    rows[np.arange(len(rows)), predictions] = sureness
    return rows


@pytest.mark.parametrize("correct, images", [(9774, 10_000), (0, 50), (50, 50), (7, 9), (9803, 10_000)])
def test_wilson_interval_by_the_formula(correct, images):
    """Wilson 1927: the two p for which |observed - p| is z standard errors of p."""
    low, high = metrics.accuracy_interval(correct, images)
    z, share = stats.norm.ppf(0.975), correct / images
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert low - 1e-12 <= share <= high + 1e-12


def test_wilson_interval_gets_narrower_with_more_images():
    widths = [np.ptp(metrics.accuracy_interval(98 * n, 100 * n)) for n in (1, 10, 100)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize("correct, images", [(11, 10), (-1, 10), (0, 0)])
def test_wilson_interval_refuses_impossible_counts(correct, images):
    with pytest.raises(ValueError, match=f"num_correct={correct}, num_images={images}"):
        metrics.accuracy_interval(correct, images)


@pytest.mark.parametrize("only_first, only_second", [(0, 0), (3, 3), (0, 8), (29, 51), (1, 30)])
def test_mcnemar_is_the_sign_test_on_the_disagreements(only_first, only_second):
    both_right, both_wrong = 20, 4
    labels = np.zeros(only_first + only_second + both_right + both_wrong, int)
    first, second = labels.copy(), labels.copy()
    second[:only_first] = 1
    first[only_first : only_first + only_second] = 1
    first[-both_wrong:] = second[-both_wrong:] = 7
    comparison = metrics.mcnemar(labels, first, second)
    assert (comparison.only_first, comparison.only_second) == (only_first, only_second)
    disagreements = only_first + only_second
    expected = stats.binomtest(only_first, disagreements).pvalue if disagreements else 1.0
    assert comparison.p_value == pytest.approx(expected)
    assert metrics.mcnemar(labels, second, first).p_value == pytest.approx(comparison.p_value)


def test_confusion_matrix_rows_are_the_truth():
    matrix = metrics.confusion_matrix(LABELS, PREDICTED)
    assert matrix.shape == (10, 10)
    by_hand = np.zeros((10, 10), int)
    for true, predicted in zip(LABELS, PREDICTED, strict=True):
        by_hand[true, predicted] += 1
    assert np.array_equal(matrix, by_hand)
    assert matrix[3, 5] == 1
    assert matrix[5, 3] == 0


def test_per_class_by_hand():
    table = metrics.per_class(LABELS, PREDICTED)
    assert table.loc[3, "recall"] == pytest.approx(2 / 3)
    assert table.loc[3, "precision"] == 1
    assert table.loc[1, "precision"] == pytest.approx(1 / 2)
    assert table.loc[3, "f1"] == pytest.approx(0.8)
    assert table.loc[7, ["precision", "recall", "images"]].tolist() == [0, 0, 0]
    assert table["images"].sum() == len(LABELS)


def test_loss_is_scikit_learns_and_keras():
    probabilities = probabilities_for(PREDICTED, [0.9, 0.8, 0.7, 0.6, 0.5, 0.99, 0.3, 0.2])
    loss = metrics.negative_log_likelihood(LABELS, probabilities)
    assert loss == pytest.approx(sklearn_metrics.log_loss(LABELS, probabilities, labels=range(10)))
    certain = np.eye(10)[PREDICTED]
    wrong = np.mean(LABELS != PREDICTED)
    assert metrics.negative_log_likelihood(LABELS, certain) == pytest.approx(-wrong * np.log(1e-7))


@pytest.mark.parametrize("probabilities", [np.ones((8, 10)), np.full((7, 10), 0.1), np.full((8, 9), 1 / 9)])
def test_loss_refuses_what_are_no_probabilities(probabilities):
    with pytest.raises(ValueError, match=r"Expected: probabilities of shape \(8, 10\)"):
        metrics.negative_log_likelihood(LABELS, probabilities)


def test_most_confident_mistakes_are_mistakes_in_order():
    sureness = np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.99, 0.3, 0.5])
    probabilities = probabilities_for(PREDICTED, sureness)
    assert metrics.most_confident_mistakes(LABELS, probabilities, 10).tolist() == [4, 2, 7]
    assert metrics.most_confident_mistakes(LABELS, probabilities, 2).tolist() == [4, 2]
    assert metrics.most_confident_mistakes(PREDICTED, probabilities, 5).tolist() == []


@pytest.mark.parametrize("function", [metrics.confusion_matrix, metrics.per_class])
@pytest.mark.parametrize("predicted", [PREDICTED[:-1], PREDICTED.reshape(2, 4)])
def test_lengths_must_agree(function, predicted):
    with pytest.raises(ValueError, match="one-dimensional and of the same length"):
        function(LABELS, predicted)


def test_over_seeds_by_hand_and_by_scipy():
    values = [0.98, 0.99, 0.985, 0.987]
    spread = metrics.mean_interval(values)
    mean = sum(values) / 4
    sd = (sum((value - mean) ** 2 for value in values) / 3) ** 0.5
    assert spread[:3] == pytest.approx((mean, sd, 4))
    assert spread[3:] == pytest.approx(stats.t.interval(0.95, 3, mean, sd / 2))


def test_one_seed_has_no_spread():
    spread = metrics.mean_interval([0.9])
    assert spread[0] == 0.9
    assert spread.n == 1
    assert np.isnan([spread.sd, spread.low, spread.high]).all()


def test_a_paired_difference_forgets_what_the_seeds_share():
    shared = np.array([0.1, 0.5, 0.9])
    spread = metrics.paired_difference(shared, shared + np.array([0.01, 0.02, 0.03]))
    assert spread.mean == pytest.approx(0.02)
    assert spread.sd == pytest.approx(0.01)


@pytest.mark.parametrize("values", [[], [float("nan")], [[1.0]]])
def test_over_seeds_refuses_what_is_no_number_per_seed(values):
    with pytest.raises(ValueError, match="one finite number per seed"):
        metrics.mean_interval(values)


def test_paired_differences_need_pairs():
    with pytest.raises(ValueError, match=r"first, second of the same length\. Received: .*\(1,\).*\(2,\)"):
        metrics.paired_difference([1.0], [1.0, 2.0])


def some_probabilities(seed=1, n=4000, sharpness=1.0):
    """Probabilities, and labels that are drawn from them: calibrated by construction."""
    dice = np.random.default_rng(seed)
    logits = dice.normal(0, 2, (n, 10))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([dice.choice(10, p=row) for row in probabilities])
    return labels, metrics.apply_temperature(probabilities, 1 / sharpness)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_temperature_finds_how_much_too_sure_a_classifier_is(sharpness):
    labels, probabilities = some_probabilities(sharpness=sharpness)
    found = metrics.fit_temperature(labels, probabilities)
    assert found == pytest.approx(sharpness, rel=0.1)
    mended = metrics.apply_temperature(probabilities, found)
    assert np.array_equal(mended.argmax(axis=1), probabilities.argmax(axis=1))
    assert metrics.negative_log_likelihood(labels, mended) <= metrics.negative_log_likelihood(
        labels, probabilities
    )


def test_brier_score_by_hand_and_by_scikit_learn():
    certain = np.eye(10)[[1, 2]]
    assert metrics.brier_score(np.array([1, 2]), certain) == 0
    assert (
        metrics.brier_score(np.array([1, 3]), certain) == 1
    )  # one right, one as wrong as can be: (0 + 2) / 2
    labels, probabilities = some_probabilities(n=200)
    by_class = [
        sklearn_metrics.brier_score_loss(labels == digit, probabilities[:, digit]) for digit in range(10)
    ]
    assert metrics.brier_score(labels, probabilities) == pytest.approx(sum(by_class))
    rounded = probabilities.astype(
        np.float32
    )  # as a network gives them: no warning, and they are left as they are
    assert metrics.brier_score(labels, rounded) == pytest.approx(sum(by_class), rel=1e-5)
    doubled = rounded.astype(float)
    metrics.brier_score(labels, doubled)
    assert np.array_equal(doubled, rounded)


def test_groups_of_a_reliability_diagram_by_hand():
    sure = [0.95, 0.95, 0.95, 0.95, 0.55, 0.55]
    probabilities = probabilities_for(np.zeros(6, int), sure)
    table = metrics.reliability(np.array([0, 0, 0, 1, 0, 1]), probabilities, num_bins=10)
    assert table["images"].tolist() == [2, 4]
    assert table["confidence"].tolist() == pytest.approx([0.55, 0.95])
    assert table["accuracy"].tolist() == pytest.approx([0.5, 0.75])
    expected = (2 * 0.05 + 4 * 0.2) / 6
    found = metrics.calibration_error(np.array([0, 0, 0, 1, 0, 1]), probabilities, num_bins=10)
    assert found == pytest.approx(expected)


def test_a_calibrated_classifier_has_a_small_calibration_error_and_a_sharpened_one_a_large():
    labels, calibrated = some_probabilities(n=8000)
    assert metrics.calibration_error(labels, calibrated) < 0.02
    assert metrics.calibration_error(*some_probabilities(n=8000, sharpness=3.0)) > 0.1


def test_certainty_falls_into_the_last_group():
    table = metrics.reliability(np.array([1, 2]), np.eye(10)[[1, 3]])
    assert table.to_dict(orient="list") == {"confidence": [1.0], "accuracy": [0.5], "images": [2]}


def test_every_pair_is_compared_and_corrected_for_their_number():
    dice = np.random.default_rng(1)
    labels = dice.integers(0, 10, 500)
    predictions = {
        name: np.where(dice.random(500) < right, labels, (labels + 1) % 10)
        for name, right in (("a", 0.9), ("b", 0.9), ("c", 0.97))
    }
    table = metrics.mcnemar_pairs(labels, predictions)
    assert list(zip(table["first"], table["second"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    for row in table.itertuples():
        alone = metrics.mcnemar(labels, predictions[row.first], predictions[row.second])
        assert (row.only_first, row.only_second, row.p_value) == alone
    ordered = table.sort_values("p_value")
    by_hand = np.minimum(1, np.maximum.accumulate(ordered["p_value"].to_numpy() * [3, 2, 1]))
    assert ordered["p_holm"].to_numpy() == pytest.approx(by_hand)


def test_one_classifier_makes_no_pair():
    with pytest.raises(ValueError, match="two classifiers or more"):
        metrics.mcnemar_pairs(LABELS, {"a": PREDICTED})


@pytest.mark.parametrize("function", [metrics.brier_score, metrics.reliability, metrics.calibration_error])
def test_probabilities_must_fit_the_labels(function):
    with pytest.raises(ValueError, match=r"shape \(8, 10\)"):
        function(LABELS, np.full((7, 10), 0.1))
    with pytest.raises(ValueError, match="adding up to 1"):
        function(LABELS, np.full((8, 10), 0.2))
