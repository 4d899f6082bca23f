"""The JAX program that compares lengths of training is the recipe of the notebook."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from sklearn.metrics import log_loss

from benchmarks.recipes import twins
from mnist_course import image_folders
from mnist_helpers import _files, data
from mnist_helpers._errors import UserError
from tests.lessons.test_stronger_networks import LOSS, run_cells

if not importlib.util.find_spec("jax"):
    pytest.skip("JAX is not installed", allow_module_level=True)
import jax
import jax.numpy as jnp

from benchmarks import lengths
from benchmarks.recipes import adam

pytestmark = pytest.mark.course
RNG = np.random.default_rng(7)
WIDTHS = (784, 16, 8, 4, 4, 10)
NOTEBOOK = (
    "build",
    "reestimated",
    "change",
    "smooth-loss",
    "vat",
    "scaled",
    "neighbours",
    "towards",
    "strong-optimiser",
)


def small(recipe=twins.STRONG, **more):
    return lengths.dataclasses.replace(recipe, widths=WIDTHS, **more)


@pytest.fixture(scope="module")
def digits():
    arrays, _ = data.load_arrays("digits")
    return arrays["x_train"][:1000], arrays["y_train"][:1000]


def notebook(x, y, **names):
    one = twins.STRONG
    values = {"widths": WIDTHS[1:-1], "peak_learning_rate": one.peak, "weight_decay": one.weight_decay}
    values |= {"average_share": one.average_share, "num_steps": 100, "vat_epsilon": one.adversarial_step}
    values |= {"neighbour_length": one.neighbour_step, "x_train": x, "y_train": y}
    return run_cells(*NOTEBOOK, "strongest", NearestNeighbors=lengths.NearestNeighbors, **values, **names)


def weights_of(network):
    """Keras' weights in the form of the program, and the statistics."""
    layers, statistics = [], []
    for dense, normalisation in pairs(network):
        scale, shift, mean, variance = map(jnp.asarray, normalisation.get_weights())
        layers.append((jnp.asarray(dense.get_weights()[0]), scale, shift))
        statistics.append((mean, variance))
    return [*layers, tuple(map(jnp.asarray, network.layers[-1].get_weights()))], statistics


def pairs(network):
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    normal = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return zip(dense[:-1], normal, strict=True)


def disturbed(names):
    network = names["build_network"]()
    for variable in network.trainable_variables:
        variable.assign(variable + RNG.normal(0, 0.1, variable.shape))
    return network


def test_the_settings_are_the_notebooks():
    assert lengths.RECIPES["strong"] == (twins.STRONG, 0.0)
    recipe, mixed = lengths.RECIPES["strongest"]
    assert (recipe.gradients, recipe.average_share, mixed) == (2, 2 * twins.STRONG.average_share, 0.5)


def test_the_predictions_are_those_of_the_network(digits):
    x, y = digits
    names = notebook(x, y)
    network = names["reestimated"](disturbed(names))
    weights, statistics = weights_of(network)
    first = jax.tree.map(lambda array: array[None], (weights, statistics))
    accuracy, loss = lengths.score(*first, x, y)
    answers = network.predict(x, verbose=0)
    assert accuracy == [np.mean(answers.argmax(axis=1) == y)]
    assert loss[0] == pytest.approx(log_loss(y, answers, labels=range(10)), rel=1e-4)


def test_neighbours_are_the_notebooks(digits):
    x, y = digits
    assert np.array_equal(lengths._neighbours(x, y, 8), notebook(x, y)["near"])


@pytest.mark.parametrize("gradients", [1, 2])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_the_loss_and_its_gradient_are_the_notebooks(gradients, is_mixed, digits, monkeypatch):
    x, y = digits
    names = notebook(x, y)
    network = disturbed(names)
    weights, _ = weights_of(network)
    images, rows, clean = x[:50].astype("float32"), names["near"][:50], np.ones(50, "float32")
    if is_mixed:
        images = 0.7 * images + 0.3 * images[::-1]
        clean[::2] = 0
    tf.random.set_seed(3)
    start = tf.random.normal(images.shape).numpy().reshape(50, 784)
    monkeypatch.setattr(lengths.jax.random, "normal", lambda key, shape: jnp.asarray(start))
    pictures = images.reshape(50, 784) / 255
    away = x[rows].reshape(50, 8, 784) / 255 - pictures[:, None]
    recipe = small(gradients=gradients)
    value, slopes = jax.value_and_grad(lengths._loss)(
        weights, recipe, jnp.float32(pictures), jnp.int32(y[:50]), clean, jnp.float32(away), None
    )
    trainer = names["SmoothTraining"](network.inputs, network.outputs)
    trainer.find_step = lambda *args: names["smooth_step"](*args, gradients=gradients)
    trainer.compile(loss=LOSS)
    tf.random.set_seed(3)
    with tf.GradientTape() as tape:
        arguments = (tf.constant(images), tf.constant(y[:50]), tf.constant(clean), [tf.constant(rows)])
        total, _ = names["smooth_loss"](trainer, tape, *arguments)
    expected = tape.gradient(total, network.trainable_variables)
    assert float(value) == pytest.approx(float(total), rel=1e-4)
    flat = [array for layer in slopes for array in layer]
    for found, wanted in zip(flat, expected, strict=True):
        assert np.allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())


def test_an_update_is_that_of_the_optimiser(digits, monkeypatch):
    """Four updates along given gradients: decay of the hidden kernels only, warm-up, moving average."""
    x, y = digits
    names = notebook(x, y)
    network = disturbed(names)
    weights, _ = weights_of(network)
    given = jax.tree.map(lambda array: jnp.asarray(RNG.normal(size=array.shape), jnp.float32), weights)

    def loss(weights, *rest):
        return sum(
            (one * w).sum() + (w**2).sum()
            for one, w in zip(jax.tree.leaves(given), jax.tree.leaves(weights), strict=True)
        )

    monkeypatch.setattr(lengths, "_loss", loss)
    recipe, steps = small(warm_up=2, average_share=0.5), 8
    rates = jnp.float32(lengths.learning_rates(recipe, steps))
    momentum = 1 - 1 / (recipe.average_share * steps)
    state = (weights, adam.start(weights), weights)
    arrays = (jnp.asarray(x.reshape(len(x), -1)), jnp.asarray(y), jnp.asarray(names["near"]))
    rows = jnp.arange(steps * 5).reshape(steps, 5)
    trained, (_, _, count), averages = lengths._epoch(
        recipe, 0.0, momentum, state, *arrays, rows, jax.random.key(1), rates
    )
    variables = network.trainable_variables
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.peak / 20, steps - steps // 2, warmup_target=recipe.peak, warmup_steps=steps // 2
    )
    optimizer = names["averaging_adamw"](network, steps, share=0.5)
    optimizer._learning_rate = schedule  # a longer warm-up than the notebook's
    for _ in range(steps):
        slopes = [one + 2 * v.numpy() for one, v in zip(jax.tree.leaves(given), variables, strict=True)]
        optimizer.apply([tf.constant(slope) for slope in slopes], variables)
    assert count == steps
    for found, variable in zip(jax.tree.leaves(trained), variables, strict=True):
        assert np.allclose(found, variable, atol=2e-5)
    optimizer.finalize_variable_values(variables)
    for found, variable in zip(jax.tree.leaves(averages), variables, strict=True):
        assert np.allclose(found, variable, atol=2e-5)


def test_the_statistics_are_reestimated_as_in_the_notebook(digits):
    x, y = digits
    names = notebook(x, y)
    network = disturbed(names)
    weights, _ = weights_of(network)
    found = lengths._statistics(weights, jnp.asarray(x.reshape(len(x), -1)), jnp.arange(1000).reshape(50, -1))
    _, expected = weights_of(names["reestimated"](network))
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.allclose(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("network", ["strong", "strongest"])
def test_seeds_are_trained_together_and_differ(network, digits):
    x, y = digits
    recipe, mixed = lengths.RECIPES[network]
    recipe = lengths.dataclasses.replace(recipe, widths=(784, 64, 32, 16, 16, 10), batch_size=50)
    together = lengths.train(x, y, [1, 2], 4, recipe, mixed)
    accuracies, losses = lengths.score(*together, x, y)
    assert accuracies.min() > 0.7
    assert losses[0] != losses[1]
    alone = lengths.score(*lengths.train(x, y, [2], 4, recipe, mixed), x, y)
    assert alone[1][0] == pytest.approx(losses[1], rel=0.02)


def test_the_command_adds_scores_to_its_file(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(image_folders, "chosen_by", lambda: ("x", "y", "x_val", "y_val"))
    monkeypatch.setattr(lengths, "train", lambda *arguments: trained.append(arguments) or ("w", "s"))
    monkeypatch.setattr(lengths, "score", lambda *arguments: (np.array([0.9, 0.8]), np.array([0.1, 0.2])))
    file = tmp_path / "lengths.json"
    for options in (["--epochs", "3,4"], ["--network", "strong", "--epochs", "5"]):
        done = CliRunner().invoke(lengths.main, [str(file), "--seeds", "4-5", *options])
        assert done.exit_code == 0, done.output
    assert "validation accuracy 85.000%, loss 0.1500" in done.output
    rows = _files.read_json(file)
    assert [(row["network"], row["epochs"], row["seeds"]) for row in rows] == [
        ("strongest", 3, "4-5"),
        ("strongest", 4, "4-5"),
        ("strong", 5, "4-5"),
    ]
    assert rows[0]["val_accuracy"] == [0.9, 0.8]
    assert trained[0] == ("x", "y", [4, 5], 3, *lengths.RECIPES["strongest"])
    assert trained[2][4:] == lengths.RECIPES["strong"]


@pytest.mark.parametrize(
    "options", [["--seeds", "4-"], ["--epochs", "3,x"], ["--epochs", "0"], ["--network", "vat"]]
)
def test_wrong_input_is_one_message(options, tmp_path, monkeypatch):
    monkeypatch.setattr(image_folders, "chosen_by", lambda: ("x", "y", "x_val", "y_val"))
    done = CliRunner().invoke(lengths.main, [str(tmp_path / "file.json"), *options])
    assert done.exit_code == 2
    assert done.output.count("Error") == 1
    assert not [*tmp_path.iterdir()]


def test_without_mnist_there_is_one_message(tmp_path, monkeypatch):
    def fail():
        raise UserError("MNIST was not found.")

    monkeypatch.setattr(image_folders, "chosen_by", fail)
    done = CliRunner().invoke(lengths.main, [str(tmp_path / "file.json")])
    assert done.exit_code == 2
    assert "MNIST was not found." in done.output
