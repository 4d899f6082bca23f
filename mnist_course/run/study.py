"""Many course runs: a grid of seeds and parameters, on this machine or on any Dask cluster.

    question -> grid of jobs -> Dask workers, one child process per run -> ordinary runs in results/STUDY/

A study is a folder of course runs: `results/STUDY/seed-1/`, or `results/STUDY/units-256_seed-1/` where `units`
is swept. `study.json` in it holds what was asked. Called again with the same question, or with more seeds,
a study goes on and skips what is done.

The child process reads its job from standard input and goes on reading: when its parent is gone, however that
happened, the input ends, and the child interrupts itself. A worker ends the input, too, of a run that nobody
waits for any more. So nobody is orphaned.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnist_course import cores, lessons
from mnist_course.reports import run_report, study_report
from mnist_course.run import runner
from mnist_course.run.settings import (
    Limits,
    Settings,
    check_free,
    check_lessons,
    check_search,
    check_settings,
)
from mnist_helpers import _files, parameters, results
from mnist_helpers._errors import UserError

_INTERRUPTED = 130
_POLL_SECONDS = 0.5
_MOST_RUNS = 10_000
_WAIT_SECONDS = 120.0  # for an interrupted predecessor to leave the run folder
_OPTIONS = {  # how the parts of a question are asked for
    "profile": "--profile",
    "dataset": "--dataset",
    "fixed": "-p with one value",
    "swept": "-p with several values",
    "lessons": "--only",
    "search_from": "--search-from",
}
_EVIDENCE = ("*.json", "*.ipynb", "*.png", "report.*")


class StudySpec(NamedTuple):
    """What was asked of a study, checked.

    Attributes:
        profile: a name in `profiles.yaml`.
        dataset: a dataset that was found.
        seeds: the seeds, in the order given.
        fixed: parameter -> value, the same in all runs.
        swept: parameter -> values; the grid is their product with the seeds.
        lessons: the lessons to run.
        search_from: the run whose search all runs use again; empty if each searches.
    """

    profile: str
    dataset: str
    seeds: list[int]
    fixed: dict[str, Any]
    swept: dict[str, list[Any]]
    lessons: list[str]
    search_from: str


class RunResult(NamedTuple):
    """How one run of a study ended.

    Attributes:
        run: the run's name.
        seconds: wall time; 0 if it was finished before.
        error: the message of what went wrong; empty if nothing did.
        files: name -> content of the run's small files, where the worker does not see the study's folder.
    """

    run: str
    seconds: float
    error: str
    files: dict[str, bytes]


# --- from the command line to a question ---


def parse_seeds(text: str) -> list[int]:
    """Reads seeds as typed: `"1-10"`, `"1,2,5"`, `"1-3,7"`.

    Raises:
        UserError: it is no such list, or a seed stands in it twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < _MOST_RUNS - len(seeds):
            raise UserError(
                "--seeds has a wrong value. Expected: seeds and ranges, such as 1-10 or 1,2,5, at most "
                f"{_MOST_RUNS}. Received: {text!r}."
            )
        seeds += [parameters.check("seed", seed) for seed in range(first, last + 1)]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds names a seed twice. Expected: different seeds. Received: {text!r}.")
    return seeds


def parse_params(given: Iterable[tuple[str, str]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Reads `-p` options: one value is fixed, several separated by commas are swept.

    Returns:
        The fixed parameters and the swept ones.

    Raises:
        UserError: an unknown name, a wrong value, a name or a value given twice.
    """
    fixed: dict[str, Any] = {}
    swept: dict[str, list[Any]] = {}
    for name, text in given:
        check_free(name)
        if name in fixed or name in swept:
            raise UserError(f"Parameter {name!r} is given twice. Expected: -p {name} V1,V2,... once.")
        values = [parameters.parse(name, value) for value in text.split(",")]
        if len(set(values)) < len(values):
            raise UserError(f"-p {name} names a value twice. Received: {text!r}.")
        if len(values) == 1:
            fixed[name] = values[0]
        else:
            swept[name] = values
    return fixed, swept


def check_spec(
    *,
    seeds: str,
    profile: str,
    dataset: str,
    params: Sequence[tuple[str, str]],
    only: Sequence[str],
    search_from: str,
    results_dir: str = "",
) -> StudySpec:
    """Checks what was asked before anything runs, and settles the dataset.

    Raises:
        UserError: an unknown name, a wrong value, or a contradiction.
        data.DatasetNotFoundError: the dataset was named and cannot be had.
    """
    lesson_names = check_lessons(only)
    if results.LESSONS[-1] in lesson_names and lesson_names != list(results.LESSONS):
        raise UserError(
            f"--only: lesson {results.LESSONS[-1]} measures what the other lessons of the same run have saved. "
            f"Expected: all lessons, or some without it. Received: {', '.join(lesson_names)}."
        )
    fixed, swept = parse_params(params)
    taken = {name for lesson in lesson_names for name in lessons.declared(lesson)}
    for name in (*fixed, *swept):
        if name not in taken:
            raise UserError(
                f"-p {name}: none of the lessons of this study has this parameter. Received --only "
                f"{', '.join(lesson_names)}. Expected one of: {', '.join(sorted(taken))}."
            )
    wanted = parse_seeds(seeds)
    runs = len(wanted) * math.prod(len(values) for values in swept.values())
    if runs > _MOST_RUNS:
        raise UserError(f"The study is too large. Expected: at most {_MOST_RUNS} runs. Received: {runs}.")
    if search_from and "search_from" in fixed | swept:
        raise UserError("The search is given twice, as --search-from and with -p search_from. Leave one out.")
    check_search(search_from, results_dir, asked_as=_OPTIONS["search_from"])
    texts = [(name, str(value)) for name, value in fixed.items()]
    settings = check_settings(profile, dataset, wanted[0], texts)
    return StudySpec(profile, settings.dataset, wanted, fixed, swept, lesson_names, search_from)


def grid(question: StudySpec) -> dict[str, tuple[int, dict[str, Any]]]:
    """Returns the runs of a study: run name -> its seed and its swept parameters."""
    runs = {}
    for values in itertools.product(*question.swept.values()):
        setting = dict(zip(question.swept, values, strict=True))
        for seed in question.seeds:
            parts = [f"{name}-{value}" for name, value in setting.items()]
            name = re.sub(r"[^A-Za-z0-9._-]", "_", "_".join([*parts, f"seed-{seed}"]))
            runs[parameters.check("run", name)] = (seed, setting)
    return runs


# --- running ---


def run_study(
    study: str,
    question: StudySpec,
    *,
    results_dir: str = "",
    workers: int = 0,
    threads: int = 0,
    cell_seconds: int = 0,
    scheduler: str = "",
) -> tuple[Path, list[RunResult]]:
    """Runs what is not finished of a study.

    Args:
        study: the study's name.
        question: from `check_spec`.
        results_dir: the folder that holds the runs; empty for the course's own.
        workers: processes on this machine; 0 for one per core.
        threads: threads of each run's TensorFlow; 0 for the cores divided by `workers`, or 1 on a cluster.
        cell_seconds: how long one cell of a lesson may take; 0 for ever.
        scheduler: address of a Dask scheduler; empty for workers on this machine.

    Returns:
        The study's folder, and the outcomes of the runs that failed.

    Raises:
        UserError: the study exists with another question, or the scheduler's address is none.
        OSError: the scheduler cannot be reached.
    """
    from tqdm import tqdm

    parameters.check("run", study)
    folder = results.results_dir(results_dir) / study
    runs = grid(question)
    num_cores = cores.usable_cores()
    workers = min(workers or num_cores, len(runs))
    limits = Limits(threads or (1 if scheduler else max(1, num_cores // workers)), cell_seconds)
    failed = []
    _with_earlier_seeds(folder, question)  # refuses before any worker starts
    with _client(scheduler, workers) as client, _locked_study(folder, question) as token:
        jobs = [_job(folder, question, token, limits, name, *point) for name, point in runs.items()]
        with tqdm(total=len(jobs), unit="run", desc=study, disable=None, smoothing=0) as bar:
            for outcome in _outcomes(client, folder, jobs):
                _keep(folder / outcome.run, outcome.files)
                failed += [outcome] if outcome.error else []
                took = f"{outcome.seconds:.1f} s" if outcome.seconds else "finished before"
                bar.write(f"{outcome.run}: {'FAILED' if outcome.error else took}")
                bar.update()
    return folder, failed


def _outcomes(client: Any, folder: Path, jobs: list[dict[str, Any]]) -> Iterator[RunResult]:
    """Yields how each job ended: first the jobs that were done before, then the others as they end."""
    from distributed import as_completed

    waiting = {}
    for job in jobs:
        if _is_done(folder / job["run"], job):
            yield RunResult(job["run"], 0.0, "", {})
        else:
            waiting[client.submit(run_job, job, pure=False)] = job["run"]
    for future in as_completed(waiting):
        yield _outcome(future, waiting[future])


def _is_done(folder: Path, job: dict[str, Any]) -> bool:
    """Says whether a run is here with all its lessons and its report; a worker elsewhere could not know."""
    path = folder / runner.COURSE_FILE
    needed = [path, *([folder / "report.html"] if job["lessons"] == list(results.LESSONS) else [])]
    if not all(file.is_file() for file in needed):
        return False
    if not all(runner.is_finished(folder, lesson, models=False) for lesson in job["lessons"]):
        return False
    asked = _settings(job)._asdict()
    return _files.read_json(path)["settings"] == json.loads(json.dumps(asked))


def _settings(job: dict[str, Any]) -> Settings:
    """What a job asks of the course; a profile that was edited asks for something else."""
    return check_settings(
        job["profile"], job["dataset"], job["seed"], [tuple(pair) for pair in job["params"]]
    )


def _with_earlier_seeds(folder: Path, question: StudySpec) -> dict[str, Any]:
    """Returns the question with the seeds that were asked before; refuses a folder with another question."""
    path = folder / study_report.STUDY_FILE
    asked = json.loads(json.dumps(question._asdict()))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        others = {key: before.get(key) for key in asked if key != "seeds" and before.get(key) != asked[key]}
        if others:
            was = "; ".join(
                f"{_OPTIONS[key]} was {_in_words(value)} and is now {_in_words(asked[key])}"
                for key, value in others.items()
            )
            raise UserError(
                f"Study {folder.name!r} exists with another question: {was}. Give another name for this study."
            )
        asked["seeds"] = sorted({*before["seeds"], *question.seeds})
    elif folder.exists() and (not folder.is_dir() or (folder / runner.COURSE_FILE).is_file()):
        raise UserError(f"{folder} is not a study. Give another name for this study.")
    return asked


def _in_words(value: Any) -> str:
    """A part of a question, nearly as it is typed."""
    if isinstance(value, dict):
        value = [f"{name} {_in_words(item)}" for name, item in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "not given"
    return str(value) or "not given"


def _job(
    folder: Path,
    question: StudySpec,
    token: str,
    limits: Limits,
    run: str,
    seed: int,
    setting: dict[str, Any],
) -> dict[str, Any]:
    """One run as plain values, as it travels to a worker."""
    params = {**question.fixed, **setting}
    if question.search_from:  # from the run's results_dir, which is the study's folder
        params["search_from"] = f"../{question.search_from}"
    return {
        "run": run,
        "results_dir": str(folder),
        "profile": question.profile,
        "dataset": question.dataset,
        "seed": seed,
        "params": [[name, str(value)] for name, value in params.items()],
        "lessons": question.lessons,
        "limits": limits._asdict(),
        "token": token,
    }


def run_job(job: dict[str, Any]) -> RunResult:
    """What a worker does: one run, in a child process."""
    with contextlib.ExitStack() as stack:
        folder = Path(job["results_dir"])
        shared = (folder / job["token"]).is_file()
        if not shared:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="study-")))
        log = folder / f"{job['run']}.log"
        started = time.perf_counter()
        status = _run_in_subprocess(job | {"results_dir": str(folder)}, log)
        seconds = time.perf_counter() - started
        error = ""
        if status == 0:
            log.unlink()
        else:  # a process that was killed has said nothing
            said = log.read_text(encoding="utf-8", errors="replace").strip()
            error = f"{said}\nIts process ended with status {status}." if said else _killed(status)
        return RunResult(job["run"], seconds, error, {} if shared else _evidence(folder / job["run"]))


def _run_in_subprocess(job: dict[str, Any], log: Path) -> int:
    """Runs a job in a process of its own, for as long as somebody waits for it; returns its exit status."""
    command = [sys.executable, "-m", "mnist_course.run.study"]
    is_wanted = _is_still_wanted()
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output) as child,
    ):
        child.stdin.write(json.dumps(job).encode() + b"\n")
        child.stdin.flush()
        while is_wanted():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(_POLL_SECONDS)
        child.stdin.close()
        return child.wait()


def _is_still_wanted() -> Callable[[], bool]:
    """Returns a function that says whether a client still waits for the Dask task that calls this."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # called without Dask
        return lambda: True
    task = worker.state.tasks[worker.get_current_task()]
    return lambda: task.state != "cancelled"


def _killed(status: int) -> str:
    return (
        f"Its process ended with status {status} and said nothing: it was killed, for lack of memory perhaps."
    )


def dask_setup(worker: Any) -> None:
    """Dask calls this in each worker of this machine: a Ctrl-C is for the client, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _evidence(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for pattern in _EVIDENCE for path in folder.glob(pattern))
    return {path.name: path.read_bytes() for path in paths}


def _keep(folder: Path, files: dict[str, bytes]) -> None:
    """Writes what came back from a worker that does not see the study's folder."""
    if files:
        folder.mkdir(exist_ok=True)
    for name, content in files.items():
        with _files.atomic_write(folder / Path(name).name) as beside:
            beside.write_bytes(content)


def _outcome(future: Any, run: str) -> RunResult:
    if future.cancelled():
        return RunResult(run, 0.0, "The connection to the scheduler was lost before this run ended.", {})
    error = future.exception()
    return RunResult(run, 0.0, f"The worker was lost: {error}", {}) if error else future.result()


@contextlib.contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Any]:
    """A Dask client: of the scheduler at an address, or of workers on this machine."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UserError(
            "A study needs Dask, which is not installed. Expected: the extra 'cluster'. "
            "Install it with: pip install 'mnist-course[cluster]'"
        ) from error
    if scheduler and not re.fullmatch(r"[a-z]+://.+:\d+", scheduler):
        raise UserError(
            "--scheduler has a wrong value. Expected: an address such as tcp://HOST:8786, as `dask scheduler` "
            f"prints it. Received: {scheduler!r}."
        )
    with contextlib.ExitStack() as stack:
        address: Any = scheduler
        if not scheduler:
            address = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # any free port; the usual one may be another study's
                    memory_limit=None,  # the memory is the children's
                    preload=[__name__],
                )
            )
        yield stack.enter_context(Client(address, timeout="15s"))


@contextlib.contextmanager
def _locked_study(folder: Path, question: StudySpec) -> Iterator[str]:
    """Claims the study's folder, and puts a file there by which a worker finds out whether it sees the folder."""
    asked = _with_earlier_seeds(folder, question)
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_json(folder / study_report.STUDY_FILE, asked)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".shared-") as file:
        yield Path(file.name).name


# --- the child process ---


def main() -> None:
    """Runs the job on standard input, and interrupts itself when standard input ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of this machine ignores it
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()
    try:
        folder = runner.run_lessons(
            job["run"],
            _settings(job),
            job["lessons"],
            results_dir=job["results_dir"],
            limits=Limits(**job["limits"]),
            wait_seconds=_WAIT_SECONDS,
        )
        if all(runner.is_finished(folder, lesson) for lesson in results.LESSONS):
            run_report.write_report(folder)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(str(error))


def _interrupt_at_end_of_input() -> None:
    sys.stdin.read()
    if hasattr(
        signal, "pthread_kill"
    ):  # the main thread waits for a lesson; only a signal of its own wakes it
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
