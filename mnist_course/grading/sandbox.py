"""Run one notebook in a separate process, with limits on time, memory, processes and files.

    notebook -> sandbox_child.py in an empty folder, watched from here -> the outputs of its cells

Where the system offers it, the process is isolated (`isolation.py`). On every system its caches, its home and its
temporary files are in its own folder, and it gets none of the account's environment variables.

The process receives the notebook through its standard input, so that no file holds the hidden tests, and returns
lines of JSON through its standard output. The notebook's code does not inherit this output, but can find it:
without isolation, in the work folder; with `bwrap`, in `/proc/1/fd`. So each line is signed with a key that only
this process and `sandbox_child` have.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import json
import os
import secrets
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import nbformat
import psutil

from mnist_course.grading import isolation

_OUTPUTS, _LOG = "outputs.json", "log.txt"
_MAX_OUTPUT_BYTES = 64 * 2**20
KEY_BYTES = 32  # of the secret with which the outputs are signed
_MAX_PROCESSES = 100
_MAX_FILES = 10_000
_MAX_FILES_BYTES = 2**30
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
        isolated: whether it ran in isolation.
    """

    cells: dict[int, dict[str, Any]]
    problems: list[str]
    seconds: float
    disturbed: bool
    out_of_time: bool
    isolated: bool = False


def run(
    notebook: nbformat.NotebookNode,
    work: Path,
    *,
    limits: Limits,
    hidden: Sequence[Path],
    tool: str,
    stop: threading.Event,
) -> Outcome:
    """Runs a notebook to its end or to its limits.

    Args:
        notebook: the notebook.
        work: an empty folder, inside one of the hidden folders.
        limits: its time and memory.
        hidden: folders whose content it must not see, except its own folder.
        tool: the tool that isolates it, from `isolation.find`; empty for no isolation.
        stop: set by another thread to end the run at once.
    """
    command = isolation.command(tool, work, hidden) if tool else []
    command += [sys.executable, "-P", "-m", "mnist_course.grading.sandbox_child"]
    command += [str(limits.seconds), str(limits.memory_bytes)]
    began, key = time.monotonic(), secrets.token_bytes(KEY_BYTES)
    with (
        (work / _OUTPUTS).open("ab") as outputs,
        (work / _LOG).open("wb") as log,
        subprocess.Popen(
            command,
            cwd=work,
            env=_environment(work),
            stdin=subprocess.PIPE,  # the child ends when this pipe is closed
            stdout=outputs,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            # In a thread: a process that does not read must not stop the watch.
            sender = threading.Thread(target=_send, args=(process.stdin, key, notebook), daemon=True)
            sender.start()
            problem, too_long = _watch(process, work, began, limits, stop)
        finally:
            _kill(process, isolated=bool(tool))
            sender.join(_GRACE_SECONDS)
    cells, problems, out_of_time = _collect(work, key)
    if problem or process.returncode:
        problems.append(problem or f"its process ended by itself (exit status {process.returncode})")
    seconds = time.monotonic() - began
    return Outcome(cells, problems, seconds, bool(problems), out_of_time or too_long, bool(tool))


def _send(pipe: IO[bytes], key: bytes, notebook: nbformat.NotebookNode) -> None:
    """Sends the key, the length of the notebook in bytes, a line break and the notebook."""
    content = json.dumps(notebook).encode()
    with contextlib.suppress(OSError):  # the process has ended
        pipe.write(b"%b%d\n%b" % (key, len(content), content))
        pipe.flush()


class Signer:
    """Signs lines, so that only who knows the key can write, change, repeat or reorder them.

    Args:
        key: a secret of `KEY_BYTES` bytes.
    """

    def __init__(self, key: bytes):
        self._signed = hmac.new(key, digestmod="sha256")

    def signature(self, line: str) -> str:
        """Returns the signature of the next line, in hexadecimal digits; it depends on all lines before it, too."""
        self._signed.update(f"{line}\n".encode())
        return self._signed.hexdigest()


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
    process: subprocess.Popen, work: Path, began: float, limits: Limits, stop: threading.Event
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
        if problem := _too_many_files(work):
            return f"it wrote {problem}, and was ended", False


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


def _too_many_files(work: Path) -> str:
    """Returns which limit the files in a folder exceed; empty if none. It stops counting at the limit."""
    size = 0
    for count, path in enumerate(itertools.chain.from_iterable(_content(work))):
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
        if size > _MAX_FILES_BYTES:
            return f"more than {_MAX_FILES_BYTES / 2**30:.3g} GiB of files"
        if count >= _MAX_FILES:
            return f"more than {_MAX_FILES} files"
    return ""


def _content(work: Path) -> Iterator[list[Path]]:
    for folder, folders, files in os.walk(work):
        yield [Path(folder, name) for name in (*folders, *files)]


def _kill(process: subprocess.Popen, *, isolated: bool = False) -> None:
    """Kills the process and its descendants, if there are any left."""
    if process.poll() is not None:
        return
    if isolated:
        # When the first process of a namespace ends, the kernel ends all others in it, however many they are.
        for first in _family(process)[1:2]:
            with contextlib.suppress(psutil.Error):
                first.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
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
    """Reads what the process wrote (cells, problems, out of time); a student's code may have forged any of it.

    Each line holds its signature, a space, and the cells that are new with all that is known of the rest. A last
    line without its end is that of a process which was ended while it wrote.
    """
    path = work / _OUTPUTS
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_OUTPUT_BYTES:
            return {}, ["its outputs are too large"], False
        signed = [line.partition(" ") for line in path.read_bytes().decode().split("\n")[:-1]]
        if not signed:
            return {}, ["it could not be started"], False
        signer = Signer(key)
        if not all(
            secrets.compare_digest(given.encode(), signer.signature(line).encode())
            for given, _, line in signed
        ):
            return {}, ["its outputs were written by another program than the grader"], False
        lines = [json.loads(line) for _, _, line in signed]
        cells = {int(position): cell for line in lines for position, cell in line["cells"].items()}
        checked = {position: _checked(cell) for position, cell in cells.items()}
        problems = [str(problem)[:500] for problem in lines[-1]["problems"]]
        return checked, problems, lines[-1]["out_of_time"] is True
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
