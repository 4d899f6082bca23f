"""The optional notebook on stronger networks: its cells on made-up names, and what its text says."""

import inspect
import json
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from mnist_helpers import quiz, results
from tests.lessons.cells import run_cell

LESSON = "stronger_networks"
RNG = np.random.default_rng(5)
NOTEBOOK = json.loads(results.notebook_path(LESSON).read_text(encoding="utf-8"))
CELLS = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"]}


# --- the adversarial direction and the training step, on a network of 55 weights ---


def functions():
    names = run_cell(LESSON, "change", keras=keras, tf=tf)
    return {name: names[name] for name in ("prediction_change", "unit_length", "adversarial_direction")}


def tiny_layers():
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input(shape=(3, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="tanh"),
            keras.layers.Dense(3, activation="softmax", kernel_initializer="normal"),
        ]
    )


def predict(weights, images):
    """The tiny network in NumPy; images have pixels from 0 to 1."""
    first, first_bias, second, second_bias = weights
    hidden = np.tanh(images.reshape(len(images), -1) @ first + first_bias)
    powers = np.exp(hidden @ second + second_bias)
    return powers / powers.sum(axis=1, keepdims=True)


def divergence(before, after):
    return (before * np.log(before / after)).sum(axis=1)


def float64(weights):
    return [np.asarray(array, float) for array in weights]


@pytest.fixture(scope="module")
def tiny():
    return tiny_layers()


@pytest.fixture(scope="module")
def images():
    return RNG.integers(0, 256, (5, 3, 3)).astype("float32")


def test_a_step_is_in_units_of_pixels_from_0_to_1(images):
    seen = []

    def model(shown, training):
        seen.append((np.asarray(shown), training))
        return np.full((5, 2), 0.5, "float32")

    change = functions()["prediction_change"]
    step = RNG.normal(size=images.shape).astype("float32")
    before = np.tile(np.float32([0.2, 0.8]), (5, 1))
    measured = float(change(model, images, before, step, True))
    assert np.allclose(seen[0][0], images + 255 * step)
    assert seen[0][1] is True
    assert measured == pytest.approx(0.2 * np.log(0.4) + 0.8 * np.log(1.6), rel=1e-5)


def test_the_direction_is_the_gradient_of_the_change_at_a_random_unit_step(tiny, images):
    names = functions()
    tf.random.set_seed(8)
    start = np.asarray(names["unit_length"](tf.random.normal(tf.shape(images))), float)
    tf.random.set_seed(8)
    direction = np.asarray(names["adversarial_direction"](tiny, images, tiny(images)), float)
    assert np.allclose(np.sqrt((start**2).sum(axis=(1, 2))), 1, atol=1e-5)
    assert np.allclose(np.sqrt((direction**2).sum(axis=(1, 2))), 1, atol=1e-5)  # one image: length 1
    weights, pixels = float64(tiny.get_weights()), images.astype(float) / 255
    before, slopes = predict(weights, pixels), np.zeros_like(pixels)
    for row, column in np.ndindex(3, 3):
        ends = []
        for sign in (1, -1):
            moved = pixels + start
            moved[:, row, column] += sign * 1e-5
            ends.append(divergence(before, predict(weights, moved)))
        slopes[:, row, column] = (ends[0] - ends[1]) / 2e-5
    slopes /= np.sqrt((slopes**2).sum(axis=(1, 2), keepdims=True))
    assert np.allclose(direction, slopes, atol=2e-3)


def test_the_training_step_follows_the_gradient_of_both_terms(images):
    """Finite differences over all weights; the target and the direction are constants."""
    network, labels, epsilon, rate = tiny_layers(), np.array([0, 1, 2, 0, 1]), 1.5, 0.25
    cell, steps = functions(), []

    def prediction_change(model, shown, before, step, training=False):
        steps.append(np.asarray(step, float))
        return cell["prediction_change"](model, shown, before, step, training)

    names = cell | {"keras": keras, "tf": tf, "prediction_change": prediction_change}
    trainer = run_cell(LESSON, "vat", **names)["VirtualAdversarial"](network.inputs, network.outputs)
    trainer.epsilon = epsilon
    loss = "sparse_categorical_crossentropy"
    trainer.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"], run_eagerly=True)
    old, pixels = float64(network.get_weights()), images.astype(float) / 255
    logs = trainer.train_step((images, labels))
    (step,) = steps
    assert np.allclose(np.sqrt((step**2).sum(axis=(1, 2))), epsilon, atol=1e-5)
    before = predict(old, pixels)

    def total(weights):
        label_loss = -np.log(predict(weights, pixels)[np.arange(5), labels]).mean()
        return label_loss + divergence(before, predict(weights, pixels + step)).mean()

    assert float(logs["loss"]) == pytest.approx(total(old), rel=1e-4)
    assert float(logs["accuracy"]) == pytest.approx((before.argmax(axis=1) == labels).mean())
    for number, after in enumerate(float64(network.get_weights())):
        for place in np.ndindex(after.shape):
            ends = []
            for sign in (1, -1):
                weights = [array.copy() for array in old]
                weights[number][place] += sign * 1e-5
                ends.append(total(weights))
            slope = (ends[0] - ends[1]) / 2e-5
            assert old[number][place] - after[place] == pytest.approx(rate * slope, abs=2e-5)


# --- single cells ---


@pytest.mark.parametrize("refit_on_all", [0, 1])
def test_validation_images_are_used_for_training_only_if_asked(refit_on_all, capsys):
    x_train, y_train = np.arange(50), np.arange(50) + 1000
    x_val, y_val = np.arange(100, 120), np.arange(100, 120) + 1000
    names = run_cell(
        LESSON,
        "images",
        refit_on_all=refit_on_all,
        x_train=x_train,
        y_train=y_train,
        x_val=x_val,
        y_val=y_val,
        strong_epochs=3,
        batch_size=16,
    )
    assert names["num_steps"] == 3 * (5 if refit_on_all else 4)
    assert names["x_fit"].tolist() == [*x_train, *(x_val if refit_on_all else [])]
    assert (names["y_fit"] == names["x_fit"] + 1000).all()
    assert (names["validation"] is None) == bool(refit_on_all)
    if names["validation"]:
        assert [part.tolist() for part in names["validation"]] == [x_val.tolist(), y_val.tolist()]
    names["networks"]["a"] = types.SimpleNamespace(evaluate=lambda x, y, verbose: [len(x) / 100, 0.5])
    assert names["score"]("a") == (0.2, 0.5)
    said = capsys.readouterr().out
    assert "a: validation accuracy 50.00%, loss 0.2000" in said
    assert ("used for training" in said) == bool(refit_on_all)


@pytest.mark.parametrize("refit_on_all", [0, 1])
def test_images_that_a_network_was_trained_on_give_it_no_validation_score(monkeypatch, refit_on_all):
    saved = {}
    monkeypatch.setattr(results, "save_model", lambda folder, lesson, model, name: {"file": f"{name}.keras"})
    monkeypatch.setattr(
        results, "save_record", lambda folder, lesson, **content: saved.update(content, lesson=lesson)
    )
    scores = {"val_accuracy": 0.9, "val_loss": 0.3, "temperature": 1.1}
    run_cell(
        LESSON,
        "record",
        data=types.SimpleNamespace(describe=lambda name, **arrays: {"name": name}),
        results=results,
        folder=None,
        models={name: dict(scores) for name in ("baseline", "strong", "vat")},
        networks=dict.fromkeys(("baseline", "strong", "vat")),
        histories={name: {"loss": [name]} for name in ("baseline", "strong", "vat")},
        train_seconds={"baseline": 1.0, "strong": 2.0, "vat": 3.0},
        refit_on_all=refit_on_all,
        dataset_used="digits",
        **dict.fromkeys(("params", "started", "lengths", "shares", "x_train", "y_train", "x_val", "y_val")),
    )
    assert saved["lesson"] == LESSON
    assert list(saved["models"]) == ["strong", "vat"]
    expected = dict.fromkeys(scores) if refit_on_all else scores
    for name, seconds in (("strong", 2.0), ("vat", 3.0)):
        rest = {"file": f"{name}.keras", "history": {"loss": [name]}, "train_seconds": seconds}
        assert saved["models"][name] == expected | rest
    assert saved["comparison"] == expected | {"history": {"loss": ["baseline"]}, "train_seconds": 1.0}


@pytest.mark.parametrize(
    ("losses", "outcome"), [([0.4, 0.3, 0.2, 0.1], "noise-free"), ([0.1, 0.3, 0.4, 0.2], "noisy")]
)
def test_statistics_are_collected_on_all_images_with_the_noise_that_was_asked(losses, outcome):
    seen, built, compared, scores = [], [], [], iter(losses)

    class Network:
        def __init__(self, noise, dropout):
            built.append((noise, dropout))

        def set_weights(self, weights):
            assert weights == "the weights"

        def __call__(self, batch, training):
            seen.append((batch, training))

    names = run_cell(
        LESSON,
        "reestimated",
        build_network=Network,
        noisy_network=types.SimpleNamespace(get_weights=lambda: "the weights"),
        networks={},
        x_fit=np.arange(1234),
        noise_stddev=0.25,
        score=lambda name: (next(scores), 0.9),
        quiz=types.SimpleNamespace(compare=lambda guess, outcome: compared.append((guess, outcome))),
        guess="noisy",
    )
    assert built == [(1.0, 0), (0.6, 0), (0.25, 0), (0.0, 0)]  # what is kept comes last: without noise
    assert np.concatenate([batch for batch, _ in seen]).tolist() == 4 * list(range(1234))
    assert {training for _, training in seen} == {True}
    assert names["losses"] == losses
    assert compared == [("noisy", outcome)]


def test_changed_predictions_are_counted_along_both_directions():
    """The model's digit is 1 where the first pixel is above half; the adversarial direction is this pixel."""
    shown = np.zeros((8, 28, 28), np.uint8)
    shown[:, 0, 0] = [5, 40, 70, 110, 150, 190, 220, 240]

    def model(images):
        high = np.asarray(images)[:, 0, 0] > 127.5
        return np.stack([~high, high], axis=1).astype(float)

    def adversarial_direction(network, images, before):
        assert network is model
        assert np.array_equal(before, model(images))
        direction = np.zeros(images.shape, "float32")
        direction[:, 0, 0] = np.where(model(images)[:, 1], -1, 1)
        return direction

    names = run_cell(
        LESSON,
        "along",
        keras=keras,
        tf=tf,
        seed=1,
        vat_epsilon=0.3,
        x_val=shown,
        unit_length=functions()["unit_length"],
        adversarial_direction=adversarial_direction,
    )
    assert np.allclose(names["lengths"], [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    shares = names["changed_shares"](model)
    distances = np.abs(shown[:, 0, 0] / 255 - 0.5)
    expected = [np.mean(length > distances) for length in names["lengths"]]
    assert np.allclose(shares["adversarial"], expected)
    assert max(shares["random"]) <= 0.25  # one pixel of 784 hardly moves


# --- claims ---


def right(question, letter):
    return bool(question["choices"]["abcd".index(letter)].get("right"))


QUIZ = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))
CLAIMS = [
    ("baseline-text", "`strong_epochs` epochs", '"epochs": strong_epochs' in CELLS["fit-baseline"]),
    ("baseline-text", "two hidden layers with ReLU", CELLS["fit-baseline"].count('activation="relu"') == 2),
    ("build-text", "sizes of the first network", "(strong_units, strong_units // 2)" in CELLS["build"]),
    ("build-text", "half a cosine wave", "CosineDecay(peak_learning_rate, steps)" in CELLS["build"]),
    (
        "build-text",
        "We use only the schedule",
        "use_ema" not in "".join(CELLS[i] for i in ("build", "fit-vat")),
    ),
    ("smooth-text", "784 dimensions", 28 * 28 == 784),
    ("smooth-text", "six validation images", "x_val[:6]" in CELLS["pictures"]),
    ("smooth-text", "`vat_epsilon`", "255 * vat_epsilon * direction" in CELLS["pictures"]),
    ("smooth-text", "multiplies the step by 255", "images + 255 * step" in CELLS["change"]),
    ("pictures-why", "1,000 validation images", "x_val[:1000]" in CELLS["along"]),
    (
        "vat-text",
        "five parts",
        all(f"# {n}" in CELLS["vat"] for n in range(1, 6)) and "# 6" not in CELLS["vat"],
    ),
    ("vat-fit-text", "no noise and no dropout", "noise=0, dropout=0" in CELLS["fit-vat"]),
    ("vat-fit-text", "re-estimated", "reestimated(network)" in CELLS["fit-vat"]),
    ("wrong-text", "2,000 images", "x_train[:2000]" in CELLS["wrong"]),
    ("wrong-text", "three times as many epochs", "3 * strong_epochs" in CELLS["wrong"]),
    ("wrong-text", "255 times too short", '("wrong", vat_epsilon / 255)' in CELLS["wrong"]),
]


@pytest.mark.parametrize(("cell_id", "text", "is_true"), CLAIMS)
def test_the_text_and_the_code_agree(cell_id, text, is_true):
    assert text in CELLS[cell_id]
    assert is_true


@pytest.mark.parametrize(
    ("number", "letter", "value", "shown"),
    [
        (1, "d", 0.10 + 0.3**2, "0.19"),
        (1, "a", 0.10 + 0.3, "0.40"),
        (1, "b", 0.10 + 0.03, "0.13"),
        (4, "c", 0.5 * np.log(2) + 0.5 * np.log(2 / 3), "0.144"),
        (4, "a", np.log(2) + np.log(2 / 3), "0.288"),
        (4, "b", 0.5 * np.log(2) - 0.5 * np.log(2 / 3), "0.549"),
    ],
)
def test_the_numbers_of_the_quiz_are_right(number, letter, value, shown):
    choice = QUIZ[number]["choices"]["abcd".index(letter)]
    assert choice["text"] == shown
    assert float(shown) == pytest.approx(value, abs=0.0006)
    assert right(QUIZ[number], letter) == (letter == {1: "d", 4: "c"}[number])


def test_keras_has_the_defaults_that_the_text_names():
    adam = inspect.signature(keras.optimizers.Adam).parameters
    assert adam["learning_rate"].default == 0.001
    assert "default learning rate of 0.001" in CELLS["baseline-text"]
    assert 'compile("adam"' in CELLS["fit-baseline"]
    assert "use_ema" in adam
    assert "use_ema=True" in CELLS["build-text"]


def test_the_direction_is_called_an_approximation_and_noise_no_geometry():
    prose = " ".join(CELLS[cell["id"]] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
    assert "One gradient is enough to approximate this direction" in prose
    assert not re.search(r"\bworst\b", prose)
    assert "*geometric augmentation*" in prose


def test_the_layers_whose_statistics_are_compared_are_the_first_dense_and_its_normalisation():
    names = run_cell(
        LESSON,
        "build",
        keras=keras,
        layers=keras.layers,
        seed=1,
        strong_units=8,
        num_steps=6,
        peak_learning_rate=0.003,
        loss="sparse_categorical_crossentropy",
    )
    model = names["build_network"](0.3, 0.1)
    assert isinstance(model.layers[3], keras.layers.Dense)
    assert isinstance(model.layers[4], keras.layers.BatchNormalization)
    assert "layers[3].get_weights()[0]" in CELLS["statistics"]
    assert "layers[4].get_weights()[3]" in CELLS["statistics"]
    assert model.layers[4].weights[3].name == "moving_variance"
    schedule = model.optimizer._learning_rate
    assert (schedule.initial_learning_rate, schedule.decay_steps) == (0.003, 6)
    widths = [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert widths == [8, 4, 10]
    noises = [layer.stddev for layer in model.layers if isinstance(layer, keras.layers.GaussianNoise)]
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert (noises, rates) == ([0.3], [0.1, 0.1])
