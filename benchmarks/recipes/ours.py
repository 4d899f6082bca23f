"""Our two recipes: the very cells of the notebooks `further/faster_training` and `further/stronger_networks`."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.schedules import RECIPES, Predict
from mnist_course import lessons

# Names that the tagged cells use, besides the parameters of their notebook.
_MODULES = {"keras": keras, "layers": keras.layers, "np": np, "tf": tf, "time": time}


def fast(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """The fast recipe of `further/faster_training`."""
    names = {"x_train": x, "y_train": y, "fast_epochs": epochs}
    return _predict(run_cells("fast_recipe", names, seed)["fast"])


def strong(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """The strong recipe of `further/stronger_networks`."""
    return _predict(run_cells("strong_recipe", strong_names(x, y, epochs), seed)["networks"]["strong"])


def strong_names(x: np.ndarray, y: np.ndarray, epochs: int) -> dict[str, Any]:
    """Returns what the cells before the tagged ones would have defined, without validation images."""
    images = {"x_train": x, "y_train": y, "x_fit": x, "y_fit": y, "validation": None}
    kept: dict[str, Any] = {"networks": {}, "histories": {}, "train_seconds": {}}
    return images | kept | {"strong_epochs": epochs}


def run_cells(recipe: str, names: dict[str, Any], seed: int, replaced: dict[str, Any] | None = None) -> dict:
    """Runs the tagged cells of a recipe's notebook, one after the other.

    Args:
        recipe: its name in `RECIPES`.
        names: variables that take precedence over the notebook's parameters.
        seed: the notebook's parameter `seed`.
        replaced: variables that are replaced as soon as a cell has defined them.

    Returns:
        All variables after the last cell.

    Raises:
        KeyError: no cell defines a variable that is to be replaced.
    """
    notebook, replaced = RECIPES[recipe].notebook, replaced or {}
    found = _MODULES | lessons.declared(notebook) | names | {"seed": seed}
    given = set(found)
    for tag in RECIPES[recipe].tags:
        exec(lessons.tagged_source(notebook, tag), found)
        found.update({name: value for name, value in replaced.items() if name in found})
    if unknown := replaced.keys() - (found.keys() - given):
        raise KeyError(f"No tagged cell of {notebook} defines {', '.join(sorted(unknown))}.")
    return found


def _predict(model: Any) -> Predict:
    return lambda images: model.predict(images, batch_size=1000, verbose=0).argmax(axis=1)
