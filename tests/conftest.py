"""What all tests share: no network beyond loopback, no file outside temporary folders, MNIST only where it is."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from mnist_helpers import data

# Where this machine has MNIST is asked once, before the tests shut the caches.
_FOUND: dict[str, data.Arrays] = {}
USER_ENVIRONMENT = dict(os.environ)


def pytest_addoption(parser):
    parser.addoption(
        "--faults", metavar="FILE", help="write what became of each fault that was tried to FILE"
    )


def _mnist() -> data.Arrays | None:
    if "mnist" not in _FOUND:
        try:
            with pytest.MonkeyPatch.context() as patch:
                for name in ("MNIST_DATA_DIR", "XDG_CACHE_HOME", "KERAS_HOME"):
                    if name in USER_ENVIRONMENT:
                        patch.setenv(name, USER_ENVIRONMENT[name])
                    else:
                        patch.delenv(name, raising=False)
                _FOUND["mnist"] = data.load_arrays("mnist", download=False)[0]
        except data.DatasetNotFoundError:
            _FOUND["mnist"] = None
    return _FOUND["mnist"]


@pytest.fixture(scope="session")
def mnist() -> data.Arrays:
    """The arrays of MNIST; a test that asks for them is skipped where MNIST is not found."""
    arrays = _mnist()
    if arrays is None and "MNIST_DATA_DIR" in USER_ENVIRONMENT:
        pytest.fail("MNIST_DATA_DIR is set, and MNIST could not be read from it or from a cache")
    if arrays is None:
        pytest.skip("MNIST is not on this machine: set MNIST_DATA_DIR to check it too")
    return arrays


@pytest.fixture(autouse=True)
def _shut_off(monkeypatch, tmp_path):
    """Each test: empty caches, no MNIST_DATA_DIR, results in a temporary folder, no download."""
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
        for name, shape in data._SHAPES.items():
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
        self.sha256 = {name: data._sha256(array) for name, array in self.arrays.items()}

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
    """The made-up dataset, taken for MNIST: its checksums stand in the table for the time of a test."""
    monkeypatch.setitem(data._ARRAY_SHA256, "mnist", _made_up.sha256)
    return _made_up
