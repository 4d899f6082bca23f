"""The time to an accuracy: one timer for all programs, and what its measurements say.

A measurement trains one schedule once. Its time holds everything from the raw arrays to the trained network:
preparing the arrays, building, tracing and compiling the network, training. Importing the library is timed apart,
and scoring is not timed. A *mark* is a target accuracy. A schedule reaches a mark if its mean accuracy over the
seeds is at or above the mark; its time is the median over the seeds. A recipe's time for a mark is that of its
fastest schedule which reaches it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import time
from collections.abc import Collection, Mapping, Sequence
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
FEWEST_SEEDS = 6  # of an interval: with fewer, the bootstrap of a median covers clearly less than 95 %

Pair = tuple[np.ndarray, np.ndarray]  # images, uint8 (n, 28, 28), and labels, uint8 (n,)
Runs = Mapping[
    str, Mapping[str, list[float]]
]  # name of a schedule -> seeds, sessions, seconds, accuracy, import_seconds


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
    own = source_of(f"benchmarks.recipes.{recipe.module}")
    shared = re.findall(r"^from benchmarks\.recipes import (\w+)$", own, re.M)
    texts = [own, *(source_of(f"benchmarks.recipes.{name}") for name in ("twins", *shared))]
    texts += [lessons.tagged_source(recipe.notebook, tag) for tag in recipe.tags]
    if recipe.is_ours:
        texts.append(repr(lessons.declared(recipe.notebook) | lessons.profile_parameters("full")))
    return sha256(texts)


def schedule_sha256(schedule: Schedule) -> str:
    """Returns a hash of what a schedule's measurement runs: the recipe, the epochs, the settings and the timer."""
    settings = sorted(schedule.settings.items())
    code = code_sha256(RECIPES[schedule.recipe])
    return sha256([code, repr((schedule.epochs, settings)), inspect.getsource(measure)])


def sha256(texts: Sequence[str]) -> str:
    """Returns a hash of several texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def source_of(module: str) -> str:
    """Returns the source of a module, without importing its library."""
    return _path_of(module).read_text(encoding="utf-8")


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
        entries: `name`, `seed`, `session` and `value` of each.

    Returns:
        name -> `seeds`, `sessions`, and for each of `VALUES` a number per seed.
    """
    found = {}
    for name in CANDIDATES:
        own = sorted((entry for entry in entries if entry["name"] == name), key=lambda entry: entry["seed"])
        if own:
            found[name] = {key + "s": [entry[key] for entry in own] for key in ("seed", "session")} | {
                key: [round(entry["value"][key], decimals) for entry in own]
                for key, decimals in VALUES.items()
            }
    return found


def summary(runs: Runs) -> list[dict[str, Any]]:
    """Compares the recipes at each mark.

    The schedules of a recipe are compared over the seeds that all of them have. A recipe that has seeds in common
    with our recipe is compared with it over these, so that a ratio is that of two medians over the same seeds.

    Args:
        runs: from `compact`, of the schedules that validation chose.

    Returns:
        For each mark: `mark`; `ours`, the name of our fastest recipe that reaches it, or `None`; `recipes`, name ->
        entry of its schedule from `entry`, with `reached`, and the numbers of `ratio`: its time divided by ours. A
        recipe that does not reach the mark has the entry of its most accurate schedule and no ratio; one without a
        seed in common with ours has no ratio.
    """
    return [_at_mark(runs, mark) for mark in MARKS]


def _at_mark(runs: Runs, mark: float) -> dict[str, Any]:
    found = {
        recipe.name: {name: own for name, own in runs.items() if CANDIDATES[name].recipe == recipe.name}
        for recipe in RECIPES.values()
        if mark in recipe.marks
    }
    compared = {recipe: _over_common_seeds(own) for recipe, own in found.items() if own}
    entries = {recipe: _fastest(own, mark) for recipe, own in compared.items()}
    ours = min(
        (recipe for recipe, one in entries.items() if RECIPES[recipe].is_ours and one["reached"]),
        key=lambda recipe: entries[recipe]["median_seconds"],
        default=None,
    )
    if ours is None:
        without = dict.fromkeys(_RATIO)
        return {"mark": mark, "ours": None, "recipes": {name: one | without for name, one in entries.items()}}
    program = compared[ours][entries[ours]["schedule"]]
    for recipe in entries.keys() - {ours}:
        compared[recipe] = _over_common_seeds(found[recipe], program["seeds"])
        entries[recipe] = _fastest(compared[recipe], mark)
    for recipe, one in entries.items():
        numbers = ratio(compared[recipe][one["schedule"]], program) if one["reached"] else {}
        entries[recipe] = one | dict.fromkeys(_RATIO) | numbers
    return {"mark": mark, "ours": ours, "recipes": entries}


def _over_common_seeds(runs: Runs, seeds: Collection[float] | None = None) -> Runs:
    """Keeps the seeds that all schedules have, out of `seeds` if possible; without such seeds, keeps all."""
    common = set.intersection(*(set(own["seeds"]) for own in runs.values()))
    common = common & set(common if seeds is None else seeds) or common
    return {name: _only(own, common) for name, own in runs.items()} if common else runs


def _only(runs: Mapping[str, list[float]], seeds: Collection[float]) -> Mapping[str, list[float]]:
    rows = [row for row, seed in enumerate(runs["seeds"]) if seed in seeds]
    return {key: [numbers[row] for row in rows] for key, numbers in runs.items()}


def _fastest(runs: Runs, mark: float) -> dict[str, Any]:
    """Returns the entry of the fastest schedule that reaches a mark, or of the most accurate one if none does."""
    own = [entry(runs, name) for name in runs]
    above = [one for one in own if reaches(runs[one["schedule"]]["accuracy"], mark)]
    best = max(own, key=lambda one: one["mean_accuracy"])
    return (min(above, key=lambda one: one["median_seconds"]) if above else best) | {"reached": bool(above)}


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


_RATIO = ("ratio", "ratio_low", "ratio_high", "ratio_n", "same_session")


def ratio(
    peer: Mapping[str, Sequence[float]],
    ours: Mapping[str, Sequence[float]],
    *,
    repeats: int = 10_000,
    dice_seed: int = 0,
) -> dict[str, Any]:
    """Divides the median time of a peer by that of ours over their common seeds, with a 95 % interval.

    The interval is a percentile bootstrap over seeds (Efron 1979, Annals of Statistics 7, p. 1). In a session, a
    seed is one round of the benchmark, in which all programs take turns, so both times of a drawn seed are taken
    together: a round in which the machine was slow is slow for both. If some of the times are from different
    sessions, the seeds of the two programs are drawn independently of each other.

    Args:
        peer: `seeds`, `sessions` and `seconds`.
        ours: the same of our schedule. Seeds that only one of them has are left out.
        repeats: how often seeds are drawn.
        dice_seed: makes the draws repeatable.

    Returns:
        `ratio`; `ratio_low` and `ratio_high`, which are `None` for fewer than `FEWEST_SEEDS` common seeds;
        `ratio_n`, the number of common seeds; `same_session`, whether both times of each of these are from the
        same session. Without common seeds, all are `None` and `ratio_n` is 0.
    """
    seconds = [dict(zip(runs["seeds"], runs["seconds"], strict=True)) for runs in (peer, ours)]
    common = sorted(seconds[0].keys() & seconds[1].keys())
    found: dict[str, Any] = dict.fromkeys(_RATIO) | {"ratio_n": len(common)}
    if not common:
        return found
    sessions = [dict(zip(runs["seeds"], runs["sessions"], strict=True)) for runs in (peer, ours)]
    same_session = all(sessions[0][seed] == sessions[1][seed] for seed in common)
    times = np.array([[own[seed] for seed in common] for own in seconds], float)  # (2, seeds)
    top, bottom = np.median(times, axis=1)
    found |= {"ratio": float(top / bottom), "same_session": same_session}
    if len(common) >= FEWEST_SEEDS:
        dice = np.random.default_rng(dice_seed)
        drawn = dice.integers(len(common), size=(2, repeats, len(common)))
        rows = (drawn[0], drawn[0] if same_session else drawn[1])
        top, bottom = (np.median(own[seeds], axis=1) for own, seeds in zip(times, rows, strict=True))
        low, high = np.quantile(top / bottom, (0.025, 0.975))
        found |= {"ratio_low": float(low), "ratio_high": float(high)}
    return found
