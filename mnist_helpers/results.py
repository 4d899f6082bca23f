"""Write and read the files of a run: records, models and arrays.

A run is one folder, and every file that a lesson writes into it carries the lesson's name::

    results/<run>/02_baseline.ipynb    the executed notebook: the evidence
    results/<run>/02_baseline.json     the record
    results/<run>/02_baseline.keras    the model (`<lesson>.<model>.keras` if a lesson saves several)

A file is complete or absent. A model, an array or a record is loaded only if its sha256 is the recorded one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import platformdirs
import psutil

from mnist_helpers import _course, _files
from mnist_helpers._errors import UserError, shorten_interrupts

__all__ = [
    "FURTHER",
    "IN_ORDER",
    "LESSONS",
    "ROW_FIELDS",
    "MissingLessonError",
    "check_measured",
    "find_run",
    "fingerprint",
]
__all__ += ["load_arrays", "load_model", "load_record", "load_records", "load_search", "machine"]
__all__ += ["model_table", "notebook_path", "open_run"]
__all__ += ["peak_memory", "recorded_lessons", "reference_bench", "reference_records", "results_dir"]
__all__ += ["run_folder", "run_folders", "save_arrays", "save_compact_model", "save_model", "save_record"]
__all__ += ["table", "verified_path", "versions"]

LESSONS = ("01_data_exploration", "02_baseline", "03_batchnorm_dropout", "04_tuning", "05_evaluation")
FURTHER = ("from_scratch", "faster_training", "ablation", "stronger_networks", "pytorch", "trust")
# Lesson 5 evaluates what the notebooks before it have saved, and `trust` continues with its answers.
IN_ORDER = (*LESSONS[:-1], *FURTHER[:-1], LESSONS[-1], FURTHER[-1])
EVALUATIONS = (LESSONS[-1], FURTHER[-1])  # they train nothing
_MODEL_FIELDS = ("num_params", "train_seconds", "val_accuracy", "val_loss")
_TEST_FIELDS = ("test_accuracy", "test_loss", "test_accuracy_low", "test_accuracy_high")
ROW_FIELDS = ("lesson", "model", "dataset", "profile", "seed", *_MODEL_FIELDS, *_TEST_FIELDS)
_RECORD_FIELDS = {"lesson", "params", "dataset", "models", "sha256"}
Entry = Mapping[str, Any]
_PLACES = ("run", "results_dir", "data_dir")  # parameters that say where files are
# Committed networks are in STUDY/models/, with an index and a folder of the records that describe them.
COMMITTED, COMMITTED_INDEX, COMMITTED_RECORDS = "models", "index.json", "records"
REFERENCE_RUN, _REFERENCE_COPY = "reference", "reference-networks"
MADE_FROM = (
    "_MNIST_COURSE_MADE_FROM"  # environment variable of a kernel: further entries for records, as JSON
)
_PACKAGES = ("tensorflow", "keras", "keras-tuner", "numpy", "scikit-learn", "papermill")


class MissingLessonError(UserError):
    """A lesson needs a file of an earlier lesson of the same run, which is missing or damaged."""


# --- folders ---


def results_dir(folder: str | os.PathLike = "") -> Path:
    """Returns the folder that holds the runs.

    Args:
        folder: the folder, relative to the working directory or beginning with `~`; empty for
            `$MNIST_COURSE_RESULTS`. If that is not set either, it is `results/` of the checkout; outside a
            checkout, or if the checkout is read-only, it is a folder in the user's home.

    Returns:
        An absolute path. Nothing is created.
    """
    default = _course.ROOT / "results"
    if not (_course.IS_CHECKOUT and _files.is_writable_place(default)):
        default = Path(platformdirs.user_data_dir("mnist-course")) / "results"
    return _files.expand(folder or os.environ.get("MNIST_COURSE_RESULTS") or default)


def run_folder(run: str, folder: str | os.PathLike = "") -> Path:
    """Makes and returns the folder of a run.

    Args:
        run: the run's name.
        folder: as in `results_dir`.
    """
    path = results_dir(folder) / run
    path.mkdir(parents=True, exist_ok=True)
    return path


def find_run(name: str, folder: str | os.PathLike = "") -> Path:
    """Returns the folder of an earlier run; nothing is created.

    Args:
        name: RUN or STUDY/RUN in `results_dir(folder)`; `reference/...` is also found among the reference results
            that come with the course.
        folder: as in `results_dir`.
    """
    path = results_dir(folder) / name
    first, *others = Path(name.removeprefix("../")).parts
    reference = _course.REFERENCE.joinpath(*others)
    return reference if first == "reference" and others and not path.is_dir() else path


def open_run(run: str, folder: str | os.PathLike = "", *, trains: bool = True) -> tuple[Path, float]:
    """Makes the folder of a run, and notes the time for the record.

    From now on, the notebook says in one line that a cell was interrupted.

    Args:
        run: the run's name. `"reference"` means the networks that come with the course, unless there is a run of
            this name: they and their records are copied into the run `reference-networks`.
        folder: as in `results_dir`.
        trains: False for a notebook that only evaluates networks of other notebooks; it can open `"reference"`.

    Returns:
        The run's folder, and the current `time.perf_counter()`.

    Raises:
        UserError: a notebook that trains was given `"reference"` or its copy, or `reference-networks` is another
            folder.
        MissingLessonError: the networks did not come with the course, or were changed; nothing was written.
    """
    shorten_interrupts()
    base = results_dir(folder)
    is_copy = run == _REFERENCE_COPY and (base / run / COMMITTED_INDEX).is_file()
    own = bool(recorded_lessons(base / run)) or (base / run / "course.json").is_file()
    if trains and (is_copy or (run == REFERENCE_RUN and not own)):
        which = f"The networks of {run!r} are already trained, and only lesson 5 and `trust` load them."
        raise UserError(f"{which} Expected: another name for this run. Received: run={run!r}.")
    if run != REFERENCE_RUN or own:
        return run_folder(run, folder), time.perf_counter()
    return _copy_reference(base), time.perf_counter()


def _copy_reference(base: Path) -> Path:
    """Brings the committed networks into a run folder, which also receives what the lesson writes."""
    source, folder = find_run(f"{REFERENCE_RUN}/{COMMITTED}", base), base / _REFERENCE_COPY
    if not (source / COMMITTED_INDEX).is_file() or not recorded_lessons(source / COMMITTED_RECORDS):
        missing = f"The networks of the reference results were not found. Expected: {source}"
        advice = "Get the course's whole repository, or run lessons 1 to 4 and give the name of their run."
        raise MissingLessonError(f"{missing}, with records. {advice}")
    if folder.exists() and not (folder / COMMITTED_INDEX).is_file():
        what = f"Expected: no such folder, or a copy of the reference networks. Received: {folder}."
        raise UserError(f"{what} Give that folder another name, and run this cell again.")
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_files.PARTIAL, dir=base) as temporary:
        copy = Path(temporary) / _REFERENCE_COPY
        copy.mkdir()
        files = (*source.glob("*.npz"), *(source / COMMITTED_RECORDS).glob("*.json"))
        for path in (source / COMMITTED_INDEX, *files):
            shutil.copyfile(path, copy / path.name)
        lessons = recorded_lessons(copy)
        records = load_records(copy, tuple(dict.fromkeys((*LESSONS[:-1], *lessons))))
        models = {name: entry for record in records.values() for name, entry in record["models"].items()}
        for entry in models.values():
            verified_path(copy, entry)
        folder.mkdir(exist_ok=True)
        index, marker = copy / COMMITTED_INDEX, folder / COMMITTED_INDEX
        if marker.is_file() and marker.read_bytes() != index.read_bytes():
            for lesson in IN_ORDER:  # records of an earlier version of the networks
                (folder / f"{lesson}.json").unlink(missing_ok=True)
        os.replace(index, marker)  # noqa: PTH105
        for path in files:
            os.replace(copy / path.name, folder / path.name)  # noqa: PTH105
    trained = records[LESSONS[1]]
    seed, dataset = trained["params"]["seed"], trained["dataset"]["name"]
    networks = ", ".join(name for name, entry in models.items() if "weights_sha256" in entry)
    print(f"Networks that come with the course, trained on {dataset} with seed {seed}: {networks}.")
    print(f"Nothing is trained here. The test images of {dataset} are needed. Outputs: run {folder.name!r}.")
    return folder


def notebook_path(lesson: str) -> Path:
    """Returns the path of a notebook of the course.

    Args:
        lesson: one of `LESSONS`, or an optional notebook, one of `FURTHER`.
    """
    return _course.NOTEBOOKS / ("further" if lesson in FURTHER else "") / f"{lesson}.ipynb"


# --- models and arrays ---


def save_model(folder: Path, lesson: str, model: Any, name: str = "") -> dict[str, Any]:
    """Saves a Keras model into the run folder.

    Args:
        folder: the run folder.
        lesson: the lesson, one of `IN_ORDER`.
        model: the model; its input is raw uint8 images, and it rescales them itself.
        name: the model's name, if the lesson saves several.

    Returns:
        The model's entry for the record: `file`, `sha256`, `weights_sha256`, `num_params`. A file with the same
        weights can have another `sha256`, because it holds the time when it was written.
    """
    path = folder / (f"{lesson}.{name}.keras" if name else f"{lesson}.keras")
    with _files.atomic_write(path) as temporary:
        model.save(temporary)
    return _model_entry(path, model, model.get_weights())


def save_compact_model(folder: Path, name: str, model: Any) -> dict[str, Any]:
    """Saves a Keras model in a fifth of the space, as `<name>.npz`: for models that are committed.

    The file holds `config`, Keras' configuration of the layers as JSON, and the weights in Keras' order as
    `weight_0`, `weight_1`, ...: matrices as float16; vectors (biases, batch normalisation) as they are. The
    optimiser is left out.

    Args:
        folder: where to write.
        name: the model's name.
        model: the model; it has no layers of its own classes.

    Returns:
        The entry for an index, as that of `save_model`; `weights_sha256` is that of the weights, float32, which
        `load_model` will give the model.

    Raises:
        UserError: a weight is too large for float16, or not a number.
    """
    weights = model.get_weights()
    if not all((np.abs(array) <= np.finfo(np.float16).max).all() for array in weights):
        raise UserError(
            f"Expected: weights of up to 65504. Received: larger ones, or no numbers, in {name!r}."
        )
    weights = [array.astype(np.float16) if array.ndim > 1 else array for array in weights]
    config = json.loads(model.to_json())
    config.pop("compile_config", None)
    arrays: dict[str, Any] = {f"weight_{number}": array for number, array in enumerate(weights)}
    path = folder / f"{name}.npz"
    with _files.atomic_write(path) as temporary:
        np.savez_compressed(temporary, config=json.dumps(config), **arrays)
    return _model_entry(path, model, [array.astype(np.float32) for array in weights])


def _model_entry(path: Path, model: Any, weights: list[np.ndarray]) -> dict[str, Any]:
    weights_sha256 = hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()
    hashes = {"sha256": _files.sha256(path), "weights_sha256": weights_sha256}
    return {"file": path.name, **hashes, "num_params": model.count_params()}


def load_model(folder: Path, entry: Entry) -> Any:
    """Loads a model of `save_model` or `save_compact_model` if its file still has the recorded sha256.

    Args:
        folder: the folder of the file: a run folder, or that of committed models.
        entry: the model's `file` and `sha256`, such as `record["models"]["baseline"]`.

    Returns:
        The Keras model, not compiled.

    Raises:
        MissingLessonError: the file is missing or was changed.
    """
    path = verified_path(folder, entry)
    import keras  # takes seconds, and most of what imports this module needs no model

    if path.suffix == ".keras":
        return keras.models.load_model(path, compile=False, safe_mode=True)
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    model = keras.saving.deserialize_keras_object(json.loads(str(arrays.pop("config"))), safe_mode=True)
    model.set_weights([arrays[f"weight_{number}"].astype(np.float32) for number in range(len(arrays))])
    return model


def save_arrays(folder: Path, lesson: str, **arrays: Any) -> dict[str, Any]:
    """Saves arrays into the run folder as `<lesson>.npz`.

    Args:
        folder: the run folder.
        lesson: the lesson, one of `IN_ORDER`.
        **arrays: NumPy arrays by name.

    Returns:
        The entry for the record: `file`, `sha256`.

    Raises:
        UserError: an array holds Python objects, which only pickle could save.
    """
    if objects := [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]:
        raise UserError(f"Expected: arrays of numbers. Received: Python objects, in {', '.join(objects)}.")
    path = folder / f"{lesson}.npz"
    with _files.atomic_write(path) as temporary:
        np.savez(temporary, **arrays)
    return {"file": path.name, "sha256": _files.sha256(path)}


def load_arrays(folder: Path, entry: Entry) -> dict[str, np.ndarray]:
    """Loads the arrays of `save_arrays` if the file still has the recorded sha256.

    Args:
        folder: the run folder.
        entry: the record's `file` and `sha256`.

    Raises:
        MissingLessonError: the file is missing or was changed.
    """
    with np.load(verified_path(folder, entry), allow_pickle=False) as archive:
        return dict(archive)


def verified_path(folder: Path, entry: Entry) -> Path:
    """Returns the path of a recorded file whose sha256 is still the recorded one.

    Args:
        folder: the run folder.
        entry: a dict with `file` and `sha256`, such as `record["models"]["baseline"]`.

    Raises:
        MissingLessonError: the file is missing or was changed; the error message names the lesson to run again.
    """
    path = folder / Path(entry["file"]).name
    lesson = path.name.split(".")[0]
    if not path.is_file():
        problem = "is missing"
    elif _files.sha256(path) != entry["sha256"]:
        problem = "is not the file that its record describes (sha256 differs), so it is not loaded"
    else:
        return path
    raise MissingLessonError(f"{path.name} of run {folder.name!r} {problem}. {_how_to_run(folder, lesson)}")


def _how_to_run(folder: Path, lesson: str) -> str:
    is_copy = (folder / COMMITTED_INDEX).is_file()
    if lesson not in IN_ORDER or (is_copy and lesson not in EVALUATIONS):  # of a committed model
        return "Get the course's whole repository, with results/reference."
    where = "further/" if lesson in FURTHER else ""
    by_hand = f"Run lesson {lesson} first, in this run: open {where}{lesson}.ipynb and run all its cells"
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "course.json").is_file():
        return f"{by_hand}."  # the runner refuses a run that was begun by hand
    return f"{by_hand}, or: mnist-course run {folder.name} --only {lesson}"


# --- records ---


def save_record(
    folder: Path, lesson: str, *, params: Entry, dataset: Entry, models: Entry, started: float, **more: Any
) -> Path:
    """Writes the record of a lesson, `<lesson>.json`.

    Args:
        folder: the run folder.
        lesson: the lesson, one of `IN_ORDER`.
        params: all parameters of the lesson, including defaults.
        dataset: the dataset, as `data.describe` returns it.
        models: model name -> its entry: `num_params`, `file`, `sha256`, `val_accuracy`, `val_loss`, `history`,
            `train_seconds`. Fractions and seconds, unrounded. With the parameter `refit_on_all`, the validation
            images were training images, so validation scores are left out, also those of the entries `default` and
            `experiments`.
        started: `time.perf_counter()` at the lesson's start.
        **more: further entries of this lesson.

    Returns:
        The path of the record. If `mnist-course run` runs the lesson, the record also has `code_sha256`, a hash of
        the notebook's code, and `commit`, the state of the repository, or nothing outside of one.

    Raises:
        UserError: unknown lesson, or no parameters.
    """
    if lesson not in IN_ORDER:
        raise UserError(f"Unknown lesson. Expected: one of {', '.join(IN_ORDER)}. Received: {lesson!r}.")
    if not params:
        raise UserError("A record needs its parameters. Expected: a dict of all parameters. Received: none.")
    if params.get("refit_on_all"):
        models = _without_validation(models)
        more |= {name: _without_validation(more[name]) for name in more.keys() & {"default", "experiments"}}
    record = {"lesson": lesson, "params": params, "dataset": dataset, "models": models, **more}
    record |= {"versions": versions(), "machine": machine()}
    record |= json.loads(os.environ.get(MADE_FROM, "{}"))
    record |= {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    record |= {"seconds": time.perf_counter() - started, "peak_memory_bytes": peak_memory()}
    check_measured(seconds=record["seconds"], memory_bytes=record["peak_memory_bytes"])
    path = folder / f"{lesson}.json"
    _files.write_json(path, record | {"sha256": fingerprint(_files.to_jsonable(record))})
    print(f"saved: {folder.name}/{path.name}")
    return path


def _without_validation(content: Any) -> Any:
    """Sets validation scores in entries to None, and takes the curves of validation out of histories."""
    if not isinstance(content, Mapping):
        return content
    kept = {}
    for name, value in content.items():
        is_score = name in ("val_accuracy", "val_loss", "temperature")
        if not (is_score and isinstance(value, Sequence)):
            kept[name] = None if is_score else _without_validation(value)
    return kept


def fingerprint(record: Entry) -> str:
    """Returns the sha256 of a record's content without its entry `sha256`."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Returns the versions of the packages that numbers depend on: name -> version."""
    return {name: metadata.version(name) for name in _PACKAGES}


def machine() -> dict[str, Any]:
    """Describes this machine.

    Returns:
        `python` (version), `system`, `architecture` (such as `"x86_64"`), `processor` (its model name, empty if the
        system does not tell it), `cores`, and `threads`, to which TensorFlow is limited (`None`: not limited).
    """
    software = {"python": platform.python_version(), "system": platform.system()}
    hardware = {"architecture": platform.machine(), "processor": _processor(), "cores": os.cpu_count()}
    return software | hardware | {"threads": int(os.environ.get("TF_NUM_INTRAOP_THREADS") or 0) or None}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file() and (model := re.search(r"(?m)^model name\s*: (.+)$", cpuinfo.read_text("utf-8"))):
        return model[1].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor().removeprefix(platform.machine())  # Linux on Arm tells the architecture only


def peak_memory() -> int:
    """Returns the largest resident memory that this process has had, in bytes."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
        raise RuntimeError(f"Impossible memory: {memory_bytes!r} bytes. Expected: 1 MB to this machine's.")


def load_record(folder: Path, lesson: str) -> dict[str, Any]:
    """Reads the record of a lesson.

    Args:
        folder: the run folder.
        lesson: the lesson, one of `IN_ORDER`.

    Raises:
        MissingLessonError: the record is missing, damaged, changed or of an older version of the course; the
            message names the lesson to run.
    """
    path = folder / f"{lesson}.json"
    record = _files.read_json_or_none(path)
    if not path.is_file():
        reason = f"Run {folder.name!r} has no record of lesson {lesson}."
    elif isinstance(record, dict) and "stage" in record and "lesson" not in record:
        reason = f"{path.name} in run {folder.name!r} was written by an older version of the course."
    elif not isinstance(record, dict) or not record.keys() >= _RECORD_FIELDS:
        reason = f"{path.name} in run {folder.name!r} is damaged: it is not a complete record."
    elif record["lesson"] != lesson or record["sha256"] != fingerprint(record):
        reason = f"{path.name} in run {folder.name!r} was changed after the lesson wrote it (sha256 differs)."
    else:
        return record
    raise MissingLessonError(f"{reason} {_how_to_run(folder, lesson)}")


def load_search(search_from: str, folder: str | os.PathLike = "") -> dict[str, Any]:
    """Reads the record of a run whose search other runs can use.

    Args:
        search_from: the run, as in `find_run`.
        folder: as in `results_dir`.

    Raises:
        MissingLessonError: as in `load_record`.
        UserError: the record is of another version of lesson 4.
    """
    record = load_record(find_run(search_from, folder), LESSONS[3])
    try:
        known = {"rank", "in_search", "retrained"} <= record["finals"][0].keys()
        known = known and set(record["search"]) == {"random", "Bayesian"} and record["default_score"] > 0
    except (LookupError, TypeError, AttributeError):
        known = False
    if not known:
        what = f"The record of run {search_from!r} is of another version of lesson 4."
        raise UserError(f"{what} Run lesson 4 of that run again, or leave search_from empty to search here.")
    return record


def load_records(folder: Path, lesson_names: tuple[str, ...] = LESSONS) -> dict[str, dict[str, Any]]:
    """Reads the records of several lessons, and checks that all of them used the same images.

    Args:
        folder: the run folder.
        lesson_names: the lessons.

    Returns:
        lesson -> record.

    Raises:
        MissingLessonError: a record is missing, or two lessons of the run used different images.
    """
    missing = [lesson for lesson in lesson_names if not (folder / f"{lesson}.json").is_file()]
    if len(missing) > 1:
        how = _how_to_run(folder, missing[0])
        raise MissingLessonError(f"Run {folder.name!r} has no records of lessons {', '.join(missing)}. {how}")
    records = {lesson: load_record(folder, lesson) for lesson in lesson_names}
    first, *others = records
    used = records[first]["dataset"]
    for lesson in others:
        dataset = records[lesson]["dataset"]
        same = all(dataset["sha256"].get(name, digest) == digest for name, digest in used["sha256"].items())
        if dataset["name"] != used["name"] or not same:
            differ = f"Lessons {first} and {lesson} of run {folder.name!r} used different images"
            why = "another dataset, seed, num_train or num_validation"
            raise MissingLessonError(f"{differ} ({why}). {_how_to_run(folder, lesson)}")
    return records


def recorded_lessons(folder: Path) -> tuple[str, ...]:
    """Returns the lessons of which a run has a record, in their order."""
    return tuple(lesson for lesson in IN_ORDER if (folder / f"{lesson}.json").is_file())


def reference_records(study: str, lesson: str) -> list[dict[str, Any]]:
    """Reads the records of a lesson in all runs of a reference study, which comes with the course.

    Args:
        study: the study's folder in `results/reference/`, such as `"ablation"`.
        lesson: the lesson, one of `IN_ORDER`.

    Returns:
        One record per run, in the order of the runs' names.

    Raises:
        MissingLessonError: the course was copied without its reference results.
    """
    return [load_record(path.parent, lesson) for path in _reference(f"{study}/*/{lesson}.json")]


def reference_bench() -> dict[str, Any]:
    """Reads the reference measurements of speed, which come with the course.

    Returns:
        The content of `bench.json`: `target`, `time_to_target`, `matmul_fraction`, `growth`, `machine`, ...

    Raises:
        MissingLessonError: the course was copied without its reference results.
    """
    return _files.read_json(_reference("bench.json")[0], "Get the course's whole repository.")


def _reference(pattern: str) -> list[Path]:
    if paths := sorted(_course.REFERENCE.glob(pattern)):
        return paths
    missing = f"The reference results were not found. Expected: {_course.REFERENCE / pattern}."
    raise MissingLessonError(f"{missing} Get the course's whole repository, with results/reference.")


def model_table(records: Mapping[str, Entry]) -> pd.DataFrame:
    """Lists every model of a run, one row each, with its validation metrics and its test metrics of lesson 5.

    Args:
        records: lesson -> record, as `load_records` returns them.

    Returns:
        A table with the columns `ROW_FIELDS`; a number that was not measured is NaN.
    """
    tested = records.get(LESSONS[-1], {}).get("models", {})
    names = {lesson: set(record["models"]) for lesson, record in records.items()}
    trained = set().union(*(models for lesson, models in names.items() if lesson != LESSONS[-1]))
    rows = []
    for lesson, record in records.items():
        settings = {key: record["params"].get(key) for key in ("profile", "seed")}
        for name, model in record["models"].items():
            if lesson == LESSONS[-1] and name in trained:
                continue  # the lesson that trained the model has its row
            row = {"lesson": lesson, "model": name, "dataset": record["dataset"]["name"], **settings}
            rows.append(row | {field: model.get(field) for field in _MODEL_FIELDS} | tested.get(name, {}))
    table = pd.DataFrame(rows).reindex(columns=list(ROW_FIELDS))
    return table.assign(**table[["seed", *_MODEL_FIELDS, *_TEST_FIELDS]].apply(pd.to_numeric))


def run_folders(folder: Path) -> list[Path]:
    """Lists the runs in a folder that have at least one record, `seed-2` before `seed-10`.

    Args:
        folder: a run folder, the folder of a study, or a folder of runs and studies.
    """
    is_run = bool(recorded_lessons(folder))
    levels = [""] if is_run else ["*/"] if (folder / "study.json").is_file() else ["*/", "*/*/"]
    patterns = [f"{level}{lesson}.json" for level in levels for lesson in IN_ORDER]
    runs = {path.parent.relative_to(folder) for pattern in patterns for path in folder.glob(pattern)}
    visible = [run for run in runs if not any(part.startswith(".") for part in run.parts)]
    return [folder / run for run in sorted(visible, key=_natural_order)]


def _natural_order(path: Path) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.as_posix())]


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    values = {"lesson_seconds": record["seconds"], "peak_memory_bytes": record["peak_memory_bytes"]}
    values |= {name: record["versions"][name] for name in ("tensorflow", "keras", "numpy")}
    values |= {name: record["machine"][name] for name in ("python", "cores")}
    return values | {"date": record["date"]} if "date" in record else values


def table(folder: str | os.PathLike) -> pd.DataFrame:
    """Lists every model of one or several runs, one row each, with all parameters: the content of `runs.csv`.

    Args:
        folder: as in `run_folders`. A run may lack lessons.

    Returns:
        A table with the columns `run` (the path of the run below `folder`, or its name); `ROW_FIELDS`;
        `lesson_seconds`, `peak_memory_bytes` and `date` of the model's lesson; the versions `python`,
        `tensorflow`, `keras` and `numpy`; `cores`; then every parameter of the run's lessons. Unknown is NaN.

    Raises:
        MissingLessonError: a record was changed, or two lessons of a run used different images.
    """
    tables, folder = [], Path(folder)
    for run in run_folders(folder):
        records = load_records(run, recorded_lessons(run))
        params = {name: value for record in records.values() for name, value in record["params"].items()}
        rows = model_table(records)
        extra = [_provenance(records[name]) | params | records[name]["params"] for name in rows["lesson"]]
        more = pd.DataFrame(extra, index=rows.index).drop(columns=[*ROW_FIELDS, *_PLACES], errors="ignore")
        rows.insert(0, "run", run.relative_to(folder).as_posix() if run != folder else folder.name)
        tables.append(rows.join(more.replace("", None)))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["run", *ROW_FIELDS])
