"""How long should the networks of `further/stronger_networks` be trained?

`python -m benchmarks.lengths FILE --network strongest --epochs 38,50 --seeds 1-16`

This is the notebook's recipe in JAX, which trains all seeds at once. A graphics processor is recommended: it trains
16 networks in about a minute. The networks are compared on validation images only: those by which the recipes were
chosen before. They train on the other 50,000 images, so nothing is chosen by the images of the confirmation.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from sklearn.neighbors import NearestNeighbors

from benchmarks.recipes import adam
from benchmarks.recipes.twins import STRONG, StrongRecipe, glorot_uniform, learning_rates

STRONGEST = dataclasses.replace(STRONG, gradients=2, average_share=0.1)
RECIPES = {"strong": (STRONG, 0.0), "strongest": (STRONGEST, 0.5)}  # and the share of mixed images
_MOMENTUM = 0.9


def train(
    x: np.ndarray, y: np.ndarray, seeds: list[int], epochs: int, recipe: StrongRecipe, mixed: float
) -> tuple[Any, Any]:
    """Trains one network per seed.

    Args:
        x: images, uint8 `(images, 28, 28)`; the number of images is a multiple of the batch size.
        y: digits, `(images,)`.
        seeds: of the initial weights, the order of the images and all random steps.
        epochs: passes over the images.
        recipe: the settings.
        mixed: probability that an image is mixed with another one.

    Returns:
        The averaged weights and the statistics of batch normalisation, arrays with one row per seed.
    """
    near = jnp.asarray(_neighbours(x, y, recipe.neighbours))
    images, labels = jnp.asarray(x.reshape(len(x), -1)), jnp.asarray(y, jnp.int32)
    batches = len(x) // recipe.batch_size
    rates = learning_rates(recipe, epochs * batches).astype("float32").reshape(epochs, batches)
    momentum = 1 - 1 / max(1, recipe.average_share * epochs * batches)
    weights = jax.tree.map(lambda *rows: jnp.stack(rows), *[_initial(recipe, seed) for seed in seeds])
    state = (weights, jax.vmap(adam.start)(weights), weights)
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    dice = [np.random.default_rng(seed) for seed in seeds]
    run = functools.partial(_epoch, recipe, mixed, momentum)
    run = jax.jit(jax.vmap(run, in_axes=(0, None, None, None, 0, 0, None)))
    for epoch, of_epoch in enumerate(rates):
        rows = np.stack([die.permutation(len(x)) for die in dice]).reshape(len(seeds), batches, -1)
        folded = jax.vmap(lambda key, epoch=epoch: jax.random.fold_in(key, epoch))(keys)
        state = run(state, images, labels, near, jnp.asarray(rows), folded, jnp.asarray(of_epoch))
    averaged = state[2]
    rows = jnp.arange(len(x)).reshape(50, -1)
    return averaged, jax.jit(jax.vmap(_statistics, in_axes=(0, None, None)))(averaged, images, rows)


def score(weights: Any, statistics: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns accuracy and mean negative log-likelihood of each seed, `(seeds,)`."""
    images = jnp.asarray(x.reshape(len(x), -1), jnp.float32) / 255
    logits = jax.jit(jax.vmap(lambda w, s: _forward(w, images, s)[0]))(weights, statistics)
    logs = special.log_softmax(np.asarray(logits, np.float64), axis=2)
    return (logs.argmax(axis=2) == y).mean(axis=1), -logs[:, np.arange(len(y)), y].mean(axis=1)


def _neighbours(x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of the nearest images of the same digit, `(images, count)`."""
    pixels = x.reshape(len(x), -1).astype("float32")
    found = np.empty((len(x), count), "int32")
    for digit in range(10):
        rows = np.flatnonzero(y == digit)
        search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(pixels[rows])
        found[rows] = rows[search.kneighbors(return_distance=False)]
    return found


def _initial(recipe: StrongRecipe, seed: int) -> Any:
    """Returns hidden layers as (kernel, scale, shift), then the output layer as (kernel, bias)."""
    *hidden, last = [jnp.asarray(kernel) for kernel in glorot_uniform(recipe.widths, seed)]
    layers = [(kernel, jnp.ones(kernel.shape[1]), jnp.zeros(kernel.shape[1])) for kernel in hidden]
    return [*layers, (last, jnp.zeros(last.shape[1]))]


def _forward(weights: Any, images: Any, statistics: Any = None) -> tuple[Any, Any]:
    """Returns logits, and the means and variances that normalised them: those of the batch if none are given."""
    *hidden, (last, bias) = weights
    used = []
    for i, (kernel, scale, shift) in enumerate(hidden):
        images = images @ kernel
        mean, variance = (
            statistics[i] if statistics is not None else (images.mean(axis=0), images.var(axis=0))
        )
        used.append((mean, variance))
        normalised = (images - mean) * jax.lax.rsqrt(variance + STRONG.normalisation_epsilon)
        images = jax.nn.relu(normalised * scale + shift)
    return images @ last + bias, used


def _statistics(weights: Any, images: Any, rows: Any) -> Any:
    """Returns the moving averages of batch normalisation over the batches `rows`, as Keras computes them."""

    def add(averages: Any, chosen: Any) -> tuple[Any, None]:
        used = _forward(weights, images[chosen].astype(jnp.float32) / 255)[1]
        return jax.tree.map(lambda old, new: _MOMENTUM * old + (1 - _MOMENTUM) * new, averages, used), None

    start = [(jnp.zeros_like(shift), jnp.ones_like(shift)) for _, _, shift in weights[:-1]]
    return jax.lax.scan(add, start, rows)[0]


def _unit(vectors: Any) -> Any:
    squares = (vectors**2).sum(axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(squares, 1e-30))


def _loss(
    weights: Any, recipe: StrongRecipe, pictures: Any, labels: Any, clean: Any, away: Any, key: Any
) -> Any:
    """The notebook's loss: cross-entropy of clean images, and the change along the step."""
    logits = _forward(weights, pictures)[0]
    log_answer = jax.nn.log_softmax(logits)
    label_loss = -(clean * jnp.take_along_axis(log_answer, labels[:, None], axis=1)[:, 0]).mean()
    log_answer = jax.lax.stop_gradient(log_answer)
    answer, fixed = jnp.exp(log_answer), jax.lax.stop_gradient(weights)
    direction = _unit(jax.random.normal(key, pictures.shape))

    def change(direction: Any) -> Any:
        after = jax.nn.log_softmax(_forward(fixed, pictures + direction)[0])
        difference = jax.lax.stop_gradient(_unit(jnp.exp(after) - answer))
        return (difference * after).sum()

    for _ in range(recipe.gradients):
        direction = _unit(jax.grad(change)(direction))
    along = jnp.einsum("inp,ip->in", away, direction)
    towards = _unit(jnp.einsum("in,inp->ip", along, away))
    step = jax.lax.stop_gradient(recipe.adversarial_step * direction + recipe.neighbour_step * towards)
    moved = jax.nn.log_softmax(_forward(weights, pictures + step)[0])
    return label_loss + (answer * (log_answer - moved)).sum(axis=1).mean()


def _epoch(
    recipe: StrongRecipe,
    mixed: float,
    momentum: float,
    state: Any,
    images: Any,
    labels: Any,
    near: Any,
    rows: Any,
    key: Any,
    rates: Any,
) -> Any:
    """Makes an update for each row of `rows`, `(batches, batch size)`."""

    def update(state: Any, batch: Any) -> tuple[Any, None]:
        weights, moments, averages = state
        chosen, rate, key = batch
        random = jax.random.split(key, 4)
        pictures = images[chosen].astype(jnp.float32) / 255
        is_mixed = jax.random.uniform(random[0], chosen.shape) < mixed
        share = jnp.where(is_mixed, jax.random.uniform(random[1], chosen.shape, minval=0.5), 1.0)[:, None]
        pictures = share * pictures + (1 - share) * jax.random.permutation(random[2], pictures)
        away = images[near[chosen]].astype(jnp.float32) / 255 - pictures[:, None]
        slopes = jax.grad(_loss)(
            weights, recipe, pictures, labels[chosen], jnp.where(is_mixed, 0.0, 1.0), away, random[3]
        )
        decayed = [(kernel * (1 - rate * recipe.weight_decay), *rest) for kernel, *rest in weights[:-1]]
        weights, moments = adam.update([*decayed, weights[-1]], slopes, moments, rate, recipe.epsilon)
        # As in Keras, the average begins after the first update.
        kept = jnp.where(moments[-1] == 1, 0.0, momentum)
        averages = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, averages, weights)
        return (weights, moments, averages), None

    return jax.lax.scan(update, state, (rows, rates, jax.random.split(key, len(rates))))[0]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--network", type=click.Choice(list(RECIPES)), default="strongest", show_default=True)
@click.option("--epochs", default="38,50", metavar="LIST", help="Lengths to compare.", show_default=True)
@click.option("--seeds", default="1-16", metavar="LIST", help="Seeds, trained together.", show_default=True)
def main(file: Path, network: str, epochs: str, seeds: str) -> None:
    """Compare lengths of training on validation images; add the scores to FILE (JSON)."""
    # Training and scoring run without the course, on a machine that has JAX but not the course's packages.
    from mnist_course import image_folders
    from mnist_course.run import study
    from mnist_helpers import _files, parameters
    from mnist_helpers._errors import UserError

    try:
        numbers = study.parse_seeds(seeds)
        lengths = [parameters.check("epochs", int(length)) for length in epochs.split(",")]
        x, y, x_val, y_val = image_folders.chosen_by()
    except UserError as error:
        raise click.UsageError(str(error)) from error
    except ValueError as error:
        raise click.UsageError(
            f"--epochs: Expected: whole numbers, such as 38,50. Received: {epochs!r}."
        ) from error
    jax.config.update("jax_default_matmul_precision", "float32")  # graphics processors round more by default
    rows = _files.read_json(file) if file.is_file() else []
    for length in lengths:
        started = time.perf_counter()
        accuracies, losses = score(*train(x, y, numbers, length, *RECIPES[network]), x_val, y_val)
        row = {"network": network, "epochs": length, "seeds": seeds, "val_accuracy": accuracies.tolist()}
        row |= {"val_loss": losses.tolist(), "seconds": time.perf_counter() - started}
        row |= {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
        rows.append(row)
        _files.write_json(file, rows)
        click.echo(
            f"{network}, {length} epochs, {len(numbers)} seeds: validation accuracy {accuracies.mean():.3%}, "
            f"loss {losses.mean():.4f}, {row['seconds']:.0f} s"
        )


if __name__ == "__main__":
    main()
