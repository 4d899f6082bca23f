"""Waiting for processes, and ending them as rudely as a system does."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Waits for a condition; returns its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return []


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def until_gone(processes: Iterable[psutil.Process], seconds: float = 15) -> None:
    """Waits until none is left. Even an orderly end takes a moment: the fork server ends just after the runner."""
    until(lambda: not alive(processes), seconds)


def kernels(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "ipykernel_launcher" in process.cmdline():
                found.append(process)
    return found


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL for a process and all below it, as the system does when memory is short."""
    for member in family(process.pid):  # from the top: one that sees its child die would still tidy up
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()
