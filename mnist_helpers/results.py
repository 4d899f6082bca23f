"""The one place that writes and reads the files of a run.

A run is one folder, and everything that a lesson makes in it carries the lesson's name:

    results/<run>/02_baseline.ipynb    the executed notebook: the evidence
    results/<run>/02_baseline.json     the record
    results/<run>/02_baseline.keras    the model (`<stage>.<model>.keras` where a lesson makes several)

A file appears whole or not at all. Models and arrays are loaded only if their sha256 is the recorded one, and a
record only if its own is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import platformdirs
import psutil

STAGES = ("01_data_exploration", "02_baseline", "03_batchnorm_dropout", "04_tuning", "05_evaluation")
PARTIAL = ".partial-"  # how the folders of files begin that are being written
ROW_FIELDS = (
    "stage",
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
_RECORD_FIELDS = {"stage", "params", "dataset", "models", "sha256"}
_MODEL_FIELDS = ("num_params", "val_accuracy", "val_loss", "train_seconds")
_PACKAGES = ("tensorflow", "keras", "keras-tuner", "numpy", "scikit-learn", "papermill")


class MissingLessonError(RuntimeError):
    """A lesson needs what an earlier lesson of the same run makes, and it is not there or not intact."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]  # a student needs the sentence, not the stack


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


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write to; what was written takes its place at `path` only when it is complete.

    Args:
        path: where the file is to appear.

    Yields:
        A path of the same name, in a folder of its own beside `path`: a process that is killed leaves nothing
        half-written where somebody looks for results.
    """
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as folder:
        beside = Path(folder) / path.name
        yield beside
        os.replace(beside, path)  # noqa: PTH105


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON; NumPy values become plain ones, NaN and infinity become null."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """Returns `value` as JSON can hold it: NumPy values become plain ones, NaN and infinity become `None`."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sha256(path: Path) -> str:
    """Returns the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- models and arrays ---


def save_model(folder: Path, stage: str, model: Any, name: str = "") -> dict[str, Any]:
    """Saves a Keras model into the run folder.

    Args:
        folder: the run folder.
        stage: the lesson, one of `STAGES`.
        model: the model; its input is raw uint8 images, its `Rescaling` is inside.
        name: the model's name, where the lesson saves several.

    Returns:
        What the record says of it: `file`, `sha256`, `num_params`.
    """
    path = folder / (f"{stage}.{name}.keras" if name else f"{stage}.keras")
    with whole_file(path) as beside:
        model.save(beside)
    return {"file": path.name, "sha256": sha256(path), "num_params": model.count_params()}


def save_arrays(folder: Path, stage: str, **arrays: np.ndarray) -> dict[str, Any]:
    """Saves arrays into the run folder as `<stage>.npz`.

    Returns:
        What the record says of them: `file`, `sha256`.

    Raises:
        ValueError: an array holds Python objects, which only pickle could save.
    """
    if objects := [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]:
        raise ValueError(f"Expected: arrays of numbers. Received: Python objects, in {', '.join(objects)}.")
    path = folder / f"{stage}.npz"
    with whole_file(path) as beside:
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
    with np.load(intact_file(folder, entry), allow_pickle=False) as archive:
        return dict(archive)


def intact_file(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Returns the path of a recorded file whose sha256 is still the recorded one.

    Args:
        folder: the run folder.
        entry: a dict with `file` and `sha256`, such as `record["models"]["baseline"]`.

    Raises:
        MissingLessonError: the file is missing or was changed; the message names the lesson to run again.
    """
    path = folder / Path(entry["file"]).name
    stage = path.name.split(".")[0]
    if not path.is_file():
        raise MissingLessonError(
            f"{path.name} is missing from run {folder.name!r}. {_how_to_run(folder, stage)}"
        )
    if sha256(path) != entry["sha256"]:
        raise MissingLessonError(
            f"{path.name} in run {folder.name!r} is not the file that its record describes (sha256 differs), "
            f"so it is not loaded. {_how_to_run(folder, stage)}"
        )
    return path


def _how_to_run(folder: Path, stage: str) -> str:
    by_hand = f"Run lesson {stage} first, in this run: open {stage}.ipynb and run all its cells"
    begun_by_hand = folder.is_dir() and any(folder.iterdir()) and not (folder / "course.json").is_file()
    if begun_by_hand:  # which the runner would refuse
        return f"{by_hand}."
    return f"{by_hand}, or: mnist-course run {folder.name} --only {stage}"


# --- records ---


def save_record(
    folder: Path,
    stage: str,
    *,
    params: Mapping[str, Any],
    dataset: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    started: float,
    **more: Any,
) -> Path:
    """Writes the record of a lesson, `<stage>.json`.

    Args:
        folder: the run folder.
        stage: the lesson, one of `STAGES`.
        params: every parameter of the lesson, defaults too.
        dataset: what `data.describe` says.
        models: model name -> what is known of it: `num_params`, `file`, `sha256`, `val_accuracy`,
            `val_loss`, `history`, `train_seconds`. Fractions and seconds, unrounded.
        started: `time.perf_counter()` at the lesson's start.
        **more: further entries of this lesson.

    Returns:
        The path of the record.

    Raises:
        ValueError: unknown stage, or no parameters.
    """
    if stage not in STAGES:
        raise ValueError(f"Unknown stage. Expected: one of {', '.join(STAGES)}. Received: {stage!r}.")
    if not params:
        raise ValueError(
            "A record without its parameters proves nothing. Expected: a dict of all parameters."
        )
    record = {
        "stage": stage,
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
    path = folder / f"{stage}.json"
    write_json(path, record | {"sha256": _fingerprint(plain(record))})
    print(f"saved: {folder.name}/{path.name}")
    return path


def _fingerprint(record: Mapping[str, Any]) -> str:
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


def load_record(folder: Path, stage: str) -> dict[str, Any]:
    """Reads the record of a lesson.

    Raises:
        MissingLessonError: there is none, or it cannot be read or was changed; the message names the lesson to run.
    """
    path = folder / f"{stage}.json"
    if not path.is_file():
        raise MissingLessonError(
            f"Run {folder.name!r} has no record of lesson {stage}. {_how_to_run(folder, stage)}"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not record.keys() >= _RECORD_FIELDS:
            raise ValueError("entries are missing")
        if record["stage"] != stage or record["sha256"] != _fingerprint(record):
            raise ValueError("its sha256 is another: it was changed after the lesson wrote it")
    except (OSError, ValueError, RecursionError) as error:
        raise MissingLessonError(
            f"{path.name} in run {folder.name!r} is damaged ({error}). {_how_to_run(folder, stage)}"
        ) from error
    return record


def load_records(folder: Path, stages: tuple[str, ...] = STAGES) -> dict[str, dict[str, Any]]:
    """Reads the records of several lessons and holds them to one dataset.

    Args:
        folder: the run folder.
        stages: the lessons.

    Returns:
        stage -> record.

    Raises:
        MissingLessonError: a record is missing, or two lessons of the run used different images.
    """
    missing = [stage for stage in stages if not (folder / f"{stage}.json").is_file()]
    if len(missing) > 1:
        raise MissingLessonError(
            f"Run {folder.name!r} has no records of lessons {', '.join(missing)}. "
            f"{_how_to_run(folder, missing[0])}"
        )
    records = {stage: load_record(folder, stage) for stage in stages}
    first, *others = records.items()
    for stage, record in others:
        shared = first[1]["dataset"]["sha256"].keys() & record["dataset"]["sha256"].keys()
        same = all(record["dataset"]["sha256"][key] == first[1]["dataset"]["sha256"][key] for key in shared)
        if record["dataset"]["name"] != first[1]["dataset"]["name"] or not same:
            raise MissingLessonError(
                f"Lessons {first[0]} and {stage} of run {folder.name!r} used different images (another dataset, "
                f"seed, num_train or num_validation). {_how_to_run(folder, stage)}"
            )
    return records


def reference_records(study: str, stage: str) -> list[dict[str, Any]]:
    """Reads what a lesson recorded in each run of a reference study, those that come with the course.

    Args:
        study: the study's folder in `results/reference/`, such as `"ablation"`.
        stage: the lesson, one of `STAGES`.

    Returns:
        One record per run, in the order of the runs' names.

    Raises:
        MissingLessonError: the course was copied without its reference results.
    """
    folder = _reference_folder() / study
    runs = sorted(path.parent for path in folder.glob(f"*/{stage}.json"))
    if not runs:
        raise MissingLessonError(_no_reference(f"runs with {stage}.json in {folder}"))
    return [load_record(run, stage) for run in runs]


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


def rows(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Lists every model of a run, one row each: what 1-4 recorded, beside what 5 measured on the test set.

    Args:
        records: stage -> record, as `load_records` returns them.

    Returns:
        A table with the columns `ROW_FIELDS`; a number that nobody measured is NaN.
    """
    tested = records.get(STAGES[-1], {}).get("models", {})
    found = []
    for stage, record in records.items():
        if stage == STAGES[-1]:
            continue
        for name, model in record["models"].items():
            row = {
                "stage": stage,
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
