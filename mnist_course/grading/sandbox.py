"""Run one notebook in a separate process, with a time limit and a memory limit.

    notebook -> sandbox_child.py in an empty folder, watched from here -> the outputs of its cells

Where Linux lets an ordinary account create namespaces, the process sees the system read-only, without a network,
without other processes, and with nothing in the folders that are hidden from it. On every system its caches, its
home and its temporary files are in its own folder, and it gets none of the account's environment variables. It
still runs as the same account and can read what this account can read outside the hidden folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import site
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import psutil

from mnist_helpers import _files

NOTEBOOK, OUTPUTS, LOG = "notebook.ipynb", "outputs.json", "log.txt"
_MAX_OUTPUT_BYTES = 64 * 2**20
KEY_BYTES = 32  # of the secret with which the outputs are signed
_MAX_PROCESSES = 100
_BESIDE_DATA_BYTES = 2**30  # for TensorFlow's code and the process that drives the kernel
_GRACE_SECONDS = 10.0  # for that process to start, and to notice the end of its time itself
_POLL_SECONDS = 0.2
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "WINDIR")
_ONE_THREAD = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
_MOUNT_FLAGS = {"nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"}

# Arguments: work folder; hidden folders, --; mount options and mount point of each mount, --; command.
# The shell remains as process 1 of the namespace: when it ends, Linux kills all other processes there.
_ENTER = """
set -e
cd "$1"; work=$1; shift
while [ "$1" != -- ]; do mount -t tmpfs -o size=1m hidden "$1"; shift; done; shift
mkdir -p "$work"
mount --no-canonicalize --bind . "$work"
while [ "$1" != -- ]; do mount -o "$1" "$2" 2>/dev/null || [ "$2" != / ]; shift 2; done; shift
[ ! -d /dev/shm ] || mount -t tmpfs -o size=256m shm /dev/shm
cd "$work"
setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@" || exit $?
"""


class Limits(NamedTuple):
    """What one notebook may use.

    Attributes:
        seconds: time, from the start of its process to its end.
        memory_bytes: memory of each of its processes, without code and shared libraries.
    """

    seconds: int = 120
    memory_bytes: int = 4 * 2**30


class Outcome(NamedTuple):
    """The result of a run. None of it can be trusted: the notebook's code may have written it.

    Attributes:
        cells: position of a code cell that ran -> its `outputs` and `execution_count`.
        problems: what went wrong, for the report.
        seconds: duration of the run.
        disturbed: True if the notebook did not run to its end: another attempt, or other limits, may give
            another outcome.
        out_of_time: True if the time limit was reached: another attempt with the same limits gives the same.
    """

    cells: dict[int, dict[str, Any]]
    problems: list[str]
    seconds: float
    disturbed: bool
    out_of_time: bool


def can_isolate() -> bool:
    """Returns whether this system can hide folders and the network from a process."""
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "mount", "setpriv"))):
        return False
    here = Path(__file__).parent
    tried = subprocess.run([*_enter(here, [here]), "true"], capture_output=True)
    return tried.returncode == 0


def run(
    notebook: nbformat.NotebookNode,
    work: Path,
    *,
    limits: Limits,
    hidden: Sequence[Path],
    isolated: bool,
    stop: threading.Event,
) -> Outcome:
    """Runs a notebook to its end or to its limits.

    Args:
        notebook: the notebook.
        work: an empty folder, inside one of the hidden folders.
        limits: its time and memory.
        hidden: folders whose content it must not see, except its own folder.
        isolated: the result of `can_isolate`.
        stop: set by another thread to end the run at once.
    """
    nbformat.write(notebook, work / NOTEBOOK)
    command = [sys.executable, "-P", "-m", "mnist_course.grading.sandbox_child"]
    command += [str(limits.seconds), str(limits.memory_bytes)]
    began, key = time.monotonic(), secrets.token_bytes(KEY_BYTES)
    with (
        (work / LOG).open("wb") as log,
        subprocess.Popen(
            (_enter(work, hidden) if isolated else []) + command,
            cwd=work,
            env=_environment(work),
            stdin=subprocess.PIPE,  # the child ends when this pipe is closed
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            with contextlib.suppress(BrokenPipeError):
                _send(process, key)
            problem, too_long = _watch(process, began, limits, stop)
        finally:
            _kill(process)
    cells, problems, out_of_time = _collect(work, key)
    if problem or process.returncode:
        problems.append(problem or f"its process ended by itself (exit status {process.returncode})")
    return Outcome(cells, problems, time.monotonic() - began, bool(problems), out_of_time or too_long)


def _send(process: subprocess.Popen, key: bytes) -> None:
    assert process.stdin
    process.stdin.write(key)
    process.stdin.flush()


def signature(content: str, key: bytes) -> str:
    """Returns what shows that `content` was written by a process that knows the key."""
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()


def _enter(work: Path, hidden: Sequence[Path]) -> list[str]:
    """Returns the command that enters new namespaces; the command to run there is appended to it."""
    read_only = []
    for mount in psutil.disk_partitions(all=True):
        kept = _MOUNT_FLAGS.intersection(mount.opts.split(","))
        read_only += [",".join(["remount", "bind", "ro", *sorted(kept)]), mount.mountpoint]
    spaces = ["--user", "--map-root-user", "--mount", "--net", "--ipc", "--pid", "--mount-proc"]
    return [
        *("unshare", *spaces, "--fork", "--kill-child"),
        *("sh", "-c", _ENTER, "sh", str(work)),
        *(*map(str, hidden), "--", *read_only, "--"),
    ]


def _environment(work: Path) -> dict[str, str]:
    return (
        {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        | dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), str(work))
        | {
            f"{name}": str(work / name.lower())
            for name in ("XDG_CACHE_HOME", "KERAS_HOME", "IPYTHONDIR", "MPLCONFIGDIR", "MNIST_COURSE_RESULTS")
        }
        | dict.fromkeys(_ONE_THREAD, "1")
        | {
            "PYTHONUSERBASE": site.getuserbase(),
            "MNIST_COURSE_OFFLINE": "1",
            "NBGRADER_EXECUTION": "autograde",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
    )


# --- watching ---


def _watch(
    process: subprocess.Popen, began: float, limits: Limits, stop: threading.Event
) -> tuple[str, bool]:
    """Waits for the process; returns why it must be ended, or "", and whether the time limit is the reason."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
            return "", False
        members = _family(process)
        if stop.is_set():
            return "grading was interrupted", False
        if time.monotonic() - began > limits.seconds + _GRACE_SECONDS:
            return f"it ran longer than the {limits.seconds} s that are allowed, and was ended", True
        if len(members) > _MAX_PROCESSES:
            return f"it started more than {_MAX_PROCESSES} processes, and was ended", False
        if _memory(members) > limits.memory_bytes + _BESIDE_DATA_BYTES:
            allowed = limits.memory_bytes / 2**30
            return f"it used more than the {allowed:.3g} GiB that are allowed, and was ended", False


def _family(process: subprocess.Popen) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _memory(members: Sequence[psutil.Process]) -> int:
    total = 0
    for member in members:
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss
    return total


def _kill(process: subprocess.Popen) -> None:
    """Kills the process and its descendants, if there are any left."""
    stopped: set[psutil.Process] = set()
    while new := set(_family(process)) - stopped:  # a suspended process cannot start another
        for member in new:
            with contextlib.suppress(psutil.Error):
                member.suspend()
        stopped |= new
    for member in stopped:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()


# --- what came back ---


def _collect(work: Path, key: bytes) -> tuple[dict[int, dict[str, Any]], list[str], bool]:
    """Reads what the process wrote (cells, problems, out of time); a student's code may have forged any of it."""
    path = work / OUTPUTS
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_OUTPUT_BYTES:
            return {}, ["its outputs are too large"], False
        signed = _files.read_json(path)
        if not hmac.compare_digest(signed["signature"], signature(signed["content"], key)):
            return {}, ["its outputs were written by another program than the grader"], False
        written = json.loads(signed["content"])
        cells = {int(position): _checked(cell) for position, cell in written["cells"].items()}
        problems = [str(problem)[:500] for problem in written["problems"]]
        return cells, problems, written["out_of_time"] is True
    except FileNotFoundError:
        return {}, ["it could not be started"], False
    except Exception as error:  # a forged file can cause any error
        return {}, [f"its outputs cannot be read ({type(error).__name__})"], False


def _checked(cell: dict[str, Any]) -> dict[str, Any]:
    checked = nbformat.from_dict(
        {"cell_type": "code", "id": "x", "metadata": {}, "source": "", **_part(cell)}
    )
    nbformat.validate(checked, ref="code_cell", version=4, version_minor=5)
    return _part(checked)


def _part(cell: dict[str, Any]) -> dict[str, Any]:
    return {"outputs": cell["outputs"], "execution_count": cell["execution_count"]}
