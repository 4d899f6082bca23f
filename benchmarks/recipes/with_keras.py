"""Keras as its users find it in examples."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from benchmarks.schedules import Predict


def default(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """A typical script: 256-128 with batch normalisation and dropout, Adam with its defaults, batches of 32."""
    return _fitted(x, y, seed, epochs, [256, 128], "adam", 32, normalised=True, dropout=0.3)


def mnist_mlp(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """Keras' own example `mnist_mlp.py`: 512-512 with dropout, RMSprop, batches of 128."""
    return _fitted(x, y, seed, epochs, [512, 512], "rmsprop", 128, dropout=0.2)


def network(widths: list[int], *, normalised: bool = False, dropout: float = 0.0) -> Any:
    """Builds a classifier of images with pixels from 0 to 255: hidden layers of these widths, with ReLU."""
    model = keras.Sequential(
        [keras.Input(shape=(28, 28)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    )
    for width in widths:
        model.add(keras.layers.Dense(width))
        if normalised:
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation("relu"))
        if dropout:
            model.add(keras.layers.Dropout(dropout))
    model.add(keras.layers.Dense(10, activation="softmax"))
    return model


def _fitted(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    epochs: int,
    widths: list[int],
    optimizer: str,
    batch_size: int,
    **layers: Any,
) -> Predict:
    keras.utils.set_random_seed(seed)
    model = network(widths, **layers)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
    return lambda images: model.predict(images, batch_size=1000, verbose=0).argmax(axis=1)
