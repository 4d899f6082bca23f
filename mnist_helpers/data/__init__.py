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
import gzip
import hashlib
import math
import os
import re
import shutil
import struct
import sys
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import platformdirs

from mnist_helpers._errors import UserError

NUM_CLASSES = 10
IDX_FILES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}
_SHAPES = {"x_train": (60_000, 28, 28), "y_train": (60_000,), "x_test": (10_000, 28, 28), "y_test": (10_000,)}
NAMES = ("mnist", "fashion_mnist", "digits")

# sha256 of the arrays' bytes (uint8, C order).
_ARRAY_SHA256 = {
    "mnist": {
        "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    }
}
# Fashion-MNIST publishes the md5 of its archives only, so only those archives can be verified.
_ARCHIVE_MD5 = {
    "fashion_mnist": {
        "x_train": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "y_train": "25c81989df183df01b3e8a0aad5dffbe",
        "x_test": "bef4ecab320f06d8554ea6380940ec79",
        "y_test": "bb300cfdad3c16e7a12a480ee83cd310",
    }
}
_KERAS_MIRROR = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_IDX = tuple(IDX_FILES.values())
_MIRRORS = {
    "mnist": (
        (_KERAS_MIRROR, ("mnist.npz",)),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX),
    ),
    "fashion_mnist": (
        (_KERAS_MIRROR, _IDX),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", _IDX),
    ),
}
_MAX_DOWNLOAD_BYTES = 64 * 2**20
_MAX_ARRAY_BYTES = 2 * 2**30  # of one array in a folder of the user's: 2.7 million images
_AUTO_SECONDS = 15.0
_FETCH_SECONDS = 600.0
_SLOW_SECONDS, _SLOW_BYTES_PER_SECOND = 10.0, 2000.0  # then the next mirror is tried
_READ_SECONDS = 5.0  # without a byte
_DOWNLOADING = "download-"  # how the folders of unfinished downloads begin

Arrays = dict[str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]


class Attempt(NamedTuple):
    """A place where a dataset was looked for, and what it said."""

    place: str
    outcome: str


class DatasetNotFoundError(UserError):
    """A dataset could not be had from any place.

    Attributes:
        attempts: list of `Attempt`, in the order tried.
    """

    def __init__(self, dataset: str, attempts: list[Attempt]):
        self.attempts = attempts
        tried = "\n".join(f"  - {place}: {outcome}" for place, outcome in attempts)
        super().__init__(
            f"Dataset {dataset!r} was not found. Tried:\n{tried}\n"
            f"What to do: put its four idx files or {dataset}.npz into a folder and set MNIST_DATA_DIR "
            f"to it; or, with a network, run `mnist-course data fetch {dataset}`; "
            "or use the embedded digits (--dataset digits)."
        )


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
        if rare := _rare_classes(y[part]):
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
        name, data_dir = _known_as(_read_own(folder), folder), folder
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
        "sha256": {key: _sha256(array) for key, array in arrays.items()},
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
    if dataset not in NAMES and data_dir and dataset == _own_name(expand(data_dir)):
        return _read_own(expand(data_dir)), "found in data_dir"
    if is_folder(dataset):
        return _read_own(expand(dataset)), "found in the folder given"
    _check_name(dataset)
    if dataset == "digits":
        return _digits(), "bundled with scikit-learn"
    attempts = []
    for place, folder in _places(dataset, data_dir):
        if folder is None:
            attempts.append(Attempt(place, "not set"))
            continue
        try:
            return _read_folder(dataset, folder), f"found in {place}"
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
            cache = held.enter_context(_download_lock(seconds))
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
            return _read_folder(dataset, cache), "found in the course's cache, where another process put it"
        return _download(dataset, attempts, deadline, cache), place


def cache_dir() -> Path:
    """Returns the folder in which downloads are kept, one folder per dataset."""
    return Path(platformdirs.user_cache_dir("mnist-course"))


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


# --- reading and verifying ---


def _read_folder(dataset: str, folder: Path) -> Arrays:
    """Reads the dataset from the first form of it that `folder` holds, and verifies it."""
    if not folder.is_dir():
        raise FileNotFoundError("no such folder")
    archive = folder / f"{dataset}.npz"
    if archive.is_file():
        arrays = _read_npz(dataset, archive)
        _verify(dataset, arrays, archives={})
        return arrays
    for inside in (folder / dataset, folder / dataset.replace("_", "-"), folder):
        archives, missing = _idx_files(inside)
        if not missing:
            arrays = {
                name: _read_idx(path, len(_SHAPES[name]), int(np.prod(_SHAPES[name])))
                for name, path in archives.items()
            }
            _verify(dataset, arrays, archives)
            return arrays
        if archives:
            raise FileNotFoundError(f"incomplete: {', '.join(missing)} missing")
    raise FileNotFoundError(f"neither {dataset}.npz nor the four idx files ({', '.join(_IDX)})")


def _idx_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Returns the idx files that `folder` holds, gzipped or not, by array name, and the names of the others."""
    found, missing = {}, []
    for name, file in IDX_FILES.items():
        forms = [folder / file, folder / file.removesuffix(".gz")]
        here = [path for path in forms if path.is_file()]
        if here:
            found[name] = here[0]
        else:
            missing.append(file)
    return found, missing


def _read_idx(path: Path, dimensions: int, most_bytes: int) -> np.ndarray:
    """Reads an idx file of uint8 values, gzipped or not (http://yann.lecun.com/exdb/mnist, "file formats").

    The header is not trusted: nothing is read of a file that promises more than `most_bytes`, and of any
    other one byte more than promised, however much a gzip file would unpack to.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            shape = _idx_shape(path, header, dimensions)
            size = math.prod(shape)
            if size > most_bytes:
                raise UserError(f"{path.name} promises an array of shape {shape}: at most {most_bytes} bytes")
            content = bytearray()  # read(size) would make room for all that is promised
            while len(content) <= size and (chunk := file.read(min(2**20, size + 1 - len(content)))):
                content += chunk
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path.name} is damaged or cannot be read ({error})") from error
    if len(content) != size:
        received = f"only {len(content)}" if len(content) < size else "more"
        raise UserError(f"{path.name} is damaged: its header promises {size} bytes, it holds {received}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _idx_shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    magic = bytes([0, 0, 8, dimensions])  # 8: unsigned bytes
    if len(header) != 4 + 4 * dimensions or header[:4] != magic:
        raise UserError(
            f"{path.name} is no idx file of uint8 with {dimensions} dimensions: it begins with {header[:4]!r}, "
            f"expected {magic!r}"
        )
    return struct.unpack(f">{dimensions}I", header[4:])


def _read_npz(dataset: str, path: Path) -> Arrays:
    """Reads the four arrays of an archive; NumPy would make room for whatever a header promises."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > 2 * _MAX_DOWNLOAD_BYTES:
                raise UserError(f"{path.name} unpacks to far more than a dataset")
            for name in IDX_FILES:
                with archive.open(f"{name}.npy") as file:
                    np.lib.format.read_magic(file)
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                    _check_form(dataset, name, shape, dtype)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in IDX_FILES}
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise UserError(f"{path.name} is damaged or no archive of the four arrays ({error})") from error


def _check_form(dataset: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype != np.uint8 or shape != _SHAPES[name]:
        raise UserError(f"{name}: expected uint8 {_SHAPES[name]}, received {dtype} {shape}: not {dataset}")


def _verify(dataset: str, arrays: Arrays, archives: dict[str, Path]) -> None:
    for name, array in arrays.items():
        _check_form(dataset, name, array.shape, array.dtype)
        if dataset in _ARRAY_SHA256:
            good = _sha256(array) == _ARRAY_SHA256[dataset][name]
        else:
            good = name in archives and _md5(archives[name]) == _ARCHIVE_MD5[dataset][name]
        if not good:
            only = "" if dataset in _ARRAY_SHA256 else "; only its original *.gz files can be verified"
            raise UserError(
                f"{name} is not {dataset}'s (checksum differs): damaged, or another dataset{only}"
            )


# --- a folder of the user's own ---


def _read_own(folder: Path) -> Arrays:
    """Reads any dataset of MNIST's format from the four idx files in `folder`, and checks what lessons need.

    Raises:
        UserError: the folder holds no such dataset; the message says why.
    """
    try:
        files, missing = _idx_files(folder)
        if missing:
            raise UserError(f"{', '.join(missing)} missing" if folder.is_dir() else "no such folder")
        arrays = {name: _read_idx(path, len(_SHAPES[name]), _MAX_ARRAY_BYTES) for name, path in files.items()}
        for part in ("train", "test"):
            _check_part(part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    except (OSError, ValueError) as error:
        raise UserError(
            f"The folder {str(folder)!r} cannot be used as dataset. Expected: {', '.join(_IDX)} (gzipped or not; "
            f"images 28x28, labels 0 to 9, each class in both parts). Received: {error}. "
            "Mend the files, or give another folder or name as dataset."
        ) from error
    return arrays


def _check_part(part: str, x: np.ndarray, y: np.ndarray) -> None:
    """Checks the images and labels of `"train"` or `"test"` against each other."""
    if x.shape[1:] != (28, 28):
        raise UserError(f"{part} images of {'x'.join(map(str, x.shape[1:]))} pixels")
    if len(x) != len(y):
        raise UserError(f"{len(x)} {part} images and {len(y)} {part} labels")
    if len(y) and y.max() >= NUM_CLASSES:
        raise UserError(f"the {part} label {y.max()}")
    least = 2 if part == "train" else 1  # of each class; a stratified split needs two
    if rare := _rare_classes(y, least):
        raise UserError(f"{rare} among the {part} labels, at least {least} needed")


def _rare_classes(y: np.ndarray, least: int = 1) -> str:
    """Lists the classes with fewer labels than `least`, with their counts; an empty string if there are none."""
    counts = np.bincount(y, minlength=NUM_CLASSES)
    return ", ".join(f"{counts[digit]} of class {digit}" for digit in np.flatnonzero(counts < least))


def _known_as(arrays: Arrays, folder: Path) -> str:
    """Names what was read from `folder`: by its checksums if they are known, else as the folder."""
    archives, _ = _idx_files(folder)
    for name in _MIRRORS:
        with contextlib.suppress(ValueError):
            _verify(name, arrays, archives)
            return name
    return _own_name(folder)


def _own_name(folder: Path) -> str:
    """Makes a name that a run may have from a folder's name, and none that a dataset of the course has."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("._-")[:56]
    taken = name.lower().replace("-", "_") in (*NAMES, "auto")
    return f"folder-{name}".strip("-") if taken or not name else name


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _digits() -> Arrays:
    """scikit-learn's 1,797 digits (8x8, 0-16) in MNIST's format, split into 1,437 and 360 once and for all.

    MNIST's recipe: the digit fills a 20x20 box, and its centre of mass is moved to the centre of 28x28 (LeCun
    et al. 1998, "Gradient-based learning applied to document recognition", section III.A).
    """
    from scipy import ndimage
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    boxes = ndimage.zoom(bunch.images, (1, 2.5, 2.5), order=1, mode="nearest", grid_mode=True)
    images = np.stack([_centred(box, full_ink=16) for box in boxes])
    labels = bunch.target.astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def to_mnist_format(drawing: np.ndarray) -> np.ndarray:
    """Brings a drawing to the format of MNIST's images.

    MNIST's recipe (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.A):
    the digit, its proportions kept, fills a 20x20 box, and the box lies in a 28x28 image so that the centre of
    mass of the ink is in the middle.

    Args:
        drawing: dark ink on white paper, of shape `(height, width)`, uint8; any size from 2x2.

    Returns:
        An image of shape `(28, 28)`, uint8, 255 for full ink.

    Raises:
        UserError: it is no such array, or there is nothing on it.
    """
    from PIL import Image

    if not isinstance(drawing, np.ndarray) or drawing.dtype != np.uint8 or drawing.ndim != 2:
        form = f"{getattr(drawing, 'dtype', type(drawing).__name__)}, shape {getattr(drawing, 'shape', '-')}"
        raise UserError(f"Expected: a drawing of shape (height, width), uint8. Received: {form}.")
    ink = 255 - drawing
    ink -= ink.min()  # grey paper, too, is paper
    strong = ink > ink.max() / 4
    if not strong.any():
        raise UserError("There is no ink in this drawing: all its pixels are equal. Draw a digit first.")
    (top, bottom), (left, right) = (np.flatnonzero(strong.any(axis=axis))[[0, -1]] for axis in (1, 0))
    digit = Image.fromarray(ink[top : bottom + 1, left : right + 1])
    scale = 20 / max(digit.size)
    size = [max(1, round(scale * side)) for side in digit.size]
    box = np.asarray(digit.resize(size, Image.Resampling.BOX), float)
    return _centred(box, full_ink=box.max())


def _centred(box: np.ndarray, full_ink: float) -> np.ndarray:
    """Lays a box into 28x28 uint8, its centre of mass in the middle as far as all of it stays inside."""
    from scipy import ndimage

    room = 28 - np.array(box.shape)
    before = room // 2
    image = np.pad(box * (255 / full_ink), list(zip(before, room - before, strict=True)))
    shift = np.round(13.5 - np.array(ndimage.center_of_mass(image))).astype(int)
    return np.roll(np.round(image), np.clip(shift, -before, room - before), axis=(0, 1)).astype(np.uint8)


# --- downloading ---


@contextlib.contextmanager
def _download_lock(seconds: float) -> Iterator[Path]:
    """Holds the cache, which it yields, against other processes; clears what one left that was killed.

    Raises:
        filelock.Timeout: another process held it for longer than `seconds`.
        OSError: the cache cannot be written.
    """
    import filelock

    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(cache / ".download.lock", timeout=seconds):
        for left in cache.glob(f"{_DOWNLOADING}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield cache


def _download(dataset: str, attempts: list[Attempt], deadline: float, cache: Path) -> Arrays:
    """Tries the mirrors in turn until the deadline; keeps what was verified in `cache`."""
    bases = [base.strip() for base in os.environ.get("MNIST_COURSE_MIRRORS", "").split(",") if base.strip()]
    mirrors = list(_MIRRORS[dataset])
    if bases:
        bases = [base.rstrip("/") + "/" for base in bases]
        mirrors = [
            mirror
            for base in bases
            for mirror in ((base, (f"{dataset}.npz",)), (f"{base}{dataset}/", _IDX), (base, _IDX))
        ]
    for base, files in mirrors:
        place = f"{base} ({files[0]}{' ...' if files[1:] else ''})"
        try:
            # A folder for each mirror, so that a bad file from one never stands in for the next one's.
            with tempfile.TemporaryDirectory(
                prefix=_DOWNLOADING, dir=cache, ignore_cleanup_errors=True
            ) as folder:
                _fetch_files(base, files, Path(folder), deadline)
                arrays = _read_folder(dataset, Path(folder))
                target = cache / dataset if len(files) > 1 else cache
                target.mkdir(exist_ok=True)
                for file in files:
                    os.replace(Path(folder) / file, target / file)  # noqa: PTH105
                return arrays
        except (OSError, ValueError) as error:
            attempts.append(Attempt(place, _one_line(error)))
    raise DatasetNotFoundError(dataset, attempts)


def _fetch_files(base: str, files: tuple[str, ...], folder: Path, deadline: float) -> None:
    """Downloads `files` from `base` into `folder`, or raises by the deadline whatever the network does.

    Neither name look-up nor a server that sends a byte now and then is bound by a socket timeout, so the
    work is done in a thread that is left behind when time is over.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook, tqdm would ask for ipywidgets
        import pooch

    if time.monotonic() >= deadline:
        raise TimeoutError("not tried: time was over")
    pooch.get_logger().setLevel("ERROR")
    mirror = pooch.create(path=folder, base_url=base, registry=dict.fromkeys(files), retry_if_failed=1)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for file in files:
                mirror.fetch(file, downloader=lambda url, path, _: _download_file(url, path, deadline))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
        raise TimeoutError("no complete answer in the time allowed")
    if failures:
        raise OSError(_one_line(failures[0]))


def _download_file(url: str, path: str, deadline: float) -> None:
    """Downloads one file with a progress bar; gives up where it outgrows the size limit or the deadline.

    pooch asks again after the errors of `requests`; what asking again cannot change is raised as another `OSError`.
    """
    import requests
    from tqdm import tqdm

    started = time.monotonic()
    as_it_is = {"Accept-Encoding": "identity"}
    with requests.get(url, headers=as_it_is, stream=True, timeout=(3.05, _READ_SECONDS)) as response:
        if response.status_code in (401, 403, 404, 410):
            raise FileNotFoundError(f"{response.status_code} {response.reason} for {url}")
        response.raise_for_status()
        if "html" in response.headers.get("content-type", ""):
            raise OSError(
                f"{url} answered with a web page, not with the file; the login page of this network, perhaps: "
                "open any page in a browser and log in"
            )
        total = int(response.headers.get("content-length", 0)) or None
        bar = tqdm(
            desc=url.split("/")[-1],
            total=total,
            unit="B",
            unit_scale=True,
            leave=False,
            file=sys.stdout,
            delay=1,
        )
        with bar, Path(path).open("wb") as file:
            # iter_content would wait for a whole chunk, however slowly it comes
            while chunk := response.raw.read1(2**14):
                file.write(chunk)
                bar.update(len(chunk))
                if bar.n > _MAX_DOWNLOAD_BYTES:
                    raise OSError(f"{url} is larger than {_MAX_DOWNLOAD_BYTES} bytes")
                seconds = time.monotonic() - started
                if time.monotonic() > deadline:
                    raise TimeoutError("no complete answer in the time allowed")
                if seconds > _SLOW_SECONDS and bar.n / seconds < _SLOW_BYTES_PER_SECOND:
                    raise TimeoutError(f"{url} is too slow: {bar.n} bytes in {seconds:.0f} s")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.partition("(Caused by ")[2].rstrip(")") or text  # requests says last what matters
    return text if len(text) <= 200 else text[:197] + "..."
