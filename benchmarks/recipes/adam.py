"""The update of Adam, for the programs of the benchmarks that are written in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

_BETAS = (0.9, 0.999)


def start(weights: Any) -> tuple[Any, Any, Any]:
    """Returns the state before the first update: two averages, of zeros, and the number of updates."""
    return jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights), jnp.zeros(())


def update(
    weights: Any, slopes: Any, state: tuple[Any, Any, Any], rate: Any, epsilon: float
) -> tuple[Any, tuple[Any, Any, Any]]:
    """Makes one update (Kingma and Ba 2015, with epsilon as Keras applies it, after the correction of the bias).

    Args:
        weights: arrays, in any nested form.
        slopes: the gradients, in the same form.
        state: as returned by `start` or by the update before.
        rate: the learning rate.
        epsilon: added to the root of the second average.

    Returns:
        The new weights and the new state.
    """
    first, second, count = state
    first = jax.tree.map(lambda old, slope: _BETAS[0] * old + (1 - _BETAS[0]) * slope, first, slopes)
    second = jax.tree.map(lambda old, slope: _BETAS[1] * old + (1 - _BETAS[1]) * slope**2, second, slopes)
    count += 1
    size = rate * jnp.sqrt(1 - _BETAS[1] ** count) / (1 - _BETAS[0] ** count)

    def moved(weight: Any, mean: Any, square: Any) -> Any:
        return weight - size * mean / (jnp.sqrt(square) + epsilon)

    return jax.tree.map(moved, weights, first, second), (first, second, count)
