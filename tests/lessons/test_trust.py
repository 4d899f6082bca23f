"""The notebook on trust: single cells on made-up names whose answers are known, and the claims of its text."""

import json
import math
import types

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import ndimage, stats
from statsmodels.stats.multitest import multipletests

from mnist_helpers import data, metrics, quiz, results
from tests.lessons.cells import run_cell

NOTEBOOK = json.loads(results.notebook_path("trust").read_text(encoding="utf-8"))
TEXTS = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"]}
RNG = np.random.default_rng(3)


class Quiz:
    """Asks nothing, and notes what is compared with a student's prediction."""

    def __init__(self):
        self.compared = []

    def predict(self, *asked, **choices):
        return "guess"

    def compare(self, guess, outcome):
        self.compared.append((guess, outcome))


def cell(cell_id, **names):
    return run_cell("trust", cell_id, **{"quiz": Quiz(), "dataset": "mnist"} | names)


def some_answers(n=300, sharpness=0.1):
    return RNG.dirichlet(np.full(10, sharpness), n)


# --- calibration ---


def test_predictions_are_those_that_lesson_5_saved(tmp_path):
    answers = some_answers(50).astype("float32")
    entry = results.save_arrays(tmp_path, "05_evaluation", labels=np.arange(50) % 10, tuned=answers)
    names = cell(
        "groups", results=results, folder=tmp_path, records={"05_evaluation": {"predictions": entry}}
    )
    assert list(names["probabilities"]) == ["tuned"]
    assert (names["probabilities"]["tuned"] == answers).all()
    assert names["y_test"].tolist() == (np.arange(50) % 10).tolist()


def test_networks_that_a_run_lacks_are_left_out_of_the_diagram():
    answers = some_answers()
    names = cell(
        "reliability",
        y_test=answers.argmax(axis=1),
        probabilities={"strong": answers, "tuned": answers, "dropout": answers},
    )
    assert names["shown"] == ["tuned", "strong"]


def test_the_noise_floor_is_the_error_of_labels_drawn_from_the_probabilities(capsys):
    answers = some_answers(2000, 0.3)
    names = cell("floor", seed=4, shown=["tuned"], probabilities={"tuned": answers})
    draw = names["draw_labels"]
    often = np.stack([draw(answers[:5], np.random.default_rng(number)) for number in range(4000)])
    for row in range(5):
        shares = np.bincount(often[:, row], minlength=10) / 4000
        assert np.abs(shares - answers[row]).max() < 0.04
    assert draw(np.eye(10, dtype="float32"), names["rng"]).tolist() == list(range(10))
    floors = names["floors"]["tuned"]
    assert len(floors) == 200
    drawn = [
        metrics.calibration_error(np.array([RNG.choice(10, p=row / row.sum()) for row in answers]), answers)
        for _ in range(8)
    ]
    assert np.mean(floors) == pytest.approx(np.mean(drawn), rel=0.25)
    assert f"tuned: noise floor {np.mean(floors):.4f} on average" in capsys.readouterr().out


@pytest.mark.parametrize(("floor", "side"), [(0.0, "above"), (0.9, "below")])
def test_the_calibration_error_is_compared_with_its_floor(floor, side):
    answers = some_answers(400)
    labels = RNG.integers(0, 10, 400)
    asked = Quiz()
    names = cell(
        "bootstrap",
        shown=["baseline"],
        probabilities={"baseline": answers},
        y_test=labels,
        rng=np.random.default_rng(1),
        floors={"baseline": np.linspace(floor, floor + 0.1, 201)},
        guess_ece="above",
        quiz=asked,
    )
    entry = names["calibration"]["baseline"]
    assert entry["ece"] == metrics.calibration_error(labels, answers)
    assert entry["ece_low"] < entry["ece"] < entry["ece_high"]
    assert entry["ece_high"] - entry["ece_low"] < 0.2
    assert entry["floor"] == pytest.approx(floor + 0.05)
    assert entry["floor_95"] == pytest.approx(floor + 0.095)
    assert asked.compared == [("above", side)]


def test_validation_images_are_those_that_the_networks_had():
    asked = []

    def load_training(dataset, **sizes):
        asked.append((dataset, sizes))
        return (None, None), (np.arange(300), np.arange(300))

    params = {"num_train": 1000, "num_validation": 300, "seed": 4, "epochs": 2}
    records = {
        "02_baseline": {"params": params, "models": {"baseline": {"file": "b.keras"}}},
        "05_evaluation": {"models": {"baseline": {"test_accuracy": 0.9}}},
        "stronger_networks": {"models": {"vat": {"file": "v.keras"}}},
    }
    names = cell(
        "temperatures",
        data=types.SimpleNamespace(load_training=load_training),
        data_dir="here",
        records=records,
        lessons=list(records),
    )
    sizes = {"num_train": 1000, "num_validation": 300, "seed": 4, "data_dir": "here"}
    assert asked == [("mnist", sizes)]
    assert names["entries"] == {"baseline": {"file": "b.keras"}, "vat": {"file": "v.keras"}}


def test_temperatures_come_from_validation_images_that_the_network_was_not_trained_on(capsys):
    answers = some_answers()
    labels = np.array([RNG.choice(10, p=row / row.sum()) for row in answers])
    loaded = []

    def load_model(folder, entry):
        assert folder == "here"
        loaded.append(entry["file"])
        return lambda images: answers[images]

    asked = Quiz()
    names = cell(
        "temperatures-fit",
        keras=types.SimpleNamespace(ops=types.SimpleNamespace(convert_to_numpy=np.asarray)),
        results=types.SimpleNamespace(load_model=load_model),
        folder="here",
        shown=["baseline", "tuned"],
        entries={
            "baseline": {"file": "b", "val_accuracy": 0.9},
            "tuned": {"file": "t", "val_accuracy": None},
        },
        x_val=np.arange(300),
        y_val=labels,
        calibration={"baseline": {}, "tuned": {}},
        guess="above 1",
        quiz=asked,
    )
    assert loaded == ["b", "t"]
    fitted = metrics.fit_temperature(labels, answers)
    assert names["calibration"] == {"baseline": {"temperature": fitted}, "tuned": {}}
    assert asked.compared == [("above 1", "above 1" if fitted > 1 else "below 1")]
    assert capsys.readouterr().out == f"baseline: temperature {fitted:.2f}\n"


def test_measures_before_and_after_are_about_the_test_images():
    answers = some_answers(200, 0.3)
    labels = answers.argmax(axis=1)
    old = {"ece_low": 0, "ece_high": 1, "floor": 0}
    names = cell(
        "after",
        shown=["baseline", "tuned"],
        calibration={"baseline": {"temperature": 2.0, **old}, "tuned": dict(old)},
        probabilities={"baseline": answers, "tuned": answers},
        y_test=labels,
    )
    softer = answers**0.5 / (answers**0.5).sum(axis=1, keepdims=True)
    entry, same = names["calibration"]["baseline"], names["calibration"]["tuned"]
    for name, measure in (
        ("loss", metrics.negative_log_likelihood),
        ("brier", metrics.brier_score),
        ("ece", metrics.calibration_error),
    ):
        assert entry[name] == pytest.approx(measure(labels, answers))
        assert entry[f"{name}_after"] == pytest.approx(measure(labels, softer), rel=1e-4)
        assert same[f"{name}_after"] == pytest.approx(same[name], rel=1e-4)


# --- several comparisons ---


def test_every_pair_is_compared_and_a_tiny_p_value_is_not_printed_as_zero(capsys):
    y_test = np.arange(200) % 10
    wrong = (y_test + 1) % 10
    predicted = {
        "a": y_test,
        "b": np.where(np.arange(200) < 40, wrong, y_test),
        "c": np.where(np.arange(200) < 7, wrong, y_test),
    }
    names = cell(
        "pairs", probabilities={name: np.eye(10)[digits] for name, digits in predicted.items()}, y_test=y_test
    )
    pairs = names["pairs"]
    assert pairs[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    p = [stats.binomtest(0, count).pvalue for count in (40, 7, 33)]
    assert pairs["p_value"].tolist() == pytest.approx(p)
    holm = multipletests(p, method="holm")[1]
    assert pairs["p_holm"].tolist() == pytest.approx(holm)
    table = names["_"]
    assert table["p_value"].tolist() == ["p < 0.001", f"p = {p[1]:.3f}", "p < 0.001"]
    assert table["p_holm"].tolist() == ["p < 0.001", f"p = {holm[1]:.3f}", "p < 0.001"]
    assert "significant before the correction: 3, after it: 3 of 3 pairs" in capsys.readouterr().out
    assert pairs["p_value"].dtype == float  # the record keeps numbers


# --- labels that people rejected ---


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
    names = cell("label-errors", data=data, y_test=test_set["y_test"], predictions=test_set["predictions"])
    assert capsys.readouterr().out.startswith("mnist: 15 rejected labels, 9,985 images are left")
    table = names["_"]
    agreed = int((test_set["errors"]["suggestion"] >= 0).sum())
    assert table.loc["tuned"].tolist() == [round(1 - agreed / 10_000, 4), 1.0]
    assert table.loc["labels"].tolist() == [1.0, 1.0]
    right = sum(row % 2 for row in range(10_000) if row not in set(test_set["errors"]["index"]))
    assert table.loc["wrong_on_evens"].tolist() == [0.5, round(right / 9_985, 4)]


@pytest.mark.parametrize(("classifier", "side"), [("tuned", "with people"), ("labels", "with the label")])
def test_each_rejected_label_is_shown_with_its_own_image(test_set, capsys, classifier, side):
    errors, asked = test_set["errors"], Quiz()
    predicted = test_set["predictions"][classifier]
    names = cell(
        "label-images",
        data=types.SimpleNamespace(load_test=lambda dataset, data_dir: (test_set["x_test"], None)),
        data_dir="",
        label_errors=errors,
        predictions={"tuned": predicted},
        choices=("with the label", "with people"),
        guess_agrees="guess",
        quiz=asked,
    )
    read = predicted[errors["index"]]
    with_label, with_people = (int((read == errors[column]).sum()) for column in ("label", "suggestion"))
    assert f"with the label {with_label} times, with people {with_people} times" in capsys.readouterr().out
    assert asked.compared == [("guess", side)]
    shown = [axes for axes in names["_"].figure.axes if axes.images]
    assert len(shown) == len(errors)
    for axes, row in zip(shown, errors.to_dict(orient="records"), strict=True):
        image = np.asarray(axes.images[0].get_array())
        assert 256 * int(image[0, 0]) + int(image[0, 1]) == row["index"]
        people = row["suggestion"] if row["suggestion"] >= 0 else "divided"
        title = f"label {row['label']}\npeople {people}\nnetwork {predicted[row['index']]}"
        assert axes.get_title() == title


def test_other_datasets_have_no_rejected_labels(test_set):
    names = cell(
        "label-images",
        data=types.SimpleNamespace(load_test=lambda dataset, data_dir: (test_set["x_test"], None)),
        data_dir="",
        dataset="digits",
        label_errors=data.label_errors("digits"),
        predictions={"tuned": test_set["predictions"]["tuned"]},
        choices=("with the label", "with people"),
        guess_agrees=None,
    )
    assert names["_"].description.endswith("no image to show.")


# --- distortions ---


def distortion(images, kind, level, noise=0):
    return cell("distortions", ndimage=ndimage, noise=noise)["distort"](images, kind, level)


def test_each_distortion_by_hand():
    image = np.zeros((1, 28, 28), "float32")
    image[0, 10:18, 10:18] = 200
    moved = distortion(image, "shift in pixels", 4)
    assert moved[0, 10, 14:22].tolist() == [200] * 8 and moved[0, :, :14].max() == 0
    assert distortion(image, "contrast lost", 0.8).max() == pytest.approx(40)
    noisy = distortion(image, "noise, standard deviation", 100, noise=np.full((1, 28, 28), 1.0))
    assert (noisy.min(), noisy.max()) == (100, 255)
    blurred = distortion(image, "blur in pixels", 2)
    assert 100 < blurred.max() < 200 and blurred.sum() == pytest.approx(image.sum(), rel=1e-3)
    assert (
        np.allclose(blurred[0], blurred[0].T, atol=1e-3) and blurred[0, 8, 14] > 10
    )  # up and down, left and right
    two = distortion(np.concatenate([image, np.zeros_like(image)]), "blur in pixels", 2)
    assert two[1].max() == 0  # no ink moves to the next image
    hidden = distortion(image, "hidden square in pixels", 4)
    assert hidden[0, 12:16, 12:16].max() == 0 and (hidden == 0).sum() == (image == 0).sum() + 16
    assert image[0, 12:16, 12:16].min() == 200  # the original is not changed
    turned = distortion(image, "rotation in degrees", 45)
    assert turned[0, 9, 13:15].max() > 0 and turned[0, 10, 10] < 100


@pytest.mark.parametrize(
    "kind",
    [
        "shift in pixels",
        "rotation in degrees",
        "noise, standard deviation",
        "blur in pixels",
        "contrast lost",
        "hidden square in pixels",
    ],
)
def test_a_distortion_of_strength_zero_changes_nothing(kind):
    images = RNG.uniform(0, 255, (2, 28, 28)).astype("float32")
    assert np.allclose(distortion(images, kind, 0, noise=RNG.normal(size=images.shape)), images)
    levels = cell_of_levels()["distortions"]
    assert levels[kind][0] == 0 and len(levels) == 6


def cell_of_levels(num_distorted=30):
    images = np.repeat(np.arange(100, dtype=np.uint8)[:, None, None], 784, axis=1).reshape(100, 28, 28)
    return cell(
        "distorted",
        num_distorted=num_distorted,
        images=images,
        y_test=np.arange(100),
        rng=np.random.default_rng(2),
        distort=lambda images, kind, level: images,
    )


def test_distorted_images_are_drawn_at_random_with_their_labels():
    names = cell_of_levels()
    assert len(set(names["y_few"].tolist())) == 30
    assert names["y_few"].max() > 60  # the first 30 would be the easy way
    assert (names["x_few"][:, 0, 0] == names["y_few"]).all()
    assert names["noise"].shape == (30, 28, 28)
    assert len(cell_of_levels(10**6)["y_few"]) == 100


def test_robustness_is_accuracy_with_an_interval_for_each_level():
    y_few = np.array([1] * 60 + [2] * 40)
    names = cell(
        "robustness",
        distortions={"contrast lost": [0, 1, 2]},
        shown=["baseline", "tuned"],
        networks={"baseline": 0, "tuned": 10},
        x_few=np.zeros(100),
        y_few=y_few,
        distort=lambda images, kind, level: np.full(100, level),
        predict=lambda network, images: np.eye(10)[np.where(images + network < 10, images, 1).astype(int)],
    )
    measured = names["robustness"]["contrast lost"]
    assert measured["levels"] == [0, 1, 2]
    assert measured["accuracy"] == {"baseline": [0, 0.6, 0.4], "tuned": [0.6, 0.6, 0.6]}
    for name, accuracies in measured["accuracy"].items():
        for level, accuracy in enumerate(accuracies):
            low, high = metrics.accuracy_interval(round(100 * accuracy), 100)
            assert (measured["low"][name][level], measured["high"][name][level]) == (low, high)


def test_the_failure_uses_the_tuned_networks_temperature(capsys):
    answers = some_answers(100, 0.5)
    cell(
        "wrong",
        calibration={"tuned": {"temperature": 3.0}},
        networks={"tuned": None},
        distort=lambda images, kind, pixels: images + pixels,
        predict=lambda network, images: answers,
        x_few=np.zeros(100),
        y_few=(answers.argmax(axis=1) + (np.arange(100) >= 30)) % 10,
    )
    softer = metrics.apply_temperature(answers, 3.0).max(axis=1).mean()
    said = capsys.readouterr().out
    for pixels in (0, 4):
        assert f"shifted by {pixels} pixels: accuracy 30.0%, mean confidence {softer:.1%}" in said


def test_the_record_holds_what_reports_read(tmp_path, monkeypatch):
    saved = {}
    monkeypatch.setattr(
        results, "save_record", lambda folder, lesson, **content: saved.update(content, lesson=lesson)
    )
    images, y_test = np.zeros((2, 28, 28), np.uint8), np.array([1, 2], np.uint8)
    pair = {"first": "a", "second": "b", "p_value": 0.5}
    cell(
        "record",
        results=results,
        data=data,
        folder=tmp_path,
        images=images,
        y_test=y_test,
        pairs=pd.DataFrame([pair]),
        label_errors=[1, 2, 3],
        **{name: name for name in ("params", "started", "calibration", "robustness", "kept_and_all")},
    )
    assert (saved["lesson"], saved["models"]) == ("trust", {})
    assert saved["comparisons"] == [pair]
    assert (saved["calibration"], saved["robustness"]) == ("calibration", "robustness")
    assert saved["label_errors"] == {"removed": 3, "accuracy": "kept_and_all"}
    assert saved["dataset"] == data.describe("mnist", x_test=images, y_test=y_test)


# --- claims of the text ---


def relu(values):
    return np.maximum(values, 0)


SOME = np.linspace(-3, 3, 7)
HOLM = multipletests([0.01, 0.03, 0.04], method="holm")[1]
ERRORS = data.label_errors("mnist")
CLAIMS = [
    # cell, what it says, whether it is true
    ("groups-text", "15 groups of equal width", metrics.reliability.__defaults__ == (15,)),
    ("groups-read", "with a confidence above 93 %", round(14 / 15, 2) == 0.93),
    ("bootstrap-text", "200 times; the interval contains", TEXTS["bootstrap"].count("range(200)") == 1),
    ("pairs-text", "1 − 0.95¹⁰ ≈ 0.40", round(1 - 0.95**10, 2) == 0.40),
    ("pairs-text", "0.01, 0.03 and 0.04 become 0.03, 0.06 and 0.06", np.allclose(HOLM, [0.03, 0.06, 0.06])),
    ("labels-text", "For 15 images", len(ERRORS) == 15),
    ("labels-text", "three of the five people did not choose", (5 - ERRORS["votes_label"] >= 3).all()),
    ("robustness-text", "With 2,000 images", "num_distorted: int = 2000" in TEXTS["parameters"]),
    ("robustness-text", "about ± 2.2 percentage points", round(200 * math.sqrt(0.25 / 2000), 1) == 2.2),
    ("robustness-read", "ReLU(c·z) = c·ReLU(z)", np.allclose(relu(0.2 * SOME), 0.2 * relu(SOME))),
]  # fmt: skip


@pytest.mark.parametrize(("cell_id", "text", "holds"), CLAIMS, ids=lambda value: str(value)[:30])
def test_a_claim_is_in_the_text_and_true(cell_id, text, holds):
    assert text in TEXTS[cell_id].replace("\n", " ").replace("  ", " ")
    assert holds


def test_the_quiz_computes_what_it_says():
    questions = yaml.safe_load((quiz.QUIZZES / "trust.yaml").read_text(encoding="utf-8"))
    right = [[choice["text"] for choice in entry["choices"] if choice.get("right")] for entry in questions]
    assert "400 predictions" in questions[0]["question"] and right[0] == [f"{0.8 * 400:.0f}."]
    assert "0.02, 0.03 and 0.20" in questions[3]["question"] and right[3] == ["None."]
    assert (multipletests([0.02, 0.03, 0.20], method="holm")[1] > 0.05).all()


def test_it_chooses_nothing_and_trains_nothing():
    code = "\n".join(TEXTS[cell["id"]] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")
    for word in (".fit(", ".compile(", "save_model("):
        assert word not in code
    fitted = [line for line in code.splitlines() if "fit_temperature" in line]
    assert fitted == ['        calibration[name]["temperature"] = metrics.fit_temperature(y_val, answers)']
