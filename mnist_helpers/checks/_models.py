"""Checks of Keras networks, built with `Sequential`, with the functional API, or as a class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from mnist_helpers.checks._core import AnswerError, expect, given, short


def network(answer: Any, name: str) -> keras.Model:
    """Returns an answer that is a Keras network from images of 28x28 pixels to ten numbers.

    Raises:
        NotDoneError: the answer is missing.
        AnswerError: it is not a Keras network, or it takes or returns something else.
    """
    given(**{name: answer})
    expect(
        isinstance(answer, keras.Model),
        f"{name} should be a Keras network. Received: {short(answer)}.",
    )
    try:
        shape = outputs(answer, np.zeros((2, 28, 28), "uint8")).shape
    except Exception as error:
        raise AnswerError(
            f"{name} does not accept images of the shape (28, 28): {short(str(error), 200)}. The first line of a "
            "network says what comes in: keras.Input(shape=(28, 28))."
        ) from None
    expect(
        shape == (2, 10),
        f"For two images, {name} should return two rows of ten numbers. Received: the shape {shape}.",
    )
    return answer


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns the outputs of a network in inference mode, float `(n, 10)`.

    `predict` would make a function of each new network, and TensorFlow warns of this after a few checks.
    """
    batches = [images[start : start + 256].astype("float32") for start in range(0, len(images), 256)]
    return np.concatenate([np.asarray(model(batch, training=False)) for batch in batches])


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the fraction of images whose greatest output is that of their label."""
    return float(np.mean(outputs(model, images).argmax(axis=1) == labels))


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns the probabilities of a network whose outputs are probabilities or logits, float `(n, 10)`."""
    return as_probabilities(outputs(model, images))


def as_probabilities(values: np.ndarray) -> np.ndarray:
    """Returns outputs that are probabilities or logits as probabilities."""
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yields the layers of a network, and those of the networks in it, from input to output."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer
