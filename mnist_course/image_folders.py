"""Folders with other test images than MNIST's, to confirm a result: each is used with `--dataset`.

confirmation: MNIST's training images, 10,000 of which become the test images
QMNIST: MNIST's training images, and test images that were never in MNIST
"""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

from mnist_helpers import _files, data
from mnist_helpers._errors import UserError

# Images 0 to 9,999 of this permutation were the validation images when the recipes of the strongest networks were
# chosen; the next 10,000 were not.
_PERMUTATION_SEED, _CHOSEN, _CONFIRMED = 20261127, slice(0, 10_000), slice(10_000, 20_000)
# The files of QMNIST's test part, and their md5 as the library torchvision has it.
QMNIST_MD5 = {
    "qmnist-test-images-idx3-ubyte.gz": "1394631089c404de565df7b7aeaf9412",
    "qmnist-test-labels-idx2-int.gz": "5b5b05890a5e13444e108efe57b788aa",
}
_QMNIST_SOURCE = "https://github.com/facebookresearch/qmnist"
_IN_MNIST = 10_000  # the first test images of QMNIST are MNIST's test images


def write_confirmation(into: Path) -> str:
    """Writes a dataset whose test images are 10,000 of MNIST's training images; the other 50,000 are for training.

    Both parts have the order of MNIST's training images. MNIST's test images are not used.

    Args:
        into: the folder, which must not exist.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder exists.
        data.DatasetNotFoundError: MNIST was not found.
    """
    _check_new(into)
    return _write(into, *_split_off(_CONFIRMED))


def chosen_by() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns MNIST's training images in two parts, to choose recipes of the strongest networks by validation.

    Returns:
        50,000 images and their digits for training, then the 10,000 images and their digits by which the recipes
        were chosen. The images of the confirmation are among the former.

    Raises:
        data.DatasetNotFoundError: MNIST was not found.
    """
    return _split_off(_CHOSEN)


def write_qmnist(source: Path, into: Path) -> str:
    """Writes a dataset of MNIST's training images and the 50,000 test images of QMNIST that are not in MNIST.

    Source of the images and of their format: Yadav and Bottou 2019, "Cold case: the lost MNIST digits", NeurIPS. A
    row of QMNIST's labels has eight numbers, of which the first is the digit.

    Args:
        source: the folder with QMNIST's two files of test images and labels, as they are published.
        into: the folder to write, which must not exist.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: a file is missing or is another one, or the folder exists.
        data.DatasetNotFoundError: MNIST was not found.
    """
    _check_new(into)
    images, labels = (_read_qmnist(source / name, md5) for name, md5 in QMNIST_MD5.items())
    x_test = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
    y_test = np.frombuffer(labels, ">i4", offset=12).reshape(-1, 8)[:, 0].astype(np.uint8)
    return _write(into, *_mnist_training(), x_test[_IN_MNIST:], y_test[_IN_MNIST:])


def _check_new(into: Path) -> None:
    if into.exists():
        raise UserError(f"Expected: a folder that does not exist yet. Received: {into}. Give another name.")


def _mnist_training() -> tuple[np.ndarray, np.ndarray]:
    arrays, _ = data.load_arrays("mnist")
    return arrays["x_train"], arrays["y_train"]


def _split_off(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the other training images and their digits, then those of a part of the permutation."""
    x, y = _mnist_training()
    is_part = np.zeros(len(x), bool)
    is_part[np.random.RandomState(_PERMUTATION_SEED).permutation(len(x))[part]] = True
    return x[~is_part], y[~is_part], x[is_part], y[is_part]


def _read_qmnist(path: Path, md5: str) -> bytes:
    """Reads a file of QMNIST, and unpacks it after its checksum was verified."""
    if not path.is_file():
        raise UserError(
            f"{path} is missing. Expected: a folder with {' and '.join(QMNIST_MD5)}, which you find at "
            f"{_QMNIST_SOURCE}. Do not unpack them."
        )
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise UserError(f"{path} is not the file that {_QMNIST_SOURCE} has (md5 differs). Download it again.")
    return gzip.decompress(content)


def _write(
    into: Path, x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> str:
    """Writes the four idx files (http://yann.lecun.com/exdb/mnist, "file formats"); all of them or none."""
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    into.parent.mkdir(parents=True, exist_ok=True)
    with _files.atomic_write(into) as folder:
        folder.mkdir()
        for name, file in data.IDX_FILES.items():
            array = arrays[name]
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)  # 8: unsigned bytes
            (folder / file).write_bytes(gzip.compress(header + array.tobytes(), compresslevel=6, mtime=0))
        (folder / "mnist_licence.txt").write_text(data.DATASETS["mnist"].licence, encoding="utf-8")
    return f"{into}: {len(x_train):,} training images and {len(x_test):,} test images; use it with --dataset {into}"
