"""Trained models that are small enough to commit, from the models of one run of a study.

STUDY/RUN/02_baseline.keras, ... -> STUDY/models/baseline.npz, ..., index.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_helpers import _files, data, results
from mnist_helpers._errors import UserError

FOLDER, INDEX = "models", "index.json"
DEFAULT = ("baseline", "batchnorm_dropout", "strong")


def export(run: Path, names: Sequence[str] = ()) -> str:
    """Writes models of a run in the form of `results.save_compact_model`, and measures what rounding changes.

    Models of an earlier call stay, and a model of the same name is replaced.

    Args:
        run: the run's folder, in the folder of a study.
        names: the models; empty for those of `DEFAULT` that the run has.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder is not a run of a study, or the run has none of the models.
        results.MissingLessonError: a record or a model is missing or was changed.
        data.DatasetNotFoundError: the validation images, on which the rounding is measured, were not found.
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
    images, labels = _validation_images(records)
    folder.mkdir(exist_ok=True)
    lines = []
    for name, original in originals.items():
        entry = results.save_compact_model(folder, name, original)
        rounding = _rounding(original, results.load_model(folder, entry), images, labels)
        made_from = {"run": run.name, **{key: entries[name].get(key) for key in ("sha256", "weights_sha256")}}
        index[name] = entry | {"made_from": made_from, "rounding": rounding}
        _files.write_json(folder / INDEX, index)
        lines.append(_in_words(name, (folder / entry["file"]).stat().st_size, rounding))
    return "\n".join([*lines, f"Models: {folder}"])


def _models_of(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns name -> entry of the networks that the lessons have saved."""
    return {
        name: entry
        for record in records.values()
        for name, entry in record["models"].items()
        if str(entry.get("file")).endswith(".keras")
    }


def _validation_images(records: Mapping[str, Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Loads the validation images of the run's first lesson that trains."""
    record = next(record for record in records.values() if "num_validation" in record["params"])
    dataset, folder = data.dataset_of_record(record)
    sizes = {name: record["params"][name] for name in ("num_train", "num_validation", "seed")}
    return data.load_training(dataset, **sizes, data_dir=folder)[1]


def _rounding(original: Any, rounded: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compares the answers of a model with those of its rounded copy.

    Returns:
        `images`: how many validation images; `other_answers`: how many of them have another predicted label;
        `largest_difference` of a probability; `accuracy_before` and `accuracy_after`, fractions.
    """
    before, after = (model.predict(images, batch_size=1000, verbose=0) for model in (original, rounded))
    return {
        "images": len(images),
        "other_answers": int(np.sum(before.argmax(axis=1) != after.argmax(axis=1))),
        "largest_difference": float(np.abs(before - after).max()),
        "accuracy_before": float(np.mean(before.argmax(axis=1) == labels)),
        "accuracy_after": float(np.mean(after.argmax(axis=1) == labels)),
    }


def _in_words(name: str, size: int, rounding: Mapping[str, Any]) -> str:
    return (
        f"{name}: {size / 1e6:.1f} MB; on {rounding['images']:,} validation images, rounding changes "
        f"{rounding['other_answers']} predicted labels and a probability by at most "
        f"{rounding['largest_difference']:.4f}."
    )
