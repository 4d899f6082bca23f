"""What the networks of a study answered on the test images, in files that are small enough to commit.

    STUDY/RUN/05_evaluation.npz (4 bytes per probability) -> STUDY/predictions/RUN.npz (2 bytes, compressed)

From these files every test score of a network can be computed again. There is one file per run, so that a new seed
changes no other file, and `index.json`, which says to which networks each file belongs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_helpers import _files, results
from mnist_helpers._errors import UserError

FOLDER, INDEX = "predictions", "index.json"
WITH_PROBABILITIES = ("baseline", "batchnorm", "tuned", "strong")  # those whose calibration trust examines
_LESSON = results.LESSONS[-1]
_SMALLEST = 1e-7  # as in `metrics.negative_log_likelihood`
Records = Mapping[str, Mapping[str, Any]]  # lesson -> record
_LABELS, _PREDICTED, _RIGHT, _ALL = "labels", "predicted", "log_right", "log_probabilities"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What the networks of one run answered on the test images.

    Attributes:
        seed: the seed of the run.
        labels: the true labels, uint8 `(images,)`.
        predicted: model -> predicted labels, uint8 `(images,)`.
        log_right: model -> natural logarithm of the probability given to the true label, float16 `(images,)`.
        log_probabilities: model -> natural logarithms of all probabilities, float16 `(images, 10)`; only for some
            models.
    """

    seed: int
    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]
    log_right: Mapping[str, np.ndarray]
    log_probabilities: Mapping[str, np.ndarray]

    def correct(self, model: str) -> np.ndarray:
        """Returns which images a model classified correctly: float `(images,)`, 0 or 1."""
        return (self.predicted[model] == self.labels).astype(float)

    def losses(self, model: str) -> np.ndarray:
        """Returns the loss of a model on each image, in nats: float `(images,)`."""
        return -np.maximum(self.log_right[model].astype(float), math.log(_SMALLEST))

    def probabilities(self, model: str) -> np.ndarray:
        """Returns the probabilities of a model, float `(images, 10)`; a row adds up to 1 within 0.001."""
        return np.exp(self.log_probabilities[model].astype(float))


def compact(probabilities: np.ndarray) -> np.ndarray:
    """Returns the natural logarithms of probabilities, rounded to float16.

    The logarithm is stored because float16 has no number between 0.9995 and 1, where most probabilities of a good
    network are, and few below 0.00006. A probability below 1e-7 becomes 1e-7, as in the loss. The loss changes by
    less than 0.00002, the Brier score by less than 0.00001 and the ECE by less than 0.0003 (on 10,000 images).

    Args:
        probabilities: float `(images, 10)`.

    Returns:
        float16 `(images, 10)`, -16.125 to 0; the first of the largest values of a row stays the first.
    """
    logs = np.log(np.clip(np.asarray(probabilities, float), _SMALLEST, 1)).astype(np.float16)
    largest = np.argmax(probabilities, axis=1)
    tied = np.flatnonzero(logs.argmax(axis=1) != largest)  # two probabilities were rounded to the same value
    logs[tied, largest[tied]] = np.nextafter(logs[tied, largest[tied]], np.float16(0))
    return logs


def keep(study: Path, with_probabilities: Sequence[str] = ()) -> str:
    """Writes the predictions of each run of a study that has been evaluated on this machine.

    What other runs have kept stays. A run whose networks were trained again is replaced.

    Args:
        study: the study's folder.
        with_probabilities: the models of which all probabilities are kept; empty for those of the last time, or
            `WITH_PROBABILITIES` for the first time. Of the others, the predicted labels and the probability of the
            true label are kept.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder is not a study, no run of it was evaluated, or no run has one of the models.
        results.MissingLessonError: a record or an array was changed.
    """
    if not (study / "study.json").is_file():
        raise UserError(f"{study} is not a study. Expected: the name of a study. Received: {study.name!r}.")
    folder, index = study / FOLDER, _read_index(study)
    chosen = list(with_probabilities) or index["with_probabilities"] or list(WITH_PROBABILITIES)
    records = {run: _records(run) for run in results.run_folders(study)}
    evaluated = {run: own for run, own in records.items() if _is_evaluated_here(run, own)}
    if not evaluated:
        received = f"{len(records)} runs, none of which has the arrays of lesson 5"
        raise UserError(
            f"Nothing to keep in {study}. Expected: runs that were evaluated here. Received: {received}."
        )
    models = [own[_LESSON]["models"] for own in evaluated.values()]
    known = {name for entries in models for name, entry in entries.items() if "sha256" in entry}
    if unknown := [name for name in with_probabilities if name not in known]:
        expected = ", ".join(sorted(known))
        raise UserError(f"Unknown model. Expected: some of {expected}. Received: {unknown[0]!r}.")
    folder.mkdir(exist_ok=True)
    written = []
    for run, own in evaluated.items():
        old = index["runs"].get(run.name)
        index["runs"][run.name] = entry = _write(folder, run, own, chosen, old)
        written += [run.name] if entry is not old else []
        # After each run, so that the index is never far behind the files.
        content = {"with_probabilities": chosen, "runs": _in_order(index["runs"], records)}
        _files.write_json(folder / INDEX, content)
    return _summary(folder, index["runs"], records, written)


def _write(
    folder: Path, run: Path, records: Records, chosen: Sequence[str], old: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Writes the predictions of a run and returns its entry in the index: `old` itself if both are there."""
    found = _predictions_of(run, records[_LESSON], chosen)
    entry = {"seed": found.seed, "file": f"{run.name}.npz", **_description(records, found)}
    path = folder / f"{run.name}.npz"
    if old and old == {**entry, "sha256": old["sha256"]} and _has_sha256(path, old["sha256"]):
        return old
    with _files.atomic_write(path) as temporary:
        np.savez_compressed(temporary, **_arrays(found))
    return entry | {"sha256": _files.sha256(path)}


def _summary(
    folder: Path, runs: Mapping[str, Any], records: Mapping[Path, Records], written: Sequence[str]
) -> str:
    size = sum(path.stat().st_size for path in folder.glob("*.npz")) / 1e6
    text = f"{folder}: {len(runs)} runs, {size:.1f} MB. Written now: {', '.join(written) or 'none'}."
    without = [run.name for run, own in records.items() if not _belongs(runs.get(run.name), own)]
    if not without:
        return text
    return (
        f"{text}\nWithout predictions of their networks: {', '.join(without)}. Their arrays are not on this "
        "machine: run lesson 5 of these runs again, or give this command where they were run."
    )


def of_study(study: Path) -> dict[str, Predictions]:
    """Reads what the networks of a study answered on the test images.

    If the study has kept its predictions, these are read. Otherwise they are made from the arrays of the runs.

    Args:
        study: the study's folder.

    Returns:
        run -> predictions; only runs whose present networks the predictions are of.

    Raises:
        results.MissingLessonError: a file of predictions is missing or was changed.
    """
    index = _read_index(study)["runs"]
    found = {}
    for run in results.run_folders(study):
        records = _records(run)
        if index and _belongs(index.get(run.name), records):
            found[run.name] = _read(study / FOLDER, index[run.name])
        elif not index and _is_evaluated_here(run, records):
            models = [*records[_LESSON]["models"]]
            found[run.name] = _predictions_of(run, records[_LESSON], models)
    return found


# --- the index ---


def _read_index(study: Path) -> dict[str, Any]:
    path = study / FOLDER / INDEX
    if not path.is_file():
        return {"with_probabilities": [], "runs": {}}
    index = _files.read_json(path, f"Delete the folder {path.parent}, and keep the predictions again.")
    if not isinstance(index, dict) or not isinstance(index.get("runs"), dict):
        raise UserError(
            f"{path} is damaged. Expected: an index of predictions. Delete the folder {path.parent}."
        )
    return {"with_probabilities": []} | index


def _in_order(runs: Mapping[str, Any], records: Mapping[Path, Any]) -> dict[str, Any]:
    """Returns the entries in the order of the runs, `seed-2` before `seed-10`; what has no record comes last."""
    names = [run.name for run in records if run.name in runs]
    return {name: runs[name] for name in (*names, *(name for name in runs if name not in names))}


def _records(run: Path) -> Records:
    """Reads the records of a run; without lesson 5 if it was not run."""
    return {lesson: results.load_record(run, lesson) for lesson in results.recorded_lessons(run)}


def _is_evaluated_here(run: Path, records: Records) -> bool:
    """Returns whether lesson 5 of a run has saved what the networks answered, and the file is on this machine."""
    return "predictions" in records.get(_LESSON, {}) and (run / f"{_LESSON}.npz").is_file()


def _description(records: Records, found: Predictions) -> dict[str, Any]:
    """Describes of which networks the predictions are, and what of them is kept."""
    evaluation = records[_LESSON]
    weights = {
        entry["sha256"]: entry.get("weights_sha256")
        for lesson, record in records.items()
        if lesson != _LESSON
        for entry in record["models"].values()
        if "sha256" in entry
    }
    files = {name: evaluation["models"][name]["sha256"] for name in found.predicted}
    return {
        "arrays_sha256": evaluation["predictions"]["sha256"],
        "models": {
            name: {
                "sha256": file,
                "weights_sha256": weights.get(file),
                "all": name in found.log_probabilities,
            }
            for name, file in files.items()
        },
    }


def _belongs(entry: Mapping[str, Any] | None, records: Records) -> bool:
    """Returns whether kept predictions are of the networks that a run has evaluated last."""
    recorded = records.get(_LESSON, {}).get("predictions", {})
    return bool(entry and recorded and entry["arrays_sha256"] == recorded["sha256"])


def _has_sha256(path: Path, sha256: str) -> bool:
    return path.is_file() and _files.sha256(path) == sha256


# --- the files ---


def _predictions_of(run: Path, record: Mapping[str, Any], with_probabilities: Sequence[str]) -> Predictions:
    """Makes the predictions of a run from the arrays that lesson 5 has saved."""
    arrays = results.load_arrays(run, record["predictions"])
    labels = arrays.pop(_LABELS)
    logs = {name: compact(probabilities) for name, probabilities in arrays.items()}
    return Predictions(
        seed=record["params"]["seed"],
        labels=labels.astype(np.uint8),
        predicted={name: answers.argmax(axis=1).astype(np.uint8) for name, answers in arrays.items()},
        log_right={name: of_model[np.arange(len(labels)), labels] for name, of_model in logs.items()},
        log_probabilities={name: logs[name] for name in logs if name in with_probabilities},
    )


def _arrays(found: Predictions) -> dict[str, Any]:
    """Returns what a file holds; the probability of the true label is not stored twice."""
    rights = {name: logs for name, logs in found.log_right.items() if name not in found.log_probabilities}
    return {
        _LABELS: found.labels,
        **{f"{name}.{_PREDICTED}": array for name, array in found.predicted.items()},
        **{f"{name}.{_RIGHT}": array for name, array in rights.items()},
        **{f"{name}.{_ALL}": array for name, array in found.log_probabilities.items()},
    }


def _read(folder: Path, entry: Mapping[str, Any]) -> Predictions:
    path = folder / Path(entry["file"]).name
    if not _has_sha256(path, entry["sha256"]):
        problem = "was changed (sha256 differs)" if path.is_file() else "is missing"
        study = folder.parent.name
        raise results.MissingLessonError(
            f"{path} {problem}. Expected: the file that {INDEX} describes. Get it from the repository again, or "
            f"write it where the study was run: mnist-course predictions {study}"
        )
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    labels = arrays[_LABELS]
    kinds: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in (_PREDICTED, _RIGHT, _ALL)}
    for name in entry["models"]:
        for kind, of_models in kinds.items():
            if f"{name}.{kind}" in arrays:
                of_models[name] = arrays[f"{name}.{kind}"]
    for name, logs in kinds[_ALL].items():
        kinds[_RIGHT][name] = logs[np.arange(len(labels)), labels]
    return Predictions(entry["seed"], labels, kinds[_PREDICTED], kinds[_RIGHT], kinds[_ALL])
