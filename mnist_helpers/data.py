"""Datasets by name, verified, behind two doors.

`load_training` opens the training images (split into training and validation), `load_test` the test images.
Lessons 1-4 use only the first door.

| name            | images                | where from                                                        |
|-----------------|-----------------------|-------------------------------------------------------------------|
| `mnist`         | 60,000 + 10,000       | `data_dir` or `$MNIST_DATA_DIR`, the caches, a download           |
| `fashion_mnist` | 60,000 + 10,000       | the same                                                          |
| `digits`        | 1,437 + 360           | scikit-learn's bundled handwritten digits, in MNIST's format      |
| `auto`          |                       | `mnist` where it can be had within 20 seconds, else `digits`      |

Every image is 28x28, uint8, 0 (background) to 255 (ink). What decides whether a copy is MNIST is the sha256
of its arrays, whatever archive they came in.

Environment: `MNIST_DATA_DIR` (a folder with the four `*-ubyte.gz` files or `mnist.npz`),
`MNIST_COURSE_MIRRORS` (base URLs separated by commas, instead of the built-in mirrors),
`MNIST_COURSE_OFFLINE=1` (never touch the network).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import sys
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

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
_AUTO_SECONDS = 15.0
_FETCH_SECONDS = 600.0

Arrays = dict[str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]


class Attempt(NamedTuple):
    """A place where a dataset was looked for, and what it said."""

    place: str
    outcome: str


class DatasetNotFoundError(OSError):
    """A dataset could not be had from any place.

    Attributes:
        attempts: list of `Attempt`, in the order tried.
    """

    def __init__(self, dataset: str, attempts: list[Attempt]):
        self.attempts = attempts
        tried = "\n".join(f"  - {place}: {outcome}" for place, outcome in attempts)
        super().__init__(
            f"Dataset {dataset!r} was not found. Tried:\n{tried}\n"
            f"What to do: put its four *-ubyte.gz files or {dataset}.npz into a folder and set MNIST_DATA_DIR "
            f"to it; or, with a network, run `mnist-course data fetch {dataset}`; "
            "or use the embedded digits (--dataset digits)."
        )

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]  # a student needs the message, not the stack


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
        dataset: `"auto"`, `"mnist"`, `"fashion_mnist"` or `"digits"`.
        num_train: images to train on; 0 for all that validation leaves.
        num_validation: images to validate on; 0 for one in six.
        seed: fixes the split.
        data_dir: a folder to look in first; empty or `None` for `$MNIST_DATA_DIR`.

    Returns:
        `(x_train, y_train), (x_val, y_val)`: images uint8 `(n, 28, 28)`, 0-255; labels uint8 `(n,)`, 0-9.

    Raises:
        ValueError: unknown dataset, or sizes that do not fit.
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
        raise ValueError(
            f"num_train and num_validation do not fit dataset {dataset!r}. Expected: at least {NUM_CLASSES} "
            f"each and at most {len(x)} together. Received: num_train={num_train}, "
            f"num_validation={num_validation}. Use 0 for the default."
        )
    train, validation = train_test_split(
        np.arange(len(x)), train_size=num_train, test_size=num_validation, stratify=y, random_state=seed
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
        ValueError: unknown dataset.
        DatasetNotFoundError: the dataset could not be had.
    """
    arrays = _load(dataset, data_dir)
    return arrays["x_test"], arrays["y_test"]


def resolve(dataset: str, *, data_dir: str | os.PathLike | None = None) -> str:
    """Settles which dataset is used, and says so.

    Args:
        dataset: as in `load_training`.
        data_dir: as in `load_training`.

    Returns:
        `"mnist"`, `"fashion_mnist"` or `"digits"`.

    Raises:
        ValueError: unknown dataset.
        DatasetNotFoundError: the dataset was named and could not be had.
    """
    _check_name(dataset)
    name = dataset
    if dataset == "auto":
        try:
            find("mnist", data_dir=data_dir, seconds=_AUTO_SECONDS)
            name = "mnist"
        except DatasetNotFoundError as error:
            name = "digits"
            print("MNIST was not found, so the embedded digits stand in. Tried:")
            for attempt in error.attempts:
                print(f"  - {attempt.place}: {attempt.outcome}")
            print(
                "Scores on the digits cannot be compared with MNIST's. To get MNIST: mnist-course data fetch mnist"
            )
    else:
        find(dataset, data_dir=data_dir)
    print(f"dataset: {name}")
    return name


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


# --- where a dataset is ---


def find(
    dataset: str,
    *,
    data_dir: str | os.PathLike | None = None,
    download: bool = True,
    seconds: float = _FETCH_SECONDS,
) -> tuple[Arrays, str]:
    """Finds and verifies a dataset: a given folder, this course's cache, Keras' cache, a download.

    Args:
        dataset: `"mnist"`, `"fashion_mnist"` or `"digits"`.
        data_dir: a folder to look in first; empty or `None` for `$MNIST_DATA_DIR`.
        download: False to look only on this machine.
        seconds: how long a download may take altogether.

    Returns:
        The arrays `x_train`, `y_train`, `x_test`, `y_test` by name, and the place in words.

    Raises:
        ValueError: unknown dataset.
        DatasetNotFoundError: no place had it; its `attempts` say why.
    """
    _check_name(dataset, also_auto=False)
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
    return _download(dataset, attempts, seconds), "downloaded"


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


def _check_name(dataset: str, also_auto: bool = True) -> None:
    names = (*NAMES, "auto") if also_auto else NAMES
    if dataset not in names:
        raise ValueError(f"Unknown dataset. Expected: one of {', '.join(names)}. Received: {dataset!r}.")


def _load(dataset: str, data_dir: str | os.PathLike | None) -> Arrays:
    name = resolve(dataset, data_dir=data_dir) if dataset == "auto" else dataset
    return find(name, data_dir=data_dir)[0]


# --- reading and verifying ---


def _read_folder(dataset: str, folder: Path) -> Arrays:
    """Reads the dataset from the first form of it that `folder` holds, and verifies it."""
    if not folder.is_dir():
        raise FileNotFoundError("no such folder")
    archive = folder / f"{dataset}.npz"
    if archive.is_file():
        arrays = _read_npz(archive)
        _verify(dataset, arrays, archives={})
        return arrays
    for inside in (folder / dataset, folder / dataset.replace("_", "-"), folder):
        archives = {name: inside / file for name, file in IDX_FILES.items()}
        present = [path for path in archives.values() if path.is_file()]
        if len(present) == len(archives):
            arrays = {name: _read_idx(path, _SHAPES[name]) for name, path in archives.items()}
            _verify(dataset, arrays, archives)
            return arrays
        if present:
            missing = [path.name for path in archives.values() if path not in present]
            raise FileNotFoundError(f"incomplete: {', '.join(missing)} missing")
    raise FileNotFoundError(f"neither {dataset}.npz nor the four *-ubyte.gz files")


def _read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Reads a gzipped idx file of uint8 values (http://yann.lecun.com/exdb/mnist, "file formats")."""
    expected = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    size = len(expected) + int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged or no gzip file ({error})") from error
    if content[: len(expected)] != expected or len(content) != size:
        raise ValueError(f"{path.name} is no idx file of shape {shape}")
    return np.frombuffer(content, np.uint8, offset=len(expected)).reshape(shape)


def _read_npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > 2 * _MAX_DOWNLOAD_BYTES:
                raise ValueError(f"{path.name} unpacks to far more than a dataset")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in IDX_FILES}
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged or no archive of the four arrays ({error})") from error


def _verify(dataset: str, arrays: Arrays, archives: dict[str, Path]) -> None:
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.shape != _SHAPES[name]:
            raise ValueError(
                f"{name}: expected uint8 {_SHAPES[name]}, received {array.dtype} {array.shape}: not {dataset}"
            )
        if dataset in _ARRAY_SHA256:
            good = _sha256(array) == _ARRAY_SHA256[dataset][name]
        else:
            good = name in archives and _md5(archives[name]) == _ARCHIVE_MD5[dataset][name]
        if not good:
            raise ValueError(f"{name} is not {dataset}'s (checksum differs): damaged, or another dataset")


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
    boxes = np.pad(boxes, ((0, 0), (4, 4), (4, 4)))
    images = np.empty(boxes.shape, np.uint8)
    for image, box in zip(images, boxes, strict=True):
        shift = np.round(13.5 - np.array(ndimage.center_of_mass(box))).astype(int)
        image[:] = np.round(np.roll(box, shift, axis=(0, 1)) * (255 / 16))
    labels = bunch.target.astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


# --- downloading ---


def _download(dataset: str, attempts: list[Attempt], seconds: float) -> Arrays:
    """Tries the mirrors in turn until `seconds` are over; keeps what was verified in the cache."""
    bases = [base.strip() for base in os.environ.get("MNIST_COURSE_MIRRORS", "").split(",") if base.strip()]
    mirrors = list(_MIRRORS[dataset])
    if bases:
        bases = [base.rstrip("/") + "/" for base in bases]
        mirrors = [
            mirror
            for base in bases
            for mirror in ((base, (f"{dataset}.npz",)), (f"{base}{dataset}/", _IDX), (base, _IDX))
        ]
    cache = cache_dir()
    deadline = time.monotonic() + seconds
    for base, files in mirrors:
        place = f"{base} ({files[0]}{' ...' if files[1:] else ''})"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            # A folder for each mirror, so that a bad file from one never stands in for the next one's.
            with tempfile.TemporaryDirectory(
                prefix="download-", dir=cache, ignore_cleanup_errors=True
            ) as folder:
                _fetch_files(base, files, Path(folder), deadline)
                arrays = _read_folder(dataset, Path(folder))
                target = cache / dataset if len(files) > 1 else cache
                target.mkdir(exist_ok=True)
                for file in files:
                    os.replace(Path(folder) / file, target / file)  # noqa: PTH105
                return arrays
        except (OSError, ValueError) as error:
            attempts.append(Attempt(place, _short(error)))
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
                mirror.fetch(file, downloader=lambda url, path, _: _save(url, path, deadline))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
        raise TimeoutError("no complete answer in the time allowed")
    if failures:
        raise OSError(_short(failures[0]))


def _save(url: str, path: str, deadline: float) -> None:
    """Downloads one file with a progress bar; gives up where it outgrows the size limit or the deadline."""
    import requests
    from tqdm import tqdm

    with requests.get(url, stream=True, timeout=(3.05, 5)) as response:
        response.raise_for_status()
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
            for chunk in response.iter_content(2**14):
                file.write(chunk)
                bar.update(len(chunk))
                if bar.n > _MAX_DOWNLOAD_BYTES:
                    raise ValueError(f"larger than {_MAX_DOWNLOAD_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise ValueError("no complete answer in the time allowed")


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
