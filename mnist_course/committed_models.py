"""Trained models that are small enough to commit, from the models of one run of a study.

STUDY/RUN/02_baseline.keras, ... -> STUDY/models/baseline.npz, ..., index.json
STUDY/RUN/02_baseline.json, ...  -> STUDY/models/records/02_baseline.json, ...

The records describe the exported models, so that lesson 5 can evaluate them as it evaluates those of a run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_helpers import _files, data, results
from mnist_helpers._errors import UserError

FOLDER, INDEX, RECORDS = results.COMMITTED, results.COMMITTED_INDEX, results.COMMITTED_RECORDS
DEFAULT = ("baseline", "batchnorm_dropout", "tuned", "strong")
_LESSONS = (*results.LESSONS[:-1], "stronger_networks")  # those whose networks lesson 5 evaluates
# Histories, searches and experiments are left out: they describe the training, and the study has them.
_KEPT = {
    *("lesson", "params", "dataset", "versions", "machine", "code_sha256", "commit", "date"),
    *("seconds", "peak_memory_bytes"),
}


def export(run: Path, names: Sequence[str] = ()) -> str:
    """Writes models of a run in the form of `results.save_compact_model`, and measures what rounding changes.

    Models of an earlier call stay, and a model of the same name is replaced. The records are those of this run, and
    name its exported models only.

    Args:
        run: the run's folder, in the folder of a study.
        names: the models; empty for those of `DEFAULT` that the run has.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder is not a run of a study, or the run has none of the models.
        results.MissingLessonError: a record or a model is missing or was changed.
        data.DatasetNotFoundError: the images on which the rounding is measured were not found.
    """
    if not (run.parent / "study.json").is_file() or not results.run_folders(run):
        raise UserError(f"Expected: a run of a study, STUDY/RUN. Received: {run}.")
    records = {lesson: results.load_record(run, lesson) for lesson in results.recorded_lessons(run)}
    entries = _models_of(records)
    chosen = list(names) or [name for name in DEFAULT if name in entries]
    unknown = [name for name in chosen if name not in entries]
    if unknown or not chosen:
        received = unknown[0] if unknown else f"none of {', '.join(DEFAULT)}"
        expected = f"some of its models: {', '.join(entries) or 'it has none'}"
        raise UserError(f"{run} lacks a model. Expected: {expected}. Received: {received}.")
    folder = run.parent / FOLDER
    index = _files.read_json(folder / INDEX) if (folder / INDEX).is_file() else {}
    originals = {name: results.load_model(run, entries[name]) for name in chosen}
    images, are_new = _images(records)
    arrays = {results.verified_path(run, entry) for entry in _arrays_of(records)}
    folder.mkdir(exist_ok=True)
    lines = []
    for name, original in originals.items():
        entry = results.save_compact_model(folder, name, original)
        rounding = _rounding(original, results.load_model(folder, entry), images, are_new)
        index[name] = entry | {"made_from": _made_from(run, entries[name]), "rounding": rounding}
        _files.write_json(folder / INDEX, index)
        lines.append(_in_words(name, (folder / entry["file"]).stat().st_size, rounding))
    for path in arrays:
        shutil.copyfile(path, folder / path.name)
    _write_records(run, records, index)
    return "\n".join([*lines, f"Models: {folder}"])


def _made_from(run: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"run": run.name, **{key: entry.get(key) for key in ("sha256", "weights_sha256")}}


def _arrays_of(records: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the entries of the simple baselines, whose files are small and are committed as they are."""
    entries = [
        entry for lesson in records if lesson in _LESSONS for entry in records[lesson]["models"].values()
    ]
    return [entry for entry in entries if str(entry.get("file")).endswith(".npz")]


def _write_records(
    run: Path, records: Mapping[str, Mapping[str, Any]], index: Mapping[str, Mapping[str, Any]]
) -> None:
    """Writes the run's records as lesson 5 reads them, and deletes those of another run."""
    folder = run.parent / FOLDER / RECORDS
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.json"):
        path.unlink()
    for lesson in _LESSONS:
        if lesson in records:
            content = _files.to_jsonable(_record_of_exported(run, records[lesson], index))
            content["sha256"] = results.fingerprint(content)
            _files.write_json(folder / f"{lesson}.json", content)


def _record_of_exported(
    run: Path, record: Mapping[str, Any], index: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns a record whose networks are the exported ones; scores and times are those of the training."""
    models = {}
    for name, entry in record["models"].items():
        described = {key: value for key, value in entry.items() if key != "history"}
        exported = index.get(name, {})
        if exported.get("made_from") == _made_from(run, entry):
            models[name] = described | {key: exported[key] for key in ("file", "sha256", "weights_sha256")}
        elif not str(entry.get("file")).endswith(".keras"):
            models[name] = described
    params = record["params"] | {"data_dir": ""}  # the folder is one of the machine that trained
    kept = {key: value for key, value in record.items() if key in _KEPT}
    made_from = {"run": run.name, "sha256": record["sha256"]}
    return {**kept, "params": params, "models": models, "made_from": made_from}


def _models_of(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns name -> entry of the networks that the lessons have saved."""
    return {
        name: entry
        for record in records.values()
        for name, entry in record["models"].items()
        if str(entry.get("file")).endswith(".keras")
    }


def _images(records: Mapping[str, Mapping[str, Any]]) -> tuple[np.ndarray, bool]:
    """Loads the validation images of the run's first lesson that trains.

    Returns:
        The images, and whether the networks were not trained on them: `refit_on_all` trains on all images.
    """
    record = next(record for record in records.values() if "num_validation" in record["params"])
    dataset, folder = data.dataset_of_record(record)
    sizes = {name: record["params"][name] for name in ("num_train", "num_validation", "seed")}
    are_new = not any(record["params"].get("refit_on_all") for record in records.values())
    return data.load_training(dataset, **sizes, data_dir=folder)[1][0], are_new


def _rounding(original: Any, rounded: Any, images: np.ndarray, are_new: bool) -> dict[str, Any]:
    """Compares the answers of a model with those of its rounded copy.

    Returns:
        `images`: how many images; `are_validation_images`: False if the model was trained on them, too;
        `other_answers`: how many of them have another predicted label; `largest_difference` of a probability.
    """
    before, after = (model.predict(images, batch_size=1000, verbose=0) for model in (original, rounded))
    return {
        "images": len(images),
        "are_validation_images": are_new,
        "other_answers": int(np.sum(before.argmax(axis=1) != after.argmax(axis=1))),
        "largest_difference": float(np.abs(before - after).max()),
    }


def _in_words(name: str, size: int, rounding: Mapping[str, Any]) -> str:
    kind = "validation" if rounding["are_validation_images"] else "training"
    return (
        f"{name}: {size / 1e6:.1f} MB; on {rounding['images']:,} {kind} images, rounding changes "
        f"{rounding['other_answers']} predicted labels and a probability by at most "
        f"{rounding['largest_difference']:.4f}."
    )
