"""Where the time of an update of our strong recipe goes: parts are left out, one at a time.

The cells of `further/stronger_networks` run as they are, except that a function of theirs, or a class of Keras, is
replaced by one that does almost nothing. The difference to the complete update is what the part costs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

NUM_IMAGES = 10_000
EPOCHS = (1, 6)  # the time of an update is the difference of two trainings, in which all set-up cancels


@dataclass(frozen=True)
class Variant:
    """What is left out of an update.

    Attributes:
        variables: variable of the notebook -> what replaces it.
        keras: class of Keras, with its module -> what replaces it.
    """

    variables: Mapping[str, Any] = field(default_factory=dict)
    keras: Mapping[str, Any] = field(default_factory=dict)


def _random_direction(model: Any, images: Any, *others: Any, **more: Any) -> Any:
    """Replaces the search for the adversarial direction: a random direction, without a gradient."""
    import tensorflow as tf

    shape = tf.shape(images)
    return tf.math.l2_normalize(tf.random.normal(shape), axis=list(range(1, len(images.shape))))


def _no_direction(*arguments: Any, **more: Any) -> float:
    return 0.0


def _no_normalisation(*arguments: Any, **more: Any) -> Any:
    import keras

    return keras.layers.Activation("linear")


def _plain_descent(learning_rate: Any, **more: Any) -> Any:
    import keras

    return keras.optimizers.SGD(learning_rate)


COMPLETE = "complete update"
VARIANTS = {
    COMPLETE: Variant(),
    "without the search for the adversarial direction": Variant({"scaled_direction": _random_direction}),
    "without the step towards the neighbours": Variant({"neighbour_direction": _no_direction}),
    "without batch normalisation": Variant(keras={"keras.layers.BatchNormalization": _no_normalisation}),
    "with SGD for AdamW": Variant(keras={"keras.optimizers.AdamW": _plain_descent}),
}


def milliseconds(x: np.ndarray, y: np.ndarray, seed: int, variant: Variant) -> dict[str, float]:
    """Measures an update of the strong recipe.

    Args:
        x: training images, of which `NUM_IMAGES` are used.
        y: their labels.
        seed: of the training.
        variant: what is left out.

    Returns:
        `milliseconds` of an update.
    """
    from benchmarks.recipes import ours_strong

    x, y = x[:NUM_IMAGES], y[:NUM_IMAGES]
    seconds, updates = [], []
    for epochs in (min(EPOCHS), *EPOCHS):  # the first training only warms up
        begun = time.perf_counter()
        with contextlib.ExitStack() as stack:
            for target, stand_in in variant.keras.items():
                stack.enter_context(mock.patch(target, stand_in))
            found = ours_strong.train(x, y, seed, epochs, variant.variables)
        seconds.append(time.perf_counter() - begun)
        updates.append(epochs * -(-len(x) // found["batch_size"]))
    return {"milliseconds": 1000 * (seconds[2] - seconds[1]) / (updates[2] - updates[1])}


def summary(values: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    """Compares the variants with the complete update.

    Args:
        values: name of a variant -> seed -> milliseconds.

    Returns:
        name -> `median`, `low`, `high`, `n`, and `saved`: the share of the complete update that is saved, from the
        medians over the seeds that both have; `None` if there are none.
    """
    return {name: _entry(values[name], values.get(COMPLETE, {})) for name in VARIANTS if name in values}


def _entry(own: Mapping[int, float], complete: Mapping[int, float]) -> dict[str, Any]:
    numbers, saved = list(own.values()), None
    if common := own.keys() & complete.keys():
        saved = 1 - float(np.median([own[i] for i in common]) / np.median([complete[i] for i in common]))
    return {
        "median": float(np.median(numbers)),
        "low": float(min(numbers)),
        "high": float(max(numbers)),
        "n": len(numbers),
        "saved": saved,
    }
