"""Kills, hangs, full disks, damaged files, two runs at once: the same command finishes; nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from mnist_course import lessons
from mnist_course.run import runner
from mnist_helpers import _files, results, tuning
from tests.processes import alive, family, kernels, kill_all, until, until_gone

ENDLESS = ["--only", "02", "-p", "epochs", "10000"]
KILLS = ((0, 9), (2, 6), (3, 9), (4, 6))  # lessons that are finished at the beginning, kills from then on
VICTIMS = ("the runner", "the kernel", "both")


def start(base: Path, run: str = "r", *more: str, before: list[str] | None = None) -> subprocess.Popen:
    """Starts a quick run on the digits, of one thread: its numbers are the same each time."""
    command = [
        *(before or []),
        sys.executable,
        "-m",
        "mnist_course.cli",
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
    table = results.model_table(results.load_records(folder)).drop(columns="train_seconds")
    return table.to_csv() + results.load_record(folder, results.LESSONS[-1])["conclusion"]


def scores(folder: Path, lesson: str) -> dict[str, list]:
    models = results.load_record(folder, lesson)["models"]
    return {name: [model.get("val_accuracy"), model.get("val_loss")] for name, model in models.items()}


def part_of(whole: Path, target: Path, lesson_names: list[str]) -> None:
    """Copies a finished run, as it was when it had only these lessons."""
    left_out = [f"{lesson}.*" for lesson in results.LESSONS if lesson not in lesson_names]
    shutil.copytree(whole, target, ignore=shutil.ignore_patterns(*left_out, "report.*", "summary.json"))


def finished(folder: Path) -> dict[str, int]:
    """The finished lessons, and when each was run."""
    notebooks = {lesson: folder / f"{lesson}.ipynb" for lesson in results.LESSONS}
    return {lesson: path.stat().st_mtime_ns for lesson, path in notebooks.items() if path.is_file()}


def assert_whole(folder: Path) -> None:
    """No file that somebody looks for is half-written.

    Keras Tuner writes its own files, which are set aside. Lesson 2 saves a copy with Keras' own call and reads
    it in the same cell.
    """
    walked = os.walk(folder)  # passes over a folder that an orphan is just clearing up, unlike `rglob`
    for path in (Path(place) / name for place, _, names in walked for name in names):
        if any(part.startswith(_files.PARTIAL) or part == tuning.SEARCHES for part in path.parts):
            continue
        if path.name == "02_baseline.copy.keras":
            continue
        with contextlib.suppress(FileNotFoundError):  # an orphan is still clearing up
            if path.suffix in (".json", ".ipynb"):
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix in (".keras", ".npz"):
                assert zipfile.ZipFile(path).testzip() is None


# --- kills ---


@pytest.mark.long
def test_sigkill_at_random_moments(fault, tmp_path, undisturbed):
    """Runs that are killed again and again, side by side on two cores; then each is called once more."""
    with ThreadPoolExecutor(2) as pool:
        chains = [pool.submit(_chain, fault, tmp_path, undisturbed, *chain) for chain in KILLS]
    for chain in chains:
        chain.result()


def _chain(fault, base: Path, undisturbed: tuple[Path, float], num_done: int, kills: int) -> None:
    """Kills a run, of which some lessons are finished, at random moments; then lets it end."""
    reference, seconds = undisturbed
    random = np.random.default_rng(num_done)
    old, rows, number_of_runs, run = [], [], 0, None
    with contextlib.ExitStack() as stack:
        for victim in random.permutation(VICTIMS * (kills // len(VICTIMS))):
            while True:
                moment = random.uniform(0, seconds / 5)
                if run is None or runner.is_finished(run, results.LESSONS[-1]):
                    number_of_runs += 1
                    run = base / f"{num_done}-{number_of_runs}"
                    part_of(reference, run, results.LESSONS[:num_done])
                process = start(base, run.name)
                stack.callback(kill_all, process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(moment)
                targets = until(lambda p=process, v=victim: p.poll() is not None or _targets(p, v))
                if process.poll() is None:
                    break
                assert summary(run) == summary(reference)  # it ended before the kill: another one
            before = finished(run)
            what = f"SIGKILL of {victim}, {moment:.1f} s after its (re)start, {len(before)} lessons done"
            expected = "the same command finishes; the summary of an undisturbed run"
            rows.append(stack.enter_context(fault("kill", what, expected)))
            old += family(process.pid)
            killed = time.perf_counter()
            for target in targets:
                target.kill()
            if victim == "the kernel":
                text = process.communicate(timeout=300)[0]
                if process.returncode:  # else its last cell was done, and the run went on
                    assert "Give the same command again to continue" in text
                    rows[-1].seen = f"said after {time.perf_counter() - killed:.1f} s; "
            process.wait()
            assert_whole(run)
            assert finished(run).items() >= before.items()
        before = finished(run)
        said(start(base, run.name))
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
        assert re.search(r"Lesson 02_baseline .* code cell \d+ .*its kernel was ended by SIGKILL", text)
        assert (tmp_path / "r" / "02_baseline.failed.ipynb").is_file()
        assert seconds < 30
        until_gone(members)
        row.seen = f"said after {seconds:.1f} s"


@pytest.mark.long
@pytest.mark.parametrize("signal_number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_lesson_process_that_dies(fault, tmp_path, begun, signal_number):
    """Case R7: the message names the actual reason."""
    name = signal.Signals(signal_number).name
    with fault("run", f"the process of a lesson is ended by {name}", f"{name} is named") as row:
        process, members = begun(tmp_path, *ENDLESS)
        (lesson,) = psutil.Process(kernels(members)[0].pid).parents()[:1]
        lesson.send_signal(signal_number)
        text = said(process, 1)
        assert re.search(rf"Lesson 02_baseline .*{name}", text)
        assert ("memory" in text) == (signal_number == signal.SIGKILL)
        until_gone(members)
        row.seen = re.search("Lesson 02_baseline .*", text)[0]


@pytest.mark.long
def test_an_account_that_interferes(fault, tmp_path, undisturbed):
    """Cases R3, R7, R8: a long TMPDIR and an account's configuration of IPython, Jupyter, Keras, Matplotlib."""
    home, temporary = tmp_path / "home", tmp_path / ("t" * 200)
    profile = home / ".ipython" / "profile_default"
    kernel = home / "jupyter" / "kernels" / "python3"
    for folder in (temporary, profile / "startup", kernel, home / ".keras", home / ".config" / "matplotlib"):
        folder.mkdir(parents=True)
    (profile / "startup" / "00.py").write_text("print('start-up file'); raise SystemExit(7)")
    (profile / "ipython_kernel_config.py").write_text(
        "c.InteractiveShellApp.exec_lines = ['import os; os._exit(3)']"
    )
    specification = {"argv": ["/usr/bin/false"], "display_name": "x", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(specification))
    (home / ".keras" / "keras.json").write_text('{"floatx": "float64", "backend": "torch", "epsilon": 0.1}')
    (home / ".config" / "matplotlib" / "matplotlibrc").write_text("figure.figsize: 33, 33")
    variables = {
        "HOME": home,
        "TMPDIR": temporary,
        "JUPYTER_PATH": home / "jupyter",
        "JUPYTER_PREFER_ENV_PATH": "0",
        "PYTHONSTARTUP": profile / "startup" / "00.py",
        "KERAS_BACKEND": "torch",
        "KERAS_MAX_EPOCHS": "1",
        "MPLBACKEND": "Agg",
    }
    before = ["env", "-u", "KERAS_HOME", *(f"{name}={value}" for name, value in variables.items())]
    with fault(
        "folder", "a long TMPDIR, and an account with its own configuration", "the same scores"
    ) as row:
        said(start(tmp_path, "r", "--only", "02", before=before))
        assert scores(tmp_path / "r", "02_baseline") == scores(undisturbed[0], "02_baseline")
        notebook = (tmp_path / "r" / "02_baseline.ipynb").read_text()
        assert "start-up file" not in notebook
        pictures = (undisturbed[0] / "02_baseline.ipynb").read_text().count("image/png")
        assert notebook.count("image/png") == pictures
        assert not list(temporary.iterdir())
        row.seen = "the same scores and pictures"


def test_a_cell_that_hangs(fault, tmp_path, begun):
    with fault("run", "a cell hangs, --cell-seconds 8", "stopped, evidence kept") as row:
        process, members = begun(tmp_path, "--only", "01", "--cell-seconds", "8")
        kernels(members)[0].suspend()
        text = said(process, 1)
        assert "longer than the 8 seconds" in text
        evidence = json.loads((tmp_path / "r" / "01_data_exploration.failed.ipynb").read_text())
        assert evidence["cells"]
        until_gone(members)
        row.seen = re.search("Lesson 01_data_exploration .*", text)[0]


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
        assert "Give the same command again to continue" in said(process, status)
        until_gone(members)
        row.seen = f"exit status {status}, nobody left, how to go on"


# --- several runs ---


def test_two_runs_in_one_folder(fault, tmp_path, begun):
    with fault("run", "a second run into the same folder", "refused, the first is named") as row:
        process, _ = begun(tmp_path, *ENDLESS)
        text = said(start(tmp_path, "r", *ENDLESS), 2)
        assert f"pid {process.pid}" in text
        row.seen = re.search("Another process works.*", text)[0].replace(str(tmp_path), "...")
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
        runs = [start(tmp_path, f"r{number}", "--only", "01,02") for number in range(4)]
        busy = []
        while any(process.poll() is None for process in runs):
            found = kernels(member for process in runs for member in family(process.pid))
            busy += [_at_work(kernel) for kernel in found]
            time.sleep(0.2)
        for process in runs:
            said(process)
        for number in range(4):
            assert scores(tmp_path / f"r{number}", "02_baseline") == scores(undisturbed[0], "02_baseline")
        row.seen = "the scores of a run alone, four times"
        if any(busy):
            assert np.mean(busy) < 1.5
            row.seen += f"; {np.mean(busy):.2f} threads at work in each kernel, on average"


# --- folders ---


@pytest.mark.parametrize("what", ["notebooks/", pytest.param("the whole checkout", marks=pytest.mark.long)])
def test_read_only_sources(fault, tmp_path, read_only, what):
    with fault("folder", f"{what} read-only, results elsewhere", "a lesson runs") as row:
        folder = lessons.NOTEBOOKS if what == "notebooks/" else lessons.NOTEBOOKS.parent
        process = start(tmp_path, "r", "--only", "01", before=read_only(folder))
        assert "01_data_exploration: " in said(process)
        row.seen = "a lesson run"


def test_a_folder_with_spaces(fault, tmp_path):
    with fault(
        "folder", "results on a path with spaces, braces and non-ASCII letters", "the lessons run"
    ) as row:
        base = tmp_path / "my résultats {run} [1]"
        assert "01_data_exploration: " in said(start(base, "r", "--only", "01"))
        assert runner.is_finished(base / "r", "01_data_exploration")
        row.seen = "a lesson run"


# --- a full disk ---

LEFT_KIB = {  # what is left on the disk when a lesson begins, and what then does not fit
    "nothing at all": ("02_baseline", 0),
    "the notebook": ("02_baseline", 40),
    "the model": ("02_baseline", 1500),
    "a trial of the tuner": ("04_tuning", 1500),
}


@pytest.mark.long
@pytest.mark.parametrize("what", LEFT_KIB)
def test_a_disk_that_is_full(fault, small_disk, undisturbed, what):
    lesson, left = LEFT_KIB[what]
    with fault(
        "disk", f"full: no room for {what}", "a message, nothing lost; then the lesson's scores"
    ) as row:
        disk = small_disk()
        part_of(undisturbed[0], disk.seen / "r", results.LESSONS[: results.LESSONS.index(lesson)])
        lessons = finished(disk.seen / "r")
        disk.fill(left)
        text = said(start(disk.folder, "r", "--only", lesson, before=disk.inside), 1)
        assert "Give the same command again to continue" in text
        row.seen = re.search("No space left on device|Can't write data", text)[0]
        assert finished(disk.seen / "r") == lessons
        assert_whole(disk.seen / "r")
        disk.make_space()
        said(start(disk.folder, "r", "--only", lesson, before=disk.inside))
        assert finished(disk.seen / "r").items() >= lessons.items()
        assert scores(disk.seen / "r", lesson) == scores(undisturbed[0], lesson)
        row.seen += "; with space, the scores of an undisturbed run"


def test_a_disk_that_is_full_when_a_record_is_written(fault, small_disk):
    with fault("disk", "full: no room for a record", "an error, the earlier record is intact") as row:
        disk = small_disk(1)
        path = str(disk.folder / "r.json")
        write = "import sys; from mnist_helpers import _files as f; f.write_json(f.Path(sys.argv[1]), {})"
        command = [*disk.inside, sys.executable, "-c", write, path]
        environment = os.environ | {"PYTHONPATH": str(lessons.NOTEBOOKS.parent)}
        subprocess.run(command, env=environment, check=True)
        earlier = (disk.seen / "r.json").read_bytes()
        disk.fill(0)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "No space left on device" in done.stderr
        assert (disk.seen / "r.json").read_bytes() == earlier
        disk.make_space()
        subprocess.run(command, env=environment, check=True)
        assert sorted(path.name for path in disk.seen.iterdir()) == ["r.json"]
        row.seen = "No space left on device; the earlier record as it was"


# --- damage ---


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _swap(path: Path) -> None:
    other = next(other for other in sorted(path.parent.glob(f"*{path.suffix}")) if other != path)
    path.write_bytes(other.read_bytes())


DAMAGES = {"cut in half": _cut, "a bit flipped": _flip_a_bit, "swapped": _swap, "deleted": Path.unlink}


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["02_baseline.keras", "02_baseline.json"])
def test_a_damaged_model_or_record(fault, tmp_path, undisturbed, file, damage):
    with fault(
        "damage", f"{file} {damage}", "not loaded, the lesson is named; the same command mends it"
    ) as row:
        folder = tmp_path / "r"
        shutil.copytree(undisturbed[0], folder)
        DAMAGES[damage](folder / file)
        with pytest.raises(results.MissingLessonError, match="Run lesson 02_baseline first") as caught:
            results.verified_path(folder, results.load_record(folder, "02_baseline")["models"]["baseline"])
        assert [lesson for lesson in results.LESSONS if not runner.is_finished(folder, lesson)] == [
            "02_baseline"
        ]
        row.seen = str(caught.value).split(". ")[0]
        if (file, damage) == ("02_baseline.keras", "swapped"):
            (folder / "05_evaluation.ipynb").unlink()
            assert "Run lesson 02_baseline first" in said(start(tmp_path, "r", "--only", "05"), 1)
            text = said(start(tmp_path))
            assert text.count("finished before") == 3
            assert summary(folder) == summary(undisturbed[0])
            row.seen += "; lesson 5 refuses it; the same command ra lessons 2 and 5 again: the same summary"


@pytest.mark.long
def test_a_damaged_search_in_a_run(fault, tmp_path, undisturbed):
    what = "two trials and the state of the searches of lesson 4, cut"
    with fault("search", what, "set aside, printed in the lesson; the searches start again") as row:
        folder = tmp_path / "r"
        part_of(undisturbed[0], folder, results.LESSONS[:3])
        shutil.copytree(undisturbed[0] / tuning.SEARCHES, folder / tuning.SEARCHES)
        for file in ("bayesian-*/trial_1/trial.json", "random-*/trial_0/trial.json", "random-*/oracle.json"):
            _cut(next((folder / tuning.SEARCHES).glob(file)))
        said(start(tmp_path, "r", "--only", "04"))
        notebook = (folder / "04_tuning.ipynb").read_text()
        assert notebook.count("moved to set_aside; the search starts again") == 2
        row.seen = "two searches set aside, the lesson done"
