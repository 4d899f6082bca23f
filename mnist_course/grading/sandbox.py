"""One notebook, run apart from everything else: a process of its own, with a time and a memory limit.

    notebook -> apart_child.py in an empty folder, watched from here -> the outputs of its cells

Where Linux lets an ordinary account make namespaces, the process sees the system read-only, without a network,
without other processes, and with nothing in the folders that are hidden from it. Everywhere its caches, its home
and its temporary files lie in its own folder, and it gets none of the account's environment variables. It still
runs as the same account: what this account can read outside the hidden folders, it can read.
"""

from __future__ import annotations

import contextlib
import os
import re
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

from mnist_course import lessons
from mnist_helpers import _files

NOTEBOOK, OUTPUTS, LOG = "notebook.ipynb", "outputs.json", "log.txt"
_OUT_OF_TIME = re.compile(r"of the time that was left| s of the notebook were over|it ran longer than")
_MAX_OUTPUT_BYTES = 64 * 2**20
_MAX_PROCESSES = 100
_BESIDE_DATA_BYTES = 2**30  # TensorFlow's code, and the process that drives the kernel
_GRACE_SECONDS = 10.0  # for that process to start, and to see for itself that the time is over
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
# The shell stays: it is process 1 there, and when it ends the kernel ends all others.
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
    """What came back. None of it can be trusted: the notebook's code may have written it.

    Attributes:
        cells: position of a code cell that ran -> its `outputs` and `execution_count`.
        problems: what went wrong, in words.
        seconds: how long it took.
        disturbed: True if it did not run through: another try, or other limits, may give another outcome.
    """

    cells: dict[int, dict[str, Any]]
    problems: list[str]
    seconds: float
    disturbed: bool

    @property
    def out_of_time(self) -> bool:
        """True if it met the time limit: another try takes as long again, and gives the same."""
        return any(map(_OUT_OF_TIME.search, self.problems))


def can_isolate() -> bool:
    """Says whether this system lets us hide folders and the network from a process."""
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
    """Runs a notebook apart, to its end or to its limits.

    Args:
        notebook: what to run.
        work: where; an empty folder, in one of the hidden ones.
        limits: its time and memory.
        hidden: folders whose content it shall not see, its own excepted.
        isolated: what `can_isolate` says.
        stop: set by another thread to end it at once.
    """
    nbformat.write(notebook, work / NOTEBOOK)
    command = [sys.executable, "-P", "-m", "mnist_course.grading.sandbox_child"]
    command += [str(limits.seconds), str(limits.memory_bytes)]
    began = time.monotonic()
    with (work / LOG).open("wb") as log:
        process = subprocess.Popen(
            (_enter(work, hidden) if isolated else []) + command,
            cwd=work,
            env=_environment(work),
            stdin=subprocess.PIPE,  # its end tells the process that we are gone
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        problem = _watch(process, began, limits, stop)
    finally:
        _kill(process)
        process.stdin.close()
    cells, problems = _collect(work)
    if problem or process.returncode:
        problems.append(problem or f"its process ended by itself (exit status {process.returncode})")
    return Outcome(cells, problems, time.monotonic() - began, bool(problems))


def _enter(work: Path, hidden: Sequence[Path]) -> list[str]:
    """The command that enters namespaces of its own, in which another command follows."""
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
            "MATPLOTLIBRC": str(lessons.NOTEBOOKS / "matplotlibrc"),
            "MNIST_COURSE_OFFLINE": "1",
            "NBGRADER_EXECUTION": "autograde",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
    )


# --- watching ---


def _watch(process: subprocess.Popen, began: float, limits: Limits, stop: threading.Event) -> str:
    """Waits for the process; says why it must be ended, if it must."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
            return ""
        members = _family(process)
        if stop.is_set():
            return "grading was interrupted"
        if time.monotonic() - began > limits.seconds + _GRACE_SECONDS:
            return f"it ran longer than the {limits.seconds} s that it may take, and was ended"
        if len(members) > _MAX_PROCESSES:
            return f"it started more than {_MAX_PROCESSES} processes, and was ended"
        if _memory(members) > limits.memory_bytes + _BESIDE_DATA_BYTES:
            return (
                f"it took more than the {limits.memory_bytes / 2**30:.3g} GiB that it may take, and was ended"
            )


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
    """Ends the process and all below it; nothing to do where it has ended in order."""
    stopped: set[psutil.Process] = set()
    while new := set(_family(process)) - stopped:  # what is stopped first cannot start another meanwhile
        for member in new:
            with contextlib.suppress(psutil.Error):
                member.suspend()
        stopped |= new
    for member in stopped:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()


# --- what came back ---


def _collect(work: Path) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Reads what the process wrote, as something that anybody may have written."""
    path = work / OUTPUTS
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_OUTPUT_BYTES:
            return {}, ["its outputs are too large"]
        written = _files.read_json(path)
        cells = {int(position): _checked(cell) for position, cell in written["cells"].items()}
        return cells, [str(problem)[:500] for problem in written["problems"]]
    except FileNotFoundError:
        return {}, ["it did not begin"]
    except Exception as error:  # whatever a forged file can cause
        return {}, [f"its outputs cannot be read ({type(error).__name__})"]


def _checked(cell: dict[str, Any]) -> dict[str, Any]:
    checked = nbformat.from_dict(
        {"cell_type": "code", "id": "x", "metadata": {}, "source": "", **_part(cell)}
    )
    nbformat.validate(checked, ref="code_cell", version=4, version_minor=5)
    return _part(checked)


def _part(cell: dict[str, Any]) -> dict[str, Any]:
    return {"outputs": cell["outputs"], "execution_count": cell["execution_count"]}
