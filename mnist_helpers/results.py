"""The one place that writes and reads the files of a run.

A run is one folder, and everything that a lesson makes in it carries the lesson's name:

    results/<run>/02_baseline.ipynb    the executed notebook: the evidence
    results/<run>/02_baseline.json     the record
    results/<run>/02_baseline.keras    the model (`<lesson>.<model>.keras` where a lesson makes several)

A file appears whole or not at all. Models and arrays are loaded only if their sha256 is the recorded one, and a
record only if its own is.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import platformdirs
import psutil

from mnist_helpers._errors import UserError
from mnist_helpers._files import atomic_write, read_json, sha256, to_jsonable, write_json

LESSONS = ("01_data_exploration", "02_baseline", "03_batchnorm_dropout", "04_tuning", "05_evaluation")
ROW_FIELDS = (
    "lesson",
    "model",
    "dataset",
    "profile",
    "seed",
    "num_params",
    "train_seconds",
    "val_accuracy",
    "val_loss",
    "test_accuracy",
    "test_loss",
    "test_accuracy_low",
    "test_accuracy_high",
)
_RECORD_FIELDS = {"lesson", "params", "dataset", "models", "sha256"}
_MODEL_FIELDS = ("num_params", "val_accuracy", "val_loss", "train_seconds")
_PACKAGES = ("tensorflow", "keras", "keras-tuner", "numpy", "scikit-learn", "papermill")


class MissingLessonError(UserError):
    """A lesson needs what an earlier lesson of the same run makes, and it is not there or not intact."""


# --- folders and whole files ---


def results_dir(folder: str | os.PathLike = "") -> Path:
    """Returns the folder that holds the runs.

    Args:
        folder: the folder; empty for `$MNIST_COURSE_RESULTS`, and where that is not set `results/` beside
            the package, or, in a course that is installed read-only for everybody, a folder in the user's home.
    """
    default = Path(__file__).resolve().parent.parent / "results"
    nearest = default if default.exists() else default.parent
    if not os.access(nearest, os.W_OK):
        default = Path(platformdirs.user_data_dir("mnist-course")) / "results"
    return Path(folder or os.environ.get("MNIST_COURSE_RESULTS") or default).resolve()


def run_folder(run: str, folder: str | os.PathLike = "") -> Path:
    """Makes and returns the folder of a run.

    Args:
        run: the run's name.
        folder: as in `results_dir`.
    """
    path = results_dir(folder) / run
    path.mkdir(parents=True, exist_ok=True)
    return path


# --- models and arrays ---


def save_model(folder: Path, lesson: str, model: Any, name: str = "") -> dict[str, Any]:
    """Saves a Keras model into the run folder.

    Args:
        folder: the run folder.
        lesson: the lesson, one of `LESSONS`.
        model: the model; its input is raw uint8 images, its `Rescaling` is inside.
        name: the model's name, where the lesson saves several.

    Returns:
        What the record says of it: `file`, `sha256`, `num_params`.
    """
    path = folder / (f"{lesson}.{name}.keras" if name else f"{lesson}.keras")
    with atomic_write(path) as beside:
        model.save(beside)
    return {"file": path.name, "sha256": sha256(path), "num_params": model.count_params()}


def save_arrays(folder: Path, lesson: str, **arrays: np.ndarray) -> dict[str, Any]:
    """Saves arrays into the run folder as `<lesson>.npz`.

    Returns:
        What the record says of them: `file`, `sha256`.

    Raises:
        UserError: an array holds Python objects, which only pickle could save.
    """
    if objects := [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]:
        raise UserError(f"Expected: arrays of numbers. Received: Python objects, in {', '.join(objects)}.")
    path = folder / f"{lesson}.npz"
    with atomic_write(path) as beside:
        np.savez(beside, **arrays)
    return {"file": path.name, "sha256": sha256(path)}


def load_arrays(folder: Path, entry: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Loads what `save_arrays` saved, if it is still what the record says.

    Args:
        folder: the run folder.
        entry: the record's `file` and `sha256`.

    Raises:
        MissingLessonError: the file is missing or was changed.
    """
    with np.load(verified_path(folder, entry), allow_pickle=False) as archive:
        return dict(archive)


def verified_path(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Returns the path of a recorded file whose sha256 is still the recorded one.

    Args:
        folder: the run folder.
        entry: a dict with `file` and `sha256`, such as `record["models"]["baseline"]`.

    Raises:
        MissingLessonError: the file is missing or was changed; the message names the lesson to run again.
    """
    path = folder / Path(entry["file"]).name
    lesson = path.name.split(".")[0]
    if not path.is_file():
        raise MissingLessonError(
            f"{path.name} is missing from run {folder.name!r}. {_how_to_run(folder, lesson)}"
        )
    if sha256(path) != entry["sha256"]:
        raise MissingLessonError(
            f"{path.name} in run {folder.name!r} is not the file that its record describes (sha256 differs), "
            f"so it is not loaded. {_how_to_run(folder, lesson)}"
        )
    return path


def _how_to_run(folder: Path, lesson: str) -> str:
    by_hand = f"Run lesson {lesson} first, in this run: open {lesson}.ipynb and run all its cells"
    begun_by_hand = folder.is_dir() and any(folder.iterdir()) and not (folder / "course.json").is_file()
    if begun_by_hand:  # which the runner would refuse
        return f"{by_hand}."
    return f"{by_hand}, or: mnist-course run {folder.name} --only {lesson}"


# --- records ---


def save_record(
    folder: Path,
    lesson: str,
    *,
    params: Mapping[str, Any],
    dataset: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    started: float,
    **more: Any,
) -> Path:
    """Writes the record of a lesson, `<lesson>.json`.

    Args:
        folder: the run folder.
        lesson: the lesson, one of `LESSONS`.
        params: every parameter of the lesson, defaults too.
        dataset: what `data.describe` says.
        models: model name -> what is known of it: `num_params`, `file`, `sha256`, `val_accuracy`,
            `val_loss`, `history`, `train_seconds`. Fractions and seconds, unrounded.
        started: `time.perf_counter()` at the lesson's start.
        **more: further entries of this lesson.

    Returns:
        The path of the record.

    Raises:
        UserError: unknown lesson, or no parameters.
    """
    if lesson not in LESSONS:
        raise UserError(f"Unknown lesson. Expected: one of {', '.join(LESSONS)}. Received: {lesson!r}.")
    if not params:
        raise UserError("A record without its parameters proves nothing. Expected: a dict of all parameters.")
    record = {
        "lesson": lesson,
        "params": params,
        "dataset": dataset,
        "models": models,
        **more,
        "versions": versions(),
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": peak_memory(),
    }
    check_measured(seconds=record["seconds"], memory_bytes=record["peak_memory_bytes"])
    path = folder / f"{lesson}.json"
    write_json(path, record | {"sha256": fingerprint(to_jsonable(record))})
    print(f"saved: {folder.name}/{path.name}")
    return path


def fingerprint(record: Mapping[str, Any]) -> str:
    """Returns the sha256 of a record's content, its own entry `sha256` left out."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Returns the versions of the packages that numbers depend on: name -> version."""
    return {name: metadata.version(name) for name in _PACKAGES}


def peak_memory() -> int:
    """The largest resident memory that this process has had, in bytes."""
    try:
        import resource  # not on Windows
    except ImportError:
        return psutil.Process().memory_info().peak_wset
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def check_measured(*, seconds: float, memory_bytes: int | None = None) -> None:
    """Refuses a time or a memory that no lesson can have had: a wrong unit, or two clocks mixed.

    Args:
        seconds: wall time; from 0 to 30 days.
        memory_bytes: resident memory; from 1 MB to what this machine has.

    Raises:
        RuntimeError: a value is impossible.
    """
    if not 0 <= seconds < 30 * 24 * 3600:
        raise RuntimeError(f"Impossible time of a lesson. Expected: 0 s to 30 days. Received: {seconds!r} s.")
    if memory_bytes is not None and not 10**6 <= memory_bytes <= psutil.virtual_memory().total:
        raise RuntimeError(
            f"Impossible memory of a lesson. Expected: 1 MB to this machine's. Received: {memory_bytes!r} bytes."
        )


def load_record(folder: Path, lesson: str) -> dict[str, Any]:
    """Reads the record of a lesson.

    Raises:
        MissingLessonError: there is none, or it cannot be read or was changed; the message names the lesson to run.
    """
    path = folder / f"{lesson}.json"
    if not path.is_file():
        raise MissingLessonError(
            f"Run {folder.name!r} has no record of lesson {lesson}. {_how_to_run(folder, lesson)}"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not record.keys() >= _RECORD_FIELDS:
            raise UserError("entries are missing")
        if record["lesson"] != lesson or record["sha256"] != fingerprint(record):
            raise UserError("its sha256 is another: it was changed after the lesson wrote it")
    except (OSError, ValueError, RecursionError) as error:
        raise MissingLessonError(
            f"{path.name} in run {folder.name!r} is damaged ({error}). {_how_to_run(folder, lesson)}"
        ) from error
    return record


def load_records(folder: Path, lesson_names: tuple[str, ...] = LESSONS) -> dict[str, dict[str, Any]]:
    """Reads the records of several lessons and holds them to one dataset.

    Args:
        folder: the run folder.
        lessons: the lessons.

    Returns:
        lesson -> record.

    Raises:
        MissingLessonError: a record is missing, or two lessons of the run used different images.
    """
    missing = [lesson for lesson in lesson_names if not (folder / f"{lesson}.json").is_file()]
    if len(missing) > 1:
        raise MissingLessonError(
            f"Run {folder.name!r} has no records of lessons {', '.join(missing)}. "
            f"{_how_to_run(folder, missing[0])}"
        )
    records = {lesson: load_record(folder, lesson) for lesson in lesson_names}
    first, *others = records.items()
    for lesson, record in others:
        shared = first[1]["dataset"]["sha256"].keys() & record["dataset"]["sha256"].keys()
        same = all(record["dataset"]["sha256"][key] == first[1]["dataset"]["sha256"][key] for key in shared)
        if record["dataset"]["name"] != first[1]["dataset"]["name"] or not same:
            raise MissingLessonError(
                f"Lessons {first[0]} and {lesson} of run {folder.name!r} used different images (another dataset, "
                f"seed, num_train or num_validation). {_how_to_run(folder, lesson)}"
            )
    return records


def reference_records(study: str, lesson: str) -> list[dict[str, Any]]:
    """Reads what a lesson recorded in each run of a reference study, those that come with the course.

    Args:
        study: the study's folder in `results/reference/`, such as `"ablation"`.
        lesson: the lesson, one of `LESSONS`.

    Returns:
        One record per run, in the order of the runs' names.

    Raises:
        MissingLessonError: the course was copied without its reference results.
    """
    folder = _reference_folder() / study
    runs = sorted(path.parent for path in folder.glob(f"*/{lesson}.json"))
    if not runs:
        raise MissingLessonError(_no_reference(f"runs with {lesson}.json in {folder}"))
    return [load_record(run, lesson) for run in runs]


def reference_bench() -> dict[str, Any]:
    """Reads the reference measurements of speed, those that come with the course.

    Returns:
        The content of `bench.json`: `target`, `time_to_target`, `matmul_fraction`, `growth`, `machine`, ...

    Raises:
        MissingLessonError: the course was copied without its reference results.
    """
    path = _reference_folder() / "bench.json"
    if not path.is_file():
        raise MissingLessonError(_no_reference(str(path)))
    return read_json(path)


def _reference_folder() -> Path:
    return Path(__file__).resolve().parent.parent / "results" / "reference"


def _no_reference(expected: str) -> str:
    return (
        f"The reference results are not here. Expected: {expected}. "
        "Get the course's whole repository, with its folder results/reference."
    )


def model_table(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Lists every model of a run, one row each: what 1-4 recorded, beside what 5 measured on the test set.

    Args:
        records: lesson -> record, as `load_records` returns them.

    Returns:
        A table with the columns `ROW_FIELDS`; a number that nobody measured is NaN.
    """
    tested = records.get(LESSONS[-1], {}).get("models", {})
    found = []
    for lesson, record in records.items():
        if lesson == LESSONS[-1]:
            continue
        for name, model in record["models"].items():
            row = {
                "lesson": lesson,
                "model": name,
                "dataset": record["dataset"]["name"],
                "profile": record["params"]["profile"],
                "seed": record["params"]["seed"],
            }
            found.append(row | {field: model.get(field) for field in _MODEL_FIELDS} | tested.get(name, {}))
    table = pd.DataFrame(found).reindex(columns=list(ROW_FIELDS))
    numbers = list(ROW_FIELDS[ROW_FIELDS.index("seed") :])
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table
