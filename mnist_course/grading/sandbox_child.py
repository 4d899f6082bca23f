"""The process that drives one notebook's kernel; started by `sandbox.run`, in the notebook's own folder.

It reads the notebook from its standard input, and writes to its standard output (see `sandbox.py`). The outputs are
written after every cell, so that they exist however the process ends. A cell may take half of the
remaining time, and is then interrupted: after an endless loop in one task, the other tasks still run. If a cell
ends the kernel, the notebook runs again without this cell.

A test counts only if the kernel replies with the error of a false assertion that is added at its end: this error
shows that the test ran to its end, and that assertions and errors still work.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import copy
import ctypes
import json
import os
import queue
import secrets
import sys
import time
from typing import Any, TextIO

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import ensure_async
from traitlets.config import Config

from mnist_course import processes
from mnist_course.grading import sandbox
from mnist_helpers import _files

_MAX_CELL_OUTPUT = 2**20  # characters, about
_STOP_SECONDS = 5  # for a cell that was interrupted to stop
_MAX_FILE_BYTES = 2**30
_PR_SET_DUMPABLE = 4  # of Linux
_TIME_LIMIT = "TimeLimit"  # name of the error of a cell that takes too long
_TIMED_OUT = "mnist_course_timed_out"  # in a reply that nbclient makes up; the kernel never sends it


_GUARD = "__import__('mnist_course.grading.kernel_guard', fromlist=['guard'])"
_TEST_END = """
try:
    raise KeyError
except KeyError:
    assert False, {word!r}
"""


class _OutOfTimeError(Exception):
    pass


class _Run:
    """The state of a run, over all attempts."""

    def __init__(self, notebook: nbformat.NotebookNode, seconds: float, written: TextIO, key: bytes):
        self.signer = sandbox.Signer(key)
        self.notebook = notebook
        self.written = written
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.cells: dict[int, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.out_of_time = False
        self.left_out: dict[int, nbformat.NotebookNode] = {}  # position -> the error shown there
        self.changed: set[str] = set()  # what tests rely on, and the student's code had changed
        self.deaf = False  # whether a test has shown that errors are no longer noticed

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def keep(self, position: int, cell: nbformat.NotebookNode) -> None:
        self.cells[position] = {"outputs": cell.outputs, "execution_count": cell.execution_count}
        self.save(position)

    def save(self, *positions: int) -> None:
        """Writes a line with the outputs of these cells, and with all that is known of the rest."""
        cells = {position: self.cells[position] for position in positions}
        content = {"cells": cells, "problems": self.problems, "out_of_time": self.out_of_time}
        line = json.dumps(_files.to_jsonable(content), allow_nan=False)
        self.written.write(f"{self.signer.signature(line)} {line}\n")
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
        # Jupyter's own packer cannot pack half of a character, and the kernel would then be silent.
        self.extra_arguments = [
            "--Session.packer=mnist_course.grading.kernel_guard.pack",
            "--Session.unpacker=json.loads",
        ]
        self.of_run = run
        self.position = -1
        self.size = 0
        self.word = ""  # the text of the assertion that ends the present test
        self.tests = {
            position: cell.source for position, cell in enumerate(run.notebook.cells) if _is_test(cell)
        }
        self.is_guarded = False

    async def async_execute_cell(self, cell: Any, cell_index: int, *args: Any, **more: Any) -> Any:
        self.position, self.size = cell_index, 0
        if self.of_run.left() <= 0:
            raise _OutOfTimeError
        if not self.is_guarded:
            self.is_guarded = True
            await self._ask(f"start({list(self.tests.values())!r})")
        if cell_index in self.of_run.left_out:
            cell.outputs = [self.of_run.left_out[cell_index]]
        elif cell_index in self.tests:
            await self._run_test(cell, cell_index)
        else:
            cell = await super().async_execute_cell(cell, cell_index, *args, **more)
        if cell.cell_type == "code":
            self.of_run.keep(cell_index, cell)
        return cell

    async def _run_test(self, cell: nbformat.NotebookNode, position: int) -> None:
        """Runs a test, which leaves no trace in the kernel's history, and keeps its outputs."""
        imports, names = _names_of_others(cell.source, self.of_run.notebook)
        for words in await self._ask(f"before({imports!r}, {names!r})"):
            self._note_change(words, position)
        self.word = secrets.token_hex(16)
        ran = copy.deepcopy(cell)
        ran.source += "\n" + _TEST_END.format(word=self.word)
        try:
            await super().async_execute_cell(ran, position, store_history=False)
        finally:
            self.word = ""
        for output in ran.outputs:
            if output.output_type == "error":
                output.traceback = []  # it quotes the test, and the kernel can read the file with the outputs
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
        await self._ask("after()")

    async def _ask(self, call: str) -> list[str]:
        """Calls a function of `kernel_guard` in the kernel; what it returns cannot be trusted."""
        code = f"{_GUARD}.{call}"
        sent = await ensure_async(
            self.kc.execute("", silent=True, store_history=False, user_expressions={"asked": code})
        )
        while self.of_run.left() > 0:
            try:
                reply = await ensure_async(self.kc.get_shell_msg(timeout=1))
            except queue.Empty:
                if not await ensure_async(self.km.is_alive()):
                    raise DeadKernelError("ended") from None
                continue
            if reply["parent_header"].get("msg_id") == sent:
                return _words(reply["content"])
        raise _OutOfTimeError

    def _note_change(self, words: str, position: int) -> None:
        if words not in self.of_run.changed:
            self.of_run.changed.add(words)
            self.of_run.problems.append(
                f"the code before {self.of_run.called(position)} has changed {words}, on which tests rely; it was "
                "restored"
            )

    def _judge_test(self, cell: nbformat.NotebookNode, position: int, content: dict) -> None:
        """Takes the error that ends each test out of the outputs; a test without any error does not count."""
        cell.outputs = [output for output in cell.outputs if self.word not in str(output)]
        if content["status"] == "error":
            return
        text = "A false assertion was not noticed here, so this test says nothing."
        cell.outputs.append(nbformat.v4.new_output("error", ename="NotRun", evalue=text, traceback=[text]))
        if not self.of_run.deaf:
            self.of_run.deaf = True
            self.of_run.problems.append(
                f"from {self.of_run.called(position)} on, the kernel does not notice a false assertion: the code "
                "before it has changed how cells run; such tests give no points"
            )

    def _look(self, cell: Any, cell_index: int, execute_reply: dict) -> None:
        content = execute_reply["content"]
        if content.get(_TIMED_OUT):
            self.of_run.leave_out(cell_index, _TIME_LIMIT, "took half of the remaining time, and was stopped")
            cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
            cell.outputs.append(self.of_run.left_out[cell_index])
        if self.word:
            self._judge_test(cell, cell_index, content)
            if content["status"] == "error" and content["evalue"] == self.word:
                return
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


def _is_test(cell: nbformat.NotebookNode) -> bool:
    nbgrader = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and bool(nbgrader.get("grade")) and not nbgrader.get("solution")


def _names_of_others(source: str, notebook: nbformat.NotebookNode) -> tuple[str, list[str]]:
    """Returns what a test uses beside the answers: import statements of the exercise, and names of Python."""
    known = notebook.metadata.get("mnist_course", {"imports": {}, "answers": []})
    try:
        used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    except SyntaxError:  # a magic command
        used = set()
    statements = {known["imports"][name] for name in used if name in known["imports"]}
    names = {name for name in {*used, "KeyError"} if hasattr(builtins, name)}
    return "\n".join(sorted(statements)), sorted(names - set(known["answers"]))


def _words(content: dict) -> list[str]:
    """Returns the list of strings that a reply of `kernel_guard` holds; an empty one if it holds anything else."""
    with contextlib.suppress(KeyError, TypeError, ValueError, SyntaxError):
        words = ast.literal_eval(content["user_expressions"]["asked"]["data"]["text/plain"])
        return [str(word)[:200] for word in words]
    return []


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


def _hide_memory() -> None:
    """Keeps the kernel, which runs as the same account, out of this process: its tests, its key and open files."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _end() -> None:
    """Ends this process and all below it at once: a student's code is not asked."""
    for member in psutil.Process().children(recursive=True):
        member.kill()
    os._exit(1)


def _receive() -> tuple[bytes, nbformat.NotebookNode]:
    """Reads the key, and the notebook, which follows its length in bytes."""
    key = sys.stdin.buffer.read(sandbox.KEY_BYTES)
    size = int(sys.stdin.buffer.readline())
    return key, nbformat.reads(sys.stdin.buffer.read(size).decode(), as_version=4)


def main(seconds: int, memory_bytes: int) -> None:
    """Runs a notebook from the standard input; the outputs go to the standard output.

    Args:
        seconds: the time of the whole notebook.
        memory_bytes: the memory of each process.
    """
    _hide_memory()
    key, notebook = _receive()
    processes.end_with_parent(_end)
    _limit(memory_bytes)
    written = os.fdopen(os.dup(1), "w", encoding="utf-8")  # the kernel does not inherit it
    os.dup2(2, 1)  # what else is printed is for the log
    run = _Run(notebook, seconds, written, key)
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
