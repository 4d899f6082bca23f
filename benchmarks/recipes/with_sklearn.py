"""scikit-learn's MLPClassifier."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks.schedules import Predict


def classifier(x: np.ndarray, y: np.ndarray, seed: int, epochs: int, **settings: Any) -> Predict:
    """MLPClassifier with the given settings, on float32 pixels from 0 to 1.

    It trains for the whole number of epochs: the rule that stops it when the loss no longer falls is off.
    """
    model = MLPClassifier(max_iter=epochs, n_iter_no_change=epochs + 1, random_state=seed, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
        model.fit(_pixels(x), y)
    return lambda images: model.predict(_pixels(images))


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / np.float32(255)
