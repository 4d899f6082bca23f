"""Downloading a dataset into the course's cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import platformdirs

from mnist_helpers._errors import UserError
from mnist_helpers.data._archives import IDX, MAX_DOWNLOAD_BYTES, MIRRORS, Arrays, read_folder

_SLOW_SECONDS, _SLOW_BYTES_PER_SECOND = 10.0, 2000.0  # then the next mirror is tried
_READ_SECONDS = 5.0  # without a byte
_DOWNLOADING = "download-"  # how the folders of unfinished downloads begin


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


def cache_dir() -> Path:
    """Returns the folder in which downloads are kept, one folder per dataset."""
    return Path(platformdirs.user_cache_dir("mnist-course"))


@contextlib.contextmanager
def download_lock(seconds: float) -> Iterator[Path]:
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


def download_dataset(dataset: str, attempts: list[Attempt], deadline: float, cache: Path) -> Arrays:
    """Tries the mirrors in turn until the deadline; keeps what was verified in `cache`."""
    bases = [base.strip() for base in os.environ.get("MNIST_COURSE_MIRRORS", "").split(",") if base.strip()]
    mirrors = list(MIRRORS[dataset])
    if bases:
        bases = [base.rstrip("/") + "/" for base in bases]
        mirrors = [
            mirror
            for base in bases
            for mirror in ((base, (f"{dataset}.npz",)), (f"{base}{dataset}/", IDX), (base, IDX))
        ]
    for base, files in mirrors:
        place = f"{base} ({files[0]}{' ...' if files[1:] else ''})"
        try:
            # A folder for each mirror, so that a bad file from one never stands in for the next one's.
            with tempfile.TemporaryDirectory(
                prefix=_DOWNLOADING, dir=cache, ignore_cleanup_errors=True
            ) as folder:
                _fetch_files(base, files, Path(folder), deadline)
                arrays = read_folder(dataset, Path(folder))
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
                if bar.n > MAX_DOWNLOAD_BYTES:
                    raise OSError(f"{url} is larger than {MAX_DOWNLOAD_BYTES} bytes")
                seconds = time.monotonic() - started
                if time.monotonic() > deadline:
                    raise TimeoutError("no complete answer in the time allowed")
                if seconds > _SLOW_SECONDS and bar.n / seconds < _SLOW_BYTES_PER_SECOND:
                    raise TimeoutError(f"{url} is too slow: {bar.n} bytes in {seconds:.0f} s")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.partition("(Caused by ")[2].rstrip(")") or text  # requests says last what matters
    return text if len(text) <= 200 else text[:197] + "..."
