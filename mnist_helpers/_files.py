"""Files: paths, locks, JSON and atomic writes. A file is complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnist_helpers._errors import UserError

PARTIAL = ".partial-"  # prefix of the temporary folders in which files are written


def expand(path: str | os.PathLike) -> Path:
    """Returns an absolute path: `~` is expanded and `..` is removed, symbolic links are kept.

    Every path that a user gives passes through this function once, where it enters the program.

    Raises:
        UserError: no file can have this path, or `~NAME` names an unknown user.
    """
    try:
        if "\0" in os.fspath(path):
            raise RuntimeError("it holds a zero byte")
        return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 (resolve() would follow links)
    except RuntimeError as error:  # of expanduser, too: an unknown user
        raise UserError(f"Expected: the path of a file or folder. Received: {path!r} ({error}).") from error


def means_folder(text: str) -> bool:
    """Returns whether `text` means a folder: it is written as a path, or a folder of this name exists."""
    return "/" in text or os.sep in text or text.startswith("~") or os.path.isdir(text)  # noqa: PTH112 (never raises)


def is_writable_place(path: Path) -> bool:
    """Returns whether a folder can be written, or created, at `path`."""
    try:
        nearest = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def lock(path: Path, message: str, *, timeout: float = 0.0) -> Iterator[None]:
    """Holds a lock file; the operating system releases the lock when the process ends, in whatever way.

    Args:
        path: the lock file, in an existing folder.
        message: what the error says if another process holds the lock.
        timeout: seconds to wait for the lock.

    Raises:
        UserError: another process held the lock for `timeout` seconds.
    """
    import filelock

    try:
        held = filelock.FileLock(path).acquire(timeout)
    except filelock.Timeout as error:
        raise UserError(message) from error
    with held:
        yield


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path; what was written there replaces `path` when the block ends without an error.

    Args:
        path: where the file is to appear.

    Yields:
        A path of the same name in a temporary folder beside `path`, so that a process that is killed never
        leaves an incomplete file at `path`.
    """
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        try:
            yield temporary
        except OSError as error:  # a full disk is reported without a name
            if error.errno and error.filename is None:
                error.filename = str(path)
            raise
        os.replace(temporary, path)  # noqa: PTH105


def write(path: Path, content: str | bytes) -> None:
    """Writes text (as UTF-8) or bytes; the file is complete or absent."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON; NumPy values become plain ones, NaN and infinity become null."""
    write(path, json.dumps(to_jsonable(content), indent=1, allow_nan=False) + "\n")


def read_json(path: Path, advice: str = "Delete the file, and give the same command again.") -> Any:
    """Reads a JSON file.

    Args:
        path: the file.
        advice: what the user can do if the file is damaged; the last sentence of the error.

    Raises:
        UserError: the file is not JSON; the error message names it.
        OSError: the file cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is not JSON ({error}). {advice}") from error


def read_json_or_none(path: Path) -> Any:
    """Reads a JSON file; returns `None` if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        return read_json(path)
    return None


def to_jsonable(value: Any) -> Any:
    """Returns `value` as JSON can hold it: NumPy values become plain ones, NaN and infinity become `None`."""
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy, which is not imported for this
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sha256(path: Path) -> str:
    """Returns the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
