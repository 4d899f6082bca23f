"""Which programs compete, with which schedules, and how the schedules that are measured are chosen.

A *schedule* is a recipe with its settings and its number of epochs, fixed in advance. `CANDIDATES` lists all that
were tried. They are compared on validation images. The test images score the schedules that `chosen` returns, and
no others.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_helpers._errors import UserError

FEWEST_VALIDATION_SEEDS = 2  # of each candidate, before schedules are chosen
# The target accuracies, in ascending order: the best of the reference that the project started from, and two of
# further work.
MARKS = (0.9803, 0.99, 0.993)

Predict = Callable[[np.ndarray], np.ndarray]  # images, uint8 (n, 28, 28) -> digits (n,)
Train = Callable[..., Predict]  # images, labels, seed, epochs, **settings


@dataclass(frozen=True)
class Recipe:
    """A way to train a network, in one library.

    Attributes:
        name: in tables and figures.
        module: the module of `benchmarks.recipes` that has it.
        function: the function in that module.
        package: the package that it needs, which may be absent.
        marks: the accuracies for which it competes.
        notebook: for our own recipes, the notebook whose cells are run.
        tags: the tags of these cells, in order.
        about: what it is, for the report.
    """

    name: str
    module: str
    function: str
    package: str
    about: str
    marks: tuple[float, ...] = MARKS
    notebook: str = ""
    tags: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is a recipe of the course."""
        return bool(self.notebook)

    def load(self) -> Train:
        """Imports the recipe's library, and returns the function that trains."""
        return getattr(importlib.import_module(f"benchmarks.recipes.{self.module}"), self.function)


_FAST_TAGS = ("network", "schedule", "fast-recipe")
_STRONG_TAGS = tuple(
    f"strong-{part}"
    for part in (
        *("sizes", "batches", "network", "statistics", "change", "loss", "training", "direction"),
        *("neighbours", "step", "optimiser", "fit"),
    )
)
_ALL_RECIPES = (
    Recipe(
        "fast_recipe",
        "ours",
        "fast",
        "keras",
        "ours: the cells of further/faster_training",
        marks=MARKS[:1],
        notebook="faster_training",
        tags=_FAST_TAGS,
    ),
    Recipe(
        "strong_recipe",
        "ours_strong",
        "strong",
        "keras",
        "ours: the cells of further/stronger_networks",
        marks=MARKS[1:],
        notebook="stronger_networks",
        tags=_STRONG_TAGS,
    ),
    Recipe(
        "keras_default",
        "with_keras",
        "default",
        "keras",
        "a typical script: 256-128, batch normalisation, dropout, Adam, batches of 32",
    ),
    Recipe(
        "keras_mnist_mlp",
        "with_keras",
        "mnist_mlp",
        "keras",
        "Keras' own example: 512-512, dropout, RMSprop, batches of 128",
    ),
    Recipe(
        "sklearn", "with_sklearn", "classifier", "sklearn", "scikit-learn's MLPClassifier, the best setting"
    ),
    Recipe(
        "torch",
        "with_torch",
        "fast",
        "torch",
        "the fast recipe in PyTorch: fused Adam, resident floats",
        marks=MARKS[:1],
    ),
    Recipe(
        "torch_strong",
        "with_torch",
        "strong",
        "torch",
        "the strong recipe in PyTorch: fused AdamW, resident floats",
        marks=MARKS[1:],
    ),
    Recipe(
        "jax",
        "with_jax",
        "fast",
        "jax",
        "the fast recipe in JAX: compiled, resident floats",
        marks=MARKS[:1],
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL_RECIPES}


@dataclass(frozen=True)
class Schedule:
    """A recipe with its number of epochs and its settings.

    Attributes:
        recipe: its name.
        epochs: passes over the training images.
        setting: the name of the settings; empty for the recipe's own.
        settings: keyword arguments of the recipe's function.
        reason: why it is a candidate.
    """

    recipe: str
    epochs: int
    reason: str
    setting: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The name in records, tables and figures; no two candidates have the same."""
        words = [self.recipe, self.setting] if self.setting else [self.recipe]
        return f"{' '.join(words)}, {self.epochs} epoch{'s' * (self.epochs != 1)}"


def _lengths(
    recipe: str, epochs: Sequence[int], reason: str, setting: str = "", **settings: Any
) -> list[Schedule]:
    return [Schedule(recipe, number, reason, setting, settings) for number in epochs]


_TWIN = "the same lengths as ours, because it follows the same schedule"
_LADDER = "a ladder from a length that is too short to one where longer training no longer helps"
_HIDDEN = {"256-128": (256, 128), "512-256": (512, 256)}
_CANDIDATES = [
    *_lengths("fast_recipe", (1, 2, 3, 4, 6), "the notebook's 3 epochs, shorter and longer ones"),
    *_lengths("torch", (1, 2, 3, 4, 6), _TWIN),
    *_lengths("jax", (1, 2, 3, 4, 6), _TWIN),
    *_lengths(
        "strong_recipe", (4, 6, 9, 13, 17, 24), "the recipe's 17 epochs, shorter ones and a longer one"
    ),
    *_lengths("torch_strong", (4, 6, 9, 13, 17, 24), _TWIN),
    *_lengths("keras_default", (5, 8, 12, 20, 30), _LADDER),
    *_lengths("keras_mnist_mlp", (4, 6, 9, 12, 20), f"{_LADDER}; the example itself trains for 20 epochs"),
    *_lengths(
        "sklearn", (20,), "the defaults of MLPClassifier: 100 neurons, Adam, batches of 200", "defaults"
    ),
    *(
        schedule
        for name, hidden in _HIDDEN.items()
        for schedule in _lengths(
            "sklearn",
            (6, 9, 12, 20),
            "Adam with its default rate, in networks of the size of the others",
            name,
            hidden_layer_sizes=hidden,
        )
    ),
    *_lengths(
        "sklearn",
        (6, 9, 12),
        "a higher rate with larger batches, which our recipe uses, too",
        "512-256 rate 0.002 batch 256",
        hidden_layer_sizes=(512, 256),
        learning_rate_init=0.002,
        batch_size=256,
    ),
    *_lengths(
        "sklearn",
        (6, 9, 12),
        "stochastic gradient descent with momentum, the other method of MLPClassifier",
        "512-256 SGD rate 0.1 batch 128",
        hidden_layer_sizes=(512, 256),
        solver="sgd",
        learning_rate_init=0.1,
        batch_size=128,
    ),
    *_lengths(
        "sklearn",
        (12, 20),
        "stronger weight decay against overfitting, for the higher target accuracies",
        "512-256 alpha 0.01",
        hidden_layer_sizes=(512, 256),
        alpha=0.01,
    ),
]
CANDIDATES = {schedule.name: schedule for schedule in _CANDIDATES}


def installed(recipes: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Separates the recipes whose package is installed from the others.

    Args:
        recipes: names of recipes; empty for all.

    Returns:
        The names of the recipes that can be measured, and name -> missing package of the others.
    """
    asked = [RECIPES[name] for name in recipes] or list(RECIPES.values())
    missing = {
        recipe.name: recipe.package for recipe in asked if importlib.util.find_spec(recipe.package) is None
    }
    return [recipe.name for recipe in asked if recipe.name not in missing], missing


def chosen(validation: Mapping[str, Mapping[str, Sequence[float]]], recipe: Recipe) -> list[Schedule]:
    """Chooses the schedules of a recipe that are scored on test images, from what they reach in validation.

    For each mark these are the two fastest candidates whose mean accuracy is at or above it: the fastest one, and
    the next slower one, so that a recipe does not lose a mark because the first one was lucky in validation. If no
    candidate reaches a mark, it is the most accurate one.

    Args:
        validation: name of a schedule -> `seeds`, `seconds` and `accuracy`, a number per seed.
        recipe: the recipe.

    Raises:
        UserError: its candidates have not been measured, or not all of them with the same seeds, at least two.
    """
    measured = [name for name in validation if name in CANDIDATES and CANDIDATES[name].recipe == recipe.name]
    if not measured:
        raise UserError(
            f"The schedules of {recipe.name} have not been compared on validation images. Expected: results in "
            "bench.json or bench.jsonl. Received: none. First run: python -m benchmarks NAME --validate"
        )
    _check_complete(validation, recipe)
    seconds = {name: float(np.median(validation[name]["seconds"])) for name in measured}
    found: set[str] = set()
    for mark in recipe.marks:
        above = [name for name in measured if reaches(validation[name]["accuracy"], mark)]
        best = max(measured, key=lambda name: mean_accuracy(validation[name]["accuracy"]))
        found |= set(sorted(above, key=seconds.__getitem__)[:2] or [best])
    return [schedule for name, schedule in CANDIDATES.items() if name in found]


def _check_complete(validation: Mapping[str, Mapping[str, Sequence[float]]], recipe: Recipe) -> None:
    """Refuses a validation that was interrupted, because it compares candidates over different seeds."""
    names = [name for name, one in CANDIDATES.items() if one.recipe == recipe.name]
    found = Counter(tuple(validation.get(name, {}).get("seeds", ())) for name in names)
    if len(found) == 1 and len(next(iter(found))) >= FEWEST_VALIDATION_SEEDS:
        return
    received = "; ".join(
        f"{count} with {'seeds ' + ', '.join(map(str, seeds)) if seeds else 'no seed'}"
        for seeds, count in found.items()
    )
    raise UserError(
        f"The validation of {recipe.name} is not complete. Expected: all of its {len(names)} candidates with the "
        f"same seeds, at least {FEWEST_VALIDATION_SEEDS}. Received: {received}. Continue it: "
        f"python -m benchmarks NAME --validate --only {recipe.name}"
    )


def mean_accuracy(accuracies: Sequence[float]) -> float:
    """Returns the mean over seeds without the rounding errors of floats: ten times 0.99 is 0.99."""
    return round(float(np.mean(accuracies)), 9)


def reaches(accuracies: Sequence[float], mark: float) -> bool:
    """Returns whether the mean accuracy over seeds is at or above a mark."""
    return mean_accuracy(accuracies) >= mark
