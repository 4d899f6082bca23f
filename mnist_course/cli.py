"""The command `mnist-course`: it reads the command line and calls the modules that do the work."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from mnist_helpers import _files
from mnist_helpers._errors import UserError

EXIT_CODES = {
    0: "done",
    1: "something failed",
    2: "wrong input, and nothing was written",
    130: "interrupted by Ctrl-C",
    143: "ended by SIGTERM",
}
_Option = Callable[[Callable], Callable]
_PATH_VARIABLES = ("MNIST_COURSE_RESULTS", "MNIST_DATA_DIR", "KERAS_HOME")
_CONTINUE = "Give the same command again to continue."


# --- errors, signals and streams ---


class _Terminated(KeyboardInterrupt):
    """SIGTERM was received; it stops a command as Ctrl-C does."""


def _terminate(*_: object) -> NoReturn:
    raise _Terminated


class _MainGroup(click.Group):
    """The command with its sub-commands: every error that a user can cause becomes one message."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command line."""
        _open_closed_streams()
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the options, of which `--help` prints."""
        with _one_message():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the sub-command."""
        with _one_message():
            for name in _PATH_VARIABLES:  # lessons run in another folder
                if os.environ.get(name):
                    os.environ[name] = str(_expand(os.environ[name], name))
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_message() -> Iterator[None]:
    """Turns errors that are not faults of the program, and signals, into one message and an exit status."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
        sys.stdout.flush()  # here an error of standard output gets its message
    except UserError as error:
        _stop(error, 2)
    except OSError as error:
        if _discard_lost_output() and error.errno == errno.EPIPE:  # the reader, such as `head`, has ended
            sys.exit(1)
        _stop(f"{error}. {_CONTINUE}", 1)
    except KeyboardInterrupt as error:
        _stop(f"Interrupted. {_CONTINUE}", 143 if isinstance(error, _Terminated) else 130)
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(message: object, status: int) -> NoReturn:
    """Ends the command with a message on standard error."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(status)


def _open_closed_streams() -> None:
    """Connects each standard stream that the caller has closed (`>&-`) to the null device.

    Python sets such a stream to `None`, and the next file that the process opens would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "w" if number else "r")  # noqa: PTH123, SIM115 (it stays open)
            os.dup2(stream.fileno(), number)
            os.set_inheritable(number, True)
            setattr(sys, name, stream)


def _discard_lost_output() -> bool:
    """Connects standard output to the null device if it cannot be written, so that Python ends quietly.

    Returns:
        True if it could not be written.
    """
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


# --- folders ---


def _expand(text: str | os.PathLike, name: str) -> Path:
    try:
        return _files.expand(text)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


class _Folder(click.ParamType):
    """A folder as an absolute path, with `~` expanded.

    Args:
        exists: True for a folder that exists, False for one that can be written or created.
        for_nbgrader: whether nbgrader must be able to use the path, which it takes for a pattern and, in the
            gradebook's, for a URL.
    """

    name = "folder"

    def __init__(self, *, exists: bool, for_nbgrader: bool = False) -> None:
        self._exists, self._for_nbgrader = exists, for_nbgrader

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path, or fails with what was expected."""
        path = _expand(value, param.get_error_hint(ctx) if param else self.name)
        expected = "a folder that exists" if self._exists else "a folder that can be written, or created"
        # Unlike Path.is_dir, os.path.isdir raises no error for a name that is too long.
        is_right = os.path.isdir(path) if self._exists else _files.is_writable_place(path)  # noqa: PTH112
        if self._for_nbgrader:
            expected += ", without * ? [ % in its path"
            is_right = is_right and not set("*?[%") & set(os.path.realpath(path))
        if not os.fspath(value) or not is_right:
            self.fail(f"Expected: {expected}. Received: {os.fspath(value)!r}.", param, ctx)
        return path


class _Existing(click.ParamType):
    """A file or a folder that exists, as an absolute path with `~` expanded.

    Args:
        is_file: True for a file only.
    """

    name = "path"

    def __init__(self, *, is_file: bool = False) -> None:
        self._is_file = is_file

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path, or fails with what was expected."""
        path = _expand(value, param.get_error_hint(ctx) if param else self.name)
        is_right = os.path.isfile(path) or (not self._is_file and os.path.isdir(path))  # noqa: PTH112, PTH113
        if not os.fspath(value) or not is_right:
            expected = "a file that exists" if self._is_file else "a file or a folder that exists"
            self.fail(f"Expected: {expected}. Received: {os.fspath(value)!r}.", param, ctx)
        return path


class _NewFile(click.ParamType):
    """A file to write, as an absolute path with `~` expanded."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path, or fails with what was expected."""
        path = _expand(value, param.get_error_hint(ctx) if param else self.name)
        # os.path raises no error for a name that is too long.
        is_right = os.path.isdir(path.parent) and not os.path.isdir(path)  # noqa: PTH112
        if not os.fspath(value) or not is_right or not _files.is_writable_place(path.parent):
            expected = "a file in a folder that exists and can be written"
            self.fail(f"Expected: {expected}. Received: {os.fspath(value)!r}.", param, ctx)
        return path


_NEW_FILE = _NewFile()
_NEW_FOLDER = _Folder(exists=False)
_EXISTING_FOLDER = _Folder(exists=True)


def _default_results() -> Path:
    from mnist_helpers import results

    return results.results_dir()


# --- options and help that commands share ---


def _help(example: str) -> str:
    """Returns what every help page ends with: an example and the exit codes."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    return f"\b\nExample:\n  {example}\n\n\b\nExit codes:\n{codes}"


def _text(name: str, metavar: str, default: str, help: str) -> _Option:
    return click.option(name, default=default, metavar=metavar, help=help, show_default=bool(default))


def _number(
    name: str, help: str, most: int = 1024, default: int | None = None, metavar: str = "N"
) -> _Option:
    limits = click.IntRange(1, most)
    return click.option(name, type=limits, default=default, metavar=metavar, help=help, show_default=True)


def _params(metavar: str, help: str) -> _Option:
    text = f"Set a parameter of the lessons; {help} Can be repeated."
    return click.option("-p", "params", nargs=2, multiple=True, metavar=metavar, help=text)


_KINDS = "auto, mnist, fashion_mnist, digits, or a folder with the four idx files of another dataset."
_profile = _text("--profile", "NAME", "class", "Set of parameter values: quick, class or full.")
_dataset = _text("--dataset", "NAME|DIR", "auto", _KINDS)
_only = click.option(
    "--only",
    multiple=True,
    metavar="LESSON",
    help="Run only this lesson or optional notebook, such as 03 or ablation; can be repeated.",
)
_results_dir = click.option(
    "--results-dir",
    type=_NEW_FOLDER,
    envvar="MNIST_COURSE_RESULTS",
    default=_default_results,
    metavar="DIR",
    help="Folder that holds the runs.",
    show_default="the course's results/",
    show_envvar=True,
)
_offline = click.option(
    "--offline",
    is_flag=True,
    help="Do not use the network (as MNIST_COURSE_OFFLINE=1 does).",
    expose_value=False,
    callback=lambda context, parameter, value: os.environ.update(MNIST_COURSE_OFFLINE="1") if value else None,
)
_threads = _number("--threads", "Threads of each run; by default, the runs of this command share the cores.")
_LIMIT = "Stop a lesson if one of its cells takes longer; by default, there is no limit."
_cell_seconds = _number("--cell-seconds", _LIMIT, most=10**7)


# --- the commands ---


@click.group(
    cls=_MainGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_help("mnist-course run --profile quick --dataset digits"),
)
@click.version_option(package_name="mnist-course")
def main() -> None:
    """Run the MNIST course: five notebooks, from the data to the evaluation."""


@main.command(epilog=_help("mnist-course run monday --profile class --seed 2 -p epochs 10"))
@click.argument("run", default="course")
@_profile
@_dataset
@_text("--seed", "N", "1", "Seed of all lessons.")
@_params("NAME VALUE", "`mnist-course params` lists them.")
@_only
@click.option("--fresh", is_flag=True, help="Delete what an earlier run of this name has left.")
@_threads
@_cell_seconds
@click.option("--part-of-study", is_flag=True, hidden=True, help="End when standard input ends.")
@_results_dir
@_offline
def run(
    run: str,
    profile: str,
    dataset: str,
    seed: str,
    params: tuple,
    only: tuple,
    fresh: bool,
    threads: int | None,
    cell_seconds: int | None,
    part_of_study: bool,
    results_dir: Path,
) -> None:
    """Run the lessons in order and write a report.

    The profile full also runs the optional notebooks that the reference results need.

    The results are in the folder RUN (by default, course) of the results folder. If the run was stopped,
    the same command continues it.
    """
    from mnist_course import lessons, processes
    from mnist_course.reports import run_report
    from mnist_course.run import runner
    from mnist_course.run.settings import Limits, check_lessons, check_search, check_settings
    from mnist_helpers import parameters, results

    if part_of_study:
        processes.end_with_parent()
    parameters.check("run", run)
    lesson_names = check_lessons(only, profile)
    settings = check_settings(profile, dataset, parameters.parse("seed", seed), params)
    check_search(settings.params.get("search_from", ""), results_dir)
    limits = Limits(threads or 0, cell_seconds or 0)
    wait = runner.PREDECESSOR_SECONDS if part_of_study else 0.0
    try:
        folder = runner.run_lessons(
            run,
            settings,
            lesson_names,
            results_dir=results_dir,
            fresh=fresh,
            limits=limits,
            wait_seconds=wait,
        )
    except runner.LessonFailedError as error:
        _stop(error, 1)
    finished = tuple(lesson for lesson in results.IN_ORDER if runner.is_finished(folder, lesson))
    page = run_report.write_report(folder)
    if not finished:
        why = "no finished lesson has the code of the present notebooks. Were they changed during the run?"
        _stop(f"Run {run!r}: {why} Its report is {page}. Give the same command again.", 1)
    records = results.load_records(folder, finished)
    click.echo(f"\n{run_report.results_table(run_report.summary(records)).text()}\n")
    if results.LESSONS[-1] in records:
        click.echo(f"{records[results.LESSONS[-1]]['conclusion']}\n")
    if missing := [lesson for lesson in lessons.of_profile(profile) if lesson not in finished]:
        click.echo(f"Not run: {', '.join(missing)}")
    click.echo(f"Dataset: {records[finished[0]]['dataset']['name']}")
    if figures := sorted(path.name for path in folder.glob("*.png")):
        click.echo(f"Figures: {', '.join(figures)} in {folder}")
    click.echo(f"Report:  {page}")


@main.command(epilog=_help("mnist-course study widths --seeds 1-5 --only 02 -p units 256,512"))
@click.argument("study")
@click.option("--seeds", required=True, metavar="LIST", help="Seeds and ranges, such as 1-10 or 1,2,5.")
@_profile
@_dataset
@_params("NAME V1,V2,...", "with several values, every combination is run.")
@_only
@_text("--search-from", "RUN", "", "Use the search of RUN (or STUDY/RUN) in all runs.")
@_number("--workers", "Processes on this machine; by default, one for each core.")
@_threads
@_cell_seconds
@_text("--scheduler", "ADDRESS", "", "A Dask scheduler, such as tcp://HOST:8786.")
@_results_dir
@_offline
def study(
    study: str,
    workers: int | None,
    threads: int | None,
    cell_seconds: int | None,
    scheduler: str,
    results_dir: Path,
    **specification: Any,
) -> None:
    """Run the course with several seeds or parameter values.

    The runs and their report are in the folder STUDY of the results folder. If the study was stopped, the
    same command continues it; with more seeds, it adds them.
    """
    from mnist_course.reports import study_report
    from mnist_course.run import study as studies
    from mnist_course.run.settings import Limits
    from mnist_helpers import parameters, results

    parameters.check("run", study)
    if workers and scheduler:
        why = "--workers is for this machine, and a scheduler has workers of its own."
        raise UserError(f"{why} Leave --workers or --scheduler out.")
    spec = studies.check_spec(**specification, results_dir=results_dir)
    limits = Limits(threads or 0, cell_seconds or 0)
    folder, failed = studies.run_study(
        study, spec, results_dir=results_dir, limits=limits, workers=workers or 0, scheduler=scheduler
    )
    for result in failed:
        click.echo(f"\n{result.run} failed:\n{result.error.strip()}", err=True)
    if results.run_folders(folder):
        page = study_report.write_study_report(folder)
        click.echo(f"\n{study_report.study_text(folder)}\n\nReport:  {page}")
    if failed:
        _stop(f"{len(failed)} of the runs failed. Give the same command again to repeat them.", 1)


@main.command(epilog=_help("mnist-course replicate reference/class 1"))
@click.argument("study")
@click.argument("seed", type=click.IntRange(1, 2**31 - 1))
@_only
@_threads
@_results_dir
@_offline
def replicate(study: str, seed: int, only: tuple[str, ...], threads: int | None, results_dir: Path) -> None:
    """Run one seed of a study again and compare the numbers.

    STUDY is a study in the results folder, a run of it (STUDY/RUN), or one of the course's own, such as
    reference/class. The replica is in the folder replicas of the results folder, and replaces an earlier one. On
    the same processor, with the same versions and threads, the numbers are the same; the exit code is 1 if they are
    not as expected, cannot be judged, or are missing.
    """
    from mnist_course.run import replicate as replicas
    from mnist_course.run import runner

    try:
        summary, problem = replicas.replicate(
            study, seed, results_dir=results_dir, only=only, threads=threads or 0
        )
    except runner.LessonFailedError as error:
        _stop(error, 1)
    click.echo(summary)
    if problem:
        _stop(problem, 1)


@main.command(epilog=_help("mnist-course predictions reference"))
@click.argument("study")
@click.option(
    "--probabilities",
    multiple=True,
    metavar="MODEL",
    help="Keep all probabilities of this model; can be repeated.",
)
@_results_dir
def predictions(study: str, probabilities: tuple[str, ...], results_dir: Path) -> None:
    """Keep what the networks of a study answered on the test images.

    STUDY is a study in the results folder, such as reference or reference/class. The files in its folder
    predictions are small enough to commit, and every test score can be computed from them. If seeds were added or
    trained again, the same command adds or replaces these. Without --probabilities, the choice of the previous call
    is kept; at the first call it is baseline, batchnorm, tuned and strong. For the other models, the predicted
    labels and the losses are kept.
    """
    from mnist_course import predictions
    from mnist_helpers import results

    click.echo(predictions.keep(results.find_run(study, results_dir), probabilities))


@main.command(epilog=_help("mnist-course models reference/seed-1"))
@click.argument("run", metavar="STUDY/RUN")
@click.option(
    "--model",
    "names",
    multiple=True,
    metavar="MODEL",
    help="Export this model; can be repeated. By default, baseline, batchnorm_dropout, tuned and strong.",
)
@_results_dir
@_offline
def models(run: str, names: tuple[str, ...], results_dir: Path) -> None:
    """Export trained models of one run in a compact form.

    The files, in the folder models of the study, are small enough to commit. Weights are rounded to 16 bits; what
    this changes is measured on the validation images of the run, and written into the index beside the models.
    Records that describe the exported models are written, too: lesson 5 loads them with run = "reference".
    """
    from mnist_course import committed_models
    from mnist_helpers import results

    click.echo(committed_models.export(results.find_run(run, results_dir), names))


@main.command(epilog=_help("mnist-course demo draw.html"))
@click.argument("file", type=_NEW_FILE)
def demo(file: Path) -> None:
    """Write a page on which the trained networks read a drawn digit.

    FILE is one HTML file, which a browser opens from the disk; it needs no server and no network. It holds the
    networks in the folder models of the reference results.
    """
    from mnist_course import demo

    click.echo(demo.write(file))


@main.command(epilog=_help("mnist-course report monday"))
@click.argument("run", default="course")
@_results_dir
def report(run: str, results_dir: Path) -> None:
    """Write the report of a run or a study again.

    RUN is the name of a run or a study in the results folder; the report is made from its records.
    """
    from mnist_course.reports import run_report, study_report
    from mnist_helpers import parameters

    parameters.check("run", run)
    folder = _existing_run(results_dir, run)
    is_study = (folder / study_report.STUDY_FILE).is_file()
    click.echo(study_report.write_study_report(folder) if is_study else run_report.write_report(folder))


def _existing_run(results_dir: Path, run: str) -> Path:
    if not (results_dir / run).is_dir():
        missing = f"There is no run {run!r} in {results_dir}"
        raise UserError(f"{missing}. Run the course first: mnist-course run {run}")
    return results_dir / run


@main.command(epilog=_help("mnist-course timings monday tuesday"))
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@_text("--into", "NAME", "", "Also write timings.json into the folder NAME.")
@_results_dir
def timings(runs: tuple, into: str, results_dir: Path) -> None:
    """Show the time and memory that each lesson took.

    RUN is the name of a run or a study in the results folder; the tables have a column for each profile.
    """
    from mnist_course.reports import timings
    from mnist_helpers import parameters

    for name in (*runs, *([into] if into else [])):
        parameters.check("run", name)
    profiles = timings.measured([results_dir / run for run in runs])
    content = timings.content(profiles)
    for table in (timings.times_table(content), timings.memory_table(content)):
        click.echo(f"{table.text()}\n{table.note}\n")
    if into:
        click.echo(f"Numbers: {timings.write(results_dir / into, profiles)}")


@main.command(epilog=_help("mnist-course params 02"))
@click.argument("lesson", default="")
def params(lesson: str) -> None:
    """List the parameters of all notebooks, or of one LESSON."""
    from mnist_course import lessons
    from mnist_course.reports.page import Table
    from mnist_course.run.settings import check_lessons
    from mnist_helpers import results

    for name in check_lessons([lesson], needs_packages=False) if lesson else results.IN_ORDER:
        columns = ("name", "type", "default", "allowed", "meaning")
        click.echo(f"{Table(name, columns, lessons.parameter_rows(name), is_text=True).text()}\n")


@main.group(invoke_without_command=True, epilog=_help("mnist-course data --data-dir ~/mnist"))
@click.option(
    "--data-dir",
    type=_EXISTING_FOLDER,
    metavar="DIR",
    help="Look here first; by default, in $MNIST_DATA_DIR.",
)
@_offline
@click.pass_context
def data(context: click.Context, data_dir: Path | None) -> None:
    """Show where each dataset was found, or why it was not found."""
    if context.invoked_subcommand:
        if data_dir:
            raise click.UsageError(f"--data-dir is not an option of `{context.invoked_subcommand}`.", context)
        return
    from mnist_helpers import data as datasets

    for dataset in datasets.NAMES:
        try:
            arrays, source = datasets.load_arrays(dataset, data_dir=data_dir, download=False)
        except datasets.DatasetNotFoundError as error:
            click.echo(f"{dataset}: not found\n{error.tried}")
        else:
            click.echo(f"{dataset}: {source} ({len(arrays['x_train']):,} + {len(arrays['x_test']):,} images)")


@data.command(epilog=_help("mnist-course data fetch mnist"))
@click.argument("name")
@_offline
def fetch(name: str) -> None:
    """Download the dataset NAME into the cache."""
    from mnist_helpers import data as datasets

    _, source = datasets.load_arrays(name)
    click.echo(f"{name}: {source}; the cache is {datasets.cache_dir()}")


@data.command(epilog=_help("mnist-course data check ~/kmnist"))
@click.argument("folder", type=_EXISTING_FOLDER)
def check(folder: Path) -> None:
    """Check that the idx files in FOLDER fit --dataset."""
    from mnist_helpers import data as datasets

    name, place = datasets.resolve_dataset(str(folder))
    described = datasets.describe(name, **datasets.load_arrays(name, data_dir=place)[0])
    for array, shape in described["shapes"].items():
        click.echo(f"  {array}: {shape}, sha256 {described['sha256'][array]}")


@data.command(epilog=_help("mnist-course data confirmation ~/confirmation"))
@click.argument("into", type=_NEW_FOLDER, metavar="FOLDER")
@_offline
def confirmation(into: Path) -> None:
    """Write MNIST's training images with other test images.

    The test images of the new FOLDER are 10,000 of MNIST's training images, on which no recipe of the strongest
    networks was chosen; the other 50,000 are for training. Use FOLDER with --dataset.
    """
    from mnist_course import image_folders

    click.echo(image_folders.write_confirmation(into))


@data.command(epilog=_help("mnist-course data qmnist ~/Downloads ~/qmnist"))
@click.argument("source", type=_EXISTING_FOLDER)
@click.argument("into", type=_NEW_FOLDER, metavar="FOLDER")
@_offline
def qmnist(source: Path, into: Path) -> None:
    """Write QMNIST's test images as a dataset.

    SOURCE is the folder with qmnist-test-images-idx3-ubyte.gz and qmnist-test-labels-idx2-int.gz. The new FOLDER
    has MNIST's training images, and the 50,000 test images of QMNIST that are not in MNIST. Use it with --dataset.
    """
    from mnist_course import image_folders

    click.echo(image_folders.write_qmnist(source, into))


@main.command(epilog=_help("mnist-course doctor"))
@_offline
def doctor() -> None:
    """Check that this machine is ready for the course."""
    from mnist_course.doctor import examine

    failed = 0
    for finding in examine():
        failed += not finding.ok
        click.echo(f"{'OK  ' if finding.ok else 'FAIL'}  {finding.question}: {finding.answer}")
    if failed:
        _stop(f"{failed} FAIL: the course may not run here.", 1)
    click.echo("Everything is ready.")


@main.command(epilog=_help("mnist-course start my-course"))
@click.argument("folder", type=_NEW_FOLDER)
@click.option(
    "--solutions",
    is_flag=True,
    help="Also copy the solutions of the exercises, into FOLDER/exercises/solutions/ (from a checkout only).",
)
def start(folder: Path, solutions: bool) -> None:
    """Copy the lessons and exercises into a student's FOLDER.

    Called again, it brings new versions; files that the student has changed are kept.
    """
    from mnist_course.handout import student_copy

    for line in student_copy.start(folder, solutions=solutions):
        click.echo(line)


@main.command(epilog=_help("mnist-course bundle usb-stick --dataset mnist"))
@click.argument("folder", type=_NEW_FOLDER)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="Include this dataset (mnist, fashion_mnist); can be repeated. The digits are always included.",
)
@_offline
def bundle(folder: Path, datasets: tuple) -> None:
    """Make a FOLDER for machines without a network.

    It holds everything that a machine with Python needs for the course.
    """
    from mnist_course.handout import bundle

    bundle.bundle(folder, datasets)


@main.group(epilog=_help("mnist-course assignments build class-2026"))
def assignments() -> None:
    """Make exercises, grade submissions, and export marks."""


@assignments.command("build", epilog=_help("mnist-course assignments build class-2026"))
@click.argument("folder", type=_Folder(exists=False, for_nbgrader=True))
def build_assignments(folder: Path) -> None:
    """Make FOLDER a grading folder with the exercises.

    It is also a course folder of nbgrader. The students' versions, without solutions, are in FOLDER/release/.
    """
    from mnist_course.grading import release

    click.echo(release.build(folder))


@assignments.command("release", epilog=_help("mnist-course assignments release"))
def release_assignments() -> None:
    """Write the students' versions of the exercises into the course.

    Use this command in a clone after you have changed or added an exercise. It writes into
    notebooks/exercises/release/.
    """
    from mnist_course.grading import release

    for path in release.write_release(release.RELEASE):
        click.echo(path)


@assignments.command("grade", epilog=_help("mnist-course assignments grade class-2026 --workers 2"))
@click.argument("folder", type=_Folder(exists=True, for_nbgrader=True))
@_number("--seconds", "Time limit for each submission.", most=10**6, default=120)
@_number("--memory", "Memory limit for each submission, in GiB.", default=4, metavar="GIB")
@_number("--workers", "How many submissions are graded at the same time; by default, one for each core.")
@click.option("--fresh", is_flag=True, help="Grade all submissions again, including unchanged ones.")
@click.option(
    "--exercise",
    "given",
    multiple=True,
    metavar="NAME",
    help="An exercise that you gave to the class, such as exercise_01; can be repeated. Only these exercises "
    "count in the totals; by default, every exercise counts that at least one student has submitted.",
)
@_number("--pass-mark", "A student passes with at least N % of the points.", most=100, default=50)
@_text("--scheduler", "ADDRESS", "", "Grade on the workers of a Dask scheduler, such as tcp://HOST:8786.")
def grade_assignments(
    folder: Path,
    seconds: int,
    memory: int,
    workers: int | None,
    fresh: bool,
    given: tuple,
    pass_mark: int,
    scheduler: str,
) -> None:
    """Grade the submissions and write a class report.

    It reads the submissions in FOLDER/submitted/STUDENT/, and grades what is new or changed.
    """
    from mnist_course.grading.grade import grade
    from mnist_course.grading.sandbox import Limits

    if workers and scheduler:
        why = "--workers is for this machine, and a scheduler has workers of its own."
        raise UserError(f"{why} Leave --workers or --scheduler out.")
    limits = Limits(seconds=seconds, memory_bytes=memory * 2**30)
    click.echo(
        grade(
            folder,
            limits=limits,
            workers=workers or 0,
            fresh=fresh,
            given=given,
            pass_mark=pass_mark,
            scheduler=scheduler,
        )
    )


@assignments.command("mark", epilog=_help("mnist-course assignments mark class-2026 sentences.csv"))
@click.argument("folder", type=_Folder(exists=True, for_nbgrader=True))
@click.argument("table")
def mark_assignments(folder: Path, table: str) -> None:
    """Write your points and comments into the gradebook.

    TABLE is the CSV file with the points and comments: FOLDER/sentences.csv, or the file that you saved from the
    page FOLDER/sentences.html.
    """
    from mnist_course.grading import by_hand

    click.echo(by_hand.mark(folder, _expand(table, "TABLE")))


@assignments.command(
    "collect", epilog=_help("mnist-course assignments collect class-2026 submissions.zip --roster roster.csv")
)
@click.argument("folder", type=_Folder(exists=True, for_nbgrader=True))
@click.argument("source", type=_Existing(), metavar="ARCHIVE_OR_FOLDER")
@click.option(
    "--roster",
    type=_Existing(is_file=True),
    metavar="FILE",
    help="The list of the students: a CSV file with the columns name, email and id, or one that your platform "
    "exports. FOLDER keeps a copy, so you need this option only the first time.",
)
@click.option(
    "--due",
    type=click.DateTime(["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]),
    metavar="TIME",
    help="List submissions after this local time as late, such as 2026-03-03T23:59; they still count.",
)
def collect_assignments(folder: Path, source: Path, roster: Path | None, due: datetime | None) -> None:
    """Copy a platform's download into FOLDER/submitted/.

    ARCHIVE_OR_FOLDER is the download from Moodle, Canvas, Brightspace or Google Classroom. Of several attempts of a
    student, the latest one that can be read and has answers counts.
    """
    from mnist_course.grading.collect import collect

    click.echo(collect(folder, source, roster=roster, due=due))


@assignments.command(
    "export", epilog=_help("mnist-course assignments export class-2026 --moodle marks-moodle.csv")
)
@click.argument("folder", type=_Folder(exists=True, for_nbgrader=True))
@click.option("--moodle", type=_NEW_FILE, metavar="FILE", help="Write a file for Moodle's grade import.")
@click.option("--canvas", type=_NEW_FILE, metavar="FILE", help="Write a file for Canvas's gradebook import.")
@click.option(
    "--csv", "csv_file", type=_NEW_FILE, metavar="FILE", help="Write a list of all students for your own use."
)
@click.option(
    "--moodle-feedback",
    "feedback",
    type=_NEW_FOLDER,
    metavar="FOLDER",
    help="Write a zip file for each exercise, with the feedback pages, into FOLDER, which is new, empty or from an "
    "earlier export. Moodle gives the pages to the students.",
)
def export_assignments(folder: Path, **files: Path | None) -> None:
    """Write marks and feedback that a learning platform can import.

    For Moodle and Canvas, a missing mark is an empty cell, never 0. Names, e-mail addresses and ids come from the
    roster.
    """
    from mnist_course.grading.export import export

    click.echo(export(folder, **files))


@main.command(epilog=_help("mnist-course notebooks"))
@_offline
def notebooks() -> None:
    """Run all notebooks on MNIST and replace their outputs."""
    from mnist_course.run import runner

    try:
        runner.refresh_lessons()
    except runner.LessonFailedError as error:
        _stop(error, 1)


if __name__ == "__main__":
    main()
