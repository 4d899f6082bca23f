"""Kills, hangs, full disks, damaged files, two runs at once: the same command finishes; nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from processes import alive, family, kernels, kill_all, until

from mnist_helpers import results, tuning
from mnist_helpers.kit import course

ENDLESS = ["--only", "02", "-p", "epochs", "10000"]
CHAINS, KILLS = 5, 6  # a chain is one run that is killed again and again: 30 kills
VICTIMS = ("the runner", "the kernel", "both")


def start(base: Path, run: str = "r", *more: str, before: list[str] | None = None) -> subprocess.Popen:
    """Starts a quick run on the digits, of one thread: its numbers are the same each time."""
    command = [
        *(before or []),
        sys.executable,
        "-m",
        "mnist_helpers.kit.cli",
        "run",
        run,
        "--profile",
        "quick",
    ]
    command += ["--dataset", "digits", "--threads", "1", "--results-dir", str(base), *more]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Tests that run in the background are deaf to Ctrl-C, and what they start would be so too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def said(process: subprocess.Popen, status: int = 0) -> str:
    """Waits for a run; returns what it printed."""
    try:
        text, _ = process.communicate(timeout=300)
    finally:
        kill_all(process)
    assert process.returncode == status, text
    assert "Traceback" not in text, text
    return text


@pytest.fixture
def begun():
    """Starts a run and waits until its kernel is at work; whatever happens, nobody of it stays."""
    with contextlib.ExitStack() as stack:

        def begin(base: Path, *options: str) -> tuple[subprocess.Popen, list[psutil.Process]]:
            process = start(base, "r", *options)
            stack.callback(kill_all, process)
            until(
                lambda: any('"execution_count": 1' in p.read_text() for p in base.glob("r/.*.running.ipynb"))
            )
            members = family(process.pid)
            stack.callback(lambda: [member.kill() for member in alive(members)])
            return process, members

        yield begin


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, float]:
    """A whole run to which nothing happened, and its seconds."""
    base = tmp_path_factory.mktemp("undisturbed")
    started = time.perf_counter()
    said(start(base))
    return base / "r", time.perf_counter() - started


def summary(folder: Path) -> str:
    table = results.rows(results.load_records(folder)).drop(columns="train_seconds")
    return table.to_csv() + results.load_record(folder, results.STAGES[-1])["conclusion"]


def finished(folder: Path) -> dict[str, int]:
    """The finished lessons, and when each was run."""
    notebooks = {stage: folder / f"{stage}.ipynb" for stage in results.STAGES}
    return {stage: path.stat().st_mtime_ns for stage, path in notebooks.items() if path.is_file()}


def assert_whole(folder: Path) -> None:
    """No file that somebody looks for is half-written (Keras Tuner writes its own; those are set aside)."""
    for path in folder.rglob("*"):
        if any(part.startswith(results.PARTIAL) or part == tuning.SEARCHES for part in path.parts):
            continue
        with contextlib.suppress(FileNotFoundError):  # an orphan is still clearing up
            if path.suffix in (".json", ".ipynb"):
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix in (".keras", ".npz"):
                assert zipfile.ZipFile(path).testzip() is None


# --- kills ---


@pytest.mark.long
@pytest.mark.parametrize("chain", range(1, CHAINS + 1))
def test_sigkill_at_random_moments(fault, tmp_path, undisturbed, chain):
    reference, seconds = undisturbed
    random = np.random.default_rng(chain)
    old, rows, number_of_runs = [], [], 1
    with contextlib.ExitStack() as stack:
        for victim in random.permutation(VICTIMS * (KILLS // len(VICTIMS))):
            moment = random.uniform(0, seconds / 3)
            while True:
                run = tmp_path / f"r{number_of_runs}"
                process = start(tmp_path, run.name)
                stack.callback(kill_all, process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(moment)
                targets = until(lambda p=process, v=victim: p.poll() is not None or _targets(p, v))
                if process.poll() is None:
                    break
                assert summary(run) == summary(reference)  # it ended before the kill: another one
                number_of_runs += 1
            before = finished(run)
            what = f"SIGKILL of {victim}, {moment:.1f} s after (re)start, {len(before)} lessons done"
            expected = "the same command finishes; the summary of an undisturbed run"
            rows.append(stack.enter_context(fault("kill", f"{what} (chain {chain})", expected)))
            old += family(process.pid)
            killed = time.perf_counter()
            for target in targets:
                target.kill()
            if victim == "the kernel":
                text = process.communicate(timeout=300)[0]
                if process.returncode:  # else its last cell was done, and the run went on
                    assert "the same command goes on" in text
                    rows[-1].seen = f"said after {time.perf_counter() - killed:.1f} s; "
            process.wait()
            assert_whole(run)
            assert finished(run).items() >= before.items()
        before = finished(run)
        said(start(tmp_path, run.name))
        assert finished(run).items() >= before.items()
        assert_whole(run)
        assert not alive(old)
        assert summary(run) == summary(reference)
        for row in rows:
            row.seen += "the same summary"


def _targets(process: subprocess.Popen, victim: str) -> list[psutil.Process]:
    """The processes to kill; none as long as the kernel has not begun."""
    runner, kernel = [psutil.Process(process.pid)], kernels(family(process.pid))
    return {"the runner": runner, "the kernel": kernel, "both": kernel and runner + kernel}[victim]


def test_a_kernel_that_dies(fault, tmp_path, begun):
    with fault("run", "a kernel is killed (out of memory)", "said in seconds, with lesson and cell") as row:
        process, members = begun(tmp_path, *ENDLESS)
        killed = time.perf_counter()
        kernels(members)[0].kill()
        text = said(process, 1)
        seconds = time.perf_counter() - killed
        assert re.search(r"Lesson 02_baseline .* code cell \d+ .*out of memory, perhaps", text)
        assert (tmp_path / "r" / "02_baseline.failed.ipynb").is_file()
        assert seconds < 30
        assert not alive(members)
        row.seen = f"said after {seconds:.1f} s"


def test_a_cell_that_hangs(fault, tmp_path, begun):
    with fault("run", "a cell hangs, --cell-seconds 12", "stopped, evidence kept") as row:
        process, members = begun(tmp_path, *ENDLESS, "--cell-seconds", "12")
        kernels(members)[0].suspend()
        text = said(process, 1)
        assert "longer than the 12 seconds" in text
        evidence = json.loads((tmp_path / "r" / "02_baseline.failed.ipynb").read_text())
        assert evidence["cells"]
        assert not alive(members)
        row.seen = re.search("Lesson 02_baseline .*", text)[0]


@pytest.mark.parametrize(
    ("what", "send", "status"),
    [
        ("Ctrl-C", lambda process: os.killpg(process.pid, signal.SIGINT), 130),
        ("SIGTERM", lambda process: process.terminate(), 143),
    ],
)
def test_it_is_told_to_end(fault, tmp_path, begun, what, send, status):
    with fault("run", what, f"exit status {status}, no orphan, how to go on") as row:
        process, members = begun(tmp_path, *ENDLESS)
        send(process)
        assert "Called again, the same command goes on" in said(process, status)
        until(lambda: not alive(members), 15)
        row.seen = f"exit status {status}, nobody left, how to go on"


# --- several runs ---


def test_two_runs_in_one_folder(fault, tmp_path, begun):
    with fault("run", "a second run into the same folder", "refused, the first is named") as row:
        process, _ = begun(tmp_path, *ENDLESS)
        text = said(start(tmp_path, "r", *ENDLESS), 2)
        assert f"pid {process.pid}" in text
        row.seen = text.strip().splitlines()[-1].replace(str(tmp_path), "...")
    with fault("run", "the lock of a run that was killed", "taken over") as row:
        kill_all(process)
        assert (tmp_path / ".r.lock").exists()
        assert (tmp_path / ".r.holder.json").exists()
        text = said(start(tmp_path, "r", "--only", "01", "-p", "epochs", "10000"))
        assert re.search("01_data_exploration: [0-9.]+ s", text)
        row.seen = "taken over"


def _at_work(process: psutil.Process) -> int:
    """How many threads of a process run or wait for a core at this moment."""
    states = 0
    for task in Path(f"/proc/{process.pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states += task.read_text().rpartition(")")[2].split()[0] == "R"
    return states


@pytest.mark.long
def test_four_runs_side_by_side(fault, tmp_path, undisturbed):
    with fault("run", "four runs side by side, --threads 1", "all correct, one thread each") as row:
        runs = [start(tmp_path, f"r{number}") for number in range(4)]
        busy = []
        while any(process.poll() is None for process in runs):
            found = kernels(member for process in runs for member in family(process.pid))
            busy += [_at_work(kernel) for kernel in found]
            time.sleep(0.2)
        for process in runs:
            said(process)
        for number in range(4):
            assert summary(tmp_path / f"r{number}") == summary(undisturbed[0])
        row.seen = "four equal summaries"
        if any(busy):
            assert np.mean(busy) < 1.5
            row.seen += f"; {np.mean(busy):.2f} threads at work in each kernel, on average"


# --- folders ---


@pytest.mark.parametrize("what", ["notebooks/", "the whole checkout"])
def test_read_only_sources(fault, tmp_path, read_only, what):
    with fault("folder", f"{what} read-only, results elsewhere", "the lessons run") as row:
        folder = course.LESSONS if what == "notebooks/" else course.LESSONS.parent
        process = start(tmp_path, "r", "--only", "01,02", before=read_only(folder))
        assert "02_baseline: " in said(process)
        row.seen = "two lessons run"


def test_a_folder_with_spaces(fault, tmp_path):
    with fault(
        "folder", "results on a path with spaces, braces and non-ASCII letters", "the lessons run"
    ) as row:
        base = tmp_path / "my résultats {run} [1]"
        assert "01_data_exploration: " in said(start(base, "r", "--only", "01"))
        assert course.is_finished(base / "r", "01_data_exploration")
        row.seen = "a lesson run"
