"""The table of datasets, and the reading and verification of their files (idx and npz)."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np

from mnist_helpers._errors import UserError

Arrays = dict[str, np.ndarray]
NUM_CLASSES = 10
SHAPES = {"x_train": (60_000, 28, 28), "y_train": (60_000,), "x_test": (10_000, 28, 28), "y_test": (10_000,)}
IDX_FILES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}
IDX = tuple(IDX_FILES.values())
# The names that browsers, archives and other libraries give to these files: train-images.idx3-ubyte,
# "t10k-labels-idx1-ubyte (1).gz", emnist-digits-test-images-idx3-ubyte.gz, TRAIN-LABELS-IDX1-UBYTE.
_PATTERNS = {
    f"{axis}_{part}": re.compile(rf"(?=.*(idx|ubyte|\.gz))(.*[^a-z])?({words}).*({kind})", re.IGNORECASE)
    for part, words in (("train", "train"), ("test", "t10k|test"))
    for axis, kind in (("x", "image|idx3"), ("y", "label|idx1"))
}
_MAX_ARRAY_BYTES = 2 * 2**30  # of one array in a user's own folder: 2.7 million images
# What the readers below and the libraries that they call raise for a damaged file.
_DAMAGE = (OSError, EOFError, KeyError, RuntimeError, ValueError, lzma.LZMAError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class Dataset:
    """One row of the table of datasets.

    Attributes:
        name: the dataset's name.
        mirrors: base URLs, each with the files to download from there; empty if the data are bundled.
        array_sha256: sha256 of each array's bytes (uint8, C order), by array name.
        archive_md5: md5 of each original idx file, by array name, if the sha256 of the arrays is not known.
    """

    name: str
    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    array_sha256: Mapping[str, str] | None = None
    archive_md5: Mapping[str, str] | None = None

    @property
    def licence(self) -> str:
        """The text that accompanies copies of the data."""
        return Path(__file__).with_name(f"{self.name}_licence.txt").read_text("utf-8")


_KERAS_MIRROR = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_ROWS = (
    Dataset(
        "mnist",
        mirrors=((_KERAS_MIRROR, ("mnist.npz",)), ("https://ossci-datasets.s3.amazonaws.com/mnist/", IDX)),
        array_sha256={
            "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        },
    ),
    Dataset(
        "fashion_mnist",
        mirrors=((_KERAS_MIRROR, IDX), ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", IDX)),
        archive_md5={
            "x_train": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "y_train": "25c81989df183df01b3e8a0aad5dffbe",
            "x_test": "bef4ecab320f06d8554ea6380940ec79",
            "y_test": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    Dataset("digits"),
)
DATASETS = {row.name: row for row in _ROWS}
NAMES = tuple(DATASETS)


class Kind(Enum):
    """The kinds of places that a dataset can come from; the values are the words for them."""

    DATA_DIR = "found in data_dir"
    FOLDER = "found in the folder given"
    ENVIRONMENT = "found in MNIST_DATA_DIR"
    CACHE = "found in the course's cache"
    KERAS_CACHE = "found in Keras' cache"
    DOWNLOAD = "downloaded"
    NOT_KEPT = "downloaded, but not kept, as the cache cannot be written"
    BUNDLED = "bundled with scikit-learn"


class Source(NamedTuple):
    """Where a dataset came from; `str(source)` says it in words.

    Attributes:
        kind: the kind of place.
        folder: the folder that was searched, or into which the dataset was downloaded; `None` if there is none.
        files: the file of each array, by array name (one npz file may hold all of them); empty if none is kept.
    """

    kind: Kind
    folder: Path | None
    files: Mapping[str, Path]

    def __str__(self) -> str:
        return self.kind.value


def read_folder(folder: Path, kind: Kind, row: Dataset | None = None) -> tuple[Arrays, Source]:
    """Reads and verifies a dataset in a folder, or in a folder inside it such as `MNIST/raw/`.

    Files are recognised by the pattern of their names and by their content.

    Args:
        folder: where to look.
        kind: what kind of place it is.
        row: the dataset; `None` for any dataset in MNIST's format.

    Returns:
        The arrays by name, and their source.

    Raises:
        UserError: the folder does not hold the dataset; the error message says why, and what the folder holds.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise UserError("no such folder")
    places = _candidates(folder, row)
    errors = [f"neither {row.name}.npz nor the four idx files" if row else f"{', '.join(IDX)} missing"]
    if row is None and len(places) > 1:
        several = ", ".join(map(str, places))
        errors, places = [f"files of several datasets, in {several}; give one of these as the dataset"], {}
    for candidates in places.values():
        try:
            arrays, files = _read_candidates(candidates, row)
            return arrays, Source(kind, folder, files)
        except UserError as error:
            errors.append(str(error))
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    content = ", ".join(names[:12]) + f" and {len(names) - 12} more" * (len(names) > 12) or "nothing"
    raise UserError(f"{errors[:2][-1]}. The folder holds: {content}")


def _candidates(folder: Path, row: Dataset | None) -> dict[Path, dict[str, list[Path]]]:
    """Returns the files that may hold each array, by place (relative to `folder`), the most likely place first.

    A place is an npz file, or a folder with idx files; each of these may lie in a folder that has its name, as in
    Kaggle's archive. For a user's own dataset (`row` is `None`), only the places nearest to `folder` are listed.
    """
    found: dict[tuple[bool, int, bool, Path], dict[str, list[Path]]] = {}
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = Path(parent)
        depth = len(here.relative_to(folder).parts)
        folders[:] = [name for name in folders if depth < 2 and not name.startswith(".")]
        for path in sorted(here / file for file in files):
            npz = path.suffix.lower() == ".npz"
            nested = depth and any(form.match(here.name) for form in _PATTERNS.values())
            place = path if npz else here.parent if nested else here
            inside = place.relative_to(folder)
            letters = re.sub("[^a-z]", "", str(inside).lower())
            unlikely = row is not None and row.name.replace("_", "") not in letters
            rank = (row is None and npz, len(inside.parts), unlikely, inside)
            for name, form in _PATTERNS.items():
                if npz or form.match(path.name):
                    found.setdefault(rank, {}).setdefault(name, []).append(path)
    ranked = sorted(found)
    return {rank[-1]: found[rank] for rank in ranked if row or rank[:2] == ranked[0][:2]}


def _read_candidates(paths: dict[str, list[Path]], row: Dataset | None) -> tuple[Arrays, dict[str, Path]]:
    """Reads each array from the first of its files that is good; refuses files that contradict each other."""
    if missing := [file for name, file in IDX_FILES.items() if name not in paths]:
        raise UserError(f"{', '.join(missing)} missing")
    arrays: Arrays = {}
    files: dict[str, Path] = {}
    for name in IDX_FILES:
        errors = []
        for path in paths[name]:
            try:
                array = _read_array(path, name, row)
            except UserError as error:
                errors.append(error)
                continue
            if not np.array_equal(arrays.setdefault(name, array), array):
                raise UserError(f"{files[name].name} and {path.name} differ; keep one of them")
            files.setdefault(name, path)
        if name not in files:
            raise errors[0]
    return arrays, files


def _read_array(path: Path, name: str, row: Dataset | None) -> np.ndarray:
    """Reads one array from an npz or idx file, and verifies it if the dataset is known."""
    read = _read_npz if path.suffix.lower() == ".npz" else _read_idx
    try:
        array = read(path, name, row)
        if row and not _is_original(row, name, array, path):
            only = "" if row.array_sha256 else "; only its original *.gz files can be verified"
            raise ValueError(f"it is not {row.name}'s {name} (checksum differs){only}")
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path.name} is damaged, or it is another file: {reason}") from error
    return array


def _is_original(row: Dataset, name: str, array: np.ndarray, path: Path) -> bool:
    """Returns whether an array, read from `path`, has the checksum of the dataset's array of this name."""
    if row.array_sha256:
        return sha256(array) == row.array_sha256[name]
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return md5 == (row.archive_md5 or {}).get(name)


def sha256(array: np.ndarray) -> str:
    """Returns the sha256 of an array's bytes in C order, in hexadecimal."""
    return hashlib.sha256(array.tobytes()).hexdigest()


def _read_idx(path: Path, name: str, row: Dataset | None) -> np.ndarray:
    """Reads an idx file of uint8 values, gzipped or not (http://yann.lecun.com/exdb/mnist, "file formats").

    The header is not trusted: nothing is read if the header promises another form than the array's, and otherwise
    at most one byte more than promised, even if a gzip file would unpack to more.
    """
    dimensions = len(SHAPES[name])
    magic = bytes([0, 0, 8, dimensions])  # 8: unsigned bytes
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as file:
        header = file.read(4 + 4 * dimensions)
        if len(header) != 4 + 4 * dimensions or header[:4] != magic:
            raise ValueError(f"not an idx file of uint8: it begins with {header[:4]!r}, expected {magic!r}")
        shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
        _check_form(name, row, shape, np.dtype(np.uint8))
        size = math.prod(shape)
        content = bytearray()  # read(size) would allocate all the memory that is promised
        while len(content) <= size and (chunk := file.read(min(2**20, size + 1 - len(content)))):
            content += chunk
    if len(content) != size:
        received = f"only {len(content)}" if len(content) < size else "more"
        raise ValueError(f"its header promises {size} bytes, it holds {received}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_npz(path: Path, name: str, row: Dataset | None) -> np.ndarray:
    """Reads one array of an npz file; the form in its header is checked before any memory is allocated."""
    with ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        _check_form(name, row, shape, dtype)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _check_form(name: str, row: Dataset | None, shape: tuple[int, ...], dtype: np.dtype) -> None:
    expected = SHAPES[name] if row else (*shape[:1], *SHAPES[name][1:])
    limit = f"; at most {_MAX_ARRAY_BYTES} bytes" * (math.prod(shape) > _MAX_ARRAY_BYTES)
    if dtype != np.uint8 or shape != expected or limit:
        raise ValueError(f"{name}: expected uint8 {expected}, received {dtype} {shape}{limit}")


# --- a user's own dataset ---


def read_own(folder: Path, kind: Kind) -> tuple[Arrays, Source]:
    """Reads any dataset in MNIST's format from a folder, as `read_folder` does, and checks what lessons need.

    Raises:
        UserError: the folder holds no such dataset; the error message says why.
    """
    try:
        arrays, source = read_folder(folder, kind)
        for part, least in (("train", 2), ("test", 1)):  # of each class; a stratified split needs two
            x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
            if len(x) != len(y):
                raise UserError(f"{len(x)} {part} images and {len(y)} {part} labels")
            if y.max(initial=0) >= NUM_CLASSES:
                raise UserError(f"the {part} label {y.max()}")
            if rare := rare_classes(y, least):
                raise UserError(f"{rare} among the {part} labels, at least {least} needed")
    except (OSError, UserError) as error:
        raise UserError(
            f"The folder {str(folder)!r} cannot be used as dataset. Expected: {', '.join(IDX)} (gzipped or not; "
            f"images 28x28, labels 0 to 9, each class in both parts). Received: {error}. "
            "Correct the files, or give another folder or name as dataset."
        ) from error
    return arrays, source


def rare_classes(y: np.ndarray, least: int = 1) -> str:
    """Lists the classes with fewer labels than `least`, with their counts; an empty string if there are none."""
    counts = np.bincount(y, minlength=NUM_CLASSES)
    return ", ".join(f"{counts[digit]} of class {digit}" for digit in np.flatnonzero(counts < least))


def known_as(arrays: Arrays, files: Mapping[str, Path]) -> str | None:
    """Returns the name of the known dataset that the arrays are, or `None`."""
    for row in DATASETS.values():
        if all(_is_original(row, name, array, files[name]) for name, array in arrays.items()):
            return row.name
    return None


def own_name(folder: Path) -> str:
    """Returns a folder's name as the name of a dataset: one that a run may have, and no known dataset has."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("._-")[:56]
    taken = name.lower().replace("-", "_") in (*NAMES, "auto")
    return f"folder-{name}".strip("-") if taken or not name else name


def unusual_pixels(arrays: Arrays) -> list[str]:
    """Compares the pixels of a user's own dataset with MNIST's format: 0 for the background, 255 for full ink.

    Returns:
        One sentence for each deviation (range, background, blank images), with what to do about it.
    """
    notes = []
    for part in ("train", "test"):
        images = arrays[f"x_{part}"]
        low, high = images.min(axis=(1, 2)).astype(int), images.max(axis=(1, 2)).astype(int)
        edges = np.concatenate([images[:, [0, -1]], images[:, :, [0, -1]].swapaxes(1, 2)], axis=1)
        a, b = int(np.median(low)), int(np.median(high))
        small = f"have a small range of pixel values (typically {a} to {b}). Expected: 0 to 255. "
        small += f"Replace each pixel x by 255 * (x - {a}) / ({b} - {a})."
        bright = "have a bright background. Expected: bright ink (255) on a dark background (0). "
        bright += "Invert them: replace each pixel x by 255 - x (if need be, after the change of the range)."
        for deviates, share, text in (
            (low == high, 0.0, "are blank: all their pixels are equal. Remove them."),
            ((low < high) & (high - low < 128), 0.25, small),
            ((low < high) & (edges.mean(axis=(1, 2)) > low + 0.7 * (high - low)), 0.1, bright),
        ):
            if deviates.mean() > share:
                notes.append(f"{deviates.sum()} of {len(images)} {part} images {text}")
    return notes
