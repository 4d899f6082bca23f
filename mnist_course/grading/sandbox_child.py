"""The process that drives one notebook's kernel; started by `sandbox.run`, in the notebook's own folder.

Its outputs are written after every cell, so that they are there however it ends. A cell may take half of the
time that is left, and is then interrupted: after an endless loop in one task, the others still run. If a cell
ends the kernel, the notebook runs again without this cell.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets.config import Config

from mnist_course import processes
from mnist_course.grading import sandbox
from mnist_helpers import _files

_MAX_CELL_OUTPUT = 2**20  # characters, about
_STOP_SECONDS = 5  # for a cell that was interrupted to stop
_MAX_FILE_BYTES = 2**30


class _OutOfTimeError(Exception):
    pass


class _Run:
    """What is known so far, over all attempts."""

    def __init__(self, notebook: nbformat.NotebookNode, seconds: float):
        self.notebook = notebook
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.cells: dict[int, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.left_out: dict[int, nbformat.NotebookNode] = {}  # position -> the error shown there

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def keep(self, position: int, cell: nbformat.NotebookNode) -> None:
        self.cells[position] = {"outputs": cell.outputs, "execution_count": cell.execution_count}
        self.save()

    def save(self) -> None:
        _files.write_json(Path(sandbox.OUTPUTS), {"cells": self.cells, "problems": self.problems})

    def leave_out(self, position: int, name: str, why: str) -> bool:
        """Notes a cell that further attempts do without; False if it is none, or was left out already."""
        if position < 0 or position in self.left_out:
            self.problems.append("its kernel did not start, or ended by itself")
            return False
        self.problems.append(f"{self.called(position)} {why}")
        text = f"This cell {why}."
        self.left_out[position] = nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[text])
        return True

    def called(self, position: int) -> str:
        return f"cell {position + 1} ({self.notebook.cells[position].id})"


class _Client(NotebookClient):
    """nbclient, with a budget of time, an end to outputs, and cells that are left out."""

    def __init__(self, run: _Run):
        super().__init__(
            copy.deepcopy(run.notebook),
            allow_errors=True,
            timeout_func=lambda cell: max(1, int(run.left() / 2)),
            interrupt_on_timeout=True,
            iopub_timeout=_STOP_SECONDS,
            raise_on_iopub_timeout=True,
            error_on_timeout={"ename": "TimeLimit", "evalue": "", "traceback": []},
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
        if content.get("ename") == "TimeLimit":
            self.of_run.leave_out(
                cell_index, "TimeLimit", "took half of the time that was left, and was stopped"
            )
            cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
            cell.outputs.append(self.of_run.left_out[cell_index])
        if any(part.get("source") == "ask_exit" for part in content.get("payload", [])):
            raise DeadKernelError("exit()")

    def output(self, outs: list, msg: dict, display_id: str, cell_index: int) -> Any:
        self.size += len(str(msg["content"]))
        if self.size > _MAX_CELL_OUTPUT and msg["msg_type"] != "error":
            return None
        return super().output(outs, msg, display_id, cell_index)


def _sockets() -> Config:
    """Without a network there is no loopback; and kernels side by side can race for ports."""
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


def main(seconds: int, memory_bytes: int) -> None:
    """Runs `notebook.ipynb` of this folder into `outputs.json`.

    Args:
        seconds: the time of the whole notebook.
        memory_bytes: the memory of each process.
    """
    processes.end_with_parent(_end)
    _limit(memory_bytes)
    run = _Run(nbformat.read(sandbox.NOTEBOOK, as_version=4), seconds)
    run.save()
    while _attempt(run):
        pass
    run.save()


def _attempt(run: _Run) -> bool:
    """Runs the notebook once; says whether to run it again, without one cell more."""
    client = _Client(run)
    try:
        client.execute()
    except _OutOfTimeError:
        where = run.called(client.position)
        run.problems.append(f"the {run.seconds:.0f} s of the notebook were over before {where}")
    except CellTimeoutError:
        why = "took half of the time that was left, and could not be stopped"
        return run.leave_out(client.position, "TimeLimit", why)
    except (DeadKernelError, RuntimeError):
        return run.leave_out(client.position, "KernelDied", "ended the kernel (exit(), or out of memory)")
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
