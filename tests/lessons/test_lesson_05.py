"""Lesson 5: single cells on made-up names whose answers are known, and the claims of its text."""

import json
import math
import re
import types

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import ndimage, stats
from scipy.spatial.distance import cdist

from mnist_helpers import data, metrics, quiz, results
from tests.lessons.cells import run_cell

LESSON = "05_evaluation"
NOTEBOOK = json.loads(results.notebook_path(LESSON).read_text(encoding="utf-8"))
TEXTS = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"]}
RNG = np.random.default_rng(3)


class Quiz:
    """Notes what is compared with a student's prediction."""

    def __init__(self):
        self.compared = []

    def compare(self, guess, outcome):
        self.compared.append((guess, outcome))


def answers_for(digits, confidence=0.91):
    """Probabilities whose largest value is at `digits`."""
    return np.where(np.eye(10, dtype=bool)[digits], confidence, (1 - confidence) / 9)


def cell(cell_id, **names):
    return run_cell(LESSON, cell_id, **{"quiz": Quiz(), "dataset": "mnist"} | names)


# --- loading ---


def test_every_network_is_verified_and_loaded_except_plain_and_no_other_arrays_are():
    keras_file = {"file": "x.keras", "sha256": "abc", "weights_sha256": "w"}
    records = {
        "01_data_exploration": {"models": {"majority": {"file": "x.npz", "sha256": "n"}}},
        "02_baseline": {"models": {"baseline": keras_file}},
        "03_batchnorm_dropout": {"models": {"plain": keras_file, "dropout": {**keras_file, "sha256": "d"}}},
        "stronger_networks": {"models": {"strong": {**keras_file, "file": "strong.npz", "sha256": "s"}}},
    }
    loaded = []

    def load_model(folder, entry):
        loaded.append((folder, entry["sha256"]))
        return f"network {entry['sha256']}"

    names = cell(
        "networks",
        keras=None,
        records=records,
        folder="here",
        results=types.SimpleNamespace(load_model=load_model),
    )
    assert names["networks"] == {"baseline": "network abc", "dropout": "network d", "strong": "network s"}
    assert names["sha256"] == {"baseline": "abc", "dropout": "d", "strong": "s"}
    assert loaded == [("here", "abc"), ("here", "d"), ("here", "s")]


def test_predictions_are_those_of_the_test_images_and_are_saved(tmp_path):
    x_test = RNG.integers(0, 256, (12, 28, 28)).astype(np.uint8)
    y_test = RNG.integers(0, 10, 12)
    means = RNG.uniform(0, 255, (10, 28, 28))
    entry = results.save_arrays(
        tmp_path, "01_data_exploration", mean_images=means, class_counts=[3, 1, 1, 1, 9, 1, 1, 1, 1, 1]
    )
    answers = answers_for((y_test + 1) % 10).astype("float32")
    names = cell(
        "predictions",
        data=types.SimpleNamespace(load_test=lambda name, data_dir: (x_test, y_test)),
        data_dir="here",
        results=results,
        records={"01_data_exploration": {"models": {"nearest_mean": entry}}},
        folder=tmp_path,
        cdist=cdist,
        networks={"baseline": "n"},
        predict=lambda network, images: answers if images is x_test else None,
    )
    assert list(names["predictions"]) == ["majority", "nearest_mean", "baseline"]
    assert names["predictions"]["majority"].tolist() == [4] * 12
    nearest = [
        int(np.argmin([((image - mean) ** 2).sum() for mean in means])) for image in x_test.astype(float)
    ]
    assert names["predictions"]["nearest_mean"].tolist() == nearest
    assert names["predictions"]["baseline"].tolist() == ((y_test + 1) % 10).tolist()
    saved = results.load_arrays(tmp_path, names["arrays"])
    assert saved["labels"].tolist() == y_test.tolist()
    assert saved["baseline"].dtype == np.float32
    assert (saved["baseline"] == answers).all()
    assert set(saved) == {"labels", "baseline"}


# --- numbers ---


def test_scores_by_hand():
    y_test = np.arange(200) % 10
    predicted = np.where(np.arange(200) < 190, y_test, (y_test + 1) % 10)
    answers = answers_for(predicted)
    names = cell(
        "scores",
        predictions={"majority": np.zeros(200, int), "baseline": predicted},
        probabilities={"baseline": answers},
        y_test=y_test,
        known=pd.DataFrame({"val_accuracy": {"baseline": 0.97, "majority": 0.11, "plain": 0.96}}),
    )
    scores = names["scores"]
    assert scores["test_accuracy"].to_dict() == {"majority": 0.1, "baseline": 0.95}
    assert scores["val_accuracy"].to_dict() == {"majority": 0.11, "baseline": 0.97}
    z, p, n = stats.norm.ppf(0.975), 0.95, 200
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert scores.loc["baseline", "test_accuracy_low"] == pytest.approx(center - half)
    assert scores.loc["baseline", "test_accuracy_high"] == pytest.approx(center + half)
    assert math.isnan(scores.loc["majority", "test_loss"])
    loss = -(190 * math.log(0.91) + 10 * math.log(0.01)) / 200
    assert scores.loc["baseline", "test_loss"] == pytest.approx(loss)
    assert set(names["tested"]["baseline"]) == {
        "test_accuracy",
        "test_accuracy_low",
        "test_accuracy_high",
        "test_loss",
    }


def test_the_figure_of_accuracies_shows_networks_only():
    columns = {
        "test_accuracy": [0.1, 0.95],
        "test_accuracy_low": [0.05, 0.9],
        "test_accuracy_high": [0.2, 0.97],
    }
    figure = cell(
        "scores-figure",
        scores=pd.DataFrame(columns, index=["majority", "baseline"]),
        networks={"baseline": None},
        y_test=np.zeros(200),
    )["_"]
    assert "baseline 95.00 % (90.00 to 97.00)" in figure.description
    assert "majority" not in figure.description


@pytest.mark.parametrize(("only_baseline", "only_tuned"), [(3, 12), (12, 3), (1, 30), (0, 0), (5, 5)])
def test_the_paired_comparison_counts_images_that_one_network_gets_right(only_baseline, only_tuned, capsys):
    y_test = np.arange(100) % 10
    wrong = (y_test + 1) % 10
    baseline, tuned = y_test.copy(), y_test.copy()
    tuned[:only_baseline] = wrong[:only_baseline]
    baseline[50 : 50 + only_tuned] = wrong[50 : 50 + only_tuned]
    tuned[90:] = baseline[90:] = wrong[90:]  # both are wrong: these say nothing
    asked = Quiz()
    names = cell(
        "paired",
        y_test=y_test,
        predictions={"baseline": baseline, "tuned": tuned},
        guess_paired=7,
        quiz=asked,
    )
    disagree = only_baseline + only_tuned
    p = stats.binomtest(only_tuned, disagree).pvalue if disagree else 1.0
    assert names["comparison"] == (only_baseline, only_tuned, pytest.approx(p))
    assert names["p_value"] == ("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
    said = capsys.readouterr().out
    assert f"only the baseline is correct: {only_baseline}\n" in said
    assert f"only the tuned network is correct: {only_tuned}\n" in said
    assert asked.compared == [(7, disagree)]


def test_a_tiny_p_value_is_not_printed_as_zero():
    y_test = np.zeros(40, int)
    wrong = np.ones(40, int)
    names = cell("paired", y_test=y_test, predictions={"baseline": wrong, "tuned": y_test}, guess_paired=None)
    assert names["p_value"] == "p < 0.001"


def test_precision_divides_by_the_column_and_recall_by_the_row(capsys):
    y_test = np.array([3] * 10 + [5] * 20)
    predicted = np.array([3] * 9 + [5] + [3] * 3 + [5] * 17)
    matrix = metrics.confusion_matrix(y_test, predicted)
    names = cell("per-class", matrix=matrix, y_test=y_test, predictions={"tuned": predicted})
    said = capsys.readouterr().out
    assert "precision of 3: 9 / 12 = 0.7500" in said
    assert "recall of 3: 9 / 10 = 0.9000" in said
    assert names["_"].loc[3].tolist() == [0.75, 0.9, 10]


def test_confident_mistakes_are_captioned_with_label_prediction_and_confidence():
    y_test = np.array([4, 9, 2, 7])
    answers = np.stack(
        [answers_for([9], 0.6)[0], answers_for([9])[0], answers_for([7], 0.999)[0], answers_for([1], 0.8)[0]]
    )
    x_test = np.arange(4)[:, None, None] * np.ones((4, 28, 28))
    names = cell("mistakes", y_test=y_test, x_test=x_test, probabilities={"tuned": answers}, num_mistakes=2)
    shown = [axes for axes in names["_"].figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["2, read as 7\n99.90%", "7, read as 1\n80.00%"]
    assert [float(axes.images[0].get_array()[0, 0]) for axes in shown] == [2, 3]


# --- your own digit, a shift ---


def test_the_drawing_is_shown_in_three_forms():
    drawing = np.full((280, 280), 255, np.uint8)
    drawing[20:260, 130:150] = 0
    paper = types.SimpleNamespace(drawing=lambda: drawing)
    images = cell("own-digit", paper=paper, data=data)["images"]
    assert images.shape == (3, 28, 28) and images.dtype == np.float32
    assert images[0, 10, 13:15].tolist() == [0, 0] and images[0, 0, 0] == 255
    assert (images[1] == 255 - images[0]).all()
    assert (images[2] == data.to_mnist_format(drawing)).all()


def test_every_network_reads_every_form():
    images = np.zeros((3, 28, 28))

    def predict(network, given):
        assert given is images
        return answers_for([network, network, 0])

    names = cell(
        "own-read",
        networks={"baseline": 1, "tuned": 7},
        images=images,
        forms=dict.fromkeys("abc"),
        predict=predict,
    )
    table = names["_"]
    assert table.loc["baseline"].tolist() == ["1 (91%)", "1 (91%)", "0 (91%)"]
    assert table.loc["tuned", "a"] == "7 (91%)"


def test_a_shift_moves_ink_to_the_right_and_images_are_drawn_at_random():
    """A network that reads the column of the ink: correct only where it was, and two pixels to the right of it."""
    columns = np.concatenate([np.full(500, 10), np.full(500, 16)])  # the first half differs from the second
    x_test = np.zeros((1000, 28, 28), np.uint8)
    x_test[np.arange(1000), 14, columns] = 255
    y_test = np.where(columns == 10, 1, 2)

    def predict(network, images):
        at = images.reshape(len(images), 28, 28).max(axis=1).argmax(axis=1)
        return np.eye(10)[np.where(np.isin(at, [10, 12]), 1, np.where(np.isin(at, [16, 18]), 2, 0))]

    asked = Quiz()
    names = cell(
        "shift",
        num_distorted=300,
        x_test=x_test,
        y_test=y_test,
        seed=5,
        ndimage=ndimage,
        networks={"baseline": None, "tuned": None},
        predict=predict,
        guess_shift=50,
        quiz=asked,
    )
    chosen = names["chosen"]
    assert len(set(chosen.tolist())) == 300
    assert 0.35 < np.mean(chosen < 500) < 0.65
    measured = names["shifts"]["pixels to the right"]
    assert measured["levels"] == [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6]
    # Shifted by 6 to the right, ink of column 10 is in column 16 and read as a 2: all wrong.
    expected = [1.0 if step in (0, 2) else 0.0 for step in measured["levels"]]
    assert measured["accuracy"] == {"baseline": expected, "tuned": expected}
    assert asked.compared == [(50, 0.0)]
    again = np.random.default_rng(5).choice(1000, 300, replace=False)
    assert chosen.tolist() == again.tolist()
    assert "300 shifted images (mnist)" in names["_"].description


def test_a_positive_shift_is_to_the_right():
    image = np.zeros((1, 28, 28))
    image[0, 3, 10] = 1
    assert ndimage.shift(image, (0, 0, 4), order=0)[0, 3].argmax() == 14


# --- the conclusion, the failure ---


@pytest.mark.parametrize(
    ("only_first", "only_second", "p", "verdict"),
    [
        (10, 40, 0.0004, "better than the baseline (McNemar test, p < 0.001"),
        (40, 10, 0.0004, "worse than the baseline (McNemar test, p < 0.001"),
        (20, 36, 0.044, "better than the baseline (McNemar test, p = 0.044"),
        (36, 20, 0.044, "worse than the baseline (McNemar test, p = 0.044"),
        (20, 35, 0.05, "not shown to differ from the baseline (McNemar test, p = 0.050"),
        (30, 20, 0.203, "not shown to differ from the baseline (McNemar test, p = 0.203"),
        (5, 5, 1.0, "not shown to differ from the baseline (McNemar test, p = 1.000"),
    ],
)
def test_the_conclusion_says_what_the_numbers_say(only_first, only_second, p, verdict):
    columns = {
        "val_accuracy": [0.5, 0.6],
        "test_accuracy": [0.98, 0.99],
        "test_accuracy_low": [0.97, 0.985],
        "test_accuracy_high": [0.983, 0.995],
    }
    asked = Quiz()
    names = cell(
        "conclusion",
        comparison=metrics.Comparison(only_first, only_second, p),
        p_value="p < 0.001" if p < 0.001 else f"p = {p:.3f}",
        scores=pd.DataFrame(columns, index=["baseline", "tuned"]),
        y_test=np.zeros(10_000),
        guess_tuned=98,
        quiz=asked,
    )
    said = names["conclusion"]
    assert said.startswith("On 10,000 test images of mnist, the tuned network classifies 99.00 % correctly")
    assert "(95 % interval 98.50 to 99.50), the baseline 98.00 %;" in said
    assert verdict in said
    assert said.endswith("one training run each).")
    assert asked.compared == [(98, 0.99)]


def test_inputs_scaled_twice_are_what_the_network_gets(capsys):
    x_test = np.full((20, 28, 28), 255, np.uint8)
    seen = []

    def predict(network, images):
        seen.append(images)
        return answers_for(np.full(20, 8), 0.2)

    cell(
        "wrong",
        x_test=x_test,
        y_test=np.array([8] * 5 + [1] * 15),
        networks={"baseline": None},
        predict=predict,
    )
    assert seen[0].max() == 1.0 and seen[0].dtype == np.float32
    said = capsys.readouterr().out
    assert "accuracy: 25.0%" in said and "mean confidence: 20.0%" in said
    assert "[ 0  0  0  0  0  0  0  0 20  0]" in said
    assert "largest pixel: 1, in the test images: 255" in said


def test_the_record_keeps_what_reports_need(tmp_path, monkeypatch):
    saved = {}
    monkeypatch.setattr(
        results, "save_record", lambda folder, lesson, **content: saved.update(content, lesson=lesson)
    )
    x_test, y_test = np.zeros((2, 28, 28), np.uint8), np.array([1, 2], np.uint8)
    cell(
        "record",
        results=results,
        data=data,
        folder=tmp_path,
        networks={"baseline": None},
        sha256={"baseline": "abc"},
        tested={"baseline": {"test_accuracy": 0.5}, "majority": {"test_accuracy": 0.1}},
        x_test=x_test,
        y_test=y_test,
        comparison=metrics.Comparison(1, 2, 1.0),
        **{name: name for name in ("params", "started", "arrays", "matrix", "shifts", "conclusion")},
    )
    assert saved["lesson"] == LESSON
    assert saved["models"] == {
        "baseline": {"test_accuracy": 0.5, "sha256": "abc"},
        "majority": {"test_accuracy": 0.1},
    }
    assert saved["baseline_against_tuned"] == {"only_first": 1, "only_second": 2, "p_value": 1.0}
    kept = {
        "predictions": "arrays",
        "confusion_matrix": "matrix",
        "shifts": "shifts",
        "conclusion": "conclusion",
    }
    assert {name: saved[name] for name in kept} == kept
    assert saved["dataset"] == data.describe("mnist", x_test=x_test, y_test=y_test)


# --- claims of the text ---


def half_width(p, n):
    return 2 * math.sqrt(p * (1 - p) / n)


LOW, HIGH = metrics.accuracy_interval(9800, 10_000)
TALL = np.pad(np.zeros((200, 90), np.uint8), 40, constant_values=255)  # black on white
ROWS = np.nonzero(data.to_mnist_format(TALL).any(axis=1))[0]
CLAIMS = [
    # cell, what it says, whether it is true
    ("interval-text", r"$$2\sqrt{\frac{p\,(1-p)}{n}}$$", abs((HIGH - LOW) / 2 - half_width(0.98, 10_000)) < 1e-4),
    ("interval-text", "four times as many images make", half_width(0.9, 400) == half_width(0.9, 100) / 2),
    ("scores-read", "2·√(0.98·0.02/10,000) = 0.0028", round(half_width(0.98, 10_000), 4) == 0.0028),
    ("scores-read", "a little\nmore than half a percentage point wide", 0.005 < HIGH - LOW < 0.006),
    ("scores-read", "± 0.28\npercentage points", round(100 * half_width(0.98, 10_000), 2) == 0.28),
    ("scores-read", "√(0.28² + 0.28²) ≈ 0.4", round(math.hypot(0.28, 0.28), 1) == 0.4),
    ("paired-text", "2¹⁰ = 1,024", 2**10 == 1024),
    ("paired-text", "In 22 of them one side comes up at least nine times", 2 * (math.comb(10, 9) + 1) == 22),
    ("paired-text", "22/1,024 ≈ 0.02", round(stats.binomtest(9, 10).pvalue, 2) == 0.02),
    ("paired-text", "With 6 of 10, it is 0.75", round(stats.binomtest(6, 10).pvalue, 2) == 0.75),
    ("paired-read", "a difference of 29 images", 30 - 1 == 215 - 186 == 29),
    ("paired-read", "30 images favour one network and 1 the other", stats.binomtest(1, 31).pvalue < 0.001),
    ("paired-read", "at least this uneven (p = 0.16)", round(stats.binomtest(215, 215 + 186).pvalue, 2) == 0.16),
    ("wrong-read", "1/255 ≈ 0.004", round(1 / 255, 3) == 0.004),
    ("own-text", "box of 20×20 pixels", np.ptp(ROWS) == 19),
]  # fmt: skip


@pytest.mark.parametrize(("cell_id", "text", "holds"), CLAIMS, ids=lambda value: str(value)[:30])
def test_a_claim_is_in_the_text_and_true(cell_id, text, holds):
    assert text in TEXTS[cell_id]
    assert holds


def test_the_quiz_computes_what_it_says():
    questions = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))
    _, interval, paired, matrix, *_ = questions
    right = [choice for choice in interval["choices"] if choice.get("right")]
    assert "4,750 of 5,000" in interval["question"] and right[0]["text"] == "1.2 percentage points."
    assert round(200 * half_width(0.95, 5000), 1) == 1.2
    low, high = metrics.accuracy_interval(4750, 5000)
    assert (round(100 * low, 1), round(100 * high, 1)) == (94.4, 95.6)
    assert "40 test images" in paired["question"] and "p = 0.06" in paired["question"]
    assert round(stats.binomtest(40, 100).pvalue, 2) == 0.06
    assert (9800 + 60, 9800 + 40) == (9860, 9840) and 9800 + 40 + 60 + 100 == 10_000
    right = [choice["text"] for choice in matrix["choices"] if choice.get("right")]
    assert right == ["Precision 0.75, recall 0.90."]
    assert (90 / 120, 90 / (90 + 10)) == (0.75, 0.9)


def test_no_code_and_no_text_names_plain_as_a_model_of_its_own():
    """plain is the same network as the baseline: it is left out of tables, figures and comparisons."""
    assert 'name != "plain"' in TEXTS["networks"]
    assert '.drop("plain"' in TEXTS["known"]


def test_nothing_is_trained_and_nothing_is_chosen():
    code = "\n".join(TEXTS[cell["id"]] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")
    assert not re.search(r"\.fit\(|\.compile\(|load_training|fit_temperature", code)
    assert code.count("load_test(") == 1
