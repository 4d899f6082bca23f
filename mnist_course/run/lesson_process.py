"""The process of one lesson: papermill, its kernel, and what is reported if one of the two ends early.

A recorded run depends on the course and on this Python environment, not on the account. The kernel is therefore
always this Python, it gets an IPython profile and a Keras configuration of its own, and the environment variables
that would change what a lesson computes or shows are removed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError
from papermill import iorw
from traitlets.config import Config

from mnist_course import cores, lessons, processes
from mnist_course.run.settings import Limits
from mnist_helpers import _files, results

# How long a lesson waits for the process of a runner that was killed, which may still be ending its kernel.
_PREDECESSOR_SECONDS = 20.0
_IOPUB_SECONDS = 60  # for the outputs of a cell to arrive after the cell has ended
_PATHS = ("MNIST_DATA_DIR", "MNIST_COURSE_RESULTS")  # they may be relative, and a lesson runs in notebooks/
_REMOVED = ("PYTHONSTARTUP", "PYTHONOPTIMIZE", "MPLBACKEND")


class _KernelManager(AsyncKernelManager):
    """Starts a kernel of this Python, whatever kernel specifications the account has.

    Attributes:
        exit_status: the exit status of a kernel that ended before it was asked to.
    """

    exit_status: int | None = None

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())

    # The base class declares this method as an attribute. Nbclient calls it once, before it ends the kernel.
    async def is_alive(self) -> bool:  # type: ignore[override]
        if self.provisioner is not None and self.has_kernel:
            _KernelManager.exit_status = await self.provisioner.poll()
        return await super().is_alive()


class _AtomicHandler(iorw.LocalHandler):
    """Makes papermill write complete notebooks or none, like every other file of a run."""

    def write(self, buf: str, path: str) -> None:
        with _files.atomic_write(Path(path)) as temporary:
            temporary.write_text(buf, encoding="utf-8")


def execute(
    lesson: str, output: Path, log: Path, params: dict[str, Any], limits: Limits, report: Connection
) -> None:
    """Executes one lesson in this process, which must be a process of its own.

    Args:
        lesson: the lesson.
        output: where papermill writes the executed notebook.
        log: where the kernel's standard error is written, and this process's own after a failure.
        params: the lesson's parameters.
        limits: threads and time that the lesson may use.
        report: receives the reason, as a text, if the lesson fails.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the kernel on the way out
    processes.end_with_parent()
    messages = io.StringIO()
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 2)  # the kernel inherits it
        lock = output.with_suffix(".lock")
        busy = f"The process of an earlier run still works on lesson {lesson}. Try again in a minute."
        with contextlib.redirect_stderr(messages), _files.lock(lock, busy, timeout=_PREDECESSOR_SECONDS):
            execute_notebook(lesson, output, params, limits)
            lock.unlink()
    except Exception as error:
        report.send(_reason(error, log, limits))
        print(messages.getvalue(), file=sys.stderr)
        raise


def execute_notebook(lesson: str, output: Path, params: dict[str, Any], limits: Limits) -> None:
    """Executes a lesson with papermill; changes the environment variables of this process."""
    if limits.threads:
        cores.limit_threads(limits.threads)
    else:
        cores.limit_threads_to_quota()
    iorw.papermill_io.register(output.anchor, _AtomicHandler())
    with _own_folder() as folder:
        prepare_environment(folder)
        os.environ[results.MADE_FROM] = json.dumps(lessons.made_from(lesson))
        # Kernels that start side by side can race for TCP ports. Each kernel needs an address of its own:
        # otherwise all kernels of a folder would use the same socket.
        sockets = {"transport": "ipc", "ip": str(folder / "kernel")} if processes.socket_folder() else {}
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        papermill.execute_notebook(
            *(lessons.papermill_path(path) for path in (results.notebook_path(lesson), output)),
            params,
            kernel_name="python3",
            kernel_manager_class=_KernelManager,
            config=Config({"KernelManager": sockets}),
            cwd=str(lessons.NOTEBOOKS),
            progress_bar=is_terminal and {"desc": lesson, "position": 1, "leave": False, "file": sys.stdout},
            execution_timeout=limits.cell_seconds or None,
            iopub_timeout=_IOPUB_SECONDS,
            coalesce_streams=True,
        )


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="lesson-", dir=processes.socket_folder(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def prepare_environment(folder: Path) -> None:
    """Sets the environment variables of a kernel.

    Args:
        folder: an empty folder for the IPython profile and the Keras configuration.
    """
    for name in _PATHS:
        if os.environ.get(name):
            os.environ[name] = str(_files.expand(os.environ[name]))
    keras = folder / "keras"
    keras.mkdir()
    user_datasets = _files.expand(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"
    for name in list(os.environ):
        if name in _REMOVED or name.startswith("KERAS_"):
            del os.environ[name]
    with contextlib.suppress(OSError):  # a Windows account without the right to make links has no such cache
        (keras / "datasets").symlink_to(user_datasets, target_is_directory=True)
    os.environ |= {
        "IPYTHONDIR": str(folder / "ipython"),
        "KERAS_HOME": str(keras),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def _reason(error: Exception, log: Path, limits: Limits) -> str:
    """Returns why a lesson ended early, where its notebook does not show it."""
    if isinstance(error, CellTimeoutError) and limits.cell_seconds:
        return (
            f"the cell took longer than the {limits.cell_seconds} seconds that it may take "
            "(--cell-seconds sets another limit)"
        )
    if _KernelManager.exit_status is not None:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its kernel {processes.describe_exit(_KernelManager.exit_status)}" + (
            f"; the last line of its standard error is: {last[:500]}" if last else ""
        )
    return str(error) or type(error).__name__
