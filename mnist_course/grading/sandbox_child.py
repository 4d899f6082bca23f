"""The process that drives one notebook's kernel; started by `sandbox.run`, in the notebook's own folder.

It reads the notebook from its standard input, and writes to its standard output (see `sandbox.py`). The outputs are
written after every cell, so that they exist however the process ends. A cell may take half of the
remaining time, and is then interrupted: after an endless loop in one task, the other tasks still run. If a cell
ends the kernel, the notebook runs again without this cell.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from typing import Any, TextIO

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets.config import Config

from mnist_course import processes
from mnist_helpers import _files

_MAX_CELL_OUTPUT = 2**20  # characters, about
_STOP_SECONDS = 5  # for a cell that was interrupted to stop
_MAX_FILE_BYTES = 2**30
_TIME_LIMIT = "TimeLimit"  # name of the error of a cell that takes too long
_TIMED_OUT = "mnist_course_timed_out"  # in a reply that nbclient makes up; the kernel never sends it


class _OutOfTimeError(Exception):
    pass


class _Run:
    """The state of a run, over all attempts."""

    def __init__(self, notebook: nbformat.NotebookNode, seconds: float, written: TextIO):
        self.notebook = notebook
        self.written = written
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.cells: dict[int, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.out_of_time = False
        self.left_out: dict[int, nbformat.NotebookNode] = {}  # position -> the error shown there

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def keep(self, position: int, cell: nbformat.NotebookNode) -> None:
        self.cells[position] = {"outputs": cell.outputs, "execution_count": cell.execution_count}
        self.save(position)

    def save(self, *positions: int) -> None:
        """Writes a line with the outputs of these cells, and with all that is known of the rest."""
        cells = {position: self.cells[position] for position in positions}
        content = {"cells": cells, "problems": self.problems, "out_of_time": self.out_of_time}
        self.written.write(json.dumps(_files.to_jsonable(content), allow_nan=False) + "\n")
        self.written.flush()

    def leave_out(self, position: int, name: str, why: str) -> bool:
        """Leaves a cell out of further attempts; returns False if there is no cell, or it was left out before."""
        if position < 0 or position in self.left_out:
            self.problems.append("its kernel could not be started, or ended by itself")
            return False
        self.problems.append(f"{self.called(position)} {why}")
        self.out_of_time = self.out_of_time or name == _TIME_LIMIT
        text = f"This cell {why}."
        self.left_out[position] = nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[text])
        return True

    def called(self, position: int) -> str:
        return f"cell {position + 1} ({self.notebook.cells[position].id})"


class _Client(NotebookClient):
    """nbclient with a time budget, a limit on outputs, and cells that are left out."""

    def __init__(self, run: _Run):
        super().__init__(
            copy.deepcopy(run.notebook),
            allow_errors=True,
            timeout_func=lambda cell: max(1, int(run.left() / 2)),
            interrupt_on_timeout=True,
            iopub_timeout=_STOP_SECONDS,
            raise_on_iopub_timeout=True,
            error_on_timeout={"ename": _TIME_LIMIT, "evalue": "", "traceback": [], _TIMED_OUT: True},
            on_cell_executed=self._look,
            kernel_name="python3",
            config=_sockets(),
        )
        self.of_run = run
        self.position = -1
        self.size = 0

    async def async_execute_cell(self, cell: Any, cell_index: int, *args: Any, **more: Any) -> Any:
        self.position, self.size = cell_index, 0
        if self.of_run.left() <= 0:
            raise _OutOfTimeError
        if cell_index in self.of_run.left_out:
            cell.outputs = [self.of_run.left_out[cell_index]]
        else:
            cell = await super().async_execute_cell(cell, cell_index, *args, **more)
        if cell.cell_type == "code":
            self.of_run.keep(cell_index, cell)
        return cell

    def _look(self, cell: Any, cell_index: int, execute_reply: dict) -> None:
        content = execute_reply["content"]
        if content.get(_TIMED_OUT):
            self.of_run.leave_out(cell_index, _TIME_LIMIT, "took half of the remaining time, and was stopped")
            cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
            cell.outputs.append(self.of_run.left_out[cell_index])
        if content["status"] == "error" and not any(o.output_type == "error" for o in cell.outputs):
            # What a student's code does to the display of errors does not count: the kernel's reply does.
            more = {name: content[name] for name in ("ename", "evalue", "traceback")}
            cell.outputs.append(nbformat.v4.new_output("error", **more))
        if any(part.get("source") == "ask_exit" for part in content.get("payload", [])):
            raise DeadKernelError("exit()")

    def output(self, outs: list, msg: dict, display_id: str, cell_index: int) -> Any:
        self.size += len(str(msg["content"]))
        if self.size > _MAX_CELL_OUTPUT and msg["msg_type"] != "error":
            return None
        return super().output(outs, msg, display_id, cell_index)


def _sockets() -> Config:
    """Uses IPC: without a network there is no loopback, and concurrent kernels can race for TCP ports."""
    if os.name != "posix":
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": "kernel"}})


def _limit(memory_bytes: int) -> None:
    try:
        import resource  # not on Windows
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end() -> None:
    """Ends this process and all below it at once: a student's code is not asked."""
    for member in psutil.Process().children(recursive=True):
        member.kill()
    os._exit(1)


def _receive() -> nbformat.NotebookNode:
    """Reads the notebook, which follows its length in bytes."""
    size = int(sys.stdin.buffer.readline())
    return nbformat.reads(sys.stdin.buffer.read(size).decode(), as_version=4)


def main(seconds: int, memory_bytes: int) -> None:
    """Runs a notebook from the standard input; the outputs go to the standard output.

    Args:
        seconds: the time of the whole notebook.
        memory_bytes: the memory of each process.
    """
    notebook = _receive()
    processes.end_with_parent(_end)
    _limit(memory_bytes)
    written = os.fdopen(os.dup(1), "w", encoding="utf-8")  # the kernel does not inherit it
    os.dup2(2, 1)  # what else is printed is for the log
    run = _Run(notebook, seconds, written)
    run.save()
    while _attempt(run):
        pass
    run.save()


def _attempt(run: _Run) -> bool:
    """Runs the notebook once; returns whether to run it again with one more cell left out."""
    client = _Client(run)
    try:
        client.execute()
    except _OutOfTimeError:
        where = run.called(client.position)
        run.problems.append(f"the {run.seconds:.0f} s of the notebook were over before {where}")
        run.out_of_time = True
    except CellTimeoutError:
        why = "took half of the remaining time, and could not be stopped"
        return run.leave_out(client.position, _TIME_LIMIT, why)
    except (DeadKernelError, RuntimeError):
        return run.leave_out(client.position, "KernelDied", "ended the kernel (exit(), or out of memory)")
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
