"""Lesson 1: single cells on made-up images, and every number and formula of its text and quiz."""

import json
from collections import Counter

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from mnist_helpers import data, drawings, quiz, results
from mnist_helpers.data._archives import SHAPES
from tests.lessons.cells import run_cell

LESSON = "01_data_exploration"
CELLS = {cell["id"]: cell for cell in json.loads(results.notebook_path(LESSON).read_text())["cells"]}
QUIZ = {question["question"]: question["choices"] for question in quiz.show(LESSON).questions}
MNIST_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)  # of the 60,000 training labels


@pytest.fixture(autouse=True)
def compared(monkeypatch):
    """What the cells hand to `quiz.compare`: a guess and the result."""
    pairs = []
    monkeypatch.setattr(quiz, "compare", lambda *pair: pairs.append(pair))
    return pairs


def text(cell_id):
    return "".join(CELLS[cell_id]["source"])


def choices_of(question):
    """The choices of the one question that contains a text, and the letters of the right ones."""
    (choices,) = [choices for asked, choices in QUIZ.items() if question in asked]
    right = "".join("abcd"[number] for number, choice in enumerate(choices) if choice.get("right"))
    return [choice["text"] for choice in choices], right


def flat_images(values):
    """One image for each value, filled with it."""
    return np.repeat(np.array(values, np.uint8), 784).reshape(-1, 28, 28)


# --- cells ---


def test_the_hard_images_are_those_whose_neighbours_show_other_digits():
    """Ten images of grey 10 k for each digit k, except that grey 50 has the label 9."""
    labels = np.repeat(np.arange(10), 10)
    x_train, y_train = flat_images(10 * labels), np.where(labels == 5, 9, labels).astype(np.uint8)
    x_val = flat_images([1, 51, 21, 52, 31, 41, 61, 71, 81, 91])
    y_val = np.array([0, 5, 2, 5, 3, 4, 6, 7, 8, 9], np.uint8)
    names = {"x_train": x_train, "y_train": y_train, "x_val": x_val, "y_val": y_val, "dataset_used": "made"}
    found = run_cell(LESSON, "hard", NearestNeighbors=NearestNeighbors, **names)
    assert found["hard"].tolist() == [1, 3, 0, 2, 4, 5, 6, 7]
    assert found["_"].description.endswith("captioned A, B, C, D, E, F, G, H.")
    shown = run_cell(LESSON, "labels", hard=found["hard"], similar=found["similar"], **names)
    assert shown["captions"][:3] == ["label 5\nlike a 9", "label 5\nlike a 9", "label 0\nlike a 0"]


def test_shapes_and_the_middle_rows_are_printed(capsys):
    x_train = np.zeros((30, 28, 28), np.uint8)
    x_train[0, 9, 4], x_train[0, 18, 23], x_train[0, 8], x_train[0, 19] = 7, 255, 99, 99
    labels = np.arange(30).astype(np.uint8) % 10
    run_cell(LESSON, "shapes", x_train=x_train, y_train=labels, x_val=x_train[:4], y_val=labels[:4])
    out = capsys.readouterr().out
    assert "x_train  shape (30, 28, 28)     uint8, values 0 to 255\n" in out
    assert "y_val    shape (4,)             uint8, values 0 to 3\n" in out
    rows = [line.split() for line in out.splitlines()[4:]]
    assert [len(row) for row in rows] == [20] * 10
    assert (rows[0][0], rows[9][19]) == ("7", "255")
    assert not any("99" in row for row in rows)


@pytest.mark.parametrize(("name", "num_test"), [("mnist", 10_000), ("digits", 360), ("own", None)])
def test_the_test_set_is_drawn_only_where_its_size_is_known(name, num_test):
    found = run_cell(
        LESSON, "split", x_train=range(500), x_val=range(100), dataset_used=name, drawings=drawings
    )
    expected = {"training": 500, "validation": 100} | ({"test": num_test} if num_test else {})
    assert found["num_images"] == expected
    assert f"({name})" in found["_"].description
    bundled = len(data.load_arrays("digits")[0]["x_test"])
    mnist = SHAPES["x_test"][0]
    assert found["num_test"] == {"mnist": mnist, "fashion_mnist": mnist, "digits": bundled}


def test_the_share_of_zeros_is_of_all_pixels(capsys, compared):
    x_train = np.ones((4, 28, 28), np.uint8)
    x_train[:3] = 0
    run_cell(LESSON, "intensity", x_train=x_train, dataset_used="made", guess=0.5)
    assert "pixels with the value 0: 75.0%" in capsys.readouterr().out
    assert compared == [(0.5, 0.75)]


def test_a_mean_image_is_the_mean_of_its_own_digit():
    labels = np.repeat(np.arange(10), 2).astype(np.uint8)
    x_train = flat_images([10 * label + step for label in range(10) for step in (0, 4)])
    found = run_cell(LESSON, "means", x_train=x_train, y_train=labels, dataset_used="made")
    assert found["mean_images"].shape == (10, 28, 28)
    assert [image.tolist() for image in found["mean_images"]] == [
        np.full((28, 28), 10 * digit + 2.0).tolist() for digit in range(10)
    ]


def test_majority_predicts_the_most_frequent_digit_of_the_training_set(capsys, compared):
    y_train = np.array([3] * 5 + [4] * 3 + [9] * 2, np.uint8)
    y_val = np.array([4, 4, 4, 3], np.uint8)
    found = run_cell(LESSON, "majority", y_train=y_train, y_val=y_val, guess_majority=0.3)
    assert found["most_frequent"] == 3
    assert found["shares"].tolist() == [0, 0, 0, 0.5, 0.3, 0, 0, 0, 0, 0.2]
    assert "always predicting 3: accuracy 25.0%" in capsys.readouterr().out
    assert compared == [(0.3, 0.25)]
    loss = run_cell(LESSON, "loss", shares=found["shares"], y_val=y_val)["majority_loss"]
    assert loss == pytest.approx(-(3 * np.log(0.3) + np.log(0.5)) / 4)


def test_the_nearest_mean_image_is_found_and_confused_pairs_are_counted(capsys, compared):
    mean_images = flat_images(np.arange(10) * 20).astype(float)
    x_val = flat_images([0, 9, 11, 181, 85, 200, 61])
    y_val = np.array([0, 0, 0, 9, 9, 9, 4], np.uint8)
    found = run_cell(LESSON, "nearest", x_val=x_val, y_val=y_val, mean_images=mean_images, guess_nearest=1)
    assert found["nearest"].tolist() == [0, 0, 1, 9, 4, 9, 3]
    assert found["nearest_mean_accuracy"] == pytest.approx(4 / 7)
    assert compared == [(1, found["nearest_mean_accuracy"])]
    capsys.readouterr()
    y_val, nearest = np.array([4, 9, 9, 3, 5, 1, 4], np.uint8), np.array([9, 4, 4, 5, 3, 1, 4])
    run_cell(LESSON, "confused", Counter=Counter, y_val=y_val, nearest=nearest)
    assert capsys.readouterr().out.splitlines() == [
        "4 and 9: confused 3 times",
        "3 and 5: confused 2 times",
    ]


@pytest.fixture
def split():
    (x_train, y_train), (x_val, y_val) = data.load_training("digits", seed=3)
    return {"x_train": x_train, "y_train": y_train, "x_val": x_val, "y_val": y_val}


def test_the_leak_gives_a_perfect_score_and_validation_images_do_not(split, capsys):
    found = run_cell(LESSON, "leak", KNeighborsClassifier=KNeighborsClassifier, **split)
    assert found["report_accuracy"] == 1
    names = split | {"x_report": found["x_report"]}
    counted = run_cell(LESSON, "leak-count", **names)
    assert counted["num_leaked"] == len(found["x_report"]) == 1000
    assert "1,000 of 1,000 evaluation images were stored" in capsys.readouterr().out
    honest = run_cell(LESSON, "honest", memory=found["memory"], **split)
    assert 0.9 < honest["honest_accuracy"] < 1
    again = run_cell(LESSON, "leak-count", **split | {"x_report": honest["x_report"]})
    assert again["num_leaked"] == 0


def test_half_a_leak_lies_halfway_and_is_counted(split):
    """The last 'Try it': 500 stored images and 500 validation images (here 200 each)."""
    assert "`np.concatenate([x_train[:500], x_val[:500]])`" in text("honest-why")
    assert "`np.concatenate([y_train[:500], y_val[:500]])`" in text("honest-why")
    memory = run_cell(LESSON, "leak", KNeighborsClassifier=KNeighborsClassifier, **split)["memory"]
    x_report = np.concatenate([split["x_train"][:200], split["x_val"][:200]])
    y_report = np.concatenate([split["y_train"][:200], split["y_val"][:200]])
    honest = memory.score(split["x_val"][:200].reshape(-1, 784), split["y_val"][:200])
    assert memory.score(x_report.reshape(-1, 784), y_report) == pytest.approx((1 + honest) / 2)
    assert run_cell(LESSON, "leak-count", **split | {"x_report": x_report})["num_leaked"] == 200


def test_the_record_holds_both_baselines_and_what_lesson_5_needs(split, tmp_path, monkeypatch):
    saved = {}
    monkeypatch.setattr(results, "save_record", lambda folder, lesson, **content: saved.update(content))
    mean_images = np.arange(7840.0).reshape(10, 28, 28)
    run_cell(
        LESSON,
        "record",
        data=data,
        results=results,
        folder=tmp_path,
        params={"seed": 3},
        started=0.0,
        dataset_used="digits",
        mean_images=mean_images,
        majority_accuracy=0.1,
        majority_loss=2.3,
        nearest_mean_accuracy=0.9,
        **split,
    )
    majority, nearest_mean = saved["models"]["majority"], saved["models"]["nearest_mean"]
    assert (majority["num_params"], majority["val_accuracy"], majority["val_loss"]) == (10, 0.1, 2.3)
    assert (nearest_mean["num_params"], nearest_mean["val_accuracy"]) == (7840, 0.9)
    assert "val_loss" not in nearest_mean
    arrays = results.load_arrays(tmp_path, nearest_mean)
    assert (arrays["mean_images"] == mean_images).all()
    assert arrays["class_counts"].tolist() == np.bincount(split["y_train"], minlength=10).tolist()
    assert (saved["params"], saved["dataset"]["name"]) == ({"seed": 3}, "digits")


# --- what the text says ---

LOG_10 = np.log(10)
CLAIMS = [
    ("format", "fits into a box of 20x20 pixels", lambda: _ink_box() <= 20),
    ("format", "*centre of mass*", lambda: np.abs(_centres() - 13.5).max() <= 0.51),
    ("format", "a whole number from 0 to 255, stored in one byte", lambda: np.iinfo(np.uint8).max == 255),
    ("format", "Its images have 8x8 pixels", lambda: _bundled().shape == (1797, 8, 8)),
    ("format", "28 · 28 = 784 numbers", lambda: 28 * 28 == 784),
    ("balance-text", "one in six goes to the validation set", lambda: _share(60_000) == 10_000),
    ("balance-why", "the 1 with 11.2 %", lambda: _mnist_share(max) == (1, "11.2")),
    ("balance-why", "the 5 with 9.0 %", lambda: _mnist_share(min) == (5, "9.0")),
    ("nearest-why", "11.2 % on MNIST", lambda: _mnist_share(max) == (1, "11.2")),
    ("round-7", "−log(1/10) = log 10 ≈ 2.3", lambda: f"{-np.log(1 / 10):.1f}" == f"{LOG_10:.1f}" == "2.3"),
    ("loss-why", "log 10 ≈ 2.3", lambda: f"{LOG_10:.1f}" == "2.3"),
    ("loss-why", "a little lower than log 10", lambda: 0 < LOG_10 - _mnist_entropy() < 0.01),
    ("key-points", "log 10 ≈ 2.3", lambda: f"{LOG_10:.1f}" == "2.3"),
    ("intensity-why", "In exercise 1, you do this for each pixel position", lambda: _exercise_1()),
]


def _bundled():
    from sklearn.datasets import load_digits

    return load_digits().images


def _ink_box():
    images = data.load_training("digits", seed=1)[0][0] > 0
    sides = [np.flatnonzero(image.any(axis=axis)) for image in images for axis in (0, 1)]
    return max(side[-1] - side[0] + 1 for side in sides)


def _centres():
    images = data.load_training("digits", seed=1)[0][0].astype(float)
    ink = images.sum(axis=(1, 2))
    places = np.arange(28)
    return np.array([images.sum(axis=2) @ places / ink, images.sum(axis=1) @ places / ink])


def _share(num_images):
    return num_images // 6


def _mnist_share(which):
    count = which(MNIST_COUNTS)
    return MNIST_COUNTS.index(count), f"{100 * count / sum(MNIST_COUNTS):.1f}"


def _mnist_entropy():
    shares = np.array(MNIST_COUNTS) / sum(MNIST_COUNTS)
    return -(shares * np.log(shares)).sum()


def _exercise_1():
    path = results.notebook_path(LESSON).parent / "exercises" / "exercise_01.ipynb"
    return "standardise" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("cell_id", "words", "is_true"), CLAIMS, ids=[f"{c[0]}: {c[1]}" for c in CLAIMS])
def test_what_the_text_claims(cell_id, words, is_true):
    assert words in text(cell_id)
    assert is_true()


def test_the_quiz_has_the_right_answers():
    assert [choices_of(question)[1] for question in QUIZ] == ["c", "b", "d", "a", "ac", "c"]
    losses = -np.log([0.5, 0.5, 0.25, 0.25])
    calculated = [losses.mean(), 4 * round(losses.mean(), 2), -np.log(0.375)]
    assert choices_of("four images")[0] == [*(f"{number:.2f}" for number in calculated), "0.375"]
    assert choices_of("has stored. Which")[0][2] == f"{(200 + 0.9 * 800) / 1000:.0%}".replace("%", " %")
    assert 900 / (900 + 50 + 50) == 0.9
