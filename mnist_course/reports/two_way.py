"""The second kind of interval in a study's report: over seeds and test images, from the study's predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_course import predictions, statistics
from mnist_course.predictions import Predictions

LOW, HIGH = "two_way_low", "two_way_high"
Settings = Sequence[tuple[Mapping[str, Any], pd.DataFrame]]
Key = tuple[int, str]  # the number of a setting, and a model


def add_intervals(
    folder: Path,
    by_setting: Settings,
    *,
    models: Sequence[dict[str, Any]],
    differences: Sequence[dict[str, Any]],
    effects: Sequence[dict[str, Any]],
    least: int,
) -> None:
    """Adds `two_way_low` and `two_way_high` to test scores and their differences, where predictions are known.

    A score gets them if the predictions of all its seeds are known, so that both intervals are about the same runs.

    Args:
        folder: the study's folder.
        by_setting: settings and their rows of `results.table`; only the predictions of their runs are used.
        models: entries of `study_summary`; changed, as are the next two.
        differences: differences between models.
        effects: differences between settings.
        least: the least number of seeds for an interval.

    Raises:
        results.MissingLessonError: a file of predictions is missing or was changed.
    """
    runs = {run for _, rows in by_setting for run in rows["run"]}
    known = {run: found for run, found in predictions.of_study(folder).items() if run in runs}
    if len({found.labels.tobytes() for found in known.values()}) != 1:
        return  # there are none, or the runs used different test images
    compared = _compared([setting for setting, _ in by_setting], models, differences, effects)
    for metric, per_image in (("test_accuracy", Predictions.correct), ("test_loss", Predictions.losses)):
        tables: dict[Key, dict[int, np.ndarray]] = {}
        for number, (_, rows) in enumerate(by_setting):
            for run, model in zip(rows["run"], rows["model"], strict=True):
                if run in known and model in known[run].predicted:
                    of_model = tables.setdefault((number, model), {})
                    of_model[known[run].seed] = per_image(known[run], model)
        wanted = [
            (pair, score)
            for pair, scores in compared
            for score in scores
            if score["metric"] == metric and score["n"] == _num_seeds(tables, pair) and score["n"] >= least
        ]
        ends = statistics.two_way_intervals(tables, [pair for pair, _ in wanted])
        for pair, score in wanted:
            low, high = ends[pair]
            if pair[0] is None:  # a score, and no difference
                low, high = max(low, 0.0), min(high, 1.0 if metric == "test_accuracy" else np.inf)
            score["of"][LOW], score["of"][HIGH] = low, high


def _compared(
    settings: Sequence[Mapping[str, Any]],
    models: Sequence[dict[str, Any]],
    differences: Sequence[dict[str, Any]],
    effects: Sequence[dict[str, Any]],
) -> list[tuple[tuple[Key | None, Key], list[dict[str, Any]]]]:
    """Returns everything that can have an interval: `(None, model)` or two models, and their scores.

    A score is a dict: `metric`, `n`, and `of`, the entry of the summary to which the interval is added.
    """
    found: list[tuple[tuple[Key | None, Key], list[dict[str, Any]]]] = []
    for entry in models:
        scores = [
            {"metric": name, "of": entry[name]} for name in ("test_accuracy", "test_loss") if entry[name]
        ]
        found.append(((None, (settings.index(entry["setting"]), entry["model"])), scores))
    for entry in differences:
        number = settings.index(entry["setting"])
        found.append((((number, entry["first"]), (number, entry["second"])), _of_difference(entry)))
    for entry in effects:
        before, after = (settings.index(entry[name]) for name in ("against", "setting"))
        found.append((((before, entry["model"]), (after, entry["model"])), _of_difference(entry)))
    return [(pair, [score | {"n": score["of"]["n"]} for score in scores]) for pair, scores in found]


def _of_difference(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"metric": of["metric"], "of": of} for of in (entry, entry["loss"]) if of]


def _num_seeds(tables: Mapping[Key, Mapping[int, np.ndarray]], pair: tuple[Key | None, Key]) -> int:
    """Returns the number of seeds whose predictions are known for all models of a pair."""
    seeds = [set(tables.get(model, {})) for model in pair if model is not None]
    return len(set.intersection(*seeds))
