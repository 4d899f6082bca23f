"""The time to an accuracy: one timer for all programs, and what its measurements say.

A measurement trains one schedule once. Its time holds everything from the raw arrays to the trained network:
preparing the arrays, building, tracing and compiling the network, training. Importing the library is timed apart,
and scoring is not timed. A schedule reaches a mark if its mean accuracy over the seeds is at or above the mark; its
time is the median over the seeds. A recipe's time for a mark is that of its fastest schedule which reaches it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.schedules import CANDIDATES, MARKS, RECIPES, Recipe, Schedule, mean_accuracy, reaches
from mnist_course import lessons
from mnist_helpers import data
from mnist_helpers._errors import check

VALUES = {
    "seconds": 4,
    "accuracy": 6,
    "import_seconds": 4,
}  # of a measurement, with the decimals that are kept

Pair = tuple[np.ndarray, np.ndarray]  # images, uint8 (n, 28, 28), and labels, uint8 (n,)
Runs = Mapping[
    str, Mapping[str, list[float]]
]  # name of a schedule -> seeds, seconds, accuracy, import_seconds


def images(quick: bool, *, seed: int = 1, validation: bool = False) -> tuple[Pair, Pair]:
    """Returns the images to train on, and those to score on.

    Args:
        quick: True for the digits in place of MNIST.
        seed: of the split, where there is one.
        validation: True to split the training images, as lessons do, in place of the test images.
    """
    dataset = "digits" if quick else "mnist"
    if validation:
        return data.load_training(dataset, seed=seed)
    arrays, _ = data.load_arrays(dataset)
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


def measure(schedule: Schedule, seed: int, train: Pair, held_out: Pair) -> dict[str, float]:
    """Imports, trains and scores once, in this process.

    Returns:
        `import_seconds`; `seconds`, from the raw arrays to the trained network; `accuracy`, 0-1.

    Raises:
        ValueError: the program does not predict one digit for each image.
    """
    recipe = RECIPES[schedule.recipe]
    begun = time.perf_counter()
    function = recipe.load()
    imported = time.perf_counter()
    predict = function(*train, seed, schedule.epochs, **schedule.settings)
    trained = time.perf_counter()
    digits, labels = np.asarray(predict(held_out[0])), held_out[1]
    check(digits.shape == labels.shape, f"digits of shape {labels.shape}", digits.shape)
    return {
        "seconds": trained - imported,
        "accuracy": float(np.mean(digits == labels)),
        "import_seconds": imported - begun,
    }


def code_sha256(recipe: Recipe) -> str:
    """Returns a hash of what defines a recipe: its code, the twins' settings, the notebook's cells and sizes."""
    modules = [recipe.module, "twins", *(["ours"] if recipe.is_ours else [])]
    modules += ["adam"] if recipe.module == "with_jax" else []
    texts = [_path_of(f"benchmarks.recipes.{name}").read_text(encoding="utf-8") for name in modules]
    texts += [lessons.tagged_source(recipe.notebook, tag) for tag in recipe.tags]
    if recipe.is_ours:
        texts.append(repr(lessons.declared(recipe.notebook) | lessons.profile_parameters("full")))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _path_of(module: str) -> Path:
    """Returns the file of a module, without importing its library."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return Path(spec.origin)


# --- what the measurements say ---


def compact(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Collects measurements by schedule, in the order of `CANDIDATES` and of the seeds.

    Args:
        entries: `name`, `seed` and `value` of each.

    Returns:
        name -> `seeds`, and for each of `VALUES` a number per seed.
    """
    found = {}
    for name in CANDIDATES:
        own = sorted((entry for entry in entries if entry["name"] == name), key=lambda entry: entry["seed"])
        if own:
            found[name] = {"seeds": [entry["seed"] for entry in own]} | {
                key: [round(entry["value"][key], decimals) for entry in own]
                for key, decimals in VALUES.items()
            }
    return found


def summary(runs: Runs) -> list[dict[str, Any]]:
    """Compares the recipes at each mark.

    Args:
        runs: from `compact`.

    Returns:
        For each mark: `mark`; `ours`, the name of our fastest recipe that reaches it, or `None`; `recipes`, name ->
        entry of its schedule from `entry`, with `reached`, and `ratio`, `ratio_low` and `ratio_high`: its time
        divided by ours, with a 95 % interval. A recipe that does not reach the mark has the entry of its most
        accurate schedule and no ratio.
    """
    return [_at_mark(runs, mark) for mark in MARKS]


def _at_mark(runs: Runs, mark: float) -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = {}
    for recipe in RECIPES.values():
        own = [entry(runs, name) for name in runs if CANDIDATES[name].recipe == recipe.name]
        if not own or mark not in recipe.marks:
            continue
        above = [found for found in own if reaches(runs[found["schedule"]]["accuracy"], mark)]
        best = max(own, key=lambda found: found["mean_accuracy"])
        fastest = min(above, key=lambda found: found["median_seconds"]) if above else best
        entries[recipe.name] = fastest | {"reached": bool(above)}
    reached = {name: found for name, found in entries.items() if found["reached"]}
    ours = min(
        (name for name in reached if RECIPES[name].is_ours),
        key=lambda name: reached[name]["median_seconds"],
        default=None,
    )
    for name, found in entries.items():
        numbers: dict[str, Any] = dict.fromkeys(("ratio", "ratio_low", "ratio_high"))
        if ours and found["reached"]:
            numbers = ratio(runs[found["schedule"]], runs[entries[ours]["schedule"]])
        entries[name] = found | numbers
    return {"mark": mark, "ours": ours, "recipes": entries}


def entry(runs: Runs, name: str) -> dict[str, Any]:
    """Summarises the runs of a schedule.

    Returns:
        `schedule`, `epochs`, `n`, `median_seconds` with the smallest and largest as `low` and `high`,
        `mean_accuracy`, and `import_seconds`, a median.
    """
    seconds = runs[name]["seconds"]
    return {
        "schedule": name,
        "epochs": CANDIDATES[name].epochs,
        "n": len(seconds),
        "median_seconds": float(np.median(seconds)),
        "low": float(min(seconds)),
        "high": float(max(seconds)),
        "mean_accuracy": mean_accuracy(runs[name]["accuracy"]),
        "import_seconds": float(np.median(runs[name]["import_seconds"])),
    }


def ratio(
    peer: Mapping[str, Sequence[float]],
    ours: Mapping[str, Sequence[float]],
    *,
    repeats: int = 10_000,
    dice_seed: int = 0,
) -> dict[str, float | None]:
    """Divides the median time of a peer by that of ours, with a 95 % interval.

    The interval is a percentile bootstrap over seeds (Efron 1979, Annals of Statistics 7, p. 1). A seed is one
    round of the benchmark, in which all programs take turns, so both times of a drawn seed are taken together: a
    round in which the machine was slow is slow for both.

    Args:
        peer: `seeds` and `seconds`.
        ours: the same of our schedule. Seeds that only one of them has are left out.
        repeats: how often seeds are drawn.
        dice_seed: makes the draws repeatable.

    Returns:
        `ratio`, `ratio_low`, `ratio_high`; the ends are `None` for fewer than two common seeds, and `ratio`, too,
        if there is none.
    """
    times = [dict(zip(runs["seeds"], runs["seconds"], strict=True)) for runs in (peer, ours)]
    common = sorted(times[0].keys() & times[1].keys())
    pairs = np.array([[own[seed] for seed in common] for own in times], float)  # (2, seeds)
    found: dict[str, float | None] = dict.fromkeys(("ratio", "ratio_low", "ratio_high"))
    if common:
        top, bottom = np.median(pairs, axis=1)
        found["ratio"] = float(top / bottom)
    if len(common) >= 2:
        drawn = np.random.default_rng(dice_seed).integers(len(common), size=(repeats, len(common)))
        top, bottom = np.median(pairs[:, drawn], axis=2)
        low, high = np.quantile(top / bottom, (0.025, 0.975))
        found |= {"ratio_low": float(low), "ratio_high": float(high)}
    return found
