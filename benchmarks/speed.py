"""How fast: time to given accuracies, where the time of an update and of a lesson goes, growth.

    python -m benchmarks -> one process per measurement -> bench.json, bench.md, bench.html and figures

The measurements take turns: one of each, then the next repetition, in an order that a seed shuffles. What is
counted is the same for all programs (`benchmarks.marks`). Each measurement is kept as soon as it is made, so that
an interrupted benchmark continues; one whose program has changed since, or that is from another machine or from
other versions of the packages, is made again.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cells, marks, schedules, speed_report, steps
from mnist_course import cores, course_file, lessons
from mnist_helpers import _course, _files, results
from mnist_helpers._errors import UserError

PARTS = ("marks", "throughput", "step", "growth")
LOG_FILE = "bench.jsonl"
BATCH = 512  # of the throughput
GROWTH = {
    "epochs": (1, 2, 4, 8),
    "images": (1_000, 5_000, 20_000, 60_000),
    "units": (128, 512, 1024, 2048),
    "trials": (2, 4, 8),
    "seeds": (1, 2, 4),
    "workers": (1, 2, 4),
}
GROWTH_REPEATS = 2  # the slowest part, and one whose answer is a slope
STUDY_RUNS = 4  # of the studies with more and more workers


# --- use of the processor ---

FULL_NETWORK = "20 steps per execution"
THROUGHPUT: dict[str, dict[str, Any]] = {
    "plain fit": {},
    FULL_NETWORK: {"steps": 20},
    "... without dropout": {"steps": 20, "dropout": 0.0},
    "... without dropout and batch normalisation": {"steps": 20, "dropout": 0.0, "normalised": False},
    "... and with SGD for Adam": {"steps": 20, "dropout": 0.0, "normalised": False, "optimizer": "sgd"},
    "... and one batch again and again": {
        "steps": 20,
        "dropout": 0.0,
        "normalised": False,
        "optimizer": "sgd",
        "one_batch": True,
    },
}


def throughput(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    epochs: int,
    *,
    steps: int = 1,
    dropout: float = 0.3,
    normalised: bool = True,
    optimizer: str = "adam",
    one_batch: bool = False,
) -> dict[str, float]:
    """Trains 256-128 with batches of 512; how near does it come to the processor's matmul rate?

    Args:
        x: training images, at least 512 of them.
        y: their labels.
        seed: of the training.
        epochs: passes that are timed, after one that is not.
        steps: updates per call from Python.
        dropout: rate of the dropout layers; 0 for none.
        normalised: whether the network has batch normalisation.
        optimizer: Keras' name of the optimiser.
        one_batch: True to train on the first 512 images again and again, without the choice of a batch.

    Returns:
        `training` and `matmul` in operations per second, and their quotient `fraction`.
    """
    import keras
    import tensorflow as tf

    from benchmarks.recipes.with_keras import network

    keras.utils.set_random_seed(seed)
    model = network([256, 128], normalised=normalised, dropout=dropout)
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], steps_per_execution=steps)
    fit, num_images = functools.partial(model.fit, x, y, batch_size=BATCH, verbose=0), len(x)
    if one_batch:
        updates = len(x) // BATCH
        repeated = tf.data.Dataset.from_tensors((x[:BATCH], y[:BATCH])).repeat(updates)
        fit, num_images = functools.partial(model.fit, repeated, shuffle=False, verbose=0), updates * BATCH
    fit(epochs=1)  # traces
    rate = _matmul_rate()
    started = time.perf_counter()
    fit(epochs=epochs)
    seconds = time.perf_counter() - started
    kernels = [tuple(layer.kernel.shape) for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    training = operations(kernels, num_images * epochs) / seconds
    return {"training": training, "matmul": rate, "fraction": training / rate}


def operations(kernels: Sequence[tuple[int, int]], num_images: int) -> int:
    """Counts the additions and multiplications of the matrix products in which a network trains on images.

    A product of an image with a kernel takes 2 per weight, and so do the gradient of the kernel and that of the
    layer's input. The first layer needs no gradient of its input, which is the image.

    Args:
        kernels: shapes of the layers' kernels, from the first layer to the last.
        num_images: how many times an image is trained on.
    """
    sizes = [inputs * outputs for inputs, outputs in kernels]
    return num_images * (6 * sum(sizes) - 2 * sizes[0])


def _matmul_rate(repetitions: int = 200) -> float:
    """Operations per second of float32 matrix products of the network's own largest shape."""
    import tensorflow as tf

    a, b = tf.random.normal((BATCH, 784)), tf.random.normal((784, 256))

    @tf.function
    def product(a: Any, b: Any) -> Any:
        # A Python loop over tf.range would need AutoGraph, which does not convert it on Python 3.13.
        _, total = tf.while_loop(
            lambda count, total: count < repetitions,
            lambda count, total: (count + 1, total + tf.matmul(a, b)),
            (tf.constant(0), tf.zeros((BATCH, 256))),
        )
        return total

    product(a, b)
    started = time.perf_counter()
    product(a, b).numpy()
    return matmul_operations(BATCH, 784, 256) * repetitions / (time.perf_counter() - started)


def matmul_operations(rows: int, inner: int, columns: int) -> int:
    """Counts the additions and multiplications of a product of matrices, `(rows, inner)` and `(inner, columns)`."""
    return 2 * rows * inner * columns


# --- growth ---


def growth(x: np.ndarray, y: np.ndarray, seed: int, what: str, value: int) -> dict[str, float]:
    """Trains 512-256 for two epochs on 20,000 images, with one of these changed; seconds and peak memory."""
    import keras

    from benchmarks.recipes.with_keras import network

    setting = {"epochs": 2, "images": 20_000, "units": 512, "trials": 1} | {what: value}
    x, y = x[: setting["images"]], y[: setting["images"]]
    started = time.perf_counter()
    for _ in range(setting["trials"]):
        keras.utils.set_random_seed(seed)
        model = network([setting["units"], setting["units"] // 2])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=256, epochs=setting["epochs"], verbose=0)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "peak_memory_bytes": results.peak_memory(),
        "num_params": model.count_params(),
    }


def study_growth(seeds: int, workers: int) -> dict[str, float]:
    """Times a study of lesson 2 in its quick profile on the digits; seconds, and memory of the runs at one time."""
    from mnist_course.run import study
    from mnist_course.run.settings import Limits

    lesson = results.LESSONS[1]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        spec = study.check_spec(
            seeds=f"1-{seeds}",
            profile="quick",
            dataset="digits",
            params=[],
            only=[lesson],
            search_from="",
            results_dir=Path(folder),
        )
        started = time.perf_counter()
        path, failed = study.run_study(
            "growth", spec, results_dir=Path(folder), limits=Limits(threads=1), workers=workers
        )
        seconds = time.perf_counter() - started
        if failed:
            raise RuntimeError(failed[0].error)
        records = [results.load_record(path / run, lesson) for run in study.grid(spec)]
    peaks = [record["peak_memory_bytes"] for record in records]
    return {"seconds": seconds, "peak_memory_bytes": min(workers, seeds) * max(peaks)}


# --- where a lesson's time goes ---


def lesson_times(folder: Path) -> dict[str, dict[str, float]]:
    """Splits the wall time of each lesson of a run into kernel start, import, data, training, figures, other.

    Args:
        folder: the folder of a run that `mnist-course run` made.

    Returns:
        lesson -> kind -> seconds; `cells.kinds` says for which kind a cell counts.
    """
    split = {}
    for lesson, timing in course_file.timings(folder).items():
        notebook = json.loads((folder / f"{lesson}.ipynb").read_text(encoding="utf-8"))
        seconds = dict.fromkeys(cells.KINDS, 0.0)
        for cell, kind in zip(notebook["cells"], cells.kinds(notebook), strict=True):
            seconds[kind] += cell["metadata"].get("papermill", {}).get("duration") or 0.0
        split[lesson] = {"kernel start": timing["wall_seconds"] - sum(seconds.values())} | seconds
    return split


# --- the bench ---

QUICK_SCHEDULE = "fast_recipe, 1 epoch"

Job = tuple[str, str, int]  # kind, name, seed


def plan(repeats: int, quick: bool, parts: Sequence[str] = PARTS, scored: Sequence[str] = ()) -> list[Job]:
    """Lists the measurements, one repetition of all after the other: kind, name, seed.

    Args:
        repeats: repetitions of each measurement; those of the growth are `GROWTH_REPEATS` at most.
        quick: True for a few of each kind.
        parts: what is measured, out of `PARTS`.
        scored: the names of the schedules whose time to the marks is measured.
    """
    has_dask = importlib.util.find_spec("distributed") is not None
    slopes = [
        ("growth", f"{what}={value}")
        for what, values in GROWTH.items()
        for value in values
        if has_dask or what not in ("seeds", "workers")
    ]
    of_part = {
        "marks": [("marks", name) for name in scored],
        "throughput": [("throughput", name) for name in ([FULL_NETWORK] if quick else THROUGHPUT)],
        "step": [] if quick else [("step", name) for name in steps.VARIANTS],
        "growth": slopes[:2] if quick else slopes,
    }
    jobs = [job for part in PARTS if part in parts for job in of_part[part]]
    return _in_turns(jobs, repeats)


def _in_turns(jobs: Sequence[tuple[str, str]], repeats: int) -> list[Job]:
    """Lists all jobs once per seed, in an order that differs between seeds."""
    shuffle, found = random.Random(1), []
    for seed in range(1, repeats + 1):
        once = [job for job in jobs if job[0] != "growth" or seed <= GROWTH_REPEATS]
        found += [(kind, name, seed) for kind, name in shuffle.sample(once, len(once))]
    return found


def measure(kind: str, name: str, seed: int, quick: bool) -> Any:
    """Makes one measurement in this process."""
    train, held_out = marks.images(quick, seed=seed, validation=kind == "validation")
    if kind in ("marks", "validation"):
        return marks.measure(schedules.CANDIDATES[name], seed, train, held_out)
    if kind == "throughput":
        return throughput(*train, seed, 1 if quick else 3, **THROUGHPUT[name])
    if kind == "step":
        return steps.milliseconds(*train, seed, steps.VARIANTS[name])
    what, value = name.split("=")
    if what == "seeds":
        return study_growth(int(value), workers=1)
    if what == "workers":
        return study_growth(STUDY_RUNS, workers=int(value))
    return growth(*train, seed, what, int(value))


def run_bench(
    folder: Path,
    *,
    repeats: int = 10,
    quick: bool = False,
    course_runs: Mapping[str, Path] | None = None,
    parts: Sequence[str] = PARTS,
    only: Sequence[str] = (),
) -> Path:
    """Measures what is not measured yet, and writes `bench.json` into `folder`.

    Args:
        folder: where the measurements are kept.
        repeats: repetitions of each measurement, each with another seed.
        quick: True for a tiny bench on the digits, to see that it works; its numbers mean nothing.
        course_runs: profile -> folder of a run, whose lessons' times are to be split.
        parts: what is measured, out of `PARTS`; measurements of other parts are kept.
        only: names of the recipes whose time to the marks is measured; empty for all.

    Returns:
        The path of `bench.json`.

    Raises:
        UserError: the schedules of a recipe have not been compared on validation images, or not completely.
        data.DatasetNotFoundError: MNIST cannot be had.
        RuntimeError: a measurement failed.
    """
    marks.images(quick)
    names, _ = schedules.installed(only)
    scored = [QUICK_SCHEDULE] if quick else []
    if "marks" in parts and not quick:
        found = _validation(folder)["runs"]
        scored = [one.name for name in names for one in schedules.chosen(found, schedules.RECIPES[name])]
    _measure_missing(folder, plan(repeats, quick, parts, scored), quick)
    return _write(folder, quick, course_runs or {})


def run_validation(folder: Path, *, repeats: int = 4, only: Sequence[str] = ()) -> Path:
    """Measures all candidates on validation images as far as they are not measured yet, and writes `bench.json`.

    Args:
        folder: where the measurements are kept.
        repeats: repetitions, each with another seed and another split of the training images.
        only: names of the recipes; empty for all.

    Returns:
        The path of `bench.json`.

    Raises:
        data.DatasetNotFoundError: MNIST cannot be had.
        RuntimeError: a measurement failed.
    """
    marks.images(quick=False)
    names, _ = schedules.installed(only)
    jobs = [("validation", name) for name, one in schedules.CANDIDATES.items() if one.recipe in names]
    _measure_missing(folder, _in_turns(jobs, repeats), quick=False)
    return _write(folder, False, {})


def _measure_missing(folder: Path, jobs: Sequence[Job], quick: bool) -> None:
    """Makes each measurement that `bench.jsonl` does not hold, and appends it, as one session."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    seen = {(entry["kind"], entry["name"], entry["seed"]) for entry in _kept(folder, quick)}
    missing = [job for job in jobs if job not in seen]
    session = 1 + max((entry.get("session", 0) for entry in _logged(folder)), default=0)
    same = {"quick": quick, "session": session, "machine": _machine()}
    for kind, name, seed in tqdm(missing, unit="run", disable=None):
        entry = {"kind": kind, "name": name, "seed": seed, **same, "date": time.strftime("%Y-%m-%d")}
        entry |= {"code": _code(kind, name), "versions": _versions(kind, name)}
        entry["value"] = _in_a_process(kind, name, seed, quick)
        with (folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _kept(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Returns the measurements of `bench.jsonl` that still hold, of the quick bench or of the real one.

    Left out are those of other versions of the benchmark, of a program that has changed since, of another machine,
    and of other versions of the packages that the program uses.
    """
    entries = [entry for entry in _logged(folder) if entry["quick"] == quick]
    machine = _machine()
    known: dict[str, Collection[str]] = {
        "marks": schedules.CANDIDATES,
        "validation": schedules.CANDIDATES,
        "throughput": THROUGHPUT,
        "step": steps.VARIANTS,
        "growth": [f"{what}={value}" for what, values in GROWTH.items() for value in values],
    }
    return [
        entry
        for entry in entries
        if entry["name"] in known.get(entry["kind"], ())
        and entry.get("machine") == machine
        and entry.get("versions") == _versions(entry["kind"], entry["name"])
        and entry.get("code") == _code(entry["kind"], entry["name"])
    ]


def _logged(folder: Path) -> list[dict[str, Any]]:
    """Returns all measurements that `bench.jsonl` holds."""
    path = folder / LOG_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def _machine() -> dict[str, Any]:
    """Describes this machine as each measurement records it, with the number of threads that it may use."""
    return results.machine() | {"threads": cores.usable_cores()}


_DISTRIBUTIONS = {  # of a recipe's package: those that its programs compute with, besides NumPy
    "keras": ("keras", "tensorflow", "scikit-learn"),
    "sklearn": ("scikit-learn", "scipy"),
    "torch": ("torch",),
    "jax": ("jax", "jaxlib"),
}


@functools.cache
def _versions(kind: str, name: str) -> dict[str, str | None]:
    """Returns the versions of the packages that a measurement uses; `None` for one that is not installed."""
    if kind not in ("marks", "validation"):
        return {**results.versions()}
    package = schedules.RECIPES[schedules.CANDIDATES[name].recipe].package
    return {one: _version(one) for one in ("numpy", *_DISTRIBUTIONS[package])}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _code(kind: str, name: str) -> str:
    """Returns a hash of the program that a measurement runs, with its settings."""
    if kind in ("marks", "validation"):
        return marks.schedule_sha256(schedules.CANDIDATES[name])
    what = name.split("=")[0]
    if kind == "step":
        texts = [marks.code_sha256(schedules.RECIPES["strong_recipe"]), marks.source_of("benchmarks.steps")]
    elif kind == "throughput":
        texts = _sources(throughput, operations, _matmul_rate, matmul_operations)
        texts += [repr((BATCH, THROUGHPUT[name])), marks.source_of("benchmarks.recipes.with_keras")]
    elif what in ("seeds", "workers"):
        texts = [*_sources(study_growth), repr((STUDY_RUNS, lessons.profile_parameters("quick")))]
        lesson = lessons.read_lesson(results.LESSONS[1])
        texts += ["".join(cell["source"]) for cell in lesson["cells"] if cell["cell_type"] == "code"]
    else:
        texts = [*_sources(growth), marks.source_of("benchmarks.recipes.with_keras")]
    return marks.sha256([*texts, *_sources(measure)])


def _sources(*functions: Callable[..., Any]) -> list[str]:
    return [inspect.getsource(function) for function in functions]


def _validation(folder: Path) -> dict[str, Any]:
    """Returns the validation by which schedules are chosen.

    Returns:
        `runs`, and `machine`: `None` if the runs are those of `bench.jsonl`, which hold here and now. Otherwise
        they are those of an earlier `bench.json` or of the reference, and the machine is the one that measured
        them. Their times are not those of this machine.
    """
    kept = [entry for entry in _kept(folder, quick=False) if entry["kind"] == "validation"]
    if kept:
        return {"machine": None, "runs": marks.compact(kept)}
    for place in (folder, _course.REFERENCE):
        content = _files.read_json_or_none(place / speed_report.BENCH_FILE) or {}
        if content.get("validation"):
            return {"machine": content["machine"], "runs": content["validation"]}
        if content.get("chosen_by"):
            return content["chosen_by"]
    return {"machine": None, "runs": {}}


def _chosen(validation: marks.Runs) -> set[str]:
    """Returns the names of all schedules that a validation chooses; none of a recipe whose part is unfinished."""
    found: set[str] = set()
    for recipe in schedules.RECIPES.values():
        with contextlib.suppress(UserError):
            found |= {one.name for one in schedules.chosen(validation, recipe)}
    return found


def _write(folder: Path, quick: bool, course_runs: Mapping[str, Path]) -> Path:
    kept, validation = _kept(folder, quick), _validation(folder)
    dates = sorted(entry["date"] for entry in kept) or [time.strftime("%Y-%m-%d")]
    machine = _machine() | {
        "versions": results.versions() | _used_versions(kept),
        "first_date": dates[0],
        "date": dates[-1],
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    chosen = {QUICK_SCHEDULE} if quick else _chosen(validation["runs"])
    content = summary(kept, chosen) | {"machine": machine, "quick": quick}
    is_own = validation["machine"] is None
    content["validation"] = validation["runs"] if is_own and not quick else {}
    content["chosen_by"] = None if is_own or quick else validation
    content["missing_packages"] = schedules.installed()[1]
    content["lessons"] = {profile: lesson_times(path) for profile, path in course_runs.items()}
    _files.write_json(folder / speed_report.BENCH_FILE, content)
    return folder / speed_report.BENCH_FILE


def _used_versions(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: version for entry in entries for name, version in entry["versions"].items() if version}


def _in_a_process(kind: str, name: str, seed: int, quick: bool) -> Any:
    """Makes a measurement in a process of its own, in which every library may use the same number of threads."""
    cores.limit_threads(cores.usable_cores())
    command = [sys.executable, "-m", "benchmarks.speed", kind, name, str(seed), str(int(quick))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Measurement {kind} {name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# --- what the measurements say ---


def summary(done: Sequence[Mapping[str, Any]], chosen: Collection[str]) -> dict[str, Any]:
    """Medians with their range, and what the programs reach.

    Args:
        done: the measurements: `kind`, `name`, `seed`, `session`, `value`.
        chosen: names of the schedules that validation chooses. Test images score no others, so that a schedule is
            not selected by them.

    Returns:
        `runs`, from `marks.compact`, of the chosen schedules; `not_chosen`, the same of others that were scored,
        for example because an earlier validation chose them, and on which nothing else here depends; `marks`, from
        `marks.summary`; `target` and `time_to_target`, the first mark and its entries; `matmul_fraction`: `median`,
        `n`, `low`, `high` and `matmul_per_second` of the whole network, and the same of each of its `changes` by
        name; `step`, from `steps.summary`; `growth`: what -> `points` and the straight line through them. What was
        not measured is empty.
    """
    of_kind: dict[str, list[Mapping[str, Any]]] = {
        kind: [entry for entry in done if entry["kind"] == kind] for kind in PARTS
    }
    scored = marks.compact(of_kind["marks"])
    runs = {name: own for name, own in scored.items() if name in chosen}
    compared = marks.summary(runs)
    values = {kind: _by_name(entries) for kind, entries in of_kind.items()}
    return {
        "runs": runs,
        "not_chosen": {name: own for name, own in scored.items() if name not in chosen},
        "marks": compared,
        "target": schedules.MARKS[0],
        "time_to_target": compared[0]["recipes"],
        "matmul_fraction": _fractions(values["throughput"]),
        "step": steps.summary(_milliseconds(of_kind["step"])),
        "growth": _growth_lines(values["growth"]),
    }


def _milliseconds(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for entry in entries:
        found.setdefault(entry["name"], {})[entry["seed"]] = entry["value"]["milliseconds"]
    return found


def _by_name(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for entry in entries:
        found.setdefault(entry["name"], []).append(entry["value"])
    return found


def _fractions(values: Mapping[str, list[Any]]) -> dict[str, Any]:
    changes = {
        name: _median([value["fraction"] for value in values[name]])
        | {"matmul_per_second": _median([value["matmul"] for value in values[name]])["median"]}
        for name in THROUGHPUT
        if name in values
    }
    return changes.get(FULL_NETWORK, {}) | ({"name": FULL_NETWORK, "changes": changes} if changes else {})


def _growth_lines(values: Mapping[str, list[Any]]) -> dict[str, Any]:
    points: dict[str, list[dict[str, float]]] = {}
    for name, entries in values.items():
        what, value = name.split("=")
        middle = {key: float(np.median([entry[key] for entry in entries])) for key in entries[0]}
        points.setdefault(what, []).append({"value": int(value)} | middle)
    return {what: straight_line(points[what], what) for what in GROWTH if len(points.get(what, ())) > 1}


def straight_line(points: list[dict[str, float]], what: str) -> dict[str, Any]:
    """Fits seconds = intercept + slope * value, by least squares.

    For `units`, the value is the number of parameters; for `workers`, the number of runs of each worker.
    """
    from scipy import stats

    points = sorted(points, key=lambda point: point["value"])
    x = np.array([point["num_params" if what == "units" else "value"] for point in points], float)
    line = stats.linregress(
        STUDY_RUNS / x if what == "workers" else x, [point["seconds"] for point in points]
    )
    return {
        "points": points,
        "slope": line.slope,
        "intercept": line.intercept,
        "r_squared": line.rvalue**2,
    }


def _median(values: list[float]) -> dict[str, Any]:
    return {
        "median": float(np.median(values)),
        "n": len(values),
        "low": float(min(values)),
        "high": float(max(values)),
    }


def main() -> None:
    """One measurement, in a process of its own; its value is the last line of the output."""
    kind, name, seed, quick = sys.argv[1:]
    print(json.dumps(measure(kind, name, int(seed), quick == "1")))


if __name__ == "__main__":
    main()
