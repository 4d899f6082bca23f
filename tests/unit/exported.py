"""A made-up study whose run has all that lesson 5 evaluates: tiny networks, for the digits in MNIST's format."""

import time
from pathlib import Path

import numpy as np

from mnist_helpers import _files, data, results
from tests.unit.test_results import a_network

SIZES = {"num_train": 300, "num_validation": 120, "seed": 4}
NETWORKS = {
    "02_baseline": {"baseline": 16},
    "03_batchnorm_dropout": {"plain": 4, "batchnorm_dropout": 8},
    "04_tuning": {"tuned": 12},
    "stronger_networks": {"strong": 6},
}


def a_study(folder: Path, lessons: tuple[str, ...] = tuple(NETWORKS)) -> Path:
    """Writes a study with one run, and returns the run's folder.

    Args:
        folder: the study's folder, which is made.
        lessons: the lessons of `NETWORKS` that the run has; it always has lesson 1.
    """
    run = folder / "seed-4"
    run.mkdir(parents=True)
    _files.write_json(folder / "study.json", {})
    (x_train, y_train), (x_val, y_val) = data.load_training("digits", **SIZES)
    images = data.describe("digits", x_train=x_train, y_train=y_train, x_val=x_val, y_val=y_val)
    params = {"dataset": "digits", "data_dir": "/a folder of this machine", "profile": "full", **SIZES}
    common = {"params": params, "dataset": images}
    means = np.stack([x_train[y_train == digit].mean(axis=0) for digit in range(10)])
    saved = results.save_arrays(
        run, "01_data_exploration", mean_images=means, class_counts=np.bincount(y_train)
    )
    simple = {"majority": {**saved, "num_params": 10}, "nearest_mean": {**saved, "num_params": means.size}}
    results.save_record(run, "01_data_exploration", models=simple, started=time.perf_counter(), **common)
    for lesson in lessons:
        scores = {"val_accuracy": 0.25, "val_loss": 2.0, "history": {"loss": [3.0]}}
        entries = {
            name: results.save_model(run, lesson, a_network(units)[0], name) | scores
            for name, units in NETWORKS[lesson].items()
        }
        started = time.perf_counter()
        results.save_record(run, lesson, models=entries, started=started, search={"trials": [1, 2]}, **common)
    return run
