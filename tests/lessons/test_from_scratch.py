"""The optional notebook "from scratch": its cells on made-up networks, and every number and formula of its text."""

import json
import time

import numpy as np
import pytest

from mnist_helpers import drawings, quiz, results
from tests.lessons.cells import run_cell

LESSON = "from_scratch"
CELLS = {cell["id"]: cell for cell in json.loads(results.notebook_path(LESSON).read_text())["cells"]}
QUIZ = {question["question"]: question["choices"] for question in quiz.show(LESSON).questions}
RNG = np.random.default_rng(4)


def text(cell_id):
    return "".join(CELLS[cell_id]["source"])


def choices_of(question):
    """The choices of the one question that contains a text, and the letters of the right ones."""
    (choices,) = [choices for asked, choices in QUIZ.items() if question in asked]
    right = "".join("abcd"[number] for number, choice in enumerate(choices) if choice.get("right"))
    return [choice["text"] for choice in choices], right


@pytest.fixture
def names():
    """The names of the notebook up to the backward pass, for a network of 6 and 3 hidden neurons."""
    x_train = RNG.integers(0, 256, (12, 28, 28)).astype(np.uint8)
    y_train = (np.arange(12) % 10).astype(np.uint8)
    made = {"units": 6, "seed": 2, "batch_size": 5, "x_train": x_train, "y_train": y_train}
    for cell_id in ("weights", "forward", "loss", "backward", "numeric"):
        made = run_cell(LESSON, cell_id, **made)
    return made


def by_hand(images, weights):
    """The probabilities of the network for one image after the other, neuron by neuron."""
    rows = []
    for image in images:
        values = [pixel / 255 for pixel in image.ravel().tolist()]
        for number in (0, 2, 4):
            weight, bias = weights[number], weights[number + 1]
            sums = [
                sum(value * weight[i, j] for i, value in enumerate(values)) + bias[j]
                for j in range(len(bias))
            ]
            values = sums if number == 4 else [max(0.0, value) for value in sums]
        powers = [np.exp(value) for value in values]
        rows.append([power / sum(powers) for power in powers])
    return np.array(rows)


def test_the_initial_weights_follow_the_rule_of_the_text(names, capsys):
    shapes = [weight.shape for weight in names["initial"]]
    assert shapes == [(784, 6), (6,), (6, 3), (3,), (3, 10), (10,)]
    for weight, bias, total in zip(names["initial"][::2], names["initial"][1::2], (790, 9, 13), strict=True):
        assert np.abs(weight).max() <= np.sqrt(6 / total)
        assert np.abs(weight).max() > 0.7 * np.sqrt(6 / total)
        assert not bias.any()
    assert "limit² = 6 / (inputs + outputs)" in text("forward-text")
    run_cell(LESSON, "weights", units=512, seed=1)
    printed = capsys.readouterr().out
    for line in ("W1 (784, 512): 401,408 numbers", "W2 (512, 256)", "b3 (10,)"):
        assert line in printed
    for row in ("(n, 784)", "(n, 512)", "(n, 256)", "(n, 10)"):
        assert row in text("forward-text")


def test_the_forward_pass_is_that_of_neurons_one_by_one(names):
    images = names["x_train"][:5]
    assert np.allclose(names["p"], by_hand(images, names["initial"]), rtol=1e-12)
    expected = -np.mean([np.log(names["p"][row, label]) for row, label in enumerate(names["labels"])])
    assert names["loss_of"](names["p"], names["labels"]) == pytest.approx(expected)


def test_large_logits_do_not_overflow(names):
    weights = [weight.copy() for weight in names["initial"]]
    weights[-1] += 1000.0 * np.arange(10)
    with np.errstate(over="raise", invalid="raise"):
        p = names["forward"](names["x"], weights)[-1]
    assert p[:, 9].tolist() == [1.0] * 5


def test_the_gradients_are_those_of_independent_finite_differences(names):
    gradients, p = names["gradients_of"](names["x"], names["labels"], names["initial"], names["relu_slope"])
    assert np.array_equal(p, names["p"])
    images = names["x_train"][:5]
    for number, gradient in enumerate(gradients):
        assert gradient.shape == names["initial"][number].shape
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        losses = []
        for step in (1e-5, -1e-5):
            weights = [weight.copy() for weight in names["initial"]]
            weights[number][place] += step
            q = by_hand(images, weights)
            losses.append(-np.log(q[np.arange(5), names["labels"]]).mean())
        assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


def test_the_check_passes_correct_gradients_and_finds_each_wrong_one(names, capsys):
    checked = run_cell(LESSON, "numeric-check", **names)
    assert checked["correct_difference"] < 1e-6
    assert "far below one millionth" in text("keras-text")
    largest_difference, gradients = checked["largest_difference"], checked["gradients"]
    for number in range(6):
        wrong = [gradient.copy() for gradient in gradients]
        wrong[number] *= 1.01
        assert 0.005 < largest_difference(wrong) < 0.02
    no_slope = names["gradients_of"](names["x"], names["labels"], names["initial"], np.ones_like)[0]
    assert largest_difference(no_slope) > 0.05
    assert all(np.array_equal(weight, before) for weight, before in zip(
        names["initial"], run_cell(LESSON, "weights", units=6, seed=2)["initial"], strict=True
    ))  # fmt: skip


def test_the_slopes_of_the_logits_are_shown_and_the_answer_is_compared(names, capsys, monkeypatch):
    pairs = []
    monkeypatch.setattr(quiz, "compare", lambda *pair: pairs.append(pair))
    answers = run_cell(LESSON, "predict-logits", **names)["answers"]
    found = run_cell(LESSON, "logits", **names | {"answers": answers, "guess": "x"})
    assert pairs == [("x", "only that of the correct digit")]
    assert found["slopes"].sum() == pytest.approx(0, abs=1e-12)
    assert np.flatnonzero(found["slopes"] < 0).tolist() == [names["labels"][0]]
    assert "(p − y) / n" in text("logits-text")
    gradients, _ = names["gradients_of"](names["x"], names["labels"], names["initial"], names["relu_slope"])
    shown = run_cell(LESSON, "dense-shapes", **found)
    for ours, whole in zip((shown["dW3"], shown["db3"]), gradients[4:], strict=True):
        assert np.allclose(ours, whole)
    assert "(3, 5) @ (5, 10) -> (3, 10), like W3" in capsys.readouterr().out


def test_training_takes_one_step_per_batch_and_notes_each_epoch(names, capsys):
    """Two epochs of 12 images in batches of 5, 5 and 2, in an order that both frameworks get."""
    made = names | {
        "x_val": names["x_train"][:4],
        "y_val": names["y_train"][:4],
        "epochs": 2,
        "sgd_learning_rate": 0.2,
        "seed": 3,
    }
    made = run_cell(LESSON, "train", **made)
    stub = run_cell(LESSON, "run-numpy", **made | {"time": time, "train": lambda slope: (None, None)})
    made |= {name: stub[name] for name in ("orders", "num_few", "add_epoch")}
    trained, history = made["train"](names["relu_slope"])
    weights, noted = [weight.copy() for weight in names["initial"]], []
    for order in stub["orders"]:
        assert sorted(order) == list(range(12))
        p = np.zeros((12, 10))
        for batch in (order[:5], order[5:10], order[10:]):
            x = names["scaled"](names["x_train"][batch])
            gradients, p[batch] = names["gradients_of"](
                x, names["y_train"][batch], weights, names["relu_slope"]
            )
            weights = [weight - 0.2 * gradient for weight, gradient in zip(weights, gradients, strict=True)]
        noted.append(-np.log(p[np.arange(12), names["y_train"]]).mean())
    assert history["loss"] == pytest.approx(noted, rel=1e-12)
    assert all(np.allclose(ours, theirs) for ours, theirs in zip(trained, weights, strict=True))
    q = names["forward"](names["scaled"](names["x_train"][:4]), weights)[-1]
    assert history["val_loss"][-1] == pytest.approx(-np.log(q[np.arange(4), names["y_train"][:4]]).mean())
    assert history["val_accuracy"][-1] == np.mean(q.argmax(axis=1) == names["y_train"][:4])
    assert not np.array_equal(trained[0], names["initial"][0])
    assert capsys.readouterr().out.count("val_accuracy") == 2


def test_the_picture_shows_the_shapes_of_this_network(names):
    found = run_cell(LESSON, "picture", drawings=drawings, **names)
    assert "dW1 of shape (784, 6), dW2 of shape (6, 3), dW3 of shape (3, 10)" in found["_"].description


@pytest.mark.parametrize(
    ("cell_id", "words", "is_true"),
    [
        ("loss-text", "log 10 ≈ 2.3", f"{np.log(10):.1f}" == "2.3"),
        ("chain", "the loss changes 6 times as fast", 2 * 3 == 6),
        ("keras-text", "about 16 digits", np.finfo(np.float64).precision == 15),
        ("keras-text", "7 digits (`float32`)", np.finfo(np.float32).precision == 6),
        ("forward-text", "e¹⁰⁰⁰ is too large", np.log(np.finfo(np.float64).max) < 1000),
        ("train-text", "10,000 images at most", "10_000" in text("run-numpy")),
    ],
)
def test_what_the_text_claims(cell_id, words, is_true):
    assert words in text(cell_id)
    assert is_true


def test_the_quiz_has_the_right_answers():
    assert [choices_of(question)[1] for question in QUIZ] == ["b", "d", "a", "bd", "c"]
    a, dz = np.zeros((32, 256)), np.zeros((32, 64))
    assert choices_of("shape of dW")[0][1] == str((a.T @ dz).shape)
    slopes = np.array([0.7, 0.2, 0.1]) - [0, 1, 0]
    shown = ", ".join(f"{slope:.1f}".replace("-", "−") for slope in slopes)
    assert choices_of("with respect to the logits")[0][3] == f"({shown})"
    assert choices_of("along two paths")[0][0] == str(2 * (3 - 1))
