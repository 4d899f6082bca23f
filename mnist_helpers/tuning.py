"""Workarounds for the pitfalls of Keras Tuner.

- An old search of the same name is reloaded, and an edited search space is ignored: `project_name`.
- A trial that fails is hidden, and rankings are padded with unfinished trials: `completed_trials`.
- A configuration whose loss is not a number fails without a reason: `TrialLogger` names it.
- A trial is scored by its best epoch, which no other training in a lesson is: `LastEpoch`.
- Checkpoints, which hold the optimizer's state, are never deleted: `delete_checkpoints`.
- A search folder cannot be committed or moved: `earlier_search` takes the trials from the record of a run.
- A file that was cut short, by a full disk or a kill, ends every later search: `search_folder` moves the search.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pandas as pd

from mnist_helpers import results
from mnist_helpers._errors import UserError
from mnist_helpers._files import read_json

__all__ = ["QUARANTINE", "SEARCHES", "LastEpoch", "SearchFailedError", "TrialLogger", "completed_trials"]
__all__ += ["delete_checkpoints", "earlier_search", "project_name", "search_folder"]

SEARCHES = "04_tuning.search"
QUARANTINE = "set_aside"


class SearchFailedError(UserError, keras_tuner.errors.FatalError):
    """A trial has no score. Keras Tuner ends a search on a `FatalError`; other exceptions are hidden."""


def project_name(prefix: str, *functions: Callable, **asked: Any) -> str:
    """Derives the name of a search from its search space and settings, so that a changed search has another name.

    Args:
        prefix: the readable part of the name, such as `"bayesian"`.
        *functions: the function with the search space and the functions called by it; their source counts.
        **asked: the settings and the data's fingerprint (anything that JSON can hold).

    Returns:
        `prefix` and twelve hexadecimal digits. The same search has the same name, so that a search that was
        stopped is resumed.
    """
    question = json.dumps([*(inspect.getsource(function) for function in functions), asked], sort_keys=True)
    return f"{prefix}-{hashlib.sha256(question.encode()).hexdigest()[:12]}"


def search_folder(run_folder: Path) -> Path:
    """Returns the folder for a run's searches; a search that cannot be resumed leaves it.

    A search that is damaged, or has a trial that failed, is moved to `QUARANTINE` in this folder, and that is
    printed: the search starts again. Keras Tuner itself resumes a search that was stopped.

    Args:
        run_folder: the run's folder.
    """
    folder = run_folder / SEARCHES
    for project in sorted(folder.glob("*-*")):
        if (project / "tuner0.json").exists() and not _can_be_resumed(project):  # without it, it starts again
            quarantine = folder / QUARANTINE
            quarantine.mkdir(exist_ok=True)
            shutil.move(project, quarantine / f"{len(list(quarantine.iterdir())) + 1}-{project.name}")
            what = f"{project.name} is damaged or has a failed trial"
            print(f"{what}: moved to {QUARANTINE}; the search starts again")
    return folder


def earlier_search(
    search_from: str, folder: str = ""
) -> tuple[dict[str, pd.DataFrame], list[dict[str, Any]], float]:
    """Reads the trials of another run from its record, so that they need not be searched again.

    Args:
        search_from: the run, as in `results.find_run`; empty for none.
        folder: the folder that holds the runs, as in `results.results_dir`.

    Returns:
        Search method -> table of its trials (as `completed_trials` returns it), the results of the retrained
        configurations, and the default configuration's score; without `search_from`, all three empty.

    Raises:
        UserError: the run is missing, or its record is of another version of lesson 4.
    """
    if not search_from:
        return {}, [], math.nan
    record = results.load_search(search_from, folder)
    trials = {name: pd.DataFrame(table) for name, table in record["search"].items()}
    return trials, record["finals"], record["default_score"]


def _can_be_resumed(project: Path) -> bool:
    """Returns whether Keras Tuner can reload a search, and its trials are complete or still to be run."""
    oracle = keras_tuner.Oracle(objective="val_loss")
    try:
        for path in project.glob("trial_*/trial.json"):
            trial = keras_tuner.engine.trial.Trial.from_state(read_json(path))
            oracle.trials[path.parent.name.removeprefix("trial_")] = trial
        read_json(project / "tuner0.json")
        oracle.set_state(read_json(project / "oracle.json"))
        same = all(trial.trial_id == name for name, trial in oracle.trials.items())
        completed = all(oracle.trials[name].status == "COMPLETED" for name in oracle.end_order)
        return same and completed and oracle.trials.keys() == set(oracle.start_order)
    except Exception:  # any type: Keras Tuner reads whatever a damaged file holds
        return False


class LastEpoch(keras.callbacks.Callback):
    """Makes Keras Tuner score a trial by its last epoch, like every other training of the lesson.

    Without this callback the best epoch counts. The minimum of several noisy losses is too low on average, and a
    training that is not part of a search has no such choice.
    """

    def on_train_end(self, logs: dict | None = None) -> None:
        """Forgets all epochs but the last."""
        history = self.model.history.history
        for name, values in history.items():
            history[name] = values[-1:]


class TrialLogger(keras.callbacks.Callback):
    """Prints a line for each trial: its number, its score, how long it took.

    Args:
        tuner: the tuner whose `search` gets this callback.
        metric: the logged number to print, such as `"val_loss"`.
    """

    def __init__(self, tuner: keras_tuner.Tuner, metric: str = "val_loss"):
        super().__init__()
        self.tuner, self.metric, self.done = tuner, metric, len(tuner.oracle.end_order)
        configurations = _configurations({}, tuner.oracle.get_space().space)
        self.total = len(list(itertools.islice(configurations, tuner.oracle.max_trials)))

    def __deepcopy__(self, memo: dict) -> TrialLogger:
        return self  # Keras Tuner copies callbacks for each trial; the count must survive that

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the trial's clock."""
        self.started = time.perf_counter()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Prints the trial's line.

        Raises:
            SearchFailedError: the metric was not a finite number in any epoch.
        """
        self.done, seconds = self.done + 1, time.perf_counter() - self.started
        scores = self.model.history.history.get(self.metric, [])
        if not np.isfinite(scores).any():
            values = self.tuner.oracle.ongoing_trials[self.tuner.tuner_id].hyperparameters.values
            received = f"Expected: a number as {self.metric}. Received: {scores} with {values}."
            advice = "Narrow the search space (often the learning rate is too high), and search again."
            raise SearchFailedError(f"Trial {self.done} has no score. {received} {advice}")
        print(f"trial {self.done:2d} of {self.total}: {self.metric} {scores[-1]:.4f} ({seconds:.1f} s)")


def _configurations(values: dict[str, Any], space: list) -> Iterator[dict[str, Any]]:
    """Yields the configurations of a search space; a hyperparameter without steps has endlessly many values."""
    if not space:
        yield values
        return
    hp, *others = space
    if not all(condition.is_active(values) for condition in hp.conditions):
        yield from _configurations(values, others)
        return
    is_continuous = isinstance(hp, keras_tuner.engine.hyperparameters.Float) and hp.step is None
    for value in itertools.count() if is_continuous else hp.values:
        yield from _configurations(values | {hp.name: value}, others)


def completed_trials(tuner: keras_tuner.Tuner) -> pd.DataFrame:
    """Lists the trials of a search in the order tried.

    Args:
        tuner: after its `search`.

    Returns:
        A table with a row per trial: `trial` (from 1), a column per hyperparameter (NaN where it was not
        used), `score` (the objective). It has fewer rows than `max_trials` if the search space is smaller.

    Raises:
        SearchFailedError: a trial did not complete, or no trial was started.
    """
    trials = [tuner.oracle.trials[trial_id] for trial_id in tuner.oracle.start_order]
    failed = [trial for trial in trials if trial.status != "COMPLETED"]
    if failed or not trials:
        reasons = [(trial.message or f"{trial.status} without a score").strip() for trial in failed]
        received = "; ".join(reason.splitlines()[-1] for reason in reasons) or "no trial"
        what = f"{len(failed)} of {len(trials)} trials did not complete. Expected: a score for each trial."
        advice = "Correct build_model or its search space; to repeat the same search,"
        raise SearchFailedError(f"{what} Received: {received}. {advice} delete {tuner.project_dir}.")
    rows = enumerate(((trial.hyperparameters.values, trial.score) for trial in trials), 1)
    return pd.DataFrame([{"trial": number, **values, "score": score} for number, (values, score) in rows])


def delete_checkpoints(tuner: keras_tuner.Tuner) -> None:
    """Deletes the weights of a finished search; its scores are kept, so that it can be resumed."""
    for checkpoint in Path(tuner.project_dir).glob("trial_*/checkpoint*"):
        checkpoint.unlink()
