"""Our strong recipe: the very cells of `further/stronger_networks`, in the sizes of the full profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from benchmarks.recipes import ours
from benchmarks.schedules import RECIPES, Predict
from mnist_course import lessons
from mnist_helpers import data

_NAME = "strong_recipe"


def strong(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """The strong recipe of `further/stronger_networks`."""
    found = train(x, y, seed, epochs, {})
    return ours.prediction(found["network"])


def train(
    x: np.ndarray, y: np.ndarray, seed: int, epochs: int, replaced: Mapping[str, Any]
) -> dict[str, Any]:
    """Runs the tagged cells, and then the training.

    Args:
        x: training images.
        y: their labels.
        seed: the notebook's parameter `seed`.
        epochs: passes over the images.
        replaced: variables of the notebook that are replaced as soon as a cell has defined them.

    Returns:
        All variables of the notebook, and the trained `network`.
    """
    declared = lessons.declared(RECIPES[_NAME].notebook)
    names = {key: value for key, value in lessons.profile_parameters("full").items() if key in declared}
    names |= {"x_train": x, "y_train": y, "strong_epochs": epochs, "NearestNeighbors": NearestNeighbors}
    names |= {"data": data, "options": {"shuffle": False}}
    found = ours.run_cells(_NAME, names, seed, dict(replaced))
    network, _ = found["train_smooth"](found["smooth_step"], verbose=0)
    return found | {"network": network}
