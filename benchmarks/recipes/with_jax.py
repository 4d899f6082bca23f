"""Our fast recipe in JAX: an epoch is one compiled loop over the batches."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.recipes import adam
from benchmarks.recipes.twins import FAST, glorot_uniform, learning_rates
from benchmarks.schedules import Predict


def fast(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """The fast recipe of `further/faster_training`, without each epoch's smaller last batch.

    All batches have one shape, so that the update is compiled once.
    """
    images, labels = _pixels(x), jnp.asarray(y, jnp.int32)
    weights = [
        (jnp.asarray(kernel), jnp.zeros(kernel.shape[1])) for kernel in glorot_uniform(FAST.widths, seed)
    ]
    state = (weights, adam.start(weights))
    batches = len(x) // FAST.batch_size
    rates = learning_rates(FAST, epochs * batches).astype("float32").reshape(epochs, batches)
    dice = np.random.default_rng(seed)
    for of_epoch in rates:
        rows = dice.permutation(len(x))[: batches * FAST.batch_size].reshape(batches, -1)
        state = _epoch(state, images, labels, jnp.asarray(rows), jnp.asarray(of_epoch))
    trained = jax.block_until_ready(state[0])  # JAX computes in the background
    return lambda pictures: np.asarray(_logits(trained, _pixels(pictures)).argmax(axis=1))


@functools.partial(jax.jit, donate_argnums=0)
def _epoch(state: Any, images: Any, labels: Any, rows: Any, rates: Any) -> Any:
    """Makes an update for each row of `rows`, `(batches, batch size)`."""

    def update(state: Any, batch: Any) -> Any:
        weights, averages = state
        chosen, rate = batch
        slopes = jax.grad(_loss)(weights, images[chosen], labels[chosen])
        return adam.update(weights, slopes, averages, rate, FAST.epsilon), None

    return jax.lax.scan(update, state, (rows, rates))[0]


def _loss(weights: Any, images: Any, labels: Any) -> Any:
    logits = jax.nn.log_softmax(_logits(weights, images))
    return -jnp.take_along_axis(logits, labels[:, None], axis=1).mean()


def _logits(weights: Any, images: Any) -> Any:
    *hidden, (kernel, bias) = weights
    for inner, shift in hidden:
        images = jax.nn.relu(images @ inner + shift)
    return images @ kernel + bias


def _pixels(images: np.ndarray) -> Any:
    return jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255
