"""The optional notebook on stronger networks: its cells on made-up names, and what its text says."""

import functools
import inspect
import json
import re
import sys
import types

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mnist_helpers import data, metrics, plots, quiz, results

LESSON = "stronger_networks"
RNG = np.random.default_rng(5)
NOTEBOOK = json.loads(results.notebook_path(LESSON).read_text(encoding="utf-8"))
CELLS = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"]}
LOSS = "sparse_categorical_crossentropy"


def run_cells(*cell_ids, **names):
    """The names after these cells, in one namespace: their functions see a name that a test replaces later."""
    names = {"np": np, "keras": keras, "tf": tf, "layers": keras.layers, "seed": 1} | names
    names = {"data": data, "metrics": metrics, "plots": plots, "quiz": quiz} | names
    for cell_id in cell_ids:
        exec(compile(CELLS[cell_id], cell_id, "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _same_numbers(monkeypatch):
    """Each test draws the same numbers, whichever tests run before it."""
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(5))


def trainable(model):
    return [variable.value.numpy() for variable in model.trainable_variables]


def lengths_of(steps):
    return np.sqrt((np.asarray(steps, float) ** 2).sum(axis=(1, 2)))


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of each figure of values along positions."""
    calls = []
    monkeypatch.setattr(plots, "values_along", lambda *arguments: calls.append(arguments))
    return calls


@pytest.fixture
def compared(monkeypatch):
    """What was compared with a reader's prediction."""
    calls = []
    monkeypatch.setattr(quiz, "compare", lambda guess, outcome: calls.append((guess, outcome)))
    return calls


# --- a network of 59 weights in which the images of a batch influence each other, and its NumPy twin ---


def tiny_network():
    keras.utils.set_random_seed(3)
    large = keras.initializers.RandomNormal(stddev=1.5)
    model = keras.Sequential(
        [
            keras.Input(shape=(3, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(4, use_bias=False),
            keras.layers.BatchNormalization(epsilon=0.01),
            keras.layers.Activation("tanh"),
            keras.layers.Dense(3, activation="softmax", kernel_initializer=large),
        ]
    )
    kernel, scale, shift, mean, variance, *last = model.get_weights()
    statistics = [mean + 0.3, 2 * variance]  # differ from those of the batch
    model.set_weights([kernel, scale + 0.2, shift - 0.1, *statistics, *last])
    return model


def logits_of(weights, pixels, training):
    """The logits of the tiny network in NumPy; pixels from 0 to 1."""
    kernel, scale, shift, mean, variance, last, last_bias = weights
    hidden = pixels.reshape(len(pixels), -1) @ kernel
    if training:
        mean, variance = hidden.mean(axis=0), hidden.var(axis=0)
    hidden = scale * (hidden - mean) / np.sqrt(variance + 0.01) + shift
    return np.tanh(hidden) @ last + last_bias


def predict(weights, pixels, training=True):
    powers = np.exp(logits_of(weights, pixels, training))
    return powers / powers.sum(axis=1, keepdims=True)


def divergence(before, after):
    return (before * np.log(before / after)).sum(axis=1)


def float64(weights):
    return [np.asarray(array, float) for array in weights]


def gradient_of(function, at):
    """The gradient of a function of an array, by finite differences."""
    slopes = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        ends = []
        for sign in (1, -1):
            moved = at.copy()
            moved[place] += sign * 1e-5
            ends.append(function(moved))
        slopes[place] = (ends[0] - ends[1]) / 2e-5
    return slopes


def unit(steps):
    return steps / lengths_of(steps)[:, np.newaxis, np.newaxis]


def random_start(names, shape, seed):
    """The direction from which a search with this seed begins."""
    tf.random.set_seed(seed)
    start = np.asarray(names["unit_length"](tf.random.normal(shape)), float)
    tf.random.set_seed(seed)
    return start


@pytest.fixture
def images():
    return RNG.integers(0, 256, (5, 3, 3)).astype("float32")


# --- section 4: the adversarial direction ---


def test_a_step_is_in_units_of_pixels_from_0_to_1(images):
    seen = []

    def model(shown, training):
        seen.append((np.asarray(shown), training))
        return np.full((5, 2), 0.5, "float32")

    change = run_cells("change")["prediction_change"]
    step = RNG.normal(size=images.shape).astype("float32")
    before = np.tile(np.float32([0.2, 0.8]), (5, 1))
    measured = float(change(model, images, before, step, True))
    assert np.allclose(seen[0][0], images + 255 * step)
    assert seen[0][1] is True
    assert measured == pytest.approx(0.2 * np.log(0.4) + 0.8 * np.log(1.6), rel=1e-5)
    change(model, images, before, step)
    assert seen[1][1] is False


@pytest.mark.parametrize("training", [False, True])
def test_the_direction_is_the_gradient_of_the_change_at_a_random_unit_step(images, training):
    names, network = run_cells("change"), tiny_network()
    before = network(images, training=training)
    weights, pixels = float64(network.get_weights()), images.astype(float) / 255
    start = random_start(names, images.shape, 8)
    more = (True,) if training else ()
    direction = np.asarray(names["adversarial_direction"](network, images, before, *more), float)
    assert np.allclose(lengths_of(start), 1, atol=1e-5)
    assert np.allclose(lengths_of(direction), 1, atol=1e-5)  # of one image, not of the batch
    target = predict(weights, pixels, training)

    def change(step):
        return divergence(target, predict(weights, pixels + step, training)).mean()

    assert np.allclose(direction, unit(gradient_of(change, start)), atol=2e-3)


def test_an_image_without_a_direction_stays_where_it_is():
    unit_length = run_cells("change")["unit_length"]
    directions = np.zeros((2, 3, 3), "float32")
    directions[1, 0, 0] = -1e-6
    assert np.allclose(unit_length(directions)[0], 0)
    assert float(unit_length(directions)[1, 0, 0]) == pytest.approx(-1)


@pytest.mark.parametrize("training", [False, True])
def test_changed_predictions_are_counted_along_both_directions(training):
    """The model's digit is 1 where the first pixel is above half; the adversarial direction is this pixel."""
    shown = np.zeros((8, 28, 28), np.uint8)
    shown[:, 0, 0] = [5, 40, 70, 127, 150, 190, 220, 240]

    def model(images, training):
        modes.append(training)
        high = np.asarray(images)[:, 0, 0] > 127.5
        return np.stack([~high, high], axis=1).astype(float)

    def adversarial_direction(network, images, before, in_training):
        assert network is model
        assert in_training is training
        assert np.array_equal(before, model(images, training))
        direction = np.zeros(images.shape, "float32")
        direction[:, 0, 0] = np.where(model(images, training)[:, 1], -1, 1)
        return direction

    modes, lengths = [], np.linspace(0, 0.6, 7)
    copies = {"the network": model}
    names = run_cells("change", "along", copy_of=copies.pop, lengths=lengths, x_val=shown)
    names["adversarial_direction"] = adversarial_direction
    shares = names["changed_shares"]("the network", *([True] if training else []))
    assert not copies and {*modes} == {training}
    distances = np.abs(shown[:, 0, 0] / 255 - 0.5)
    expected = [np.mean(length > distances) for length in lengths]
    assert np.allclose(shares["adversarial"], expected)
    assert max(shares["random"]) <= 0.25  # one pixel of 784 hardly moves


def test_steps_are_measured_up_to_twice_the_length_of_the_training():
    data = types.SimpleNamespace(load_training=lambda name, **more: ((0, 1), (2, 3)))
    sizes = dict.fromkeys(("num_train", "num_validation", "refit_on_all", "dataset_used", "data_dir"))
    names = run_cells("load", data=data, vat_epsilon=0.3, **sizes)
    assert np.allclose(names["lengths"], [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert [names[name] for name in ("x_train", "y_train", "x_val", "y_val")] == [0, 1, 2, 3]


def test_the_tools_predict_name_digits_and_copy():
    names = run_cells("tools")
    network = tiny_network()
    images = RNG.integers(0, 256, (4, 3, 3)).astype("float32")
    answers = names["predict"](network, images)
    assert isinstance(answers, np.ndarray)
    assert np.allclose(
        answers, predict(float64(network.get_weights()), images / 255, training=False), atol=1e-5
    )
    words = names["in_words"](lambda images: tf.constant([[0.25, 0.75], [0.9, 0.1]]), images)
    assert words == ["1 (75%)", "0 (90%)"]
    copied = names["copy_of"](network)
    before = [array.copy() for array in network.get_weights()]
    copied(images, training=True)  # changes the statistics of the copy only
    assert all(np.array_equal(old, new) for old, new in zip(before, network.get_weights(), strict=True))
    assert not np.array_equal(copied.get_weights()[3], before[3])
    assert np.array_equal(copied.get_weights()[0], before[0])


def shares_of(network, training=False):
    mode = " in training mode" * training
    return {
        "adversarial": [0, {"network vat": 0.2, "network strong": 0.4}.get(network)],
        "of": network + mode,
    }


@pytest.mark.parametrize(
    ("cell_id", "added", "shown"),
    [
        ("along-figure", ["four_layers", "noise"], ["four_layers", "noise"]),
        ("along-vat", ["vat", "strong"], ["four_layers", "vat", "strong"]),
    ],
)
def test_each_network_is_measured_along_its_own_directions(cell_id, added, shown, drawn, compared):
    names = ("four_layers", "noise", "vat", "strong")
    made = run_cells(
        cell_id,
        networks={name: f"network {name}" for name in names},
        changed_shares=shares_of,
        shares={"four_layers": shares_of("network four_layers")},
        dataset_used="digits",
        lengths=[0, 1],
        guess="guess",
    )
    assert [made["shares"][name]["of"] for name in added] == [f"network {name}" for name in added]
    lengths, lines, *_ = drawn[0]
    assert lengths == [0, 1]
    measured = {name: line["of"] for name, line in lines.items()}
    expected = {name: f"network {name}" for name in shown}
    if cell_id == "along-vat":
        expected["strong, training mode"] = "network strong in training mode"
        assert compared == [("guess", "vat")]
    assert measured == expected
    assert "strong, training mode" not in made["shares"]  # what the record holds is at prediction time


# --- section 5: the training step ---


def training_names(*cell_ids, **names):
    return run_cells("change", "smooth-loss", "vat", *cell_ids, **names)


@pytest.mark.parametrize("weights", [None, np.float32([1, 0, 0.5, 1, 0])])
def test_the_training_step_follows_the_gradient_of_both_terms(images, weights):
    """Finite differences; the target and the step are constants, although they depend on the weights."""
    network, labels, rate = tiny_network(), np.array([0, 1, 2, 0, 1]), 0.25
    others = [RNG.normal(0, 0.3, (5, 3, 3)).astype("float32"), np.arange(5)]
    found = []

    def find_step(model, shown, before, first, second):
        assert model is trainer
        assert shown.dtype == "float32"
        assert np.array_equal(shown, images)
        assert np.array_equal(second, others[1])
        found.append((np.asarray(before, float), np.asarray(first, float)))
        step = first + 0.4 * tf.reshape(model(shown, training=True)[:, 0], (5, 1, 1))
        found.append(np.asarray(step, float))
        return step

    trainer = training_names()["SmoothTraining"](network.inputs, network.outputs)
    trainer.find_step = find_step
    trainer.compile(keras.optimizers.SGD(rate), LOSS, metrics=["accuracy"], run_eagerly=True)
    old, pixels = float64(network.get_weights()), images.astype(float) / 255
    batch = ((images.astype(np.uint8), *others), labels, *([] if weights is None else [weights]))
    logs = trainer.train_step(batch)
    (seen_before, seen_first), step = found
    before = predict(old, pixels)
    assert np.allclose(seen_before, before, atol=1e-5)
    assert np.array_equal(seen_first, others[0])

    def total(changed):
        label_losses = -np.log(predict(changed, pixels)[np.arange(5), labels])
        smoothness = divergence(before, predict(changed, pixels + step)).mean()
        return (label_losses * (1 if weights is None else weights)).sum() / 5 + smoothness

    assert divergence(before, predict(old, pixels + step)).mean() > 0.01
    assert float(logs["loss"]) == pytest.approx(total(old), rel=1e-4)
    assert float(logs["accuracy"]) == pytest.approx((before.argmax(axis=1) == labels).mean())
    new = float64(network.get_weights())
    for number in (0, 1, 2, 5, 6):  # the others are statistics
        slopes = gradient_of(lambda a, n=number: total([*old[:n], a, *old[n + 1 :]]), old[number])
        assert np.allclose(old[number] - new[number], rate * slopes, atol=3e-5)
    assert not np.allclose(new[3], old[3])  # training mode: the statistics are collected


def test_the_training_step_takes_images_alone(images):
    network, steps = tiny_network(), []

    def find_step(model, shown, before):
        steps.append(shown)
        return tf.zeros_like(shown)

    trainer = training_names()["SmoothTraining"](network.inputs, network.outputs)
    trainer.find_step = find_step
    trainer.compile("sgd", LOSS, metrics=["accuracy"], run_eagerly=True)
    labels = np.array([0, 1, 2, 0, 1])
    expected = -np.log(predict(float64(network.get_weights()), images / 255)[np.arange(5), labels]).mean()
    logs = trainer.train_step((images, labels))
    assert len(steps) == 1
    assert float(logs["loss"]) == pytest.approx(expected, rel=1e-4)  # a step of length 0 adds nothing


class Recorder:
    """A network or trainer that keeps the arguments of its methods."""

    def __init__(self, inputs="inputs", outputs="outputs"):
        self.inputs, self.outputs, self.calls = inputs, outputs, []

    def compile(self, *arguments, **named):
        self.calls.append(("compile", arguments, named))

    def fit(self, *arguments, **named):
        self.calls.append(("fit", arguments, named))
        return types.SimpleNamespace(history={"loss": [len(self.calls)]})


def made_trainer(made):
    def make(inputs, outputs):
        made.append(Recorder(inputs, outputs))
        return made[-1]

    return make


def test_vat_trains_without_noise_and_its_statistics_are_estimated_again(compared):
    network, made, adam = Recorder("the inputs", "the outputs"), [], []
    optimizers = types.SimpleNamespace(Adam=lambda rates: adam.append(rates) or "adam")
    names = run_cells(
        "fit-vat",
        keras=types.SimpleNamespace(optimizers=optimizers),
        time=types.SimpleNamespace(perf_counter=iter([10.0, 12.5]).__next__),
        build_network=lambda: network,
        SmoothTraining=made_trainer(made),
        adversarial_direction=lambda *arguments: np.array([arguments.index(True), 7.0]),
        falling_rate=lambda: "falling",
        reestimated=lambda model: f"estimated again: {model is network}",
        score=lambda name: (0.1, 0.98),
        histories={},
        networks={},
        train_seconds={},
        vat_epsilon=2.5,
        loss="the loss",
        x_train="images",
        batches=lambda inputs: f"batches of {inputs}",
        options={"epochs": 3},
        guess="a guess",
    )
    (trainer,) = made
    assert (trainer.inputs, trainer.outputs) == ("the inputs", "the outputs")
    assert (trainer.find_step, trainer.epsilon) == (names["vat_step"], 2.5)
    assert trainer.calls == [
        ("compile", ("adam", "the loss"), {"metrics": ["accuracy"]}),
        ("fit", ("batches of images",), {"epochs": 3}),
    ]
    assert adam == ["falling"]
    assert names["networks"] == {"vat": "estimated again: True"}
    assert names["histories"] == {"vat": {"loss": [2]}}
    assert names["train_seconds"] == {"vat": 2.5}
    assert (names["vat_loss"], names["vat_accuracy"]) == (0.1, 0.98)
    assert compared == [("a guess", 0.98)]
    model = types.SimpleNamespace(epsilon=0.5)
    step = names["vat_step"](model, "images", "before")  # the position of `training`, and 7
    assert step.tolist() == [0.5 * 3, 0.5 * 7]


# --- section 6: every image counts equally ---


@pytest.mark.parametrize("gradients", [1, 2])
def test_each_image_has_the_same_weight_in_the_scaled_direction(images, gradients):
    """The gradient of the sum over the images of (q - p) / ||q - p|| times the logits, by finite differences."""
    names, network = run_cells("change", "scaled"), tiny_network()
    before = network(images, training=True)
    weights, pixels = float64(network.get_weights()), images.astype(float) / 255
    expected = random_start(names, images.shape, 9)
    more = {} if gradients == 1 else {"gradients": gradients}
    direction = np.asarray(names["scaled_direction"](network, images, before, **more), float)
    assert np.allclose(lengths_of(direction), 1, atol=1e-5)
    for _ in range(gradients):
        difference = predict(weights, pixels + expected) - predict(weights, pixels)
        scaled = difference / np.linalg.norm(difference, axis=1, keepdims=True)

        def change(step, scaled=scaled):
            return (scaled * logits_of(weights, pixels + step, training=True)).sum()

        expected = unit(gradient_of(change, expected))
    assert np.allclose(direction, expected, atol=5e-3)


def test_the_scaling_changes_the_direction(images):
    """Otherwise the test above would not notice a missing scale."""
    names, network = run_cells("change", "scaled"), tiny_network()
    before = network(images, training=True)
    found = []
    for name, more in (("scaled_direction", ()), ("adversarial_direction", (True,))):
        tf.random.set_seed(9)
        found.append(names[name](network, images, before, *more))
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_a_prediction_that_does_not_change_gives_no_direction_instead_of_nan():
    """The probabilities are exactly 1 and 0, with and without a step."""
    images, kernel = tf.zeros((4, 3, 3)), tf.zeros((9, 3))

    def model(shown, training):
        return tf.nn.softmax(tf.reshape(shown, (4, 9)) @ kernel + tf.constant([0.0, 1000.0, 0.0]))

    direction = run_cells("change", "scaled")["scaled_direction"](model, images, model(images, True))
    assert np.array_equal(direction, images)


def test_the_differences_of_predictions_are_sorted_and_the_largest_tenth_is_summed(drawn, capsys):
    sizes = {"network noise": RNG.permutation(np.arange(1, 1001)) / 1000, "network vat": np.full(1000, 0.5)}
    x_train = RNG.integers(0, 256, (1050, 28, 28)).astype(np.uint8)
    calls = []

    def copy_of(network):
        def model(images, training):
            calls.append(np.asarray(images, float))
            assert training is True
            moved = len(calls) % 2
            return tf.constant(np.outer(sizes[network] * moved, [0.6, -0.8, 0]))

        return model

    run_cells(
        "differences",
        copy_of=copy_of,
        networks={name: f"network {name}" for name in ("noise", "vat")},
        x_train=x_train,
        unit_length=run_cells("change")["unit_length"],
        dataset_used="digits",
    )
    assert np.allclose(lengths_of(calls[0] - calls[1]), 255, atol=1e-2)
    assert np.array_equal(calls[1], x_train[:1000])
    largest = sum(range(901, 1001)) / sum(range(1, 1001))
    said = capsys.readouterr().out
    assert f"noise: the largest tenth makes up {largest:.0%} of the sum of all" in said
    assert "vat: the largest tenth makes up 10% of the sum of all" in said
    positions, panels, *_ = drawn[0]
    assert (positions[0], positions[-1]) == (0, 99)
    assert list(panels) == ["noise", "vat"]
    assert np.allclose(panels["noise"]["length"], np.percentile(sizes["network noise"], positions))
    assert np.allclose(panels["vat"]["length"], 0.5)


# --- section 7: steps towards neighbours ---


def test_neighbours_are_the_nearest_images_of_the_same_digit():
    """Digit 2 has enough images, digit 5 just enough, digits 7 and 8 too few; the other digits are absent."""
    labels = RNG.permutation(np.repeat([2, 5, 7, 8], [40, 9, 8, 1]))
    images = RNG.integers(0, 256, (len(labels), 28, 28)).astype(np.uint8)
    twins = np.flatnonzero(labels == 2)[:2]
    images[twins[1]] = images[twins[0]]  # an image twice: each is the other's nearest neighbour
    names = run_cells("neighbours", NearestNeighbors=nearest_neighbors(), x_train=images, y_train=labels)
    near = names["near"]
    assert near.shape == (len(labels), 8)
    distances = ((images[:, np.newaxis].astype(float) - images) ** 2).sum(axis=(2, 3))
    for i, row in enumerate(near):
        if labels[i] in (7, 8):
            assert (row == i).all()
            continue
        others = np.flatnonzero((labels == labels[i]) & (np.arange(len(labels)) != i))
        assert set(row) <= set(others)
        assert len(set(row)) == 8
        assert sorted(distances[i, row]) == sorted(distances[i, others])[:8]  # two images may be equally near
    assert twins[1] in near[twins[0]]
    assert twins[0] in near[twins[1]]
    three = names["nearest_of_same_digit"](images, labels, 3)
    assert three.shape == (len(labels), 3)
    for i in np.flatnonzero(labels == 2):
        assert sorted(distances[i, three[i]]) == sorted(distances[i, near[i]])[:3]


def nearest_neighbors():
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors


def towards_names(x_train, *cell_ids, **names):
    lengths = {"neighbour_length": 2.0, "vat_epsilon": 0.5}
    return run_cells("change", "towards", *cell_ids, x_train=x_train, **lengths, **names)


def test_the_step_towards_neighbours_weights_differences_by_their_part_along_the_direction():
    """V^T V d for each image, V the differences from the image that is shown, which may be a mixed one."""
    x_train = RNG.integers(0, 256, (30, 28, 28)).astype(np.uint8)
    shown = RNG.uniform(0, 255, (4, 28, 28)).astype("float32")
    neighbours = RNG.integers(0, 30, (4, 5))
    direction = unit(RNG.normal(size=shown.shape)).astype("float32")
    found = towards_names(x_train)["neighbour_direction"](shown, neighbours, direction)
    for i in range(4):
        differences = (x_train[neighbours[i]].astype(float) - shown[i]).reshape(5, 784)
        expected = differences.T @ differences @ direction[i].reshape(784).astype(float)
        expected /= np.linalg.norm(expected)
        assert np.allclose(np.reshape(found[i], 784), expected, atol=1e-4)


def test_an_image_that_is_its_own_neighbour_does_not_move_towards_neighbours():
    x_train = RNG.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    itself = np.tile(np.arange(3)[:, np.newaxis], 8)
    direction = unit(RNG.normal(size=x_train.shape)).astype("float32")
    found = towards_names(x_train)["neighbour_direction"](tf.cast(x_train, "float32"), itself, direction)
    assert np.allclose(found, 0)


def step_names():
    """The functions that find steps, on directions that show where they come from; a list of the calls."""
    calls = []

    def scaled_direction(*arguments):
        calls.append(("scaled", *arguments))
        return np.array([1.0, 0.0, 0.0])

    def adversarial_direction(*arguments):
        calls.append(("adversarial", *arguments))
        return np.array([0.0, 1.0, 0.0])

    def neighbour_direction(images, neighbours, direction):
        calls.append(("neighbours", images, neighbours, direction.tolist()))
        return np.array([0.0, 0.0, 1.0])

    cells, x_train = ("train-ablation", "strongest"), np.zeros((2, 28, 28), np.uint8)
    names = towards_names(x_train, *cells, SmoothTraining=object)
    names["scaled_direction"] = scaled_direction
    names["adversarial_direction"] = adversarial_direction
    names["neighbour_direction"] = neighbour_direction
    return names, calls


@pytest.mark.parametrize(
    ("name", "step", "calls"),
    [
        ("smooth_step", [0.5, 0, 2], [("scaled", 1), ("neighbours", [1, 0, 0])]),
        ("strongest_step", [0.5, 0, 2], [("scaled", 2), ("neighbours", [1, 0, 0])]),
        ("unscaled_step", [0, 0.5, 2], [("adversarial", True), ("neighbours", [0, 1, 0])]),
        ("adversarial_step", [0.5, 0, 0], [("scaled", 1)]),
    ],
)
def test_a_step_has_its_parts_with_their_lengths(name, step, calls):
    """The lengths are 0.5 in the direction and 2 towards neighbours, in units of pixels from 0 to 1."""
    names, found = step_names()
    assert names[name]("model", "images", "before", "near").tolist() == step
    for (kind, more), (found_kind, *arguments) in zip(calls, found, strict=True):
        assert kind == found_kind
        if kind == "neighbours":
            assert arguments == ["images", "near", more]
        else:
            default = 1 if kind == "scaled" else False  # gradients, training
            assert arguments[:3] == ["model", "images", "before"]
            assert (arguments[3:] or [default]) == [more]


def test_the_step_of_length_0_leaves_every_image_where_it_is(images):
    names, _ = step_names()
    assert np.array_equal(names["zero_step"](None, tf.constant(images), None, None), np.zeros_like(images))


# --- section 8: weight decay, averages, warm-up ---


def test_the_figure_of_one_weight_shows_an_average_and_a_balance(drawn):
    names = run_cells("decay")
    positions, panels, *_ = drawn[0]
    steps = list(positions)
    assert (steps[0], steps[-1]) == (0, 200)
    weights = pd.Series(names["fluctuating"])
    average = weights.ewm(alpha=0.05, adjust=False).mean()  # 95 % of the old average, 5 % of the new weight
    assert np.allclose(panels["averaging"]["without"], weights[steps])
    assert np.allclose(panels["averaging"]["with"], average[steps])
    assert average[100:].std() < 0.25 * weights[100:].std()
    free, decayed = panels["weight decay"]["without"], panels["weight decay"]["with"]
    assert free[0] == decayed[0] == 0
    first = names["free"][1], names["decayed"][1]
    assert first == (0.25, 0.25)  # rate 0.5 times the slope 1/2 of log(1 + exp(-w)) at 0
    second = 0.25 + 0.5 / (1 + np.exp(0.25))
    assert names["free"][2] == pytest.approx(second)
    assert names["decayed"][2] == pytest.approx(second - 0.5 * 0.04 * 0.25)
    assert free[-1] > free[-2] > decayed[-1] + 1
    assert 0.04 * decayed[-1] == pytest.approx(1 / (1 + np.exp(decayed[-1])), rel=0.02)  # decay and gradient


BUILD = {"widths": [6, 3], "num_steps": 6, "peak_learning_rate": 0.004}


def optimiser_names():
    return run_cells("build", "strong-optimiser", **BUILD, weight_decay=0.3, average_share=0.05)


def after_one_step(optimizer, network):
    """The weights before and after a step whose gradients are all 0."""
    variables = network.trainable_variables
    for variable in variables:
        variable.assign(RNG.uniform(1, 2, variable.shape))
    before = trainable(network)
    optimizer.apply([tf.zeros_like(variable.value) for variable in variables], variables)
    return before, trainable(network)


@pytest.mark.parametrize(("arguments", "decay"), [({}, 0.3), ({"decay": 0.1}, 0.1), ({"decay": 0.0}, 0)])
def test_only_the_kernels_of_hidden_layers_decay(arguments, decay):
    names = optimiser_names()
    network = names["build_network"]()
    optimizer = names["averaging_adamw"](network, 100, **arguments)
    before, after = after_one_step(optimizer, network)
    factors = [1 - decay * 0.004 / 20, 1, 1] * 2 + [1, 1]  # kernel, scale, shift; last kernel, last bias
    names = [variable.path.rpartition("/")[2] for variable in network.trainable_variables]
    assert names == ["kernel", "gamma", "beta"] * 2 + ["kernel", "bias"]
    for old, new, factor in zip(before, after, factors, strict=True):
        assert np.allclose(new, factor * old, rtol=1e-6, atol=0)
        if factor != 1:
            assert not np.allclose(new, old, rtol=1e-6, atol=0)


@pytest.mark.parametrize("steps", [100, 4080])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(steps):
    names = optimiser_names()
    optimizer = names["averaging_adamw"](names["build_network"](), steps)
    warm_up = steps // 20

    def rate(step):
        optimizer.iterations.assign(step)
        return float(optimizer.learning_rate)

    assert rate(0) == pytest.approx(0.004 / 20)
    assert rate(warm_up - 1) == pytest.approx(0.004 * (1 - 0.95 / warm_up))
    assert rate(warm_up) == pytest.approx(0.004)
    for share in (0.1, 0.5, 0.9):
        step = warm_up + round(share * (steps - warm_up))
        completed = (step - warm_up) / (steps - warm_up)
        assert rate(step) == pytest.approx(0.002 * (1 + np.cos(np.pi * completed)), rel=1e-4)
    assert rate(steps) == pytest.approx(0, abs=1e-9)
    rates = [rate(step) for step in range(0, steps + 1, steps // 20)]
    assert np.argmax(rates) == 1


@pytest.mark.parametrize(
    ("share", "steps", "momentum"),
    [
        (0.05, 400, 0.95),
        (0.05, 4080, 1 - 1 / 204),
        (0.5, 6, 2 / 3),
        (0.05, 20, 0),
        (0.05, 7, 0),
        (1.0, 4, 0.75),
    ],
)
def test_the_average_covers_a_share_of_the_steps(share, steps, momentum):
    names = optimiser_names()
    optimizer = names["averaging_adamw"](names["build_network"](), steps, share=share)
    assert optimizer.use_ema is True
    assert optimizer.ema_momentum == pytest.approx(momentum)
    if share == 0.05:  # the parameter
        assert names["averaging_adamw"](names["build_network"](), steps).ema_momentum == pytest.approx(
            momentum
        )


def test_a_share_of_0_switches_the_average_off():
    names = optimiser_names()
    assert names["averaging_adamw"](names["build_network"](), 100, share=0.0).use_ema is False


@pytest.mark.parametrize("share", [0.0, 0.05])
@pytest.mark.parametrize("steps", [1, 19])
def test_a_training_without_warm_up_steps_begins_at_the_peak(steps, share):
    names = optimiser_names()
    network = names["build_network"]()
    optimizer = names["averaging_adamw"](network, steps, share=share)
    assert float(optimizer.learning_rate) == pytest.approx(0.004)
    before, after = after_one_step(optimizer, network)
    assert np.allclose(after[0], (1 - 0.3 * 0.004) * before[0], rtol=1e-6)
    optimizer.finalize_variable_values(network.trainable_variables)
    assert all(np.isfinite(weights).all() for weights in trainable(network))


# --- section 9: all parts together ---


def strong_names():
    """What `train_smooth` uses, with real functions, for 50 images in batches of 20."""
    x_train = RNG.integers(0, 256, (50, 28, 28)).astype(np.uint8)
    labels = np.arange(50) % 10
    names = {
        "batches": lambda inputs: data.shuffled_batches(inputs, labels, 20, 1),
        "near": np.arange(400).reshape(50, 8),
        "strong_epochs": 2,
        "batch_size": 20,
        "weight_decay": 0.3,
        "average_share": 0.05,
        "loss": LOSS,
        "options": {"epochs": 99, "verbose": 2, "validation_data": None, "shuffle": False},
    }
    cells = ("build", "reestimated", "strong-optimiser", "train-strong")
    names = training_names(*cells, **BUILD, x_train=x_train, **names)

    class Eager(names["SmoothTraining"]):
        """Without tracing: faster for a few steps, and a function can keep the values of its arguments."""

        def compile(self, *arguments, **named):
            super().compile(*arguments, run_eagerly=True, **named)

    return names, functools.partial(names["train_smooth"], trainer=Eager, verbose=0)


def test_the_strong_training_takes_its_steps_and_each_image_has_its_neighbours():
    (names, train), calls, asked = strong_names(), [], []
    real = names["averaging_adamw"]

    def averaging_adamw(network, steps, **optimiser):
        asked.append((steps, optimiser))
        return real(network, steps, **optimiser)

    def find_step(model, images, before, neighbours):
        calls.append((np.array(images), np.array(neighbours)))
        return tf.zeros_like(images)

    names["averaging_adamw"] = averaging_adamw
    network, history = train(find_step)
    assert asked == [(6, {})]
    assert [len(images) for images, _ in calls] == [20, 20, 10] * 2
    first, second = (np.concatenate([images for images, _ in epoch]) for epoch in (calls[:3], calls[3:]))
    assert not np.array_equal(first, second)  # in another order
    for epoch in (calls[:3], calls[3:]):
        shown = np.concatenate([images for images, _ in epoch])
        neighbours = np.concatenate([neighbours for _, neighbours in epoch])
        rows = neighbours[:, 0] // 8
        assert sorted(rows) == list(range(50))
        assert np.array_equal(shown, names["x_train"][rows])
        assert np.array_equal(neighbours, names["near"][rows])
    assert len(history["loss"]) == len(history["accuracy"]) == 2
    predictions = network(names["x_train"]).numpy()
    assert np.allclose(predictions.sum(axis=1), 1, atol=1e-5)


def test_the_strong_training_keeps_the_average_of_the_weights():
    """Averaging does not change the path of the training, so a second training gives the expected average."""
    (names, train), path = strong_names(), []
    names["reestimated"] = lambda model: model

    def find_step(model, images, before, neighbours):
        path.append(trainable(model))
        return 0.01 * tf.ones_like(images)

    last, _ = train(find_step, share=0.0)
    path.append(trainable(last))
    assert len(path) == 7
    expected = path[1]  # after the first step
    for weights in path[2:]:
        expected = [2 / 3 * old + 1 / 3 * new for old, new in zip(expected, weights, strict=True)]
    kept, _ = train(find_step, share=0.5)
    for found, wanted, raw in zip(trainable(kept), expected, trainable(last), strict=True):
        assert np.allclose(found, wanted, atol=1e-5)
        assert not np.allclose(found, raw, atol=1e-5)


def test_the_parts_of_the_strong_training_are_put_together(compared):
    made, network, given = [], Recorder("the inputs", "the outputs"), {}

    def averaging_adamw(*arguments, **named):
        given["optimizer"] = (arguments, named)
        return "adamw"

    names = run_cells(
        "train-strong",
        strong_epochs=4,
        SmoothTraining=made_trainer(made),
        build_network=lambda: network,
        averaging_adamw=averaging_adamw,
        reestimated=lambda model: ("estimated again", model),
        loss="the loss",
        x_train=np.zeros(33),
        batches=lambda inputs: ("batches of", inputs),
        near="near",
        batch_size=8,
        options={"epochs": 99, "verbose": 2, "validation_data": "validation"},
    )
    trained, history = names["train_smooth"]("find a step")
    (trainer,) = made
    assert trained == ("estimated again", network)
    assert history == {"loss": [2]}
    assert given["optimizer"] == ((network, 20), {})
    assert (trainer.inputs, trainer.outputs, trainer.find_step) == (
        "the inputs",
        "the outputs",
        "find a step",
    )
    (_, compiled, more), (_, ((made_of, (shown, near)),), settings) = trainer.calls
    assert (compiled, more) == (("adamw", "the loss"), {"metrics": ["accuracy"]})
    assert (made_of, shown is names["x_train"], near) == ("batches of", True, "near")
    assert settings == {"epochs": 4, "verbose": 2, "validation_data": "validation"}
    other = []
    names["train_smooth"]("step", 7, made_trainer(other), 0, decay=0.5)
    assert given["optimizer"] == ((network, 35), {"decay": 0.5})
    assert (other[0].calls[1][2]["epochs"], other[0].calls[1][2]["verbose"]) == (7, 0)
    assert names["options"]["epochs"] == 99  # the others train as long as before


def test_the_strong_network_is_trained_with_all_parts_and_its_errors_are_compared(compared):
    asked = []

    def train_smooth(*arguments, **named):
        asked.append((arguments, named))
        return "the network", "the history"

    common = {
        "time": types.SimpleNamespace(perf_counter=iter([1.0, 4.0, 6.0, 11.0]).__next__),
        "train_smooth": train_smooth,
        "networks": {},
        "histories": {},
        "train_seconds": {},
    }
    names = run_cells(
        "fit-smooth",
        **common,
        smooth_step="smooth step",
        score=lambda name: {"strong": (0.05, 0.97)}[name],
        y_val=np.zeros(200),
        guess="guess",
    )
    assert asked == [(("smooth step",), {})]
    assert compared == [("guess", 6)]
    assert (names["strong_loss"], names["strong_accuracy"]) == (0.05, 0.97)
    again = {key: names[key] for key in ("networks", "histories", "train_seconds")}
    more = {"strongest_step": "strongest step", "MixedTraining": "mixed", "average_share": 0.05}
    run_cells("fit-strongest", **common | again, **more, strongest_epochs=0)
    assert len(asked) == 1
    run_cells("fit-strongest", **common | again, **more, strongest_epochs=9)
    assert asked[1] == (("strongest step", 9), {"trainer": "mixed", "share": 0.1})
    assert again["networks"] == dict.fromkeys(("strong", "strongest"), "the network")
    assert again["histories"] == dict.fromkeys(("strong", "strongest"), "the history")
    assert again["train_seconds"] == {"strong": 3.0, "strongest": 5.0}


def test_half_of_the_images_are_mixed_with_another_image_and_lose_their_label():
    """Image i is one pixel of 255 at position i, so a mixed image shows both shares."""
    passed = []

    class Training:
        def train_step(self, batch):
            passed.append(batch)
            return "the logs"

    images = (255 * np.eye(784)).reshape(784, 28, 28).astype(np.uint8)
    neighbours, labels = np.arange(784 * 8).reshape(784, 8), np.arange(784) % 10
    keras.utils.set_random_seed(6)
    trainer = run_cells("strongest", SmoothTraining=Training)["MixedTraining"]()
    assert trainer.train_step(((images, neighbours), labels)) == "the logs"
    (((mixed, near), same_labels, weights),) = passed
    assert np.array_equal(near, neighbours)
    assert np.array_equal(same_labels, labels)
    mixed, weights = np.reshape(mixed, (784, 784)).astype(float) / 255, np.asarray(weights)
    assert set(weights) == {0, 1}
    is_mixed = weights == 0
    assert 0.43 < is_mixed.mean() < 0.57
    assert np.array_equal(mixed[~is_mixed], np.eye(784)[~is_mixed])
    assert np.allclose(mixed.sum(axis=1), 1, atol=1e-5)
    own = np.diag(mixed)[is_mixed]
    own = own[own < 0.9999]  # the other image may be the image itself
    assert len(own) > 0.98 * is_mixed.sum()
    assert own.min() >= 0.5
    assert (own.min() < 0.52) and (own.max() > 0.98)
    assert own.mean() == pytest.approx(0.75, abs=0.03)
    partners = (mixed - np.diag(np.diag(mixed))).argmax(axis=1)[is_mixed]
    assert len(set(partners)) > 0.97 * is_mixed.sum()  # each image is the other one of one image


def test_mixed_images_count_only_by_their_smoothness(images):
    """The step has length 0, so the loss is the cross-entropy of the other images, divided by the batch size."""
    names, passed = training_names("strongest"), []
    smooth_loss = names["smooth_loss"]
    names["smooth_loss"] = lambda *arguments: passed.append(arguments) or smooth_loss(*arguments)
    network, labels = tiny_network(), np.arange(5) % 3
    trainer = names["MixedTraining"](network.inputs, network.outputs)
    trainer.find_step = lambda model, shown, before, neighbours: tf.zeros_like(shown)
    trainer.compile(keras.optimizers.SGD(0.1), LOSS, metrics=["accuracy"])
    old = float64(network.get_weights())
    logs = trainer.train_step(((images.astype(np.uint8), np.zeros((5, 8), int)), labels))
    _, _, mixed, _, weights, _ = passed[0]
    weights = np.asarray(weights)
    assert 0 < weights.sum() < 5
    losses = -np.log(predict(old, np.asarray(mixed, float) / 255)[np.arange(5), labels])
    assert float(logs["loss"]) == pytest.approx((losses * weights).sum() / 5, rel=1e-4)


def test_the_comparison_holds_the_scores_and_the_temperature_of_each_network(capsys):
    """The probabilities of `b` are those of `a`, sharpened: its temperature is twice as high."""
    labels = np.arange(200) % 10
    said = np.where(np.arange(200) < 160, labels, (labels + 1) % 10)
    sure = np.full((200, 10), 0.3 / 9)
    sure[np.arange(200), said] = 0.7
    sharper = sure**2 / (sure**2).sum(axis=1, keepdims=True)
    scores = {"a": (0.11, 0.975), "b": (0.22, 0.95)}
    names = run_cells(
        "scores",
        networks={"a": sure, "b": sharper},
        score=scores.__getitem__,
        predict=lambda network, images: network if images == "validation images" else None,
        x_val="validation images",
        y_val=labels,
    )
    models = names["models"]
    assert {name: (entry["val_loss"], entry["val_accuracy"]) for name, entry in models.items()} == scores
    first, second = (models[name]["temperature"] for name in "ab")
    assert second == pytest.approx(2 * first, rel=1e-3)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"  5 errors, temperature {first:.2f}", f"  10 errors, temperature {second:.2f}"]


def test_answers_are_those_for_the_true_digit_in_each_networks_own_direction(drawn):
    """Network k moves each image k pixels far; image i gives its digit the probability 0.9 - 0.1 i - 0.01 k."""
    digits, x_val = np.array([3, 1, 4, 1]), np.zeros((4, 28, 28), np.uint8)
    x_val[:, 0, 0] = np.arange(4)

    def network(number):
        def answer(images):
            images = np.asarray(images)
            moved = images[:, 0, 1] / 255  # how far
            probabilities = np.full((len(images), 10), 0.95)  # of all other digits
            for row, i in enumerate(np.rint(images[:, 0, 0]).astype(int)):
                probabilities[row, digits[i]] = 0.9 - 0.1 * i - 0.01 * moved[row]
            return tf.constant(probabilities)

        answer.number = number
        return answer

    def adversarial_direction(model, images, before):
        assert np.array_equal(before, model(images))
        direction = np.zeros(images.shape, "float32")
        direction[:, 0, 1] = model.number
        return direction

    run_cells(
        "answers",
        networks={name: network(k) for k, name in enumerate(("four_layers", "noise", "vat", "strong"), 1)},
        adversarial_direction=adversarial_direction,
        lengths=np.array([0.0, 1.0, 2.0]),
        x_val=x_val,
        y_val=digits,
        dataset_used="digits",
    )
    lengths, paths, *_ = drawn[0]
    assert lengths.tolist() == [0, 1, 2]
    assert list(paths) == ["four_layers", "vat", "strong"]
    for (_, found), number in zip(paths.items(), (1, 3, 4), strict=True):
        assert list(found) == ["image 1, a 3", "image 2, a 1", "image 3, a 4"]
        for i, line in enumerate(found.values()):
            assert np.allclose(line, 0.9 - 0.1 * i - 0.01 * number * lengths, atol=1e-6)


# --- section 10: the ablation ---

PARTS = ("scaling", "neighbours", "smoothness", "weight decay", "averaging")


def ablation_of(**names):
    asked = []

    def train_smooth(*arguments, **named):
        asked.append((arguments, named))
        return f"network {len(asked)}", "history"

    networks = {"strong": "kept"}
    steps = ("smooth", "unscaled", "adversarial", "zero")
    made = run_cells(
        "fit-ablation",
        **{f"{name}_step": name for name in steps},
        parts=PARTS,
        train_smooth=train_smooth,
        networks=networks,
        score=lambda name: (len(asked) / 10, len(name)) if name in networks else None,
        strong_accuracy=0.9,
        strong_loss=0.3,
        **names,
    )
    assert networks == {"strong": "kept"}
    return made["ablation"], asked


@pytest.mark.parametrize("names", [(0, 0), (0, 1), (1, 1)])
def test_nothing_is_left_out_by_default_or_without_validation_images(names):
    assert ablation_of(train_ablation=names[0], refit_on_all=names[1]) == ({}, [])


def test_each_training_of_the_ablation_leaves_out_the_part_of_its_name():
    ablation, asked = ablation_of(train_ablation=1, refit_on_all=0)
    assert asked == [
        (("unscaled",), {"verbose": 0}),
        (("adversarial",), {"verbose": 0}),
        (("zero",), {"verbose": 0}),
        (("smooth",), {"verbose": 0, "decay": 0.0}),
        (("smooth",), {"verbose": 0, "share": 0.0}),
    ]
    assert ablation.pop("strong") == {"val_accuracy": 0.9, "val_loss": 0.3}
    expected = [f"without {part}" for part in PARTS]
    assert list(ablation) == expected
    for number, name in enumerate(expected, 1):
        assert ablation[name] == {"val_accuracy": len(name), "val_loss": number / 10}


def test_the_ablation_shows_differences_from_strong_and_the_part_with_the_largest_one(
    monkeypatch, compared, capsys
):
    """Without a part the loss is higher by 1 to 5 thousandths, and the accuracy lower by 1 to 5 hundredths."""
    losses = dict(zip(PARTS, (0.001, 0.002, 0.005, 0.004, 0.003), strict=True))
    records, figures = [], []
    for seed in range(3):
        entry = {"strong": {"val_loss": 0.02 + 0.01 * seed, "val_accuracy": 0.99 - 0.01 * seed}}
        for part in PARTS:
            change = losses[part] * (1 + 0.1 * (seed - 1))
            entry[f"without {part}"] = {
                "val_loss": entry["strong"]["val_loss"] + change,
                "val_accuracy": entry["strong"]["val_accuracy"] - 10 * change,
            }
        records.append({"ablation": entry})
    monkeypatch.setattr(plots, "seed_strip", lambda *a, **named: figures.append((a, named)))
    fake = types.SimpleNamespace(
        reference_records=lambda study, lesson: {("strong_ablation", LESSON): records}[study, lesson]
    )
    run_cells("ablation", results=fake, parts=PARTS, guess="a guess")
    assert compared == [("a guess", "smoothness")]
    (differences, title, *_), named = figures[0]
    assert title.startswith("3 seeds")
    said = capsys.readouterr().out.splitlines()
    half = 4.3027 * 0.1 / np.sqrt(3)  # of the 95 % interval: Student's t with two degrees of freedom
    for part, loss in losses.items():
        assert np.allclose(differences[part], loss * np.array([0.9, 1, 1.1]))
        ends = (loss * (1 - half), loss * (1 + half))
        assert np.allclose(named["intervals"][part], ends, rtol=1e-3)
        assert f"val_loss without {part}: {loss:+.4f} ({ends[0]:+.4f} to {ends[1]:+.4f})" in said
        (line,) = [line for line in said if line.startswith(f"val_accuracy without {part}:")]
        assert float(line.split()[-4]) == pytest.approx(-10 * loss)


# --- single cells ---


def test_every_network_is_trained_on_the_same_images_for_equally_many_steps(capsys):
    sizes = {"strong_units": 512, "strong_epochs": 3, "batch_size": 16}
    validation = {"x_val": "validation images", "y_val": np.array([0, 1, 1, 1])}
    y_train = np.arange(50)
    names = run_cells("images", "batches", **sizes, **validation, x_train=np.zeros(50), y_train=y_train)
    assert names["widths"] == [512, 256, 128, 128]
    assert names["num_steps"] == 3 * 4
    for _ in range(2):  # two epochs
        made = [(x.numpy(), y.numpy()) for x, y in names["batches"](y_train + 100)]
        assert [len(x) for x, _ in made] == [16, 16, 16, 2]
        assert all(np.array_equal(x, y + 100) for x, y in made)
    names["networks"]["a"] = "network a"
    answers = np.zeros((4, 10))
    answers[:, :2] = [[0.8, 0.2], [0.4, 0.6], [0.5, 0.5], [0.9, 0.1]]
    names["predict"] = lambda *asked: {("network a", "validation images"): answers}[asked]
    loss, accuracy = names["score"]("a")
    assert accuracy == 0.5
    assert loss == pytest.approx(-np.log([0.8, 0.6, 0.5, 0.1]).mean())
    assert f"a: validation accuracy 50.00%, loss {loss:.4f}" in capsys.readouterr().out


def test_the_statistics_are_those_of_clean_training_images():
    """The average of the first normalisation after 50 batches, in NumPy; the weights are those of the model."""
    x_train = RNG.integers(0, 256, (120, 28, 28)).astype(np.uint8)
    names = run_cells("build", "reestimated", **BUILD, x_train=x_train, loss=LOSS)
    model = names["build_network"](0.5)
    model.set_weights([weights + 0.1 for weights in model.get_weights()])
    again = names["reestimated"](model)
    kernel, _, _, mean, variance = (np.asarray(weights, float) for weights in model.get_weights()[:5])
    for batch in np.array_split(x_train, 50):
        outputs = (batch.reshape(len(batch), 784) / 255) @ kernel
        mean = 0.9 * mean + 0.1 * outputs.mean(axis=0)
        variance = 0.9 * variance + 0.1 * outputs.var(axis=0)
    assert np.allclose(again.get_weights()[3], mean, rtol=1e-3)
    assert np.allclose(again.get_weights()[4], variance, rtol=1e-2, atol=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(trainable(again), trainable(model), strict=True))
    assert not np.allclose(model.get_weights()[3], mean)  # the model itself keeps its statistics


@pytest.mark.parametrize(
    ("losses", "outcome"), [([0.4, 0.3, 0.2, 0.1], "noise-free"), ([0.1, 0.3, 0.4, 0.2], "noisy")]
)
def test_the_statistics_of_noisy_images_come_first_and_those_of_clean_images_are_kept(
    losses, outcome, compared
):
    scores, networks = iter(losses), {}
    names = run_cells(
        "reestimated-scores",
        reestimated=lambda model, noise: (model, noise),
        noisy_network="the network",
        networks=networks,
        noise_stddev=0.25,
        score=lambda name: (next(scores), networks[name][1]),
        guess="noisy",
    )
    assert networks == {"noise": ("the network", 0.0)}
    assert names["losses"] == losses
    assert compared == [("noisy", outcome)]


def test_statistics_are_collected_on_all_images_with_the_noise_that_was_asked():
    seen, built = [], []

    class Network:
        def __init__(self, noise):
            built.append(noise)

        def set_weights(self, weights):
            assert weights == "the weights"

        def __call__(self, batch, training):
            seen.append((batch, training))

        def compile(self, **named):
            assert named == {"loss": "the loss", "metrics": ["accuracy"]}

    names = run_cells("reestimated", build_network=Network, x_train=np.arange(1234), loss="the loss")
    model = types.SimpleNamespace(get_weights=lambda: "the weights")
    for noise in ((0.6,), ()):
        names["reestimated"](model, *noise)
    assert built == [0.6, 0.0]  # without noise, unless it is asked for
    assert np.concatenate([batch for batch, _ in seen]).tolist() == 2 * list(range(1234))
    assert {training for _, training in seen} == {True}


def test_the_layers_whose_statistics_are_compared_are_the_first_dense_and_its_normalisation():
    names = run_cells("build", **BUILD | {"widths": [8, 4]})
    model = names["build_network"](0.3)
    assert isinstance(model.layers[3], keras.layers.Dense)
    assert isinstance(model.layers[4], keras.layers.BatchNormalization)
    assert "layers[3].get_weights()[0]" in CELLS["statistics"]
    assert "layers[4].get_weights()[3]" in CELLS["statistics"]
    assert model.layers[4].weights[3].name == "moving_variance"
    schedule = names["falling_rate"]()
    assert (schedule.initial_learning_rate, schedule.decay_steps) == (0.004, 6)
    assert names["falling_rate"](99).decay_steps == 99
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [(layer.units, layer.use_bias) for layer in dense] == [(8, False), (4, False), (10, True)]
    kinds = [type(layer).__name__ for layer in model.layers]
    block = ["Dense", "BatchNormalization", "Activation"]
    assert kinds == ["Rescaling", "Flatten", "GaussianNoise", *block, *block, "Dense"]
    for noise, stddev in (((0.3,), 0.3), ((), 0.0)):
        (layer,) = [
            layer
            for layer in names["build_network"](*noise).layers
            if isinstance(layer, keras.layers.GaussianNoise)
        ]
        assert layer.stddev == stddev
    first, second = (names["build_network"]().get_weights() for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))  # the same seed


def test_the_first_network_is_trained_as_in_lesson_2(monkeypatch):
    fitted = []

    def fit(model, *data, **options):
        fitted.append((data, options))
        return types.SimpleNamespace(history="the history")

    monkeypatch.setattr(keras.Sequential, "fit", fit)
    names = {"time": types.SimpleNamespace(perf_counter=iter([1.0, 3.0]).__next__), "loss": LOSS}
    names |= {"histories": {}, "networks": {}, "train_seconds": {}, "strong_epochs": 3}
    arrays = {"x_train": "images", "x_val": "unseen images", "y_val": "their labels"}
    arrays["batches"] = lambda inputs: f"batches of {inputs}"
    made = run_cells("fit-baseline", widths=[8, 4, 2], **names, **arrays)
    model = made["networks"]["four_layers"]
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Rescaling", "Flatten", *["Dense"] * 4]
    units = [(layer.units, layer.activation.__name__) for layer in model.layers[2:]]
    assert units == [(8, "relu"), (4, "relu"), (2, "relu"), (10, "softmax")]
    assert model.layers[0].scale == pytest.approx(1 / 255)
    assert (type(model.optimizer).__name__, float(model.optimizer.learning_rate)) == (
        "Adam",
        pytest.approx(0.001),
    )
    expected = {
        "epochs": 3,
        "verbose": 2,
        "shuffle": False,
        "validation_data": ("unseen images", "their labels"),
        "validation_batch_size": 1000,
    }
    assert fitted == [(("batches of images",), expected)]
    assert made["options"] == expected  # the other networks are trained with them, too
    assert made["histories"] == {"four_layers": "the history"}
    assert made["train_seconds"] == {"four_layers": 2.0}


def test_the_second_network_is_trained_with_noise_and_the_schedule(compared):
    network, built = Recorder(), []
    optimizers = types.SimpleNamespace(Adam=lambda rates: f"Adam, {rates}")
    made = run_cells(
        "fit-strong",
        keras=types.SimpleNamespace(optimizers=optimizers),
        time=types.SimpleNamespace(perf_counter=iter([1.0, 3.0]).__next__),
        build_network=lambda noise: built.append(noise) or network,
        falling_rate=lambda: "falling",
        score=lambda name: (0.1, 0.98),
        histories={},
        networks={},
        train_seconds={},
        noise_stddev=0.25,
        loss="the loss",
        x_train="images",
        batches=lambda inputs: f"batches of {inputs}",
        options={"epochs": 3},
        guess="a guess",
    )
    assert built == [0.25]
    assert network.calls == [
        ("compile", ("Adam, falling", "the loss"), {"metrics": ["accuracy"]}),
        ("fit", ("batches of images",), {"epochs": 3}),
    ]
    assert made["networks"] == {"noise": network}
    assert made["histories"] == {"noise": {"loss": [2]}}
    assert made["train_seconds"] == {"noise": 2.0}
    assert compared == [("a guess", 0.98)]


def test_the_noise_of_the_figure_has_the_standard_deviation_of_its_caption(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "image_grid", lambda *arguments: figures.append(arguments))
    x_val = RNG.integers(0, 256, (1, 28, 28)).astype(np.uint8)
    run_cells("noisy-images", x_val=x_val, dataset_used="digits")
    shown, captions, _ = figures[0]
    for image, caption in zip(shown, captions, strict=True):
        assert np.std(image - x_val[0] / 255) == pytest.approx(float(caption), rel=0.1)


def test_the_variances_are_those_of_the_first_weighted_sums(capsys):
    """Independent noise adds its variance times the sum of the squared weights."""
    x_train = RNG.integers(0, 256, (2500, 28, 28)).astype(np.uint8)
    kernel, stored = RNG.normal(0, 0.1, (784, 5)), RNG.uniform(1, 2, 5)
    weights = {3: [kernel], 4: [0, 0, 0, stored]}
    found = {i: types.SimpleNamespace(get_weights=lambda i=i: weights[i]) for i in weights}
    network = types.SimpleNamespace(layers=found)
    run_cells("statistics", noisy_network=network, x_train=x_train, noise_stddev=0.5)
    noisy, kept, clean = (float(line.split(":")[1]) for line in capsys.readouterr().out.splitlines())
    sums = (x_train[:2000].reshape(2000, 784) / 255) @ kernel
    expected = sums.var(axis=0).mean()
    assert clean == pytest.approx(expected, abs=0.0006)
    assert noisy == pytest.approx(expected + 0.25 * (kernel**2).sum(axis=0).mean(), rel=0.05)
    assert kept == pytest.approx(stored.mean(), abs=0.0006)


@pytest.mark.parametrize(
    ("cell_id", "network", "kind", "direction", "length"),
    [("pictures", "first", "x_val", 1.0, 0.5), ("towards-figure", "vat", "x_train", 3.0, 2.0)],
)
def test_the_pictures_show_the_step_and_the_predictions_before_and_after(
    cell_id, network, kind, direction, length, monkeypatch
):
    """The adversarial direction is 1 in each pixel, and the direction towards neighbours 3 times as long."""
    figures = []
    monkeypatch.setattr(plots, "moved_images", lambda *arguments: figures.append(arguments))
    arrays = {name: RNG.integers(0, 256, (9, 28, 28)).astype(np.uint8) for name in ("x_train", "x_val")}

    def model(images):
        return ("of the network", np.asarray(images))

    def adversarial_direction(found, images, before):
        assert found is model
        assert before[0] == "of the network"
        return tf.ones_like(images)

    def neighbour_direction(images, near, found):
        assert near == list(range(6))
        return 3 * found

    run_cells(
        cell_id,
        **arrays,
        **({"first": model} if network == "first" else {"networks": {"vat": model}}),
        in_words=lambda found, images: ("words", np.asarray(images)),
        near=list(range(9)),
        adversarial_direction=adversarial_direction,
        neighbour_direction=neighbour_direction,
        vat_epsilon=0.5,
        neighbour_length=2.0,
        dataset_used="digits",
    )
    images, directions, moved, captions, title = figures[0]
    assert np.array_equal(images, arrays[kind][:6])
    assert np.array_equal(directions, np.full((6, 28, 28), direction))
    assert np.allclose(moved, images + 255 * length * direction)
    assert str(length) in title
    assert np.array_equal(captions["before"][1], images)
    assert np.array_equal(captions["after"][1], moved)


def test_the_wrong_unit_makes_the_step_255_times_too_short(capsys):
    made, built = [], []

    class Trainer(Recorder):
        def __init__(self, inputs, outputs):
            super().__init__(inputs, outputs)
            made.append(self)

    class Network:
        inputs, outputs = "inputs", "outputs"

        def __call__(self, images):
            return "before"

    run_cells(
        "wrong",
        keras=types.SimpleNamespace(optimizers=types.SimpleNamespace(Adam=lambda rates: rates)),
        build_network=lambda: built.append(Network()) or built[-1],
        SmoothTraining=Trainer,
        vat_step="vat step",
        falling_rate=lambda steps: f"falling in {steps} steps",
        adversarial_direction=lambda network, images, before: float(network is built[-1]),
        prediction_change=lambda network, images, before, step: step if before == "before" else None,
        x_train=np.arange(3000.0),
        y_train=np.arange(3000),
        x_val=np.zeros(1500),
        y_val=np.arange(1500) % 10,
        predict=lambda network, images: np.eye(10)[[*range(9), 0] * 150] if network is built[-1] else None,
        vat_epsilon=2.55,
        strong_epochs=2,
        batch_size=100,
        loss="the loss",
    )
    assert [trainer.epsilon for trainer in made] == pytest.approx([2.55, 0.01])
    for trainer in made:
        assert trainer.find_step == "vat step"
        (_, compiled, _), (_, (shown, labels), settings) = trainer.calls
        assert compiled == ("falling in 120 steps", "the loss")
        assert (len(shown), len(labels), settings["epochs"]) == (2000, 2000, 6)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "correct unit: validation accuracy 90.00%, mean change 2.5500000",
        "wrong unit: validation accuracy 90.00%, mean change 0.0100000",
    ]


@pytest.mark.parametrize("ablation", [{}, {"strong": {"val_loss": 0.1}}])
def test_the_record_holds_every_network_with_its_training(monkeypatch, ablation):
    saved, described = {}, {}
    monkeypatch.setattr(
        results, "save_model", lambda folder, lesson, model, name: {"file": f"{lesson} {model} {name}"}
    )
    monkeypatch.setattr(
        results, "save_record", lambda folder, lesson, **content: saved.update(content, lesson=lesson)
    )
    names = ("four_layers", "noise", "vat", "strong", "strongest")
    arrays = {name: f"array {name}" for name in ("x_train", "y_train", "x_val", "y_val")}
    run_cells(
        "record",
        data=types.SimpleNamespace(
            describe=lambda name, **given: described.update(given, name=name) or "dataset"
        ),
        results=results,
        folder=None,
        models={name: {"val_accuracy": len(name), "val_loss": 0.3, "temperature": 1.1} for name in names},
        networks={name: name.upper() for name in names},
        histories={name: {"loss": [name]} for name in names},
        train_seconds={name: float(len(name)) for name in names},
        dataset_used="digits",
        lengths="lengths",
        shares="shares",
        ablation=ablation,
        params="params",
        started="started",
        **arrays,
    )
    assert saved.pop("models") == {
        name: {
            "val_accuracy": len(name),
            "val_loss": 0.3,
            "temperature": 1.1,
            "history": {"loss": [name]},
            "train_seconds": float(len(name)),
            "file": f"{LESSON} {name.upper()} {name}",
        }
        for name in names
    }
    same = {name: name for name in ("params", "started", "lengths", "shares", "dataset")}
    assert saved == same | {"lesson": LESSON, "ablation": ablation}
    assert described == arrays | {"name": "digits"}


# --- claims ---


def default_of(name):
    """The value in the cell of parameters."""
    return float(re.search(rf"^{name}: \w+ = ([\d.]+)", CELLS["parameters"], re.M)[1])


ALL_CODE = "\n".join(CELLS[cell["id"]] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")
CLAIMS = [
    ("title", "in four different ways", len(re.findall(r'networks\["\w+"\] = ', ALL_CODE)) >= 4),
    ("baseline-text", "`strong_epochs` epochs", '"epochs": strong_epochs' in CELLS["fit-baseline"]),
    ("batches-text", "`shuffled_batches` makes them", "data.shuffled_batches(inputs" in CELLS["batches"]),
    ("baseline-text", "four hidden layers with ReLU", "for width in widths" in CELLS["fit-baseline"]),
    ("baseline-text", "`refit_on_all` is 1", default_of("refit_on_all") == 0),
    ("noise-text", "a standard deviation of 0.3", default_of("noise_stddev") == 0.3),
    ("build-text", "sizes of the first network", "for width in widths" in CELLS["build"]),
    ("build-text", "half a cosine wave", "CosineDecay(peak_learning_rate, steps)" in CELLS["build"]),
    ("build-text", "Section 10", CELLS["ablation-text"].startswith("## 10.")),
    ("reestimated-why", "four rows", "(1.0, 0.6, noise_stddev, 0.0)" in CELLS["reestimated-scores"]),
    ("smooth-text", "784 dimensions", 28 * 28 == 784),
    ("smooth-text", "six validation images", "x_val[:6]" in CELLS["pictures"]),
    ("smooth-text", "`vat_epsilon`", "255 * vat_epsilon * direction" in CELLS["pictures"]),
    ("smooth-text", "multiplies the step by 255", "images + 255 * step" in CELLS["change"]),
    ("smooth-text", "for the network `four_layers`", "adversarial_direction(first," in CELLS["pictures"]),
    ("pictures-why", "1,000 validation images", "x_val[:1000]" in CELLS["along"]),
    (
        "vat-text",
        "five parts",
        [f"# {n}" in CELLS["smooth-loss"] + CELLS["vat"] for n in range(1, 7)] == [True] * 5 + [False],
    ),
    ("vat-text", "`stop_gradient`", "before = tf.stop_gradient(predictions)" in CELLS["smooth-loss"]),
    ("vat-text", "`stop_recording`", "with tape.stop_recording():" in CELLS["smooth-loss"]),
    ("vat-fit-text", "no noise", "network = build_network()" in CELLS["fit-vat"]),
    ("vat-fit-text", "re-estimated", "reestimated(network)" in CELLS["fit-vat"]),
    (
        "vat-fit-text",
        "pass through the network three times",
        [CELLS[i].count("model(") for i in ("smooth-loss", "change", "vat")] == [1, 1, 0]
        and CELLS["change"].count("prediction_change(") == 2  # its definition, and for the direction
        and CELLS["smooth-loss"].count("prediction_change(") == 1,
    ),
    ("scaling-text", "1,000 training images in training mode", "x_train[:1000]" in CELLS["differences"]),
    ("scaling-text", "for the networks `noise` and `vat`", '("noise", "vat")' in CELLS["differences"]),
    ("scaling-read", "We use one", "gradients=1" in CELLS["scaled"] and "gradients=1" in CELLS["towards"]),
    ("scaling-read", "the logarithm of the probabilities", "tf.math.log(after" in CELLS["scaled"]),
    ("neighbours-text", "eight nearest training images", "count=8" in CELLS["neighbours"]),
    ("neighbours-text", "`neighbour_length`", "neighbour_length * neighbour_direction" in CELLS["towards"]),
    ("decay-text", "here 5 % of them", "steps // 20" in CELLS["strong-optimiser"]),
    ("decay-text", "`use_ema=True`", '"use_ema": share > 0' in CELLS["strong-optimiser"]),
    ("decay-text", "fluctuates around 1", "1 + 0.3 * rng.normal()" in CELLS["decay"]),
    ("strong-optimiser-text", "about a twentieth of all steps", default_of("average_share") == 0.05),
    ("strong-fit-text", "its eight neighbours", "count=8" in CELLS["neighbours"]),
    ("strongest-text", "two gradients", "gradients=2" in CELLS["strongest"]),
    ("strongest-text", "half of the images", "tf.random.uniform(shape) < 0.5" in CELLS["strongest"]),
    (
        "strongest-text",
        "If `strongest_epochs` is 0",
        CELLS["fit-strongest"].startswith("if strongest_epochs:"),
    ),
    ("along-vat-why", "moves three validation images", "x_val[:3]" in CELLS["answers"]),
    ("scores-why", "in training mode", '"strong, training mode"' in CELLS["along-vat"]),
    (
        "ablation-text",
        "five parts",
        len(PARTS) == 5 and str(PARTS).replace("'", '"') in CELLS["predict-ablation"],
    ),
    ("ablation-text", "`train_ablation=1`", default_of("train_ablation") == 0),
    ("wrong-text", "2,000 images", "x_train[:2000]" in CELLS["wrong"]),
    ("wrong-text", "three times as many epochs", "3 * strong_epochs" in CELLS["wrong"]),
    ("wrong-text", "255 times too short", '("wrong", vat_epsilon / 255)' in CELLS["wrong"]),
]


@pytest.mark.parametrize(("cell_id", "text", "is_true"), CLAIMS)
def test_the_text_and_the_code_agree(cell_id, text, is_true):
    assert text in CELLS[cell_id]
    assert is_true


def test_every_network_of_the_comparison_is_trained_on_the_same_images():
    fitted = re.findall(r"(\w+)\.fit\((.+)\)\.history", ALL_CODE)
    assert fitted == [
        ("first", "batches(x_train), **options"),
        ("noisy_network", "batches(x_train), **options"),
        ("trainer", "batches(x_train), **options"),
        ("model", "batches((x_train, near)), **settings"),
    ]
    assert ALL_CODE.count(".fit(") == 6  # the search for neighbours, and section 11


def test_keras_has_the_defaults_that_the_text_names():
    adam = inspect.signature(keras.optimizers.Adam).parameters
    assert adam["learning_rate"].default == 0.001
    assert "default learning rate of 0.001" in CELLS["baseline-text"]
    assert 'compile("adam"' in CELLS["fit-baseline"]
    assert "use_ema" in inspect.signature(keras.optimizers.AdamW).parameters


def test_the_direction_is_called_an_approximation_and_noise_no_geometry():
    prose = " ".join(CELLS[cell["id"]] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
    assert "One gradient is enough to approximate this direction" in prose
    assert not re.search(r"\bworst\b", prose)
    assert "*geometric augmentation*" in prose


# --- what five seeds say ---

RECORDS = results.reference_records("strong_ablation", LESSON)


def interval_without(part, metric):
    of_strong, without = (
        [record["ablation"][name][metric] for record in RECORDS] for name in ("strong", f"without {part}")
    )
    return metrics.paired_difference(of_strong, without)


def test_the_text_about_the_ablation_is_what_five_seeds_gave():
    assert len(RECORDS) == 5
    losses = {part: interval_without(part, "val_loss") for part in PARTS}
    accuracies = {part: interval_without(part, "val_accuracy") for part in PARTS}
    text = CELLS["ablation-why"]
    assert "The loss rises most without smoothness" in text
    assert max(losses, key=lambda part: losses[part].mean) == "smoothness"
    assert (
        "without the scaling, the steps towards neighbours or the weight decay: these intervals do not"
        in text
    )
    assert all(losses[part].low > 0 for part in ("scaling", "neighbours", "weight decay"))
    assert "The accuracy falls without the scaling and without the neighbours; for the weight decay" in text
    assert all(accuracies[part].high < 0 for part in ("scaling", "neighbours"))
    assert accuracies["weight decay"].low < 0 <= accuracies["weight decay"].high
    assert "Without the averaging almost nothing changes" in text
    for differences in (losses, accuracies):
        assert differences["averaging"].low < 0 < differences["averaging"].high
        assert abs(differences["averaging"].mean) < 0.0001


def test_what_the_text_expects_of_the_networks_is_what_five_seeds_gave():
    assert "98.3 to 98.8 %" in CELLS["strong-why"]
    assert (
        "less than half as many errors" in CELLS["title"] and "less than half as many" in CELLS["scores-why"]
    )
    assert "The validation accuracy is higher again" in CELLS["vat-why"]
    assert "Its temperature is closer to 1 than that of `vat`" in CELLS["scores-why"]
    for record in RECORDS:
        models = record["models"]
        errors = {name: 1 - entry["val_accuracy"] for name, entry in models.items()}
        assert errors["four_layers"] > errors["noise"] > errors["vat"] > errors["strong"]
        assert errors["strong"] < errors["four_layers"] / 2
        assert 0.983 <= models["noise"]["val_accuracy"] < 0.9885
        distances = {name: abs(np.log(models[name]["temperature"])) for name in ("vat", "strong")}
        assert distances["strong"] < distances["vat"]
        assert min(models, key=lambda name: models[name]["val_loss"]) == "strong"
