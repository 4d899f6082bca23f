"""Single cells of lessons on made-up names: paths that a run takes only on MNIST or in the full profile.

Each cell runs as it is in the notebook. What it needs is made by hand, so that each answer is known.
"""

import types

import numpy as np
import pandas as pd
import pytest

from mnist_helpers import data, metrics
from tests.lessons.cells import run_cell

RNG = np.random.default_rng(3)

# --- lesson 5, on MNIST: labels that people rejected ---


@pytest.fixture
def test_set():
    """10,000 images, each with its own row number in its first pixels, and three classifiers."""
    errors = data.label_errors("mnist")
    y_test = RNG.integers(0, 10, 10_000)
    y_test[errors["index"]] = errors["label"]
    x_test = np.zeros((10_000, 28, 28), np.uint8)
    x_test[:, 0, 0], x_test[:, 0, 1] = np.divmod(np.arange(10_000), 256)
    people = y_test.copy()
    people[errors["index"]] = np.where(errors["suggestion"] >= 0, errors["suggestion"], errors["label"])
    wrong_on_evens = np.where(np.arange(10_000) % 2, y_test, (y_test + 1) % 10)
    predictions = {"tuned": people, "labels": y_test, "wrong_on_evens": wrong_on_evens}
    return {"x_test": x_test, "y_test": y_test, "predictions": predictions, "errors": errors}


def test_rejected_labels_are_left_out_of_the_second_accuracy_only(test_set, capsys):
    accuracy = {
        name: np.mean(answer == test_set["y_test"]) for name, answer in test_set["predictions"].items()
    }
    names = run_cell(
        "05_evaluation",
        "label-errors",
        data=data,
        dataset_used="mnist",
        y_test=test_set["y_test"],
        predictions=test_set["predictions"],
        networks=test_set["predictions"],
        scores=pd.DataFrame({"test_accuracy": accuracy}),
    )
    assert capsys.readouterr().out.startswith("15 labels of mnist were rejected by people; 9,985 images")
    table = names["_"]
    agreed = int((test_set["errors"]["suggestion"] >= 0).sum())
    assert table.loc["tuned"].tolist() == [round(1 - agreed / 10_000, 4), 1.0]
    assert table.loc["labels"].tolist() == [1.0, 1.0]
    right = sum(row % 2 for row in range(10_000) if row not in set(test_set["errors"]["index"]))
    assert table.loc["wrong_on_evens"].tolist() == [0.5, round(right / 9_985, 4)]


def test_each_rejected_label_is_shown_with_its_own_image(test_set, capsys):
    errors = test_set["errors"]
    names = run_cell(
        "05_evaluation",
        "label-errors-figure",
        dataset_used="mnist",
        label_errors=errors,
        x_test=test_set["x_test"],
        predictions={"tuned": test_set["predictions"]["tuned"]},
    )
    agreed = int((errors["suggestion"] >= 0).sum())
    with_label = len(errors) - agreed
    assert f"sides with the label on {with_label}, with the people on {agreed}" in capsys.readouterr().out
    shown = [axes for axes in names["_"].figure.axes if axes.images]
    assert len(shown) == len(errors)
    for axes, row in zip(shown, errors.to_dict(orient="records"), strict=True):
        image = np.asarray(axes.images[0].get_array())
        assert 256 * int(image[0, 0]) + int(image[0, 1]) == row["index"]
        people = row["suggestion"] if row["suggestion"] >= 0 else "divided"
        model = row["suggestion"] if row["suggestion"] >= 0 else row["label"]
        assert axes.get_title() == f"label {row['label']}\npeople {people}\nmodel {model}"


def test_other_datasets_have_no_rejected_labels(test_set):
    empty = data.label_errors("digits")
    names = run_cell(
        "05_evaluation",
        "label-errors-figure",
        dataset_used="digits",
        label_errors=empty,
        x_test=test_set["x_test"],
        predictions={"tuned": test_set["predictions"]["tuned"]},
    )
    assert names["_"] == "none are known for this dataset"


# --- lesson 5: temperatures ---


def test_temperatures_come_from_validation_images_unless_lesson_4_has_fitted_one():
    """A network that was trained on the validation images has no temperature of its own."""
    answers = RNG.dirichlet(np.full(10, 0.1), 300)
    labels = np.array([RNG.choice(10, p=row / row.sum()) for row in answers])
    asked = []

    def load_training(dataset, **sizes):
        asked.append((dataset, sizes))
        return (None, None), (np.arange(300), labels)

    def ask(pixels):
        assert pixels.dtype == np.float32
        return answers[pixels.astype(int)]

    entries = {"baseline": {}, "tuned": {"temperature": 1.5}, "tuned_vat": {"temperature": None}}
    params = {"num_train": 1000, "num_validation": 300, "seed": 4, "epochs": 2}
    names = run_cell(
        "05_evaluation",
        "temperatures",
        data=types.SimpleNamespace(load_training=load_training),
        keras=types.SimpleNamespace(ops=types.SimpleNamespace(convert_to_numpy=np.asarray)),
        dataset_used="digits",
        data_dir="here",
        records={"02_baseline": {"params": params, "models": entries}},
        networks=dict.fromkeys(entries, ask),
    )
    sizes = {"num_train": 1000, "num_validation": 300, "seed": 4}
    assert asked == [("digits", {"data_dir": "here", **sizes})]
    assert names["temperatures"]["tuned"] == 1.5
    assert names["temperatures"]["tuned_vat"] is None
    assert names["temperatures"]["baseline"] == metrics.fit_temperature(labels, answers)


def test_calibration_leaves_out_what_has_no_temperature_and_uses_test_images(capsys):
    answers = RNG.dirichlet(np.full(10, 0.3), 200)
    labels = answers.argmax(axis=1)
    names = run_cell(
        "05_evaluation",
        "calibration",
        temperatures={"baseline": 2.0, "tuned": None},
        probabilities={"baseline": answers, "tuned": answers},
        y_test=labels,
    )
    assert "tuned was trained on the validation images" in capsys.readouterr().out
    assert list(names["calibration"]) == ["baseline"]
    entry = names["calibration"]["baseline"]
    softer = answers**0.5 / (answers**0.5).sum(axis=1, keepdims=True)
    for before, after, measure in (
        ("loss", "loss_after", metrics.negative_log_likelihood),
        ("brier", "brier_after", metrics.brier_score),
        ("ece", "ece_after", metrics.calibration_error),
    ):
        assert entry[before] == pytest.approx(measure(labels, answers))
        assert entry[after] == pytest.approx(measure(labels, softer), rel=1e-4)


# --- lesson 5: the conclusion ---


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value", "verdict"),
    [
        (10, 40, 0.0004, "better than the baseline (McNemar, p < 0.001"),
        (40, 10, 0.0004, "worse than the baseline (McNemar, p < 0.001"),
        (20, 36, 0.044, "better than the baseline (McNemar, p = 0.044"),
        (36, 20, 0.044, "worse than the baseline (McNemar, p = 0.044"),
        (20, 30, 0.203, "not shown to differ from the baseline (McNemar, p = 0.203"),
        (5, 5, 1.0, "not shown to differ from the baseline (McNemar, p = 1.000"),
    ],
)
def test_the_conclusion_says_what_the_numbers_say(only_first, only_second, p_value, verdict):
    columns = {
        "test_accuracy": [0.98, 0.99],
        "test_accuracy_low": [0.97, 0.985],
        "test_accuracy_high": [0.983, 0.995],
    }
    names = run_cell(
        "05_evaluation",
        "conclusion",
        comparison=metrics.Comparison(only_first, only_second, p_value),
        scores=pd.DataFrame(columns, index=["baseline", "tuned"]),
        y_test=np.zeros(10_000),
        dataset_used="mnist",
        prediction_baseline=None,
        prediction_tuned=None,
    )
    said = names["conclusion"]
    assert said.startswith("On 10,000 test images of mnist, the tuned model is right on 99.00 %")
    assert "(95 % interval 98.50 to 99.50), the baseline on 98.00 %" in said
    assert verdict in said
