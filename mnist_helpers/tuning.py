"""Guards round Keras Tuner: traps that cost a class an hour each.

- An old search of the same name is reloaded and an edited search space ignored: `project_name`.
- A trial that fails is swallowed, and rankings are padded with unfinished trials: `completed_trials`.
- Checkpoints, with the optimizer's state, are never deleted: `delete_checkpoints`.
- A search that several runs share is written to by each of them: `search_folder` gives each its own copy.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import pandas as pd

SEARCHES = "04_tuning.search"


def project_name(prefix: str, build_model: Callable, **asked: Any) -> str:
    """Names a search after everything that it asks, so that another question starts another search.

    Args:
        prefix: the name's readable part, such as `"bayesian"`.
        build_model: the function that holds the search space; its source is part of the question.
        **asked: the settings and the data's fingerprint (anything that JSON can hold).

    Returns:
        `prefix` and twelve hex digits. The same question gives the same name, so that a search that was
        stopped is resumed.
    """
    question = json.dumps([inspect.getsource(build_model), asked], sort_keys=True)
    return f"{prefix}-{hashlib.sha256(question.encode()).hexdigest()[:12]}"


def search_folder(run_folder: Path, search_run: Path) -> Path:
    """Returns the folder for a run's searches, with the finished searches of another run in it, if it is another.

    Args:
        run_folder: the run's folder.
        search_run: the folder of the run whose searches are used again; `run_folder` to search anew.

    Raises:
        ValueError: that run has no searches.
    """
    folder = run_folder / SEARCHES
    if search_run != run_folder:
        if not (search_run / SEARCHES).is_dir():
            raise ValueError(
                f"search_from: run {search_run.name!r} has no searches. Expected: a run whose lesson 4 was run "
                f"here, with its folder {SEARCHES}. Leave search_from empty to search anew."
            )
        shutil.copytree(search_run / SEARCHES, folder, dirs_exist_ok=True)
    return folder


class TrialLines(keras.callbacks.Callback):
    """Prints one line per trial: its number, its score, how long it took.

    Args:
        total: trials in this search.
        metric: the logged number to print, such as `"val_loss"`.
    """

    def __init__(self, total: int, metric: str = "val_loss"):
        super().__init__()
        self.total, self.metric, self.done = total, metric, 0

    def __deepcopy__(self, memo: dict) -> TrialLines:
        return self  # Keras Tuner copies callbacks for each trial; the count must survive that

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the trial's clock."""
        self.started = time.perf_counter()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Prints the trial's line."""
        self.done += 1
        seconds = time.perf_counter() - self.started
        score = (logs or {}).get(self.metric, float("nan"))
        print(f"trial {self.done:2d} of {self.total}: {self.metric} {score:.4f} ({seconds:.1f} s)")


def completed_trials(tuner: keras_tuner.Tuner) -> pd.DataFrame:
    """Lists the trials of a search in the order tried.

    Args:
        tuner: after its `search`.

    Returns:
        A table: `trial` (from 1), a column per hyperparameter, `score` (the objective).

    Raises:
        RuntimeError: a trial did not complete.
    """
    trials = [tuner.oracle.trials[trial_id] for trial_id in tuner.oracle.start_order]
    failed = [trial for trial in trials if trial.status != "COMPLETED"]
    if failed or not trials:
        reasons = "; ".join(str(trial.message or trial.status).strip().splitlines()[-1] for trial in failed)
        raise RuntimeError(
            f"{len(failed)} of {len(trials)} trials did not complete ({reasons or 'none was started'}). "
            f"Mend build_model and run the search again; to start over, delete {tuner.project_dir}."
        )
    table = pd.DataFrame(
        [
            {"trial": number, **trial.hyperparameters.values, "score": trial.score}
            for number, trial in enumerate(trials, 1)
        ]
    )
    return table


def delete_checkpoints(tuner: keras_tuner.Tuner) -> None:
    """Deletes the weights that a finished search left behind; its scores stay, so that it can be resumed."""
    for checkpoint in Path(tuner.project_dir).glob("trial_*/checkpoint*"):
        if checkpoint.is_dir():
            shutil.rmtree(checkpoint)
        else:
            checkpoint.unlink()
