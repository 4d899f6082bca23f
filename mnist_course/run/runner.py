"""The lessons in order, through papermill, one subprocess each.

    settings -> refused, or parameters per lesson -> executed notebooks, records and models in one run folder

A run is described by `course.json` in its folder. Called again with the same settings it goes on with the
first lesson that is not finished; a lesson is finished when every code cell of it was executed without an
error, its source is still the lesson's, and its record and the files that this names are intact.

A run folder is held by one process at a time, a lesson's process too. When the runner is gone, however it ended,
the lesson's process ends its kernel and itself.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mnist_course import cores, lessons
from mnist_course.run.settings import Limits, Settings, check_settings
from mnist_helpers import _files, parameters, results
from mnist_helpers._errors import UserError

COURSE_FILE = "course.json"
_END_SECONDS = 10.0  # for a lesson's process to end its kernel when it is asked to


class LessonFailedError(RuntimeError):
    """A lesson did not run to its end; the message says where, and which file shows it."""


# --- from the command line to settings ---


# --- running ---


def run_lessons(
    run: str,
    settings: Settings,
    lesson_names: Sequence[str],
    *,
    results_dir: str = "",
    fresh: bool = False,
    limits: Limits = Limits(),  # noqa: B008 (it cannot change)
    wait_seconds: float = 0.0,
) -> Path:
    """Runs lessons into the run folder, each unless it is finished.

    Args:
        run: the run's name.
        settings: from `check_settings`.
        lessons: from `check_lessons`.
        results_dir: the folder that holds the runs; empty for the course's own.
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
    folder = results.results_dir(results_dir) / run
    with _alone(folder, wait_seconds):
        _claim(folder, settings, fresh)
        for left in folder.glob(f"{_files.PARTIAL}*"):  # by a process that was killed
            shutil.rmtree(left)
        _run_each(folder, settings, lesson_names, results_dir, limits)
    return folder


def _run_each(
    folder: Path, settings: Settings, lesson_names: Sequence[str], results_dir: str, limits: Limits
) -> None:
    from tqdm import tqdm

    started_any = False
    bar = tqdm(lesson_names, unit="lesson", disable=None, leave=False)
    for lesson in bar:
        bar.set_description(lesson)
        again = started_any and lesson == results.LESSONS[-1]  # it evaluates what the others have made anew
        if is_finished(folder, lesson) and not again:
            tqdm.write(f"{lesson}: finished before")
            continue
        params = _lesson_parameters(lesson, folder.name, settings, results_dir)
        seconds = _run_lesson(folder, lesson, params, limits)
        started_any = True
        tqdm.write(f"{lesson}: {seconds:.1f} s")


@contextlib.contextmanager
def _alone(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Holds a run folder for this process; the system lets go of it when the process ends, however it ends."""
    import filelock

    holder = folder.with_name(f".{folder.name}.holder.json")
    if folder.parent.exists() and not folder.parent.is_dir():
        raise UserError(f"{folder.parent} is not a folder. Give another --results-dir.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder.with_name(f".{folder.name}.lock"), timeout=wait_seconds):
            since = datetime.now(UTC).astimezone().isoformat(" ", "seconds")
            _files.write_json(holder, {"pid": os.getpid(), "host": platform.node(), "since": since})
            try:
                yield
            finally:
                holder.unlink(missing_ok=True)
    except filelock.Timeout as error:
        who = ", ".join(f"{key} {value}" for key, value in (_files.read_json_or_none(holder) or {}).items())
        raise UserError(
            f"Another process works in {folder} at this moment ({who or 'it has just begun'}). Wait until it has "
            "ended, or give another name for this run."
        ) from error


def is_finished(folder: Path, lesson: str, *, models: bool = True) -> bool:
    """Says whether a lesson's evidence in the run folder is whole and of this lesson.

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


def timings(folder: Path) -> dict[str, dict[str, float]]:
    """Returns what the runner measured: lesson -> `wall_seconds` (process start to end), `longest_cell_seconds`.

    A lesson that was run by hand, in JupyterLab, is not in it.
    """
    return (_files.read_json_or_none(folder / COURSE_FILE) or {}).get("lessons", {})


def _claim(folder: Path, settings: Settings, fresh: bool) -> None:
    """Makes the run folder ours, or refuses it because something else is in it."""
    course_file = folder / COURSE_FILE
    asked = json.loads(json.dumps(settings._asdict()))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give another name for the run.")
    if folder.is_dir() and fresh and any(folder.iterdir()):
        if not course_file.is_file():
            raise UserError(
                f"{folder} was not made by a course run, so --fresh does not delete it. Give another name."
            )
        shutil.rmtree(folder)
    if course_file.is_file():
        before = json.loads(course_file.read_text(encoding="utf-8"))["settings"]
        if before != asked:
            raise UserError(
                f"Run {folder.name!r} exists with other settings: {_differences(before, asked)}. "
                "To keep it, give another name for this run; to replace it, add --fresh (make: FRESH=1)."
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder} already holds files that no course run made (lessons opened in JupyterLab write to "
            "'lab'). Give another name for the run."
        )
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_json(course_file, {"settings": asked, "lessons": {}})


def _differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    flat_before, flat_asked = ({**side, **side["params"]} for side in (before, asked))
    names = [name for name in {**flat_before, **flat_asked} if name != "params"]
    missing = "the default"
    return ", ".join(
        f"{name} was {flat_before.get(name, missing)} and is now {flat_asked.get(name, missing)}"
        for name in names
        if flat_before.get(name, missing) != flat_asked.get(name, missing)
    )


def _lesson_parameters(lesson: str, run: str, settings: Settings, results_dir: str) -> dict[str, Any]:
    everything = {**settings.params, **settings._asdict(), "run": run}
    if results_dir:
        place = results.results_dir(results_dir)
        inside = place.is_relative_to(lessons.NOTEBOOKS.parent)  # a record need not name this machine
        everything["results_dir"] = os.path.relpath(place, lessons.NOTEBOOKS) if inside else str(place)
    return {name: everything[name] for name in lessons.declared(lesson) if name in everything}


def _run_lesson(folder: Path, lesson: str, params: dict[str, Any], limits: Limits) -> float:
    """Runs one lesson in a process of its own; its executed notebook appears only if it ran to its end."""
    finished, failed = folder / f"{lesson}.ipynb", folder / f"{lesson}.failed.ipynb"
    partial, log = folder / f".{lesson}.running.ipynb", folder / f"{lesson}.log"
    for old in (finished, failed, folder / f"{lesson}.json"):
        old.unlink(missing_ok=True)
    started = time.perf_counter()
    told, tell = multiprocessing.Pipe(duplex=False)
    with told, tell:
        process = _processes().Process(target=_execute, args=(lesson, partial, log, params, limits, tell))
        process.start()
        try:
            process.join()
        except KeyboardInterrupt:
            _end(process)
            partial.unlink(missing_ok=True)
            raise
        reason = told.recv() if told.poll() else "its process was gone; out of memory, perhaps"
    seconds = time.perf_counter() - started
    notebook = lessons.read_notebook(partial)
    if (
        process.exitcode == 0
        and notebook
        and lessons.is_executed(notebook)
        and (folder / f"{lesson}.json").is_file()
    ):
        course = _files.read_json(folder / COURSE_FILE)
        longest = max(
            cell["metadata"].get("papermill", {}).get("duration") or 0.0 for cell in notebook["cells"]
        )
        course["lessons"][lesson] = {"wall_seconds": seconds, "longest_cell_seconds": longest}
        _files.write_json(folder / COURSE_FILE, course)
        lessons.write_notebook(partial, lessons.without_widgets(notebook))
        os.replace(partial, finished)  # noqa: PTH105
        log.unlink(missing_ok=True)
        return seconds
    if notebook:
        os.replace(partial, failed)  # noqa: PTH105
    raise LessonFailedError(_failure(lesson, notebook, failed if notebook else log, reason))


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """Asks a lesson's process to end, which ends its kernel first; kills it where it does not."""
    process.terminate()
    process.join(_END_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _processes() -> multiprocessing.context.BaseContext:
    """A way to start processes that imports papermill once for all lessons, where the system has it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["papermill", __name__])
    return context


def _execute(
    lesson: str, output: Path, log: Path, params: dict[str, Any], limits: Limits, tell: Connection
) -> None:
    """The subprocess: one lesson through papermill. Its standard error, and the kernel's, go to `log`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        with _alone_in_lesson(output):
            _through_papermill(lesson, output, params, limits)
    except Exception as error:
        tell.send(_why(error, limits))
        raise


@contextlib.contextmanager
def _alone_in_lesson(output: Path) -> Iterator[None]:
    """Waits for the process of a runner that was killed, which may still be ending its kernel."""
    import filelock

    with filelock.FileLock(output.with_suffix(".lock"), timeout=2 * _END_SECONDS):
        yield
        output.with_suffix(".lock").unlink()


def _through_papermill(lesson: str, output: Path, params: dict[str, Any], limits: Limits) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    if limits.threads:
        cores.limit_threads(limits.threads)
    else:
        cores.limit_threads_to_quota()
    import papermill
    from traitlets.config import Config

    bar = (
        {"desc": lesson, "position": 1, "leave": False, "file": sys.stdout} if sys.stdout.isatty() else False
    )
    _write_whole_notebooks(output.anchor)
    with tempfile.TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True) as sockets:
        # Kernels that start side by side can race for TCP ports; Windows has no IPC transport. Without an
        # address of its own, each kernel of a folder would use the same socket in that folder.
        ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        papermill.execute_notebook(
            lessons.papermill_path(lessons.NOTEBOOKS / f"{lesson}.ipynb"),
            lessons.papermill_path(output),
            params,
            kernel_name="python3",
            cwd=str(lessons.NOTEBOOKS),
            progress_bar=bar,
            execution_timeout=limits.cell_seconds or None,
            coalesce_streams=True,
            **({"config": ipc} if os.name == "posix" else {}),
        )


def _write_whole_notebooks(anchor: str) -> None:
    """Makes papermill write notebooks whole or not at all, like every other file of a run."""
    from papermill import iorw

    class WholeFiles(iorw.LocalHandler):
        def write(self, buf: str, path: str) -> None:
            with _files.atomic_write(Path(path)) as beside:
                beside.write_text(buf, encoding="utf-8")

    iorw.papermill_io.register(anchor, WholeFiles())


def _end_with_parent() -> None:
    """Ends a lesson, and so its kernel, when the runner is gone: the run folder is then free for another."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)


def _why(error: Exception, limits: Limits) -> str:
    """Says in words why papermill gave up, where the notebook does not show it."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    if isinstance(error, CellTimeoutError):
        return (
            f"the cell took longer than the {limits.cell_seconds} seconds that it may take "
            "(--cell-seconds sets another limit)"
        )
    if isinstance(error, DeadKernelError) or "Kernel died" in str(error):  # the latter as it began
        return "its kernel was gone; out of memory, perhaps"
    return str(error)


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
    return f"{message}\nOpen {evidence} to see it. Called again, the same command goes on from this lesson."


# --- notebooks as files ---


def refresh_lessons() -> None:
    """Runs the class profile on MNIST and writes the outputs back into the lessons.

    Raises:
        data.DatasetNotFoundError: MNIST cannot be had.
        LessonFailedError: a lesson did not run to its end; no lesson was changed.
    """
    settings = check_settings("class", "mnist", lessons.declared(results.LESSONS[0])["seed"], [])
    with tempfile.TemporaryDirectory() as results_dir:
        folder = run_lessons("lab", settings, results.LESSONS, results_dir=results_dir)
        for lesson in results.LESSONS:
            path = lessons.NOTEBOOKS / f"{lesson}.ipynb"
            lessons.write_notebook(
                path,
                lessons.with_outputs(
                    lessons.read_lesson(lesson), lessons.read_notebook(folder / f"{lesson}.ipynb")
                ),
            )
