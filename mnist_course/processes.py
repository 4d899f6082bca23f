"""Processes: how a child ends with its parent, how its end is described, and where its sockets may be."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

_LONGEST_SOCKET_FOLDER = (
    65  # bytes; the path of a Unix socket has about 100, and 35 are for the names below it
)


def terminate() -> None:
    """Ends this process as SIGTERM does, so that it can end its own children first."""
    if hasattr(signal, "pthread_kill"):  # a main thread that waits is woken only by a signal of its own
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)


def end_with_parent(end: Callable[[], None] = terminate) -> None:
    """Ends this process when its parent is gone, for whatever reason; no orphan goes on working.

    A process of `multiprocessing` watches its parent. Any other process watches its standard input, which has
    to be a pipe that the parent keeps open: the system closes the pipe when the parent dies, and a parent that no
    longer needs the child closes it earlier.

    Args:
        end: what ends this process; it is called in another thread than the main one.
    """
    threading.Thread(target=_wait_and_end, args=(end,), daemon=True).start()


def _wait_and_end(end: Callable[[], None]) -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    else:
        while os.read(0, 1):
            pass
    end()


def describe_exit(status: int) -> str:
    """Describes an exit status: `"was ended by SIGSEGV"`, `"ended with exit status 3"`.

    Args:
        status: as `subprocess` gives it: a signal is a negative number.
    """
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = ", as the system does if memory runs out" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def socket_folder() -> str | None:
    """Returns a folder for temporary folders with Unix sockets, `None` if there is none.

    The path of a Unix socket has at most 103 bytes (macOS) or 107 bytes (Linux), so that a long `TMPDIR` is of
    no use.
    """
    if sys.platform == "win32":
        return None
    candidates = (
        tempfile.gettempdir(),
        os.environ.get("XDG_RUNTIME_DIR", ""),
        "/tmp",
        "/var/tmp",
        "/dev/shm",
    )
    for folder in candidates:
        is_usable = Path(folder).is_absolute() and os.access(folder, os.W_OK | os.X_OK)
        if is_usable and len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER:
            return folder
    return None
