"""How fast: time to a given accuracy, use of the processor, where a lesson's time goes, growth.

    python -m benchmarks -> one process per measurement -> bench.json, bench.md, bench.html, bench.png, growth.png

The measurements take turns: one of each, then the next repetition, in an order that a seed shuffles. Imports and
the reading of the data are not counted; set-up and tracing are. Each measurement is kept as soon as it is made,
so that an interrupted benchmark continues.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import speed_report
from mnist_course import course_file, lessons
from mnist_helpers import _files, data, results

TARGET = 0.9803  # test accuracy: the best of the reference that the project started from
MAX_EPOCHS = 12
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

_FAST = "faster_training"  # the notebook that holds the fast recipe

Curve = list[list[float]]  # pairs of seconds so far and test accuracy


# --- time to the target: a function per competitor, images -> curve ---


def fast_recipe(arrays: data.Arrays, seed: int, epochs: int) -> Curve:
    """Our fast recipe: the very cells of `further/faster_training`; it is evaluated once, at its end."""
    import keras

    names = {"keras": keras, "np": np, "time": time, "seed": seed}
    names |= {name: arrays[name] for name in ("x_train", "y_train")}
    names["fast_epochs"] = min(epochs, lessons.declared(_FAST)["fast_epochs"])
    for tag in ("network", "schedule", "fast-recipe"):
        exec(lessons.tagged_source(_FAST, tag), names)
    _, accuracy = names["fast"].evaluate(arrays["x_test"], arrays["y_test"], batch_size=1000, verbose=0)
    return [[names["fast_seconds"], accuracy]]


def keras_default(arrays: data.Arrays, seed: int, epochs: int) -> Curve:
    """A typical script: 256-128 with batch normalisation and dropout, Adam with its defaults, batches of 32."""
    return _keras_script(arrays, seed, epochs, functools.partial(reference_network, 0.3), "adam", 32)


def keras_mnist_mlp(arrays: data.Arrays, seed: int, epochs: int) -> Curve:
    """Keras' own example `mnist_mlp.py`: 512-512 with dropout, RMSprop, batches of 128."""

    def network() -> Any:
        return _network([512, 512], dropout=0.2)

    return _keras_script(arrays, seed, epochs, network, "rmsprop", 128)


def sklearn(arrays: data.Arrays, seed: int, epochs: int) -> Curve:
    """scikit-learn's MLPClassifier with its defaults, 256-128."""
    from sklearn.neural_network import MLPClassifier

    x_train, x_test = (
        arrays[name].reshape(len(arrays[name]), -1) / np.float32(255) for name in ("x_train", "x_test")
    )
    classifier, seconds, curve = MLPClassifier((256, 128), random_state=seed), 0.0, []
    for _ in range(epochs):
        started = time.perf_counter()
        classifier.partial_fit(x_train, arrays["y_train"], classes=np.arange(10))
        seconds += time.perf_counter() - started
        curve.append([seconds, classifier.score(x_test, arrays["y_test"])])
    return curve


def torch(arrays: data.Arrays, seed: int, epochs: int) -> Curve:
    """Our recipe in PyTorch, with its DataLoader."""
    return _torch_twin(arrays, seed, epochs, resident=False)


def torch_resident(arrays: data.Arrays, seed: int, epochs: int) -> Curve:
    """Our recipe in PyTorch, with all images in memory as tensors."""
    return _torch_twin(arrays, seed, epochs, resident=True)


COMPETITORS: dict[str, Callable[[data.Arrays, int, int], Curve]] = {
    function.__name__: function
    for function in (fast_recipe, keras_default, keras_mnist_mlp, sklearn, torch, torch_resident)
}


def _network(widths: list[int], *, normalised: bool = False, dropout: float = 0.0) -> Any:
    import keras

    model = keras.Sequential(
        [keras.Input(shape=(28, 28)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    )
    for width in widths:
        model.add(keras.layers.Dense(width))
        if normalised:
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation("relu"))
        if dropout:
            model.add(keras.layers.Dropout(dropout))
    model.add(keras.layers.Dense(10, activation="softmax"))
    return model


def reference_network(dropout: float = 0.3, normalised: bool = True) -> Any:
    """The network of the reference that the project started from: 256-128."""
    return _network([256, 128], normalised=normalised, dropout=dropout)


def _keras_script(
    arrays: data.Arrays, seed: int, epochs: int, network: Callable[[], Any], optimizer: str, batch_size: int
) -> Curve:
    import keras

    curve: Curve = []

    class Clock(keras.callbacks.Callback):
        """Notes time and test accuracy after each epoch; what the scoring takes is not counted."""

        scoring = 0.0

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            now = time.perf_counter()
            answer = self.model(arrays["x_test"], training=False)
            right = keras.ops.convert_to_numpy(answer).argmax(axis=1) == arrays["y_test"]
            curve.append([now - started - self.scoring, float(right.mean())])
            self.scoring += time.perf_counter() - now

    started = time.perf_counter()
    keras.utils.set_random_seed(seed)
    model = network()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        arrays["x_train"],
        arrays["y_train"],
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[Clock()],
    )
    return curve


def _torch_twin(arrays: data.Arrays, seed: int, epochs: int, resident: bool) -> Curve:
    import torch

    epochs = min(epochs, lessons.declared(_FAST)["fast_epochs"])
    x, y = (torch.from_numpy(arrays[name].copy()) for name in ("x_train", "y_train"))
    started = time.perf_counter()
    torch.manual_seed(seed)
    linear, relu = torch.nn.Linear, torch.nn.ReLU()
    model = torch.nn.Sequential(linear(784, 512), relu, linear(512, 256), relu, linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters())
    updates = epochs * -(-len(x) // 256)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.005, updates, pct_start=0.2, div_factor=10, final_div_factor=1e4, cycle_momentum=False
    )
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 256, shuffle=True)
    for _ in range(epochs):
        batches = ((x[rows], y[rows]) for rows in torch.randperm(len(x)).split(256)) if resident else loader
        for images, labels in batches:
            optimizer.zero_grad()
            answer = model(images.flatten(1).float() / 255)
            torch.nn.functional.cross_entropy(answer, labels.long()).backward()
            optimizer.step()
            rate.step()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        answer = model(torch.from_numpy(arrays["x_test"]).flatten(1).float() / 255)
    return [[seconds, float((answer.argmax(1).numpy() == arrays["y_test"]).mean())]]


# --- use of the processor ---

FULL_NETWORK = "20 steps per execution"
THROUGHPUT: dict[str, dict[str, Any]] = {
    "plain fit": {},
    FULL_NETWORK: {"steps": 20},
    "... without dropout": {"steps": 20, "dropout": 0.0},
    "... without dropout and batch normalisation": {"steps": 20, "dropout": 0.0, "normalised": False},
    "... and with SGD for Adam": {"steps": 20, "dropout": 0.0, "normalised": False, "optimizer": "sgd"},
}


def throughput(
    arrays: data.Arrays,
    seed: int,
    epochs: int,
    *,
    steps: int = 1,
    dropout: float = 0.3,
    normalised: bool = True,
    optimizer: str = "adam",
) -> dict[str, float]:
    """Trains the reference network with batches of 512; how near does it come to the processor's matmul rate?

    Only the products of matrices count as work: 6 operations per weight and image (2 forward, 4 backward).

    Returns:
        `training` and `matmul` in operations per second, and their quotient `fraction`.
    """
    import keras

    keras.utils.set_random_seed(seed)
    model = reference_network(dropout, normalised)
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], steps_per_execution=steps)
    fit = functools.partial(model.fit, arrays["x_train"], arrays["y_train"], batch_size=BATCH, verbose=0)
    fit(epochs=1)  # traces
    rate = _matmul_rate()
    started = time.perf_counter()
    fit(epochs=epochs)
    seconds = time.perf_counter() - started
    weights = 784 * 256 + 256 * 128 + 128 * 10
    training = 6 * weights * len(arrays["x_train"]) * epochs / seconds
    return {"training": training, "matmul": rate, "fraction": training / rate}


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
    return 2 * BATCH * 784 * 256 * repetitions / (time.perf_counter() - started)


# --- growth ---


def growth(arrays: data.Arrays, seed: int, what: str, value: int) -> dict[str, float]:
    """Trains 512-256 for two epochs on 20,000 images, with one of these changed; seconds and peak memory."""
    import keras

    setting = {"epochs": 2, "images": 20_000, "units": 512, "trials": 1} | {what: value}
    x, y = arrays["x_train"][: setting["images"]], arrays["y_train"][: setting["images"]]
    started = time.perf_counter()
    for _ in range(setting["trials"]):
        keras.utils.set_random_seed(seed)
        model = _network([setting["units"], setting["units"] // 2])
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

_KINDS = {
    "import": re.compile(r"^import ", re.M),
    "training": re.compile(r"\.(fit|search)\("),
    "data": re.compile(r"\bdata\.(load_|resolve|describe|dataset_of_record)"),
    "figures": re.compile(r"\bplots\."),
}


def lesson_times(folder: Path) -> dict[str, dict[str, float]]:
    """Splits the wall time of each lesson of a run into kernel start, import, data, training, figures, other.

    Args:
        folder: the folder of a run that `mnist-course run` made.

    Returns:
        lesson -> kind -> seconds; a cell counts for the first of import, training, data and figures that it does.
    """
    split = {}
    for lesson, timing in course_file.timings(folder).items():
        notebook = json.loads((folder / f"{lesson}.ipynb").read_text(encoding="utf-8"))
        seconds = dict.fromkeys([*_KINDS, "other"], 0.0)
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            kind = next((kind for kind, pattern in _KINDS.items() if pattern.search(source)), "other")
            seconds[kind] += cell["metadata"].get("papermill", {}).get("duration") or 0.0
        split[lesson] = {"kernel start": timing["wall_seconds"] - sum(seconds.values())} | seconds
    return split


# --- the bench ---


def plan(repeats: int, quick: bool) -> list[tuple[str, str, int]]:
    """Lists the measurements, one repetition of all after the other: kind, name, seed.

    What needs an optional package that is not installed is left out.
    """
    needs = dict.fromkeys(("torch", "torch_resident"), "torch") | dict.fromkeys(
        ("seeds", "workers"), "distributed"
    )
    absent = {name for name, package in needs.items() if not importlib.util.find_spec(package)}
    often = [("target", name) for name in COMPETITORS if name not in absent]
    often += [("throughput", name) for name in THROUGHPUT]
    slopes = [
        ("growth", f"{what}={value}")
        for what, values in GROWTH.items()
        for value in values
        if what not in absent
    ]
    if quick:
        often, slopes = [("target", "fast_recipe"), ("throughput", FULL_NETWORK)], slopes[:2]
    shuffle = random.Random(1)
    found = []
    for seed in range(1, repeats + 1):
        once = often + (slopes if seed <= GROWTH_REPEATS else [])
        found += [(kind, name, seed) for kind, name in shuffle.sample(once, len(once))]
    return found


def measure(kind: str, name: str, seed: int, quick: bool) -> Any:
    """Makes one measurement in this process."""
    arrays = _arrays(quick)
    if kind == "target":
        return COMPETITORS[name](arrays, seed, 1 if quick else MAX_EPOCHS)
    if kind == "throughput":
        return throughput(arrays, seed, 1 if quick else 3, **THROUGHPUT[name])
    what, value = name.split("=")
    if what == "seeds":
        return study_growth(int(value), workers=1)
    if what == "workers":
        return study_growth(STUDY_RUNS, workers=int(value))
    return growth(arrays, seed, what, int(value))


def _arrays(quick: bool) -> data.Arrays:
    arrays, _ = data.load_arrays("digits" if quick else "mnist")
    return arrays


def run_bench(
    folder: Path, *, repeats: int = 5, quick: bool = False, course_runs: dict[str, Path] | None = None
) -> Path:
    """Measures what is not measured yet, and writes `bench.json` into `folder`.

    Args:
        folder: where the measurements are kept.
        repeats: repetitions of each measurement, each with another seed.
        quick: True for a tiny bench on the digits, to see that it works; its numbers mean nothing.
        course_runs: profile -> folder of a run, whose lessons' times are to be split.

    Returns:
        The path of `bench.json`.

    Raises:
        data.DatasetNotFoundError: MNIST cannot be had.
        RuntimeError: a measurement failed.
    """
    from tqdm import tqdm

    _arrays(quick)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "bench.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    done = [entry for entry in map(json.loads, lines) if entry["quick"] == quick]
    seen = {(entry["kind"], entry["name"], entry["seed"]) for entry in done}
    for kind, name, seed in tqdm(
        [job for job in plan(repeats, quick) if job not in seen], unit="run", disable=None
    ):
        value = _in_a_process(kind, name, seed, quick)
        done.append({"kind": kind, "name": name, "seed": seed, "quick": quick, "value": value})
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine = results.machine() | {
        "versions": results.versions(),
        "date": time.strftime("%Y-%m-%d"),
        "load": load,
    }
    content = summary(done) | {"machine": machine, "repeats": repeats, "quick": quick}
    content["lessons"] = {profile: lesson_times(path) for profile, path in (course_runs or {}).items()}
    _files.write_json(folder / speed_report.BENCH_FILE, content)
    return folder / speed_report.BENCH_FILE


def _in_a_process(kind: str, name: str, seed: int, quick: bool) -> Any:
    command = [sys.executable, "-m", "benchmarks.speed", kind, name, str(seed), str(int(quick))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Measurement {kind} {name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# --- what the measurements say ---


def summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians with their range.

    Args:
        done: the measurements: `kind`, `name`, `seed`, `value`.

    Returns:
        `target`; `time_to_target`: name -> `median_seconds`, `n`, `low`, `high`, `reached`, `scored` (times),
        `mean_accuracy`; `matmul_fraction`: `median`, `n`, `low`, `high` and `matmul_per_second` of the whole
        network, and the same of each of its `changes` by name; `growth`: what -> `points` and the straight line
        through them.
    """
    by_kind: dict[str, dict[str, list]] = {"target": {}, "throughput": {}, "growth": {}}
    order = [*COMPETITORS, *THROUGHPUT, *GROWTH]
    for entry in sorted(done, key=lambda entry: order.index(entry["name"].split("=")[0])):
        by_kind[entry["kind"]].setdefault(entry["name"], []).append(entry["value"])
    fractions = {}
    for name, values in by_kind["throughput"].items():
        spread = _median([value["fraction"] for value in values])
        fractions[name] = spread | {
            "matmul_per_second": _median([value["matmul"] for value in values])["median"]
        }
    points: dict[str, list[dict[str, float]]] = {}
    for name, values in by_kind["growth"].items():
        what, value = name.split("=")
        middle = {key: float(np.median([entry[key] for entry in values])) for key in values[0]}
        points.setdefault(what, []).append({"value": int(value)} | middle)
    return {
        "target": TARGET,
        "time_to_target": {name: time_to_target(curves) for name, curves in by_kind["target"].items()},
        "matmul_fraction": fractions[FULL_NETWORK] | {"name": FULL_NETWORK, "changes": fractions},
        "growth": {what: straight_line(found, what) for what, found in points.items()},
    }


def time_to_target(curves: list[Curve]) -> dict[str, Any]:
    """Finds the first epoch at which the mean accuracy over the seeds is at or above the target.

    Where none is, the seconds are those to the end, and `reached` is False.
    """
    accuracy = np.array([[point[1] for point in curve] for curve in curves]).mean(axis=0)
    above = np.flatnonzero(accuracy >= TARGET)
    epoch = int(above[0]) if len(above) else len(accuracy) - 1
    spread = _median([curve[epoch][0] for curve in curves])
    return {
        "median_seconds": spread.pop("median"),
        **spread,
        "reached": bool(len(above)),
        "scored": epoch + 1,
        "mean_accuracy": float(accuracy[epoch]),
    }


def straight_line(points: list[dict[str, float]], what: str) -> dict[str, Any]:
    """Fits seconds = intercept + slope * value, by least squares.

    For `units`, the value is the number of parameters; for `workers`, the number of runs of each worker.
    """
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
