"""Datasets by name, verified, behind two doors.

`load_training` opens the training images (split into training and validation), `load_test` the test images.
Lessons 1-4 use only the first door.

| name            | images                | where from                                                        |
|-----------------|-----------------------|-------------------------------------------------------------------|
| `mnist`         | 60,000 + 10,000       | `data_dir` or `$MNIST_DATA_DIR`, the caches, a download           |
| `fashion_mnist` | 60,000 + 10,000       | the same                                                          |
| `digits`        | 1,437 + 360           | scikit-learn's bundled handwritten digits, in MNIST's format      |
| `auto`          |                       | `mnist` where it can be had within 20 seconds, else `digits`      |
| a folder        | as many as it holds   | its four idx files, such as KMNIST's or a teacher's own           |

Every image is 28x28, uint8, 0 (background) to 255 (ink). What decides whether a copy is MNIST is the sha256
of its arrays, whatever archive they came in.

Environment: `MNIST_DATA_DIR` (a folder with the four idx files, gzipped or not, or `mnist.npz`),
`MNIST_COURSE_MIRRORS` (base URLs separated by commas, instead of the built-in mirrors),
`MNIST_COURSE_OFFLINE=1` (never touch the network).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_helpers._errors import UserError
from mnist_helpers.data._archives import (
    IDX_FILES,
    NAMES,
    NUM_CLASSES,
    Arrays,
    known_as,
    own_name,
    rare_classes,
    read_folder,
    read_own,
    sha256,
)
from mnist_helpers.data._digits import digits, to_mnist_format
from mnist_helpers.data._download import (
    Attempt,
    DatasetNotFoundError,
    cache_dir,
    download_dataset,
    download_lock,
)

_AUTO_SECONDS = 15.0
_FETCH_SECONDS = 600.0

__all__ = [
    "IDX_FILES",
    "NAMES",
    "NUM_CLASSES",
    "Arrays",
    "Attempt",
    "DatasetNotFoundError",
    "Pair",
    "cache_dir",
    "dataset_of_record",
    "describe",
    "expand",
    "is_folder",
    "label_errors",
    "load_arrays",
    "load_test",
    "load_training",
    "resolve_dataset",
    "to_mnist_format",
]
Pair = tuple[np.ndarray, np.ndarray]


# --- the two doors ---


def load_training(
    dataset: str = "auto",
    *,
    num_train: int = 0,
    num_validation: int = 0,
    seed: int,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Pair, Pair]:
    """Loads the training images, split into training and validation.

    The split is stratified (each class keeps its share), disjoint and fixed by `seed`.

    Args:
        dataset: `"auto"`, `"mnist"`, `"fashion_mnist"`, `"digits"`, a folder with four idx files, or the name
            that `resolve_dataset` gave such a folder, with the folder as `data_dir`.
        num_train: images to train on; 0 for all that validation leaves.
        num_validation: images to validate on; 0 for one in six.
        seed: fixes the split.
        data_dir: a folder to look in first; empty or `None` for `$MNIST_DATA_DIR`.

    Returns:
        `(x_train, y_train), (x_val, y_val)`: images uint8 `(n, 28, 28)`, 0-255; labels uint8 `(n,)`, 0-9.

    Raises:
        UserError: unknown dataset, a folder that holds none, or sizes that do not fit.
        DatasetNotFoundError: the dataset could not be had.

    Example:
        >>> (x_train, y_train), (x_val, y_val) = load_training("digits", seed=1)
        >>> x_train.shape, x_val.shape, x_train.dtype
        ((1198, 28, 28), (239, 28, 28), dtype('uint8'))
    """
    from sklearn.model_selection import train_test_split

    arrays = _load(dataset, data_dir)
    x, y = arrays["x_train"], arrays["y_train"]
    num_validation = num_validation or len(x) // 6
    num_train = num_train or len(x) - num_validation
    if min(num_train, num_validation) < NUM_CLASSES or num_train + num_validation > len(x):
        raise UserError(
            f"num_train and num_validation do not fit dataset {dataset!r}. Expected: at least {NUM_CLASSES} "
            f"each and at most {len(x)} together. Received: num_train={num_train}, "
            f"num_validation={num_validation}. Use 0 for the default."
        )
    train, validation = train_test_split(
        np.arange(len(x)), train_size=num_train, test_size=num_validation, stratify=y, random_state=seed
    )
    for name, part in (("num_train", train), ("num_validation", validation)):
        if rare := rare_classes(y[part]):
            raise UserError(
                f"{name}={len(part)} is too small for dataset {dataset!r}. Expected: an image of each class. "
                f"Received: {rare}. Set {name} higher."
            )
    return (x[train], y[train]), (x[validation], y[validation])


def load_test(dataset: str = "auto", *, data_dir: str | os.PathLike | None = None) -> Pair:
    """Loads the test images: the last door, opened once, in lesson 5.

    Args:
        dataset: as in `load_training`.
        data_dir: as in `load_training`.

    Returns:
        `x_test, y_test`: uint8 `(n, 28, 28)`, 0-255, and uint8 `(n,)`, 0-9.

    Raises:
        UserError: unknown dataset, or a folder that holds none.
        DatasetNotFoundError: the dataset could not be had.
    """
    arrays = _load(dataset, data_dir)
    return arrays["x_test"], arrays["y_test"]


def resolve_dataset(dataset: str, *, data_dir: str | os.PathLike | None = None) -> tuple[str, str]:
    """Settles which dataset is used, and says so.

    A folder's name is what its arrays are known by (`"mnist"` for MNIST's own), else the folder's own.

    Args:
        dataset: `"auto"`, `"mnist"`, `"fashion_mnist"`, `"digits"`, or a folder with four idx files.
        data_dir: as in `load_training`.

    Returns:
        The name to show, and the `data_dir` with which `load_training` and `load_test` find it under that
        name: the one given, or the folder as an absolute path.

    Raises:
        UserError: unknown dataset, a folder that holds none, a `data_dir` that is no folder, or both a folder
            and another `data_dir`.
        DatasetNotFoundError: the dataset was named and could not be had.
    """
    name = dataset
    if is_folder(dataset):
        folder = expand(dataset)
        if data_dir and expand(data_dir) != folder:
            raise UserError(
                f"Two folders for one dataset. Expected: a folder as dataset, or a name as dataset and its folder "
                f"as data_dir. Received: dataset={str(dataset)!r} and data_dir={str(data_dir)!r}. Leave one out."
            )
        name, data_dir = known_as(read_own(folder), folder), folder
    elif data_dir and not expand(data_dir).is_dir():
        raise UserError(
            f"data_dir has a wrong value. Expected: a folder with the data files, or nothing. Received: "
            f"{str(data_dir)!r}; there is no such folder."
        )
    elif dataset == "auto":
        name = _mnist_or_digits(data_dir)
    else:
        load_arrays(dataset, data_dir=data_dir)
    print(f"dataset: {name}")
    return name, str(data_dir or "")


def dataset_of_record(
    record: Mapping[str, Any], *, data_dir: str | os.PathLike | None = None
) -> tuple[str, str]:
    """Says which dataset an earlier lesson used, without asking for it again.

    Args:
        record: the lesson's record, with its `params` and `dataset`.
        data_dir: the folder to look in first; empty or `None` for the one that the lesson was given.

    Returns:
        The name that the lesson showed and the `data_dir`, as `resolve_dataset` returns them.
    """
    given = record["params"]["dataset"]
    named = given in (*NAMES, "auto")
    folder = record["params"].get("data_dir") if named else expand(given)
    return record["dataset"]["name"], str(data_dir or folder or "")


def is_folder(dataset: str) -> bool:
    """Says whether `dataset` means a folder: it is none of the names, and has a separator or exists.

    Write `./digits` for a folder that has a dataset's name.
    """
    if not dataset or dataset in (*NAMES, "auto"):
        return False
    return "/" in dataset or os.sep in dataset or dataset.startswith("~") or Path(dataset).is_dir()


def expand(folder: str | os.PathLike) -> Path:
    """Returns the absolute path of a folder; `~` is the user's home, a link keeps its own name."""
    return Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 (resolve() would follow links)


def describe(name: str, **arrays: np.ndarray) -> dict:
    """Describes a dataset for a record: its name, and the shape and sha256 of each array.

    Args:
        name: the dataset's name.
        **arrays: arrays by name, such as `x_train=x_train`.

    Returns:
        A dict with `name`, `shapes` (name -> list of ints) and `sha256` (name -> hex digest of the bytes).
    """
    return {
        "name": name,
        "shapes": {key: list(array.shape) for key, array in arrays.items()},
        "sha256": {key: sha256(array) for key, array in arrays.items()},
    }


def label_errors(dataset: str) -> pd.DataFrame:
    """Lists the test digits whose label people rejected.

    Source: Northcutt, Athalye and Mueller 2021, "Pervasive label errors in test sets destabilize machine
    learning benchmarks", arXiv:2103.14749: five people judged each label that a model doubted.

    Args:
        dataset: a dataset's name, as `resolve_dataset` returns it.

    Returns:
        One row per digit, none for another dataset than `"mnist"`. All columns are whole numbers: `index` (row
        of the test set), `label` (given), `suggestion` (the label that three or more of the five people chose
        instead, -1 where they agreed on none), and the five votes: `votes_label`, `votes_suggested` (for the
        one other label that was offered), `votes_neither`.
    """
    table = pd.read_csv(Path(__file__).with_name("mnist_label_errors.csv"), comment="#")
    agreed = table["votes_suggested"] >= 3
    table.insert(2, "suggestion", table.pop("suggested").where(agreed, -1))
    return table if dataset == "mnist" else table.iloc[:0]


# --- where a dataset is ---


def load_arrays(
    dataset: str,
    *,
    data_dir: str | os.PathLike | None = None,
    download: bool = True,
    seconds: float = _FETCH_SECONDS,
) -> tuple[Arrays, str]:
    """Finds and verifies a dataset: a given folder, this course's cache, Keras' cache, a download.

    Args:
        dataset: as in `load_training`, but not `"auto"`.
        data_dir: a folder to look in first; empty or `None` for `$MNIST_DATA_DIR`.
        download: False to look only on this machine.
        seconds: how long a download may take altogether.

    Returns:
        The arrays `x_train`, `y_train`, `x_test`, `y_test` by name, and the place in words.

    Raises:
        UserError: unknown dataset, or a folder that holds none.
        DatasetNotFoundError: no place had it; its `attempts` say why.
    """
    if dataset not in NAMES and data_dir and dataset == own_name(expand(data_dir)):
        return read_own(expand(data_dir)), "found in data_dir"
    if is_folder(dataset):
        return read_own(expand(dataset)), "found in the folder given"
    _check_name(dataset)
    if dataset == "digits":
        return digits(), "bundled with scikit-learn"
    attempts = []
    for place, folder in _places(dataset, data_dir):
        if folder is None:
            attempts.append(Attempt(place, "not set"))
            continue
        try:
            return read_folder(dataset, folder), f"found in {place}"
        except (OSError, ValueError) as error:
            attempts.append(Attempt(f"{place} ({folder})", str(error)))
    if not download or _offline():
        why = "not tried" if not download else "switched off (MNIST_COURSE_OFFLINE is set)"
        attempts.append(Attempt("download", why))
        raise DatasetNotFoundError(dataset, attempts)
    import filelock

    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as held:
        try:
            cache = held.enter_context(download_lock(seconds))
            place = "downloaded"
        except filelock.Timeout as error:
            attempts.append(
                Attempt("download", "another process was still at it when the time allowed was over")
            )
            raise DatasetNotFoundError(dataset, attempts) from error
        except OSError as error:
            attempts.append(Attempt(f"the course's cache ({cache_dir()})", f"cannot be written: {error}"))
            cache = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="mnist-course-")))
            place = "downloaded, but not kept, as the cache cannot be written"
        with contextlib.suppress(OSError, ValueError):
            return read_folder(dataset, cache), "found in the course's cache, where another process put it"
        return download_dataset(dataset, attempts, deadline, cache), place


def _places(dataset: str, data_dir: str | os.PathLike | None) -> list[tuple[str, Path | None]]:
    variable = os.environ.get("MNIST_DATA_DIR")
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return [
        ("data_dir", Path(data_dir))
        if data_dir
        else ("MNIST_DATA_DIR", Path(variable) if variable else None),
        ("the course's cache", cache_dir()),
        ("Keras' cache", keras_home / "datasets"),
    ]


def _offline() -> bool:
    return os.environ.get("MNIST_COURSE_OFFLINE", "").lower() not in ("", "0", "false", "no")


def _check_name(dataset: str) -> None:
    if dataset not in NAMES:
        near = get_close_matches(str(dataset), NAMES, n=1)
        raise UserError(
            f"Unknown dataset. Expected: one of {', '.join(NAMES)}, or a folder with the four idx files of "
            f"another one. Received: {dataset!r}.{f' Did you mean {near[0]!r}?' if near else ''}"
        )


def _load(dataset: str, data_dir: str | os.PathLike | None) -> Arrays:
    if dataset == "auto":
        dataset, data_dir = resolve_dataset(dataset, data_dir=data_dir)
    return load_arrays(dataset, data_dir=data_dir)[0]


def _mnist_or_digits(data_dir: str | os.PathLike | None) -> str:
    try:
        load_arrays("mnist", data_dir=data_dir, seconds=_AUTO_SECONDS)
    except DatasetNotFoundError as error:
        print("MNIST was not found, so the embedded digits stand in. Tried:")
        for attempt in error.attempts:
            print(f"  - {attempt.place}: {attempt.outcome}")
        print(
            "Scores on the digits cannot be compared with MNIST's. To get MNIST: mnist-course data fetch mnist"
        )
        return "digits"
    return "mnist"
