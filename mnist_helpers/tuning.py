"""Guards round Keras Tuner: traps that cost a class an hour each.

- An old search of the same name is reloaded and an edited search space ignored: `project_name`.
- A trial that fails is swallowed, and rankings are padded with unfinished trials: `completed_trials`.
- Checkpoints, with the optimizer's state, are never deleted: `delete_checkpoints`.
- A search that several runs share is written to by each of them: `search_folder` gives each its own copy.
- A file that was cut short, by a full disk or a kill, ends every later search: `search_folder` sets it aside.
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

from mnist_helpers._errors import UserError
from mnist_helpers._files import read_json_or_none, write_json

SEARCHES = "04_tuning.search"
QUARANTINE = "set_aside"
_ORACLE, _ORACLE_COPY, _TUNER = "oracle.json", "oracle.copy.json", "tuner0.json"  # of a search's state


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

    Trials that did not complete, or whose file is damaged, are moved to `set_aside` in it, and that is printed:
    the search goes on with the others.

    Args:
        run_folder: the run's folder.
        search_run: the folder of the run whose searches are used again; `run_folder` to search anew.

    Raises:
        UserError: that run has no searches.
    """
    folder = run_folder / SEARCHES
    if search_run != run_folder:
        if not (search_run / SEARCHES).is_dir():
            raise UserError(
                f"search_from: run {search_run.name!r} has no searches. Expected: a run whose lesson 4 was run "
                f"here, with its folder {SEARCHES}. Leave search_from empty to search anew."
            )
        shutil.copytree(search_run / SEARCHES, folder, dirs_exist_ok=True)
    for project in sorted(folder.glob("*-*")):
        for name in _set_aside_damaged(project, folder / QUARANTINE):
            print(
                f"{project.name}: {name} was damaged or not complete; it is in {QUARANTINE}, the search goes on"
            )
    return folder


def _set_aside_damaged(project: Path, place: Path) -> list[str]:
    """Moves what cannot be used of a search to `place`, and mends what Keras Tuner knows of the rest.

    Returns:
        The names of what was moved.
    """
    whole = read_json_or_none(project / _ORACLE)
    state = whole or read_json_or_none(project / _ORACLE_COPY)
    trials = {folder: read_json_or_none(folder / "trial.json") for folder in sorted(project.glob("trial_*"))}
    good = {folder: trial for folder, trial in trials.items() if state and _is_usable(trial, state)}
    bad = [folder for folder in trials if folder not in good]
    bad += [path for path in [project / _ORACLE] if path.exists() and not whole]
    if whole and not bad and read_json_or_none(project / _TUNER) is not None:
        return []
    for path in bad:
        place.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place / f"{len(list(place.iterdir())) + 1}-{project.name}-{path.name}")
    (project / _TUNER).unlink(missing_ok=True)  # without it, Keras Tuner begins anew
    if state:
        write_json(project / _ORACLE, _renumbered(good, state))
        write_json(project / _TUNER, {})
    return [path.name for path in bad]


def _renumbered(trials: dict[Path, dict[str, Any]], state: dict[str, Any]) -> dict[str, Any]:
    """Gives trials the numbers 0, 1, ..., in their files and in the state of the search, which is returned.

    Keras Tuner gives a new trial the number of trials that there are: beside a gap it would overwrite the last one.
    """
    ids = {}
    for number, (folder, trial) in enumerate(trials.items()):
        new = str(number).zfill(len(trial["trial_id"]))
        ids[trial["trial_id"]] = new
        write_json(folder.rename(folder.with_name(f"trial_{new}")) / "trial.json", trial | {"trial_id": new})

    def with_new_ids(entries: dict[str, Any]) -> dict[str, Any]:
        return {ids[old]: entry for old, entry in entries.items() if old in ids}

    ongoing = {tuner: ids[old] for tuner, old in state["ongoing_trials"].items() if old in ids}
    lists = {
        key: [ids[old] for old in state[key] if old in ids]
        for key in ("start_order", "end_order", "retry_queue")
    }
    tables = {key: with_new_ids(state[key]) for key in ("run_times", "id_to_hash")}
    display = {key: with_new_ids(state["display"][key]) for key in ("trial_start", "trial_number")}
    return state | lists | tables | {"ongoing_trials": ongoing, "display": state["display"] | display}


def _is_usable(trial: Any, state: dict[str, Any]) -> bool:
    """Says whether a trial is whole, and completed or still at work when the search was stopped."""
    try:
        known = trial["trial_id"] in state["start_order"]
        keras_tuner.engine.trial.Trial.from_state(trial)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    at_work = trial["trial_id"] in state["ongoing_trials"].values()
    return known and (trial["status"] == "COMPLETED" or at_work)


class TrialLogger(keras.callbacks.Callback):
    """Prints one line per trial, its number, its score, how long it took, and keeps a copy of the search's state.

    Args:
        tuner: the tuner whose `search` gets this callback.
        metric: the logged number to print, such as `"val_loss"`.
    """

    def __init__(self, tuner: keras_tuner.Tuner, metric: str = "val_loss"):
        super().__init__()
        self.metric, self.total, self.done = metric, tuner.oracle.max_trials, len(tuner.oracle.end_order)
        self.project = Path(tuner.project_dir)

    def __deepcopy__(self, memo: dict) -> TrialLogger:
        return self  # Keras Tuner copies callbacks for each trial; the count must survive that

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the trial's clock."""
        if state := read_json_or_none(self.project / _ORACLE):
            write_json(self.project / _ORACLE_COPY, state)
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
