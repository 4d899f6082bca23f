"""The lessons in order, one process each.

    settings -> refused, or parameters per lesson -> executed notebooks, records and models in one run folder

A run is described by `course.json` in its folder. Called again with the same settings it goes on with the
first lesson that is not finished; a lesson is finished when every code cell of it was executed without an
error, its source is still the lesson's, and its record and the files that the record names are intact.

One process at a time works in a run folder, a lesson's process included. When the runner is gone, for whatever
reason, the lesson's process ends its kernel and itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mnist_course import lessons, processes
from mnist_course.course_file import COURSE_FILE, Settings, read_course
from mnist_course.run.settings import Limits, check_settings
from mnist_helpers import _files, parameters, results
from mnist_helpers._errors import UserError

PREDECESSOR_SECONDS = 120.0  # for the run of an interrupted study to leave the run folder
_END_SECONDS = 10.0  # for a lesson's process to end its kernel when it is asked to


class LessonFailedError(RuntimeError):
    """A lesson did not run to its end; the error message says where, and which file shows it."""


# --- running ---


def run_lessons(
    run: str,
    settings: Settings,
    lesson_names: Sequence[str],
    *,
    results_dir: Path,
    fresh: bool = False,
    limits: Limits = Limits(),  # noqa: B008 (it cannot change)
    wait_seconds: float = 0.0,
) -> Path:
    """Runs lessons into the run folder, each unless it is finished.

    Args:
        run: the run's name.
        settings: from `check_settings`.
        lesson_names: from `check_lessons`.
        results_dir: the folder that holds the runs, an absolute path.
        fresh: True to delete what an earlier run of this name left.
        limits: threads and time that the lessons may use.
        wait_seconds: how long to wait for another process that works in the run folder.

    Returns:
        The run folder.

    Raises:
        UserError: the run exists with other settings, or another process works in its folder.
        LessonFailedError: a lesson did not run to its end.
    """
    parameters.check("run", run)
    folder = results_dir / run
    with _locked(folder, wait_seconds):
        _claim(folder, settings, fresh)
        for path in folder.glob(f"{_files.PARTIAL}*"):  # left by a process that was killed
            shutil.rmtree(path)
        _run_each(folder, settings, lesson_names, limits)
    return folder


def _run_each(folder: Path, settings: Settings, lesson_names: Sequence[str], limits: Limits) -> None:
    from tqdm import tqdm

    started_any = False
    bar = tqdm(lesson_names, unit="lesson", disable=None, leave=False)
    for lesson in bar:
        bar.set_description(lesson)
        has_new_models = lesson in lessons.EVALUATIONS and (started_any or has_newer_models(folder, lesson))
        if is_finished(folder, lesson) and not has_new_models:
            tqdm.write(f"{lesson}: finished before")
            continue
        seconds = _run_lesson(folder, lesson, _lesson_parameters(lesson, folder, settings), limits)
        started_any = True
        tqdm.write(f"{lesson}: {seconds:.1f} s")


@contextlib.contextmanager
def _locked(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Locks a run folder for this process; a file beside it names the process."""
    if folder.parent.exists() and not folder.parent.is_dir():
        raise UserError(f"{folder.parent} is not a folder. Give another --results-dir.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    holder_file = folder.with_name(f".{folder.name}.holder.json")
    holder = _files.read_json_or_none(holder_file)
    name = ", ".join(f"{key} {value}" for key, value in holder.items()) if isinstance(holder, dict) else ""
    busy = (
        f"Another process works in {folder} now ({name or 'it has just begun'}). Wait until it has "
        "ended, or give another name for this run."
    )
    with _files.lock(folder.with_name(f".{folder.name}.lock"), busy, timeout=wait_seconds):
        since = datetime.now(UTC).astimezone().isoformat(" ", "seconds")
        _files.write_json(holder_file, {"pid": os.getpid(), "host": platform.node(), "since": since})
        try:
            yield
        finally:
            holder_file.unlink(missing_ok=True)


def is_finished(folder: Path, lesson: str, *, models: bool = True) -> bool:
    """Returns whether a lesson's evidence in the run folder is complete and belongs to this version of the lesson.

    Args:
        folder: the run folder.
        lesson: the lesson.
        models: False if models and arrays may be missing, as in a run that came back from a cluster.
    """
    notebook = lessons.read_notebook(folder / f"{lesson}.ipynb")
    if notebook is None or not lessons.is_executed(notebook):
        return False
    if lessons.sources(notebook) != lessons.sources(lessons.read_lesson(lesson)):
        return False
    try:
        for entry in results.load_record(folder, lesson)["models"].values():
            if "file" in entry and (models or (folder / entry["file"]).exists()):
                results.verified_path(folder, entry)
    except results.MissingLessonError:
        return False
    return True


def has_newer_models(folder: Path, lesson: str) -> bool:
    """Returns whether a notebook that `lesson` evaluates was run after it, and has saved files."""
    evaluated = _record(folder, lesson).get("date", "")
    earlier = results.IN_ORDER[: results.IN_ORDER.index(lesson)]
    records = [_record(folder, name) for name in earlier]
    return any(
        record.get("date", "") > evaluated
        and ("predictions" in record or any("file" in model for model in record.get("models", {}).values()))
        for record in records
        if record
    )


def _claim(folder: Path, settings: Settings, fresh: bool) -> None:
    """Makes or checks the run folder; refuses it if something else is in it."""
    course_file = folder / COURSE_FILE
    requested = Settings(**_files.to_jsonable(settings._asdict()))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give another name for the run.")
    if folder.is_dir() and fresh and any(folder.iterdir()):
        if not course_file.is_file():
            why = "was not made by a course run, so --fresh does not delete it"
            raise UserError(f"{folder} {why}. Give another name.")
        shutil.rmtree(folder)
    if course_file.is_file():
        choice = "To keep it, give another name for this run; to replace it, add --fresh (make: FRESH=1)."
        existing, _ = read_course(folder)
        if any("stage" in _record(folder, lesson) for lesson in results.LESSONS):
            raise UserError(f"Run {folder.name!r} was made by an older version of this course. {choice}")
        if existing != requested:
            changes = _differences(existing, requested)
            raise UserError(f"Run {folder.name!r} exists with other settings: {changes}. {choice}")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder} already holds files that no course run made (lessons opened in JupyterLab write to "
            "'lab'). Give another name for the run."
        )
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_json(course_file, {"settings": requested._asdict(), "lessons": {}})


def _record(folder: Path, lesson: str) -> Mapping[str, Any]:
    """Returns a lesson's record as it is, without any check; empty if there is none."""
    record = _files.read_json_or_none(folder / f"{lesson}.json")
    return record if isinstance(record, dict) else {}


def _differences(existing: Settings, requested: Settings) -> str:
    before, now = ({**settings._asdict(), **settings.params} for settings in (existing, requested))
    missing = "the default"
    return ", ".join(
        f"{name} was {before.get(name, missing)} and is now {now.get(name, missing)}"
        for name in {**before, **now}
        if name != "params" and before.get(name, missing) != now.get(name, missing)
    )


# --- one lesson ---


def _lesson_parameters(lesson: str, folder: Path, settings: Settings) -> dict[str, Any]:
    """Returns the parameters that a lesson declares, for a run in `folder`."""
    results_dir, root = folder.parent, lessons.NOTEBOOKS.parent
    if results_dir.is_relative_to(root):  # a record need not name this machine
        results_dir = Path(os.path.relpath(results_dir, lessons.NOTEBOOKS))
    values = {**settings.params, **settings._asdict(), "run": folder.name, "results_dir": str(results_dir)}
    return {name: values[name] for name in lessons.declared(lesson) if name in values}


def _run_lesson(folder: Path, lesson: str, params: dict[str, Any], limits: Limits) -> float:
    """Runs one lesson in a process of its own; its executed notebook appears only if it ran to its end."""
    finished, failed = folder / f"{lesson}.ipynb", folder / f"{lesson}.failed.ipynb"
    partial, log = folder / f".{lesson}.running.ipynb", folder / f"{lesson}.log"
    for old in (finished, failed, folder / f"{lesson}.json"):
        old.unlink(missing_ok=True)
    started = time.perf_counter()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with receiver, sender:
        process = _start_process(lesson, partial, log, params, limits, sender)
        try:
            process.join()
        except KeyboardInterrupt:
            _end(process)
            partial.unlink(missing_ok=True)
            raise
        exit_status = process.exitcode or 0
        reason = receiver.recv() if receiver.poll() else f"its process {processes.describe_exit(exit_status)}"
    seconds = time.perf_counter() - started
    notebook = lessons.read_notebook(partial)
    has_record = (folder / f"{lesson}.json").is_file()
    if exit_status == 0 and notebook and lessons.is_executed(notebook) and not has_record:
        reason = f"it did not write its record, {lesson}.json"
    elif exit_status == 0 and notebook and lessons.is_executed(notebook):
        settings, measured = read_course(folder)
        measured[lesson] = lesson_timing(notebook, seconds)
        _files.write_json(folder / COURSE_FILE, {"settings": settings._asdict(), "lessons": measured})
        lessons.write_notebook(partial, lessons.without_widgets(notebook))
        os.replace(partial, finished)  # noqa: PTH105
        log.unlink(missing_ok=True)
        return seconds
    if notebook:
        os.replace(partial, failed)  # noqa: PTH105
    raise LessonFailedError(_failure(lesson, notebook, failed if notebook else log, reason))


def lesson_timing(notebook: dict, seconds: float) -> dict[str, float]:
    """Returns what `course.json` holds of a lesson.

    Args:
        notebook: the notebook that papermill executed.
        seconds: the wall time of the lesson's process.

    Raises:
        RuntimeError: the wall time is impossible.
    """
    results.check_measured(seconds=seconds)
    durations = [cell["metadata"].get("papermill", {}).get("duration") or 0.0 for cell in notebook["cells"]]
    # Papermill reads the system's clock, which also runs while a laptop sleeps; our clock does not.
    longest = min(max(durations, default=0.0), seconds)
    return {"wall_seconds": seconds, "longest_cell_seconds": longest}


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """Asks a lesson's process to end, which ends its kernel first; kills the process if it does not end."""
    process.terminate()
    process.join(_END_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _start_process(*arguments: Any) -> multiprocessing.process.BaseProcess:
    """Starts a lesson's process, where the system has it from a server that imports papermill once for all."""
    sockets = processes.socket_folder()
    if sockets is None or "forkserver" not in multiprocessing.get_all_start_methods():
        spawned = multiprocessing.get_context("spawn").Process(target=_execute, args=arguments)
        spawned.start()
        return spawned
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mnist_course.run.lesson_process", __name__])
    process = context.Process(target=_execute, args=arguments)
    default, tempfile.tempdir = tempfile.tempdir, sockets  # for the server's socket
    try:
        process.start()
    finally:
        tempfile.tempdir = default
    return process


def _execute(
    lesson: str, output: Path, log: Path, params: dict[str, Any], limits: Limits, report: Connection
) -> None:
    from mnist_course.run import lesson_process  # imports papermill, which the runner does without

    lesson_process.execute(lesson, output, log, params, limits, report)


def _failure(lesson: str, notebook: dict | None, evidence: Path, reason: str) -> str:
    message = f"Lesson {lesson} did not run to its end"
    code_cells = [cell for cell in (notebook or {}).get("cells", []) if cell["cell_type"] == "code"]
    for number, cell in enumerate(code_cells, 1):
        where = f"code cell {number} (id {cell.get('id')!r})"
        errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
        if errors:
            message += f": {where} raised {errors[0]['ename']}: {errors[0]['evalue'].strip()}"
            break
        if cell["execution_count"] is None:
            message += f": at {where}, {reason}"
            break
    else:
        message += f": {reason}"
    return f"{message}\nOpen {evidence} to see it. Give the same command again to continue from this lesson."


# --- notebooks as files ---


def refresh_lessons() -> None:
    """Runs the class profile on MNIST and writes the outputs back into the lessons and the optional notebooks.

    A notebook that needs a package which is not installed keeps its outputs, and a line reports it.

    Raises:
        data.DatasetNotFoundError: MNIST cannot be had.
        LessonFailedError: a notebook did not run to its end; no notebook was changed.
    """
    # The pictures import matplotlib, which the runner does without.
    from mnist_course import pictures

    settings = check_settings("class", "mnist", lessons.declared(results.LESSONS[0])["seed"], [])
    missing = {lesson: lessons.missing_package(lesson) for lesson in results.IN_ORDER}
    names = [lesson for lesson, package in missing.items() if not package]
    with tempfile.TemporaryDirectory() as results_dir:
        folder = run_lessons("lab", settings, names, results_dir=Path(results_dir))
        pairs = {
            name: (lessons.read_lesson(name), _files.read_json(folder / f"{name}.ipynb")) for name in names
        }
        if changed := [n for n, (now, ran) in pairs.items() if lessons.sources(now) != lessons.sources(ran)]:
            raise LessonFailedError(
                f"Changed during the run: {', '.join(changed)}. No notebook was written. Give the command again."
            )
        for lesson, (now, executed) in pairs.items():
            lessons.write_notebook(results.notebook_path(lesson), lessons.with_outputs(now, executed))
    pictures.write_pictures(lessons.NOTEBOOKS)
    for package in filter(None, missing.values()):
        print(f"Not run: {package}")
