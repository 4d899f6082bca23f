"""Downloads a dataset into the course's cache: mirrors, a lock, a deadline."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import platformdirs

from mnist_helpers import _files
from mnist_helpers._errors import UserError
from mnist_helpers.data._archives import IDX, Arrays, Dataset, Kind, Source, read_folder

if TYPE_CHECKING:
    import requests

_MAX_BYTES = 64 * 2**20  # of one file
_SLOW_SECONDS, _SLOW_BYTES_PER_SECOND = 10.0, 2000.0  # then the next mirror is tried
_READ_SECONDS = 5.0  # without a byte


class Attempt(NamedTuple):
    """A place where a dataset was looked for, and what was wrong there."""

    place: str
    outcome: str


class DatasetNotFoundError(UserError):
    """A dataset was found nowhere, and could not be downloaded.

    Attributes:
        attempts: list of `Attempt`, in the order tried.
        tried: the same as lines of text.
    """

    def __init__(self, dataset: str, attempts: list[Attempt]):
        self.attempts = attempts
        self.tried = "\n".join(f"  - {place}: {outcome}" for place, outcome in attempts)
        super().__init__(
            f"Dataset {dataset!r} was not found. Tried:\n{self.tried}\n"
            f"What to do: put its four idx files or {dataset}.npz into a folder and set MNIST_DATA_DIR to it; "
            f"or, with a network, run `mnist-course data fetch {dataset}`; or use the digits (--dataset digits)."
        )


def is_offline() -> bool:
    """Returns whether the user has switched off all downloads (`MNIST_COURSE_OFFLINE`)."""
    return os.environ.get("MNIST_COURSE_OFFLINE", "").lower() not in ("", "0", "false", "no")


def cache_dir() -> Path:
    """Returns the folder in which downloads are kept, one folder per dataset."""
    return _files.expand(platformdirs.user_cache_dir("mnist-course"))


def download(row: Dataset, attempts: list[Attempt], seconds: float) -> tuple[Arrays, Source]:
    """Downloads a dataset from the first mirror that has it, and keeps it in the cache.

    Args:
        row: the dataset.
        attempts: the places that were tried before; the mirrors that fail are added.
        seconds: how long the download may take in all, including the wait for another process's download.

    Raises:
        DatasetNotFoundError: no mirror had the dataset in this time.
    """
    deadline = time.monotonic() + seconds
    kind, cache = Kind.DOWNLOAD, cache_dir()
    busy = "another process was still downloading when the time allowed was over"
    with contextlib.ExitStack() as stack:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_files.lock(cache / ".download.lock", busy, timeout=seconds))
            for left in cache.glob("*download-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
        except UserError as error:
            attempts.append(Attempt("download", str(error)))
            raise DatasetNotFoundError(row.name, attempts) from error
        except OSError as error:
            attempts.append(Attempt(f"the course's cache ({cache})", f"cannot be written: {error}"))
            kind, cache = Kind.NOT_KEPT, Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with contextlib.suppress(OSError, UserError):  # another process may have put it there meanwhile
            return read_folder(cache, Kind.CACHE, row)
        for base, names in _mirrors(row):
            try:
                arrays, files = _download_from(base, names, row, cache, deadline)
                return arrays, Source(kind, cache, files) if kind is Kind.DOWNLOAD else Source(kind, None, {})
            except (OSError, UserError) as error:
                place = f"{base} ({names[0]}{' ...' if names[1:] else ''})"
                attempts.append(Attempt(place, _one_line(error)))
    raise DatasetNotFoundError(row.name, attempts)


def _mirrors(row: Dataset) -> Sequence[tuple[str, tuple[str, ...]]]:
    """Returns the mirrors to try: those of `MNIST_COURSE_MIRRORS` if it is set, otherwise the built-in ones."""
    given = [base.strip().rstrip("/") for base in os.environ.get("MNIST_COURSE_MIRRORS", "").split(",")]
    layouts = (("/", (f"{row.name}.npz",)), (f"/{row.name}/", IDX), ("/", IDX))
    return [(base + folder, names) for base in given if base for folder, names in layouts] or row.mirrors


def _download_from(
    base: str, names: tuple[str, ...], row: Dataset, cache: Path, deadline: float
) -> tuple[Arrays, dict[str, Path]]:
    """Downloads a dataset from one mirror; its files enter the cache only after they have been verified."""
    # The folder is hidden, so that no other process reads an incomplete file from it.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache, ignore_cleanup_errors=True) as folder:
        _download_files(base, names, Path(folder), deadline)
        arrays, source = read_folder(Path(folder), Kind.DOWNLOAD, row)
        target = cache / row.name if len(names) > 1 else cache
        target.mkdir(exist_ok=True)
        for file in names:
            os.replace(Path(folder) / file, target / file)  # noqa: PTH105
        return arrays, {name: target / path.name for name, path in source.files.items()}


def _download_files(base: str, names: tuple[str, ...], folder: Path, deadline: float) -> None:
    """Downloads the files `names` from `base` into `folder`, or raises an `OSError` by the deadline.

    A socket's timeout limits neither the look-up of a name nor a server that sends a byte now and then. Therefore
    a thread does the work, and it is left behind when the time is over.
    """
    if time.monotonic() >= deadline:
        raise TimeoutError("not tried: the time allowed was over")
    failures: list[str] = []

    def work() -> None:
        try:
            with _session() as session:
                for name in names:
                    _download_file(session, base + name, folder / name, deadline)
        except Exception as error:
            failures.append(_one_line(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
        raise TimeoutError("no complete answer in the time allowed")
    if failures:
        raise OSError(failures[0])


def _session() -> requests.Session:
    """Returns a session that asks a busy or unreachable server up to three times."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    # Retry-After is ignored: a server may send an hour.
    retry = Retry(2, read=1, status_forcelist=range(500, 505), backoff_factor=0.5)
    retry.respect_retry_after_header = False
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _download_file(session: requests.Session, url: str, path: Path, deadline: float) -> None:
    """Downloads one file with a progress bar; gives up if it is too large, too slow or past the deadline."""
    from tqdm import tqdm

    started = time.monotonic()
    as_it_is = {"Accept-Encoding": "identity"}
    with session.get(url, headers=as_it_is, stream=True, timeout=(3.05, _READ_SECONDS)) as response:
        response.raise_for_status()
        if "html" in response.headers.get("content-type", ""):
            login = "perhaps the login page of this network: open any page in a browser and log in"
            raise OSError(f"{url} answered with a web page instead of the file, {login}")
        total = int(response.headers.get("content-length", 0)) or None
        bar = tqdm(None, path.name, total, leave=False, file=sys.stdout, unit="B", unit_scale=True, delay=1)
        with bar, path.open("wb") as file:
            # iter_content would wait for a whole chunk, however slowly it comes
            while chunk := response.raw.read1(2**14):
                file.write(chunk)
                bar.update(len(chunk))
                seconds = time.monotonic() - started
                if bar.n > _MAX_BYTES:
                    raise OSError(f"{url} is larger than {_MAX_BYTES} bytes")
                slow = seconds > _SLOW_SECONDS and bar.n / seconds < _SLOW_BYTES_PER_SECOND
                if slow or time.monotonic() > deadline:
                    raise TimeoutError(f"{url} is too slow: {bar.n} bytes in {seconds:.0f} s")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.partition("(Caused by ")[2].rstrip(")") or text  # requests puts the actual cause last
    return text if len(text) <= 200 else text[:197] + "..."
