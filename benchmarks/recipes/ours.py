"""Our fast recipe: the very cells of the notebook `further/faster_training`; and how such cells are run."""

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
    return prediction(run_cells("fast_recipe", names, seed)["fast"])


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


def prediction(model: Any) -> Predict:
    """Returns a function that names the digits of images."""
    return lambda images: model.predict(images, batch_size=1000, verbose=0).argmax(axis=1)
