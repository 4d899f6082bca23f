"""MNIST, Fashion-MNIST, the bundled digits, or a dataset of your own, verified by checksums.

`load_training` returns the training images (split into training and validation), `load_test` the test images.
Lessons 1-4 call only the first of the two.

===============  ===================  =================================================================
name             images               source
===============  ===================  =================================================================
`mnist`          60,000 + 10,000      `data_dir` or `$MNIST_DATA_DIR`, the caches, a download
`fashion_mnist`  60,000 + 10,000      the same
`digits`         1,437 + 360          scikit-learn's bundled handwritten digits, in MNIST's format
`auto`                                `mnist` if it can be loaded within 20 seconds, otherwise `digits`
a folder         as many as it holds  its four idx files, for example KMNIST's or a teacher's own
===============  ===================  =================================================================

Every image is 28x28, uint8, 0 (background) to 255 (ink). A copy is accepted as MNIST if its arrays have the known
sha256, regardless of the archive format.

Environment variables: `MNIST_DATA_DIR` (a folder with the four idx files, gzipped or not, or `mnist.npz`),
`MNIST_COURSE_MIRRORS` (base URLs separated by commas, instead of the built-in mirrors),
`MNIST_COURSE_OFFLINE=1` (no downloads).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_helpers._errors import UserError, did_you_mean
from mnist_helpers._files import expand, means_folder
from mnist_helpers.data import _archives, _digits, _download
from mnist_helpers.data._archives import DATASETS, IDX_FILES, NAMES, NUM_CLASSES, Arrays, Kind, Source
from mnist_helpers.data._digits import to_mnist_format
from mnist_helpers.data._download import Attempt, DatasetNotFoundError, cache_dir, is_offline

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf

__all__ = [
    "DATASETS", "IDX_FILES", "NAMES", "NUM_CLASSES", "Arrays", "Attempt", "DatasetNotFoundError", "Kind", "Pair",
    "Source", "cache_dir", "dataset_of_record", "describe", "is_folder", "is_offline", "label_errors",
    "load_arrays", "load_test", "load_training", "resolve_dataset", "shuffled_batches", "to_mnist_format",
]  # fmt: skip
Pair = tuple[np.ndarray, np.ndarray]
DataDir = str | os.PathLike | None
_AUTO_SECONDS = 15.0


def load_training(
    dataset: str = "auto",
    *,
    num_train: int = 0,
    num_validation: int = 0,
    seed: int,
    refit_on_all: bool | int = False,
    data_dir: DataDir = None,
) -> tuple[Pair, Pair]:
    """Loads the training images, split into training and validation.

    The split is stratified (each class keeps its share), disjoint and fixed by `seed`.

    Args:
        dataset: `"auto"`, `"mnist"`, `"fashion_mnist"`, `"digits"`, a folder with four idx files, or the name
            that `resolve_dataset` gave such a folder, with the folder as `data_dir`.
        num_train: images to train on; 0 for all that validation leaves.
        num_validation: images to validate on; 0 for one in six.
        seed: fixes the split.
        refit_on_all: whether the validation images are also the last training images: for a final training, when
            nothing is chosen any more. A message says that validation scores have no meaning then. There must be
            at least as many images to train on as to validate on.
        data_dir: a folder to look in first; empty or `None` for `$MNIST_DATA_DIR`.

    Returns:
        `(x_train, y_train), (x_val, y_val)`: images uint8 `(n, 28, 28)`, 0-255; labels uint8 `(n,)`, 0-9.

    Raises:
        UserError: the dataset is unknown, the folder does not hold one, or the sizes do not fit.
        DatasetNotFoundError: the dataset was found nowhere and could not be downloaded.

    Example:
        >>> (x_train, y_train), (x_val, y_val) = load_training("digits", seed=1)
        >>> x_train.shape, x_val.shape, x_train.dtype
        ((1198, 28, 28), (239, 28, 28), dtype('uint8'))
    """
    from sklearn.model_selection import train_test_split

    for name, value in (("num_train", num_train), ("num_validation", num_validation), ("seed", seed)):
        if not isinstance(value, Integral) or not 0 <= value < 2**32:
            raise UserError(f"Expected: a whole number from 0 to {2**32 - 1}. Received: {name}={value!r}.")
    x, y = _load(dataset, data_dir, "train")
    num_validation = int(num_validation) or len(x) // 6
    num_train = int(num_train) or len(x) - num_validation
    if min(num_train, num_validation) < NUM_CLASSES or num_train + num_validation > len(x):
        raise UserError(
            f"The numbers of images do not fit dataset {dataset!r}. Expected: at least {NUM_CLASSES} each, at most "
            f"{len(x)} together, 0 for the default. Received: {num_train=}, {num_validation=}."
        )
    if refit_on_all and num_validation > num_train:
        raise UserError(
            "With refit_on_all, the first half of the training images must not be validation images. Expected: no "
            f"more images for validation than for training. Received: {num_train=}, {num_validation=}."
        )
    sizes = {"train_size": num_train, "test_size": num_validation}
    train, validation = train_test_split(np.arange(len(x)), **sizes, stratify=y, random_state=int(seed))
    for name, part in (("num_train", train), ("num_validation", validation)):
        if rare := _archives.rare_classes(y[part]):
            small = f"{name}={len(part)} is too small for dataset {dataset!r}"
            raise UserError(
                f"{small}. Expected: an image of each class. Received: {rare}. Set {name} higher."
            )
    if refit_on_all:
        print("The training images include the validation images, so validation scores have no meaning.")
        train = np.concatenate([train, validation])
    return (x[train], y[train]), (x[validation], y[validation])


def load_test(dataset: str = "auto", *, data_dir: DataDir = None) -> Pair:
    """Loads the test images, which lesson 5 uses once, for the final evaluation.

    Args:
        dataset: as in `load_training`.
        data_dir: as in `load_training`.

    Returns:
        `x_test, y_test`: uint8 `(n, 28, 28)`, 0-255, and uint8 `(n,)`, 0-9.

    Raises:
        UserError: the dataset is unknown, or the folder does not hold one.
        DatasetNotFoundError: the dataset was found nowhere and could not be downloaded.
    """
    return _load(dataset, data_dir, "test")


def shuffled_batches(inputs: Any, labels: np.ndarray, batch_size: int, seed: int) -> tf.data.Dataset:
    """Makes mini-batches for `fit`, in another order in each epoch.

    If a seed was set with `keras.utils.set_random_seed`, `fit` on arrays uses the same order in every epoch, with
    TensorFlow 2.21 and Keras 3.15. Then the same images are together in a batch in every epoch, so a network with
    batch normalisation sees the same statistics again and again. Call `fit` on these batches with `shuffle=False`,
    because Keras warns that it does not shuffle a dataset.

    Args:
        inputs: an array whose first axis numbers the images, or a tuple of such arrays.
        labels: `(n,)`.
        batch_size: images in a batch, 1 or more; the last batch holds what is left.
        seed: fixes the orders of all epochs.

    Returns:
        A dataset of `(inputs, labels)`, with the dtypes of the arrays. Each pass over it is an epoch.
    """
    import keras
    import tensorflow as tf

    arrays = keras.tree.map_structure(tf.constant, (inputs, labels))

    def gathered(rows: tf.Tensor) -> Any:
        return keras.tree.map_structure(lambda array: tf.gather(array, rows), arrays)

    order = tf.data.Dataset.range(len(labels)).shuffle(len(labels), seed=seed)
    return order.batch(batch_size).map(gathered).prefetch(2)


def resolve_dataset(dataset: str, *, data_dir: DataDir = None) -> tuple[str, str]:
    """Resolves a dataset's name, and prints it.

    A folder whose arrays are those of a known dataset has that dataset's name (`"mnist"`); any other folder gives
    the dataset its own name, and what is unusual about its pixels is printed.

    Args:
        dataset: `"auto"`, `"mnist"`, `"fashion_mnist"`, `"digits"`, or a folder with four idx files.
        data_dir: as in `load_training`.

    Returns:
        The name to show, and the `data_dir` with which `load_training` and `load_test` find the dataset under that
        name: an absolute path, or an empty string.

    Raises:
        UserError: the dataset is unknown, the folder does not hold one, `data_dir` is not a folder, or both a
            folder and another `data_dir` are given.
        DatasetNotFoundError: the dataset was named, was found nowhere and could not be downloaded.
    """
    name, folder, notes = dataset, expand(data_dir) if data_dir else None, []
    if is_folder(dataset):
        own = expand(dataset)
        if folder not in (None, own):
            form = "a folder as dataset, or a name as dataset and its folder as data_dir"
            received = f"dataset={str(dataset)!r} and data_dir={str(data_dir)!r}. Leave one out"
            raise UserError(f"Two folders for one dataset. Expected: {form}. Received: {received}.")
        arrays, source = _archives.read_own(own, Kind.FOLDER)
        known = _archives.known_as(arrays, source.files)
        name, folder = known or _archives.own_name(own), own
        notes = [] if known else _archives.unusual_pixels(arrays)
    elif folder and not os.path.isdir(folder):  # noqa: PTH112 (it returns False for what cannot be a path)
        form = "Expected: a folder with the data files, or nothing"
        raise UserError(f"data_dir has a wrong value. {form}. Received: {str(data_dir)!r}, not a folder.")
    elif dataset == "auto":
        name = _mnist_or_digits(folder)
    else:
        load_arrays(dataset, data_dir=folder)
    print("\n".join([f"dataset: {name}", *(f"note: {text}" for text in notes)]))
    return name, str(folder or "")


def dataset_of_record(record: Mapping[str, Any], *, data_dir: DataDir = None) -> tuple[str, str]:
    """Returns the dataset that an earlier lesson recorded.

    Args:
        record: the lesson's record, with its `params` and `dataset`.
        data_dir: the folder to look in first; empty or `None` for the one that the lesson was given.

    Returns:
        The name that the lesson showed and the `data_dir`, as `resolve_dataset` returns them.
    """
    given = record["params"]["dataset"]
    folder = data_dir or (record["params"].get("data_dir") if given in (*NAMES, "auto") else given)
    return record["dataset"]["name"], str(expand(folder)) if folder else ""


def describe(name: str, **arrays: np.ndarray) -> dict:
    """Describes a dataset for a record: its name, and the shape and sha256 of each array.

    Args:
        name: the dataset's name.
        **arrays: arrays by name, such as `x_train=x_train`.

    Returns:
        A dict with `name`, `shapes` (name -> list of ints) and `sha256` (name -> hex digest of the bytes).

    Raises:
        UserError: one of the values is not an array of numbers.
    """
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise UserError(f"{key}: expected a NumPy array of numbers. Received: {type(array).__name__}.")
    shapes = {key: list(array.shape) for key, array in arrays.items()}
    digests = {key: _archives.sha256(array) for key, array in arrays.items()}
    return {"name": name, "shapes": shapes, "sha256": digests}


def label_errors(dataset: str) -> pd.DataFrame:
    """Lists the test digits whose label people rejected.

    Source: Northcutt, Athalye and Mueller 2021, "Pervasive label errors in test sets destabilize machine
    learning benchmarks", arXiv:2103.14749: five people judged each label that a model doubted.

    Args:
        dataset: a dataset's name, as `resolve_dataset` returns it.

    Returns:
        One row per digit; no rows for any dataset except `"mnist"`. All columns are whole numbers: `index` (row of
        the test set), `label` (given), `suggestion` (the label that three or more of the five people chose
        instead, -1 if they agreed on none), and the five votes: `votes_label`, `votes_suggested` (for the one
        other label that was offered), `votes_neither`.
    """
    import pandas as pd

    table = pd.read_csv(Path(__file__).with_name("mnist_label_errors.csv"), comment="#")
    table.insert(2, "suggestion", table.pop("suggested").where(table["votes_suggested"] >= 3, -1))
    return table if dataset == "mnist" else table.iloc[:0]


def load_arrays(
    dataset: str, *, data_dir: DataDir = None, download: bool = True, seconds: float = 600.0
) -> tuple[Arrays, Source]:
    """Loads and verifies a dataset from a given folder, this course's cache, Keras' cache, or a download.

    Args:
        dataset: as in `load_training`, but not `"auto"`.
        data_dir: a folder to look in first; empty or `None` for `$MNIST_DATA_DIR`.
        download: False to look only on this machine.
        seconds: how long a download may take in all.

    Returns:
        The arrays `x_train`, `y_train`, `x_test`, `y_test` by name, and where they came from.

    Raises:
        UserError: the dataset is unknown, or the folder does not hold one.
        DatasetNotFoundError: the dataset was found nowhere; its `attempts` say why.
    """
    given = expand(data_dir) if data_dir else None
    if given and dataset not in NAMES and dataset == _archives.own_name(given):
        return _archives.read_own(given, Kind.DATA_DIR)
    if is_folder(dataset):
        return _archives.read_own(expand(dataset), Kind.FOLDER)
    if dataset not in NAMES:
        form = f"one of {', '.join(NAMES)}, or a folder with the four idx files of another one"
        hint = did_you_mean(str(dataset), NAMES)
        raise UserError(f"Unknown dataset. Expected: {form}. Received: {dataset!r}.{hint}")
    row = DATASETS[dataset]
    if not row.mirrors:
        return _digits.digits(), Source(Kind.BUNDLED, None, {})
    attempts = []
    variable = os.environ.get("MNIST_DATA_DIR")
    for kind, folder in (
        (Kind.DATA_DIR, given) if given else (Kind.ENVIRONMENT, expand(variable) if variable else None),
        (Kind.CACHE, cache_dir()),
        (Kind.KERAS_CACHE, expand(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"),
    ):
        place = kind.value.removeprefix("found in ")
        try:
            if folder:
                return _archives.read_folder(folder, kind, row)
            attempts.append(Attempt(place, "not set"))
        except (OSError, UserError) as error:
            attempts.append(Attempt(f"{place} ({folder})", str(error)))
    if download and not is_offline():
        return _download.download(row, attempts, seconds)
    why = "switched off (MNIST_COURSE_OFFLINE is set)" if download else "not tried"
    raise DatasetNotFoundError(dataset, [*attempts, Attempt("download", why)])


def is_folder(dataset: str | os.PathLike) -> bool:
    """Returns whether `dataset` means a folder: it is not a dataset's name, and has a separator or exists.

    Write `./digits` for a folder that has a dataset's name.
    """
    return str(dataset) not in ("", "auto", *NAMES) and means_folder(str(dataset))


def _load(dataset: str, data_dir: DataDir, part: str) -> Pair:
    if dataset == "auto" or is_folder(dataset):
        dataset, data_dir = resolve_dataset(dataset, data_dir=data_dir)
    arrays, _ = load_arrays(dataset, data_dir=data_dir)
    return arrays[f"x_{part}"], arrays[f"y_{part}"]


def _mnist_or_digits(data_dir: Path | None) -> str:
    try:
        load_arrays("mnist", data_dir=data_dir, seconds=_AUTO_SECONDS)
    except DatasetNotFoundError as error:
        print(f"MNIST was not found; the bundled digits are used instead. Tried:\n{error.tried}")
        print("Scores on digits and on MNIST are not comparable. To get it: mnist-course data fetch mnist")
        return "digits"
    return "mnist"
