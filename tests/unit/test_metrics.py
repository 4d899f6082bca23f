import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


# --- bad input is an error, whatever is wrong with it ---

EVEN = np.full((8, 10), 0.1)
OF_PROBABILITIES = [
    metrics.negative_log_likelihood,
    metrics.brier_score,
    metrics.reliability,
    metrics.calibration_error,
    metrics.fit_temperature,
    lambda labels, rows: metrics.most_confident_mistakes(labels, rows, 3),
]
OF_PREDICTIONS = [
    metrics.confusion_matrix,
    metrics.per_class,
    lambda labels, predicted: metrics.mcnemar(labels, predicted, predicted),
    lambda labels, predicted: metrics.mcnemar(labels, labels, predicted),
    lambda labels, predicted: metrics.mcnemar_pairs(labels, {"a": predicted, "b": predicted}),
]
WRONG_LABELS = {
    "a column": LABELS[:, None],
    "too few": LABELS[:-1],
    "below 0": np.where(LABELS == 9, -1, LABELS),
    "ten": np.where(LABELS == 9, 10, LABELS),
    "halves": LABELS + 0.5,
    "not a number": np.where(LABELS == 9, np.nan, LABELS),
    "words": LABELS.astype(str),
    "one-hot": np.eye(10, dtype=int)[LABELS],
}


def with_first(**changes):
    rows = EVEN.copy()
    rows[0, : len(changes["row"])] = changes["row"]
    return rows


WRONG_ROWS = {
    "below 0": with_first(row=[-0.1, 0.3]),
    "not a number": with_first(row=[np.nan]),
    "infinite": with_first(row=[np.inf]),
    "logits": with_first(row=[3.0, -2.0]),
    "nine columns": np.full((8, 9), 1 / 9),
    "one row": EVEN[0],
    "a row too many": np.full((9, 10), 0.1),
    "labels": PREDICTED,
}


@pytest.mark.parametrize("wrong", WRONG_LABELS)
@pytest.mark.parametrize("function", OF_PROBABILITIES)
def test_labels_beside_probabilities_are_checked(function, wrong):
    with pytest.raises(ValueError, match=r"^Expected: .* Received: "):
        function(WRONG_LABELS[wrong], EVEN)


@pytest.mark.parametrize("wrong", WRONG_ROWS)
@pytest.mark.parametrize("function", OF_PROBABILITIES)
def test_probabilities_are_checked(function, wrong):
    with pytest.raises(ValueError, match=r"^Expected: probabilities of shape .* Received: "):
        function(LABELS, WRONG_ROWS[wrong])


@pytest.mark.parametrize("wrong", WRONG_LABELS)
@pytest.mark.parametrize("function", OF_PREDICTIONS)
def test_labels_and_predictions_are_checked(function, wrong):
    for pair in ((WRONG_LABELS[wrong], PREDICTED), (LABELS, WRONG_LABELS[wrong])):
        with pytest.raises(ValueError, match=r"^Expected: .* Received: "):
            function(*pair)


@pytest.mark.parametrize("function", [*OF_PREDICTIONS, *OF_PROBABILITIES])
def test_no_images_give_no_number(function):
    nothing = np.empty(0, int)
    with pytest.raises(ValueError, match="one image or more"):
        function(nothing, np.empty((0, 10)) if function in OF_PROBABILITIES else nothing)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: metrics.accuracy_interval(5, 10, confidence=95), "confidence between 0 and 1"),
        (lambda: metrics.accuracy_interval(5, 10, confidence=1), "confidence between 0 and 1"),
        (lambda: metrics.accuracy_interval(5, 10, confidence=float("nan")), "confidence between 0 and 1"),
        (lambda: metrics.accuracy_interval(4.5, 10), "whole numbers"),
        (lambda: metrics.accuracy_interval(0.98, 1), "whole numbers"),
        (lambda: metrics.apply_temperature(EVEN, 0), "temperature, a number above 0"),
        (lambda: metrics.apply_temperature(EVEN, -1), "temperature, a number above 0"),
        (lambda: metrics.apply_temperature(EVEN, float("inf")), "temperature, a number above 0"),
        (lambda: metrics.apply_temperature(EVEN, float("nan")), "temperature, a number above 0"),
        (lambda: metrics.apply_temperature(EVEN * 2, 1), "each row adding up to 1"),
        (lambda: metrics.apply_temperature(EVEN[0], 1), "probabilities of shape"),
        (lambda: metrics.reliability(LABELS, EVEN, num_bins=0), "num_bins, a whole number from 1"),
        (lambda: metrics.calibration_error(LABELS, EVEN, num_bins=1.5), "num_bins, a whole number from 1"),
        (lambda: metrics.most_confident_mistakes(LABELS, EVEN, -1), "count, a whole number from 0"),
        (lambda: metrics.most_confident_mistakes(LABELS, EVEN, True), "count, a whole number from 0"),
    ],
)
def test_numbers_out_of_range_are_errors(function, words):
    with pytest.raises(ValueError, match=f"Expected: .*{words}.* Received: "):
        function()


def test_every_integer_type_is_a_label():
    expected = metrics.confusion_matrix(LABELS, PREDICTED)
    for kind in (np.uint8, np.int64, float, list):
        labels = LABELS.tolist() if kind is list else LABELS.astype(kind)
        assert np.array_equal(metrics.confusion_matrix(labels, PREDICTED), expected)


# --- the same numbers as scikit-learn, SciPy and statsmodels, for any input ---

images = st.integers(1, 60)
seeds = st.integers(0, 2**32 - 1)


def drawn(num_images, seed):
    dice = np.random.default_rng(seed)
    probabilities = dice.dirichlet(np.full(10, dice.uniform(0.05, 2)), num_images)
    return dice.integers(0, 10, num_images), probabilities, dice.integers(0, 10, num_images)


@given(images, seeds)
def test_any_loss_and_score_is_scikit_learns(num_images, seed):
    labels, probabilities, _ = drawn(num_images, seed)
    clipped = np.clip(probabilities, 1e-7, 1)
    own = -np.log(clipped[np.arange(num_images), labels]).mean()
    assert metrics.negative_log_likelihood(labels, probabilities) == pytest.approx(own)
    squares = ((probabilities - np.eye(10)[labels]) ** 2).sum(axis=1).mean()
    assert metrics.brier_score(labels, probabilities) == pytest.approx(squares)


@given(images, seeds)
def test_any_table_is_scikit_learns(num_images, seed):
    labels, _, predicted = drawn(num_images, seed)
    expected = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(10))
    assert np.array_equal(metrics.confusion_matrix(labels, predicted), expected)
    table = metrics.per_class(labels, predicted)
    assert table["recall"].to_numpy() == pytest.approx(
        sklearn_metrics.recall_score(labels, predicted, labels=range(10), average=None, zero_division=0)
    )
    assert table["precision"].to_numpy() == pytest.approx(
        sklearn_metrics.precision_score(labels, predicted, labels=range(10), average=None, zero_division=0)
    )


@given(images, seeds)
def test_any_comparison_is_the_sign_test(num_images, seed):
    labels, _, second = drawn(num_images, seed)
    first = np.random.default_rng(seed + 1).integers(0, 10, num_images)
    found = metrics.mcnemar(labels, first, second)
    only_first, only_second = (
        ((first == labels) & (second != labels)).sum(),
        ((second == labels) & (first != labels)).sum(),
    )
    assert found[:2] == (only_first, only_second)
    tosses = only_first + only_second
    expected = stats.binomtest(int(only_first), int(tosses)).pvalue if tosses else 1
    assert found.p_value == pytest.approx(expected)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_any_interval_is_scipys(num_images, share, confidence):
    num_correct = round(share * num_images)
    expected = stats.binomtest(num_correct, num_images).proportion_ci(confidence, "wilson")
    found = metrics.accuracy_interval(num_correct, num_images, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_any_mean_has_students_interval(values):
    found = metrics.mean_interval(values)
    error = stats.sem(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if error > 1e-6:
        assert found[3:] == pytest.approx(stats.t.interval(0.95, len(values) - 1, np.mean(values), error))


@given(images, seeds, st.floats(0.1, 10))
def test_any_temperature_keeps_the_order_and_can_be_undone(num_images, seed, temperature):
    _, probabilities, _ = drawn(num_images, seed)
    softer = metrics.apply_temperature(probabilities, temperature)
    assert softer.sum(axis=1) == pytest.approx(np.ones(num_images))
    assert np.array_equal(softer.argmax(axis=1), probabilities.argmax(axis=1))
    powers = np.clip(probabilities, 1e-7, 1) ** (1 / temperature)
    assert softer == pytest.approx(powers / powers.sum(axis=1, keepdims=True))


@given(images, seeds, st.integers(1, 30))
def test_any_calibration_error_by_hand(num_images, seed, num_bins):
    labels, probabilities, _ = drawn(num_images, seed)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    group = np.minimum(np.floor(confidence * num_bins), num_bins - 1)
    expected = sum(
        (group == number).mean() * abs(right[group == number].mean() - confidence[group == number].mean())
        for number in set(group)
    )
    assert metrics.calibration_error(labels, probabilities, num_bins) == pytest.approx(expected)
