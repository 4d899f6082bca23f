"""Many course runs: a grid of seeds and parameters, on this machine or on any Dask cluster.

    specification -> grid of tasks -> Dask workers, one `mnist-course run` each -> ordinary runs in results/STUDY/

A study is a folder of course runs: `results/STUDY/seed-1/`, or `results/STUDY/units-256_seed-1/` where `units`
is swept. `study.json` in it holds the specification. Called again with the same specification, or with more seeds,
a study continues and skips what is done.

A worker runs `mnist-course run` as its child and keeps the child's standard input open. The child ends itself when
this input ends: because the worker was killed, or because nobody waits for the run any more. This prevents orphans.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_origin, get_type_hints

from mnist_course import cores, lessons, processes, study_grid
from mnist_course.course_file import COURSE_FILE, Settings, check_entries, read_course
from mnist_course.reports import study_report
from mnist_course.run import runner
from mnist_course.run.settings import (
    Limits,
    check_free,
    check_lessons,
    check_search,
    check_settings,
)
from mnist_helpers import _files, parameters, results
from mnist_helpers._errors import UserError

_POLL_SECONDS = 0.5
_MOST_RUNS = 10_000
_OPTIONS = {  # how the parts of a specification are given
    "profile": "--profile",
    "dataset": "--dataset",
    "fixed": "-p with one value",
    "swept": "-p with several values",
    "lessons": "--only",
    "search_from": "--search-from",
}
_EVIDENCE = ("*.json", "*.ipynb", "*.png", "report.*")


class StudySpec(NamedTuple):
    """The specification of a study, checked.

    Attributes:
        profile: a name in `profiles.yaml`.
        dataset: a dataset that is available.
        seeds: the seeds, in the order given.
        fixed: parameter -> value, the same in all runs.
        swept: parameter -> values; the grid is their product with the seeds.
        lessons: the lessons to run.
        search_from: the run whose search all runs use; empty if each run searches.
    """

    profile: str
    dataset: str
    seeds: list[int]
    fixed: dict[str, Any]
    swept: dict[str, list[Any]]
    lessons: list[str]
    search_from: str


class RunTask(NamedTuple):
    """One run of a study, as it is sent to a worker.

    Attributes:
        run: the run's name.
        results_dir: the study's folder, as the client sees it.
        profile: a name in `profiles.yaml`.
        dataset: a dataset's name, or the absolute path of a folder.
        seed: the seed of all lessons.
        params: the other parameters: name -> value.
        lessons: the lessons to run.
        limits: threads and time that the run may use.
        marker: the name of a file in the study's folder, by which a worker finds out whether it sees the folder.
        offline: True if the run must not use the network.
    """

    run: str
    results_dir: Path
    profile: str
    dataset: str
    seed: int
    params: dict[str, Any]
    lessons: list[str]
    limits: Limits
    marker: str
    offline: bool

    def texts(self) -> list[tuple[str, str]]:
        """Returns the parameters as they are typed after `-p`."""
        return [(name, str(value)) for name, value in self.params.items()]

    def settings(self) -> Settings:
        """Returns the settings of this run; they change if the profile is edited."""
        return check_settings(self.profile, self.dataset, self.seed, self.texts())

    def command(self, results_dir: Path) -> list[str]:
        """Returns the command that runs this task as a child, into a folder that this machine sees."""
        options: list[tuple] = [
            ("--profile", self.profile),
            ("--dataset", self.dataset),
            ("--seed", self.seed),
        ]
        options += [("--results-dir", results_dir), *(("--only", lesson) for lesson in self.lessons)]
        options += [("--threads", self.limits.threads)] if self.limits.threads else []
        options += [("--cell-seconds", self.limits.cell_seconds)] if self.limits.cell_seconds else []
        options += [("-p", *pair) for pair in self.texts()] + ([("--offline",)] if self.offline else [])
        command = [sys.executable, "-m", "mnist_course.cli", "run", self.run, "--part-of-study"]
        return [*command, *(str(word) for option in options for word in option)]


class RunResult(NamedTuple):
    """How one run of a study ended.

    Attributes:
        run: the run's name.
        seconds: wall time; 0 if it was finished before.
        error: the error message of a run that failed; empty if the run succeeded.
        files: name -> content of the run's small files, where the worker does not see the study's folder.
    """

    run: str
    seconds: float
    error: str
    files: dict[str, bytes]


# --- from the command line to a specification ---


def parse_seeds(text: str) -> list[int]:
    """Reads seeds as typed: `"1-10"`, `"1,2,5"`, `"1-3,7"`.

    Raises:
        UserError: the text is not a list of seeds, or contains a duplicate.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < _MOST_RUNS - len(seeds):
            form = f"Expected: seeds and ranges, such as 1-10 or 1,2,5, at most {_MOST_RUNS}."
            raise UserError(f"--seeds has a wrong value. {form} Received: {text!r}.")
        seeds += [parameters.check("seed", seed) for seed in range(first, last + 1)]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds names a seed twice. Expected: different seeds. Received: {text!r}.")
    return seeds


def parse_params(options: Iterable[tuple[str, str]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Reads `-p` options: one value is fixed, several separated by commas are swept.

    Returns:
        The fixed parameters and the swept ones.

    Raises:
        UserError: an unknown name, a wrong value, a name or a value given twice.
    """
    given: dict[str, list[Any]] = {}
    for name, text in options:
        check_free(name)
        if name in given:
            raise UserError(f"Parameter {name!r} is given twice. Expected: -p {name} V1,V2,... once.")
        values = [parameters.parse(name, value) for value in text.split(",")]
        if name == "data_dir":  # a worker may have another current folder
            values = [value and str(_files.expand(value)) for value in values]
        if len(set(values)) < len(values):
            raise UserError(f"-p {name} names a value twice. Received: {text!r}.")
        given[name] = values
    fixed = {name: values[0] for name, values in given.items() if len(values) == 1}
    return fixed, {name: values for name, values in given.items() if len(values) > 1}


def check_spec(
    *,
    seeds: str,
    profile: str,
    dataset: str,
    params: Sequence[tuple[str, str]],
    only: Sequence[str],
    search_from: str,
    results_dir: Path,
) -> StudySpec:
    """Checks the specification of a study before anything runs, and resolves the dataset.

    Args:
        seeds: seeds as `parse_seeds` reads them.
        profile: a profile's name.
        dataset: a dataset's name, `"auto"`, or a folder.
        params: `-p` options: names and values as typed.
        only: lessons as `check_lessons` reads them.
        search_from: RUN or STUDY/RUN; empty for new searches.
        results_dir: the folder that holds the runs, an absolute path.

    Raises:
        UserError: an unknown name, a wrong value, or a contradiction.
        data.DatasetNotFoundError: the dataset was named and is not available.
    """
    lesson_names = check_lessons(only, profile)
    received = ", ".join(lesson_names)
    evaluations = [lesson for lesson in lessons.EVALUATIONS if lesson in lesson_names]
    if evaluations and not set(results.LESSONS) <= set(lesson_names):
        why = f"{evaluations[0]} measures what the lessons of the same run have saved"
        raise UserError(f"--only: {why}. Expected: all lessons, or some without it. Received: {received}.")
    fixed, swept = parse_params(params)
    declared = {name for lesson in lesson_names for name in lessons.declared(lesson)}
    for name in (*fixed, *swept):
        if name not in declared:
            why = f"-p {name}: none of the lessons of this study has this parameter. Received --only {received}."
            raise UserError(f"{why} Expected one of: {', '.join(sorted(declared))}.")
    checked_seeds = parse_seeds(seeds)
    runs = len(checked_seeds) * math.prod(len(values) for values in swept.values())
    if runs > _MOST_RUNS:
        raise UserError(f"The study is too large. Expected: at most {_MOST_RUNS} runs. Received: {runs}.")
    if search_from and "search_from" in fixed | swept:
        raise UserError("The search is given twice, as --search-from and with -p search_from. Leave one out.")
    check_search(search_from, results_dir, option=_OPTIONS["search_from"])
    texts = [(name, str(value)) for name, value in fixed.items()]
    settings = check_settings(profile, dataset, checked_seeds[0], texts)
    return StudySpec(profile, settings.dataset, checked_seeds, fixed, swept, lesson_names, search_from)


def grid(spec: StudySpec) -> study_grid.Grid:
    """Returns the runs of a study: run name -> its seed and its swept parameters."""
    return study_grid.grid(spec.seeds, spec.swept)


# --- running ---


def run_study(
    study: str,
    spec: StudySpec,
    *,
    results_dir: Path,
    limits: Limits = Limits(),  # noqa: B008 (it cannot change)
    workers: int = 0,
    scheduler: str = "",
) -> tuple[Path, list[RunResult]]:
    """Runs what is not finished of a study.

    Args:
        study: the study's name.
        spec: from `check_spec`.
        results_dir: the folder that holds the runs, an absolute path.
        limits: limits of each run; 0 threads for the cores divided by `workers`, or 1 on a cluster.
        workers: processes on this machine; 0 for one per core.
        scheduler: address of a Dask scheduler; empty for workers on this machine.

    Returns:
        The study's folder, and the results of the runs that failed.

    Raises:
        UserError: the study exists with another specification, or `scheduler` is not an address.
        OSError: the scheduler cannot be reached.
    """
    from tqdm import tqdm

    parameters.check("run", study)
    folder = results_dir / study
    runs = grid(spec)
    num_cores = cores.usable_cores()
    workers = min(workers or num_cores, len(runs))
    threads = limits.threads or (1 if scheduler else max(1, num_cores // workers))
    limits = limits._replace(threads=threads)
    failed = []
    _with_earlier_seeds(folder, spec)  # refuses before any worker starts
    with client(scheduler, workers) as dask, _claimed(folder, spec) as marker:
        tasks = [_task(folder, spec, marker, limits, run, *point) for run, point in runs.items()]
        with tqdm(total=len(tasks), unit="run", desc=study, disable=None, smoothing=0) as bar:
            for result in _results(dask, tasks):
                _write_files(folder / result.run, result.files)
                failed += [result] if result.error else []
                took = f"{result.seconds:.1f} s" if result.seconds else "finished before"
                bar.write(f"{result.run}: {'FAILED' if result.error else took}")
                bar.update()
    return folder, failed


def _results(client: Any, tasks: list[RunTask]) -> Iterator[RunResult]:
    """Yields the result of each task: first the tasks that were done before, then the others as they end."""
    from distributed import as_completed

    waiting = {}
    for task in tasks:
        if _is_done(task):
            yield RunResult(task.run, 0.0, "", {})
        else:
            waiting[client.submit(run_task, task, pure=False)] = task.run
    for future in as_completed(waiting):
        yield _result(future, waiting[future])


def _is_done(task: RunTask) -> bool:
    """Returns whether a run is here with all its lessons and its report; a worker elsewhere cannot know."""
    folder = task.results_dir / task.run
    needs_report = set(results.LESSONS) <= set(task.lessons)
    has_report = (folder / "report.html").is_file() or not needs_report
    if not has_report or not all(runner.is_finished(folder, name, models=False) for name in task.lessons):
        return False
    if any(runner.has_newer_models(folder, name) for name in task.lessons if name in lessons.EVALUATIONS):
        return False
    try:
        existing, _ = read_course(folder)
    except (OSError, UserError):  # the run itself reports what is wrong with the file
        return False
    return existing == Settings(**_files.to_jsonable(task.settings()._asdict()))


def _with_earlier_seeds(folder: Path, spec: StudySpec) -> StudySpec:
    """Adds the seeds of an existing study; refuses a folder with another specification."""
    path, another_name = folder / study_report.STUDY_FILE, "Give another name for this study"
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or (folder / COURSE_FILE).is_file()):
            raise UserError(f"{folder} is not a study. {another_name}.")
        return spec
    advice = f"{another_name}, or delete the file: runs with the same settings are then kept."
    content = _files.read_json(path, advice)
    if isinstance(content, dict) and "stages" in content:
        older = f"was made by an older version of this course ({path} has the entry 'stages')"
        raise UserError(f"Study {folder.name!r} {older}. {another_name}.")
    types = {name: get_origin(kind) or kind for name, kind in get_type_hints(StudySpec).items()}
    before = check_entries(path, content, types, advice)
    if not all(isinstance(seed, int) for seed in before["seeds"]):
        raise UserError(f"{path} is damaged: its seeds are not whole numbers. {advice}")
    requested = _files.to_jsonable(spec._asdict())
    if changed := [name for name in _OPTIONS if before[name] != requested[name]]:
        pairs = [(_OPTIONS[name], _as_typed(before[name]), _as_typed(requested[name])) for name in changed]
        differences = "; ".join(f"{option} was {old} and is now {new}" for option, old, new in pairs)
        exists = f"Study {folder.name!r} exists with another specification"
        raise UserError(f"{exists}: {differences}. {another_name}.")
    return spec._replace(seeds=sorted({*before["seeds"], *spec.seeds}))


def _as_typed(value: Any) -> str:
    """Returns a part of a specification nearly as it is typed."""
    if isinstance(value, dict):
        value = [f"{name} {_as_typed(item)}" for name, item in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "not given"
    return str(value) or "not given"


@contextlib.contextmanager
def _claimed(folder: Path, spec: StudySpec) -> Iterator[str]:
    """Makes the study's folder and yields the name of a file in it, by which a worker recognises the folder."""
    all_seeds = _with_earlier_seeds(folder, spec)
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_json(folder / study_report.STUDY_FILE, all_seeds._asdict())
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".shared-") as file:
        yield Path(file.name).name


def _task(
    folder: Path, spec: StudySpec, marker: str, limits: Limits, run: str, seed: int, setting: dict[str, Any]
) -> RunTask:
    params = {**spec.fixed, **setting}
    if spec.search_from:  # from the run's results_dir, which is the study's folder
        params["search_from"] = f"../{spec.search_from}"
    offline = bool(os.environ.get("MNIST_COURSE_OFFLINE"))
    what = (run, folder, spec.profile, spec.dataset, seed, params, spec.lessons)
    return RunTask(*what, limits, marker, offline)


# --- on a worker ---


def run_task(task: RunTask) -> RunResult:
    """Runs one task in a child process; a worker calls this."""
    with contextlib.ExitStack() as stack:
        folder = task.results_dir
        sees_folder = (folder / task.marker).is_file()
        if not sees_folder:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="study-")))
        log = folder / f"{task.run}.log"
        started = time.perf_counter()
        status = _run_child(task.command(folder), log)
        seconds = time.perf_counter() - started
        error = ""
        if status == 0:
            log.unlink()
        else:
            message = log.read_text(encoding="utf-8", errors="replace").strip()
            error = f"{message}\nIts process {processes.describe_exit(status)}.".strip()
        return RunResult(task.run, seconds, error, {} if sees_folder else _evidence(folder / task.run))


def _run_child(command: list[str], log: Path) -> int:
    """Runs a command for as long as somebody waits for it; returns its exit status."""
    is_wanted = is_still_wanted()
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors) as child,
    ):
        while is_wanted():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(_POLL_SECONDS)
    # The end of the block has closed the child's standard input and waited for its end.
    return child.returncode


def is_still_wanted() -> Callable[[], bool]:
    """Returns a function that is True until the Dask task that calls `is_still_wanted` is cancelled."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # called without Dask
        return lambda: True
    task = worker.state.tasks[worker.get_current_task()]
    return lambda: task.state != "cancelled"


def dask_setup(worker: Any) -> None:
    """Ignores SIGINT in a worker of this machine (Dask calls this at its start): the client ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _evidence(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for pattern in _EVIDENCE for path in folder.glob(pattern))
    return {path.name: path.read_bytes() for path in paths}


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes what came back from a worker that does not see the study's folder."""
    if files:
        folder.mkdir(exist_ok=True)
    for name, content in files.items():
        _files.write(folder / Path(name).name, content)


def _result(future: Any, run: str) -> RunResult:
    if future.cancelled():
        return RunResult(run, 0.0, "The connection to the scheduler was lost before this run ended.", {})
    error = future.exception()
    return RunResult(run, 0.0, f"The worker was lost: {error}", {}) if error else future.result()


@contextlib.contextmanager
def client(scheduler: str, workers: int = 0) -> Iterator[Any]:
    """A Dask client: of the scheduler at an address, or of workers on this machine.

    Raises:
        UserError: Dask is not installed, or `scheduler` is not an address.
        OSError: the scheduler cannot be reached.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        missing = "Dask is needed, and is not installed. Expected: the extra 'cluster'."
        raise UserError(
            f"{missing} In the course's folder: pip install --constraint constraints.txt --editable '.[cluster]'"
        ) from error
    if scheduler and not re.fullmatch(r"[a-z]+://.+:\d+", scheduler):
        form = "Expected: an address such as tcp://HOST:8786, as `dask scheduler` prints it."
        raise UserError(f"--scheduler has a wrong value. {form} Received: {scheduler!r}.")
    options = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "preload": [__name__]}
    options |= {"dashboard_address": "127.0.0.1:0"}  # any free port; the usual one may be another study's
    options |= {"memory_limit": None}  # the memory is the children's
    cluster = contextlib.nullcontext(scheduler) if scheduler else LocalCluster(**options)
    with cluster as address, Client(address, timeout="15s") as connected:
        yield connected
