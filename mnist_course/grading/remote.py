"""Grade on a Dask cluster: one submission is one task, which a worker runs in its own sandbox.

    notebook + limits -> Job -> worker: `sandbox.run` in a temporary folder -> Outcome -> gradebook, on this machine

A worker needs this package, not the grading folder. It receives the repaired notebook with its hidden tests, and
the limits; it does not receive the student's name, other submissions or marks. It keeps nothing: its temporary
folder is deleted when the task ends. Marks are made on this machine only, from the outputs, as without a cluster.

A worker runs as many submissions at a time as it has threads, so workers should be started with one thread each.
Dask gives the task of a lost worker to another one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

import mnist_course.grading
import mnist_helpers
from mnist_course.grading import isolation, sandbox
from mnist_course.grading.sandbox import Limits, Outcome
from mnist_course.run import study
from mnist_helpers._errors import UserError

_POLL_SECONDS = 1.0
_TASKS_PER_THREAD = 2  # so that a worker that ends a task finds the next one waiting
_LEAST_WAITING = 16  # more workers can join later
_SAME_VERSIONS = "Install the same version of the course, with the same constraints.txt, on all machines."


class Job(NamedTuple):
    """One submission, as it is sent to a worker.

    Attributes:
        notebook: the repaired notebook with its hidden tests, as JSON.
        limits: its time and memory.
        versions: what the machine that sends it has installed, see `versions`.
    """

    notebook: bytes
    limits: Limits
    versions: dict[str, str]


@contextlib.contextmanager
def cluster(scheduler: str) -> Iterator[Any]:
    """Connects to a Dask scheduler; yields the client.

    Args:
        scheduler: its address, such as `"tcp://HOST:8786"`.

    Raises:
        UserError: Dask is not installed, the address has a wrong form, nothing answers there, it has no workers, or
            a worker has other versions than this machine.
    """
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(study.client(scheduler))
        except OSError as error:
            expected = "Expected: the address that `dask scheduler` prints"
            raise UserError(
                f"No scheduler was found at {scheduler}. {expected}. Received: {error}."
            ) from error
        if not client.nthreads():
            start = f"dask worker {scheduler} --nthreads 1"
            raise UserError(f"The scheduler at {scheduler} has no workers. Start some, with: {start}")
        _check_workers(client)
        yield client


def _check_workers(client: Any) -> None:
    try:
        found = client.run(versions)
    except Exception as error:  # whatever a worker without this package raises
        raise UserError(
            f"A worker cannot use this package ({type(error).__name__}: {error}). {_SAME_VERSIONS}"
        ) from error
    for address, theirs in found.items():
        _check_same(theirs, versions(), f"The worker at {address}")


def _check_same(theirs: Mapping[str, str], expected: Mapping[str, str], whose: str) -> None:
    """Compares what two machines have installed: with other versions, a mark could be another one."""
    different = [name for name in expected if theirs.get(name) != expected[name]]
    if different:
        listed = ", ".join(f"{name} {theirs.get(name)} instead of {expected[name]}" for name in different)
        raise UserError(f"{whose} has {listed}. {_SAME_VERSIONS}")


@functools.cache
def versions() -> dict[str, str]:
    """Returns what a mark depends on: the versions of Python and of packages, and a hash of the course's code."""
    digest = hashlib.sha256()
    for package in (mnist_course.grading, mnist_helpers):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    found = {
        name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy", "scikit-learn")
    }
    return {"Python": platform.python_version(), "mnist-course": digest.hexdigest()[:12], **found}


def num_waiting(client: Any) -> int:
    """Returns how many submissions to hand to a cluster at the same time."""
    return max(_LEAST_WAITING, _TASKS_PER_THREAD * sum(client.nthreads().values()))


def run(
    client: Any, notebook: nbformat.NotebookNode, *_: Any, limits: Limits, stop: threading.Event, **__: Any
) -> Outcome:
    """Runs a notebook on a cluster, to its end or to its limits.

    Folders on this machine, which `sandbox.run` takes, are of no use there.

    Args:
        client: from `cluster`.
        notebook: the notebook.
        limits: its time and memory.
        stop: set by another thread to give up at once.

    Raises:
        UserError: the connection to the scheduler was lost.
        distributed.KilledWorker: several workers ended while they ran this notebook.
    """
    job = Job(json.dumps(notebook).encode(), limits, versions())
    future = client.submit(run_job, job, pure=False)
    while not stop.is_set():
        try:
            return future.result(timeout=_POLL_SECONDS)
        except TimeoutError:
            continue
        except CancelledError as error:
            raise UserError(
                "The connection to the scheduler was lost before this submission had run."
            ) from error
    future.cancel()
    return Outcome({}, ["grading was interrupted"], 0.0, True, False)


# --- on a worker ---


def run_job(job: Job) -> Outcome:
    """Runs one submission; a worker calls this.

    Raises:
        UserError: this worker, which may have joined later than others, has other versions.
    """
    _check_same(versions(), job.versions, "A worker")
    notebook = nbformat.reads(job.notebook.decode(), as_version=4)
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as temporary:
        hidden = Path(temporary).resolve()
        work = hidden / "work"
        work.mkdir()
        with _stopped_unless(study.is_still_wanted()) as stop:
            return sandbox.run(notebook, work, limits=job.limits, hidden=[hidden], tool=_tool(), stop=stop)


@functools.cache
def _tool() -> str:
    return isolation.find().tool


@contextlib.contextmanager
def _stopped_unless(is_wanted: Callable[[], bool]) -> Iterator[threading.Event]:
    """Yields an event that is set when nobody waits for the task any more."""
    stop, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            if not is_wanted():
                stop.set()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        ended.set()
        thread.join()
