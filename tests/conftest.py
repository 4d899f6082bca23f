"""What all tests share: no network beyond loopback, no file outside temporary folders, MNIST only where it is."""

from __future__ import annotations

import dataclasses
import gc
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from mnist_helpers import data, results
from mnist_helpers.data import _archives

USER_ENVIRONMENT = dict(os.environ)


def pytest_addoption(parser):
    parser.addoption(
        "--faults", metavar="FILE", help="write what became of each fault that was tried to FILE"
    )


def pytest_collection_modifyitems(items):
    """Puts files with slow tests first, so that no process of a parallel run has to finish one of them alone."""
    slow = {item.path for item in items if item.get_closest_marker("course")}
    items.sort(key=lambda item: (item.path not in slow, item.path.name != "test_lessons.py"))


def pytest_collection_finish():
    """Leaves what was collected out of Python's garbage collections: some libraries ask for many of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def mnist() -> data.Arrays:
    """The arrays of MNIST. A test that asks for them is skipped where MNIST is not found.

    It fails if `MNIST_DATA_DIR` is set and does not hold MNIST, because the tests of MNIST were then wanted. Pytest
    sets up session fixtures first, so the environment is still the user's own here.
    """
    given = os.environ.get("MNIST_DATA_DIR")
    try:
        arrays, source = data.load_arrays("mnist", download=False)
    except data.DatasetNotFoundError as error:
        if given:
            pytest.fail(f"MNIST_DATA_DIR is set, but it cannot be used. {error}")
        pytest.skip("MNIST is not on this machine: set MNIST_DATA_DIR to check it too")
    if given and source.kind is not data.Kind.ENVIRONMENT:
        pytest.fail(f"MNIST_DATA_DIR={given} cannot be used; MNIST was {source}")
    return arrays


@pytest.fixture(autouse=True)
def _shut_off(monkeypatch, tmp_path):
    """Each test: empty caches, no MNIST_DATA_DIR, results in a temporary folder, no download.

    A test that runs a lesson in its own process leaves the lesson's variables behind.
    """
    monkeypatch.delenv(results.MADE_FROM, raising=False)
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    monkeypatch.delenv("MNIST_COURSE_MIRRORS", raising=False)
    monkeypatch.setenv("MNIST_COURSE_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("MNIST_COURSE_RESULTS", str(tmp_path / "results"))


class MadeUpMnist:
    """A dataset of MNIST's size and format, made up: what it takes to test files without having MNIST."""

    def __init__(self, folder: Path):
        self.arrays = {}
        for name, shape in _archives.SHAPES.items():
            array = np.zeros(shape, np.uint8)
            if name.startswith("y"):
                array[:] = np.arange(shape[0]) % 10
            else:
                array[:, 10:12, 10] = np.random.default_rng(1).integers(1, 256, (shape[0], 1))
            self.arrays[name] = array
        self.folder = folder
        for name, array in self.arrays.items():
            self.write_idx(folder / data.IDX_FILES[name], array)
        self.npz = folder / "npz" / "mnist.npz"
        self.npz.parent.mkdir()
        np.savez_compressed(self.npz, **self.arrays)
        self.sha256 = {name: _archives.sha256(array) for name, array in self.arrays.items()}

    @staticmethod
    def write_idx(path: Path, array: np.ndarray) -> None:
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(header + array.tobytes())


@pytest.fixture(scope="session")
def _made_up(tmp_path_factory) -> MadeUpMnist:
    return MadeUpMnist(tmp_path_factory.mktemp("made-up"))


@pytest.fixture
def made_up(_made_up, monkeypatch) -> MadeUpMnist:
    """The made-up dataset, taken for MNIST: its checksums are in the table during one test."""
    row = dataclasses.replace(data.DATASETS["mnist"], array_sha256=_made_up.sha256)
    monkeypatch.setitem(data.DATASETS, "mnist", row)
    return _made_up
