"""Settings of our two recipes, for the programs that follow them in another library.

The notebooks define the recipes; tests compare these numbers with the notebooks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FastRecipe:
    """The recipe of `further/faster_training`.

    Attributes:
        widths: pixels, neurons of the hidden layers, and digits.
        batch_size: images per update.
        start: learning rate of the first update.
        peak: highest learning rate.
        warm_up: the learning rate rises in the first of so many equal parts of the updates.
        epsilon: the constant in Adam's denominator, which is Keras' default.
    """

    widths: tuple[int, ...] = (784, 512, 256, 10)
    batch_size: int = 256
    start: float = 0.0005
    peak: float = 0.005
    warm_up: int = 5
    epsilon: float = 1e-7


@dataclass(frozen=True)
class StrongRecipe(FastRecipe):
    """The recipe of `further/stronger_networks`.

    Attributes (besides those of `FastRecipe`, with other values):
        weight_decay: of the hidden layers' kernels.
        average_share: share of all updates over which the weights are averaged.
        normalisation_epsilon: the constant in batch normalisation's denominator.
        adversarial_step: length of the step in the adversarial direction, for pixels from 0 to 1.
        neighbour_step: length of the step towards the neighbours.
        neighbours: number of nearest images of the same class.
        gradients: how many gradients the search for the adversarial direction takes.
    """

    widths: tuple[int, ...] = (784, 1024, 512, 256, 256, 10)
    batch_size: int = 250
    start: float = 0.0002
    peak: float = 0.004
    warm_up: int = 20
    weight_decay: float = 0.3
    average_share: float = 0.05
    normalisation_epsilon: float = 1e-3
    adversarial_step: float = 2.1
    neighbour_step: float = 2.0
    neighbours: int = 8
    gradients: int = 1


FAST, STRONG = FastRecipe(), StrongRecipe()


def learning_rates(recipe: FastRecipe, updates: int) -> np.ndarray:
    """Returns the learning rate of each update, `(updates,)`: a linear warm-up, then half a cosine wave to zero."""
    rising = updates // recipe.warm_up
    step = np.arange(updates)
    warm_up = recipe.start + (recipe.peak - recipe.start) * step / max(rising, 1)
    decay = recipe.peak * (1 + np.cos(np.pi * (step - rising) / (updates - rising))) / 2
    return np.where(step < rising, warm_up, decay)


def glorot_uniform(widths: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """Returns initial kernels as Keras draws them (Glorot and Bengio 2010), float32 `(inputs, outputs)`."""
    dice = np.random.default_rng(seed)
    shapes = list(itertools.pairwise(widths))
    limits = [np.sqrt(6 / sum(shape)) for shape in shapes]
    return [
        dice.uniform(-limit, limit, shape).astype("float32")
        for limit, shape in zip(limits, shapes, strict=True)
    ]
