"""The table of datasets; idx and npz files: reading and verifying them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mnist_helpers._errors import UserError

NUM_CLASSES = 10
IDX_FILES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}
SHAPES = {"x_train": (60_000, 28, 28), "y_train": (60_000,), "x_test": (10_000, 28, 28), "y_test": (10_000,)}
NAMES = ("mnist", "fashion_mnist", "digits")

# sha256 of the arrays' bytes (uint8, C order).
ARRAY_SHA256 = {
    "mnist": {
        "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    }
}
# Fashion-MNIST publishes the md5 of its archives only, so only those archives can be verified.
ARCHIVE_MD5 = {
    "fashion_mnist": {
        "x_train": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "y_train": "25c81989df183df01b3e8a0aad5dffbe",
        "x_test": "bef4ecab320f06d8554ea6380940ec79",
        "y_test": "bb300cfdad3c16e7a12a480ee83cd310",
    }
}
_KERAS_MIRROR = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
IDX = tuple(IDX_FILES.values())
MIRRORS = {
    "mnist": (
        (_KERAS_MIRROR, ("mnist.npz",)),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", IDX),
    ),
    "fashion_mnist": (
        (_KERAS_MIRROR, IDX),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", IDX),
    ),
}
MAX_DOWNLOAD_BYTES = 64 * 2**20
_MAX_ARRAY_BYTES = 2 * 2**30  # of one array in a folder of the user's: 2.7 million images

Arrays = dict[str, np.ndarray]


def read_folder(dataset: str, folder: Path) -> Arrays:
    """Reads the dataset from the first form of it that `folder` holds, and verifies it."""
    if not folder.is_dir():
        raise FileNotFoundError("no such folder")
    archive = folder / f"{dataset}.npz"
    if archive.is_file():
        arrays = _read_npz(dataset, archive)
        verify(dataset, arrays, archives={})
        return arrays
    for inside in (folder / dataset, folder / dataset.replace("_", "-"), folder):
        archives, missing = idx_files(inside)
        if not missing:
            arrays = {
                name: _read_idx(path, len(SHAPES[name]), int(np.prod(SHAPES[name])))
                for name, path in archives.items()
            }
            verify(dataset, arrays, archives)
            return arrays
        if archives:
            raise FileNotFoundError(f"incomplete: {', '.join(missing)} missing")
    raise FileNotFoundError(f"neither {dataset}.npz nor the four idx files ({', '.join(IDX)})")


def idx_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
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
            if sum(info.file_size for info in archive.infolist()) > 2 * MAX_DOWNLOAD_BYTES:
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
    if dtype != np.uint8 or shape != SHAPES[name]:
        raise UserError(f"{name}: expected uint8 {SHAPES[name]}, received {dtype} {shape}: not {dataset}")


def verify(dataset: str, arrays: Arrays, archives: dict[str, Path]) -> None:
    for name, array in arrays.items():
        _check_form(dataset, name, array.shape, array.dtype)
        if dataset in ARRAY_SHA256:
            good = sha256(array) == ARRAY_SHA256[dataset][name]
        else:
            good = name in archives and md5(archives[name]) == ARCHIVE_MD5[dataset][name]
        if not good:
            only = "" if dataset in ARRAY_SHA256 else "; only its original *.gz files can be verified"
            raise UserError(
                f"{name} is not {dataset}'s (checksum differs): damaged, or another dataset{only}"
            )


# --- a folder of the user's own ---


def read_own(folder: Path) -> Arrays:
    """Reads any dataset of MNIST's format from the four idx files in `folder`, and checks what lessons need.

    Raises:
        UserError: the folder holds no such dataset; the message says why.
    """
    try:
        files, missing = idx_files(folder)
        if missing:
            raise UserError(f"{', '.join(missing)} missing" if folder.is_dir() else "no such folder")
        arrays = {name: _read_idx(path, len(SHAPES[name]), _MAX_ARRAY_BYTES) for name, path in files.items()}
        for part in ("train", "test"):
            _check_part(part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    except (OSError, ValueError) as error:
        raise UserError(
            f"The folder {str(folder)!r} cannot be used as dataset. Expected: {', '.join(IDX)} (gzipped or not; "
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
    if rare := rare_classes(y, least):
        raise UserError(f"{rare} among the {part} labels, at least {least} needed")


def rare_classes(y: np.ndarray, least: int = 1) -> str:
    """Lists the classes with fewer labels than `least`, with their counts; an empty string if there are none."""
    counts = np.bincount(y, minlength=NUM_CLASSES)
    return ", ".join(f"{counts[digit]} of class {digit}" for digit in np.flatnonzero(counts < least))


def known_as(arrays: Arrays, folder: Path) -> str:
    """Names what was read from `folder`: by its checksums if they are known, else as the folder."""
    archives, _ = idx_files(folder)
    for name in MIRRORS:
        with contextlib.suppress(ValueError):
            verify(name, arrays, archives)
            return name
    return own_name(folder)


def own_name(folder: Path) -> str:
    """Makes a name that a run may have from a folder's name, and none that a dataset of the course has."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("._-")[:56]
    taken = name.lower().replace("-", "_") in (*NAMES, "auto")
    return f"folder-{name}".strip("-") if taken or not name else name


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
