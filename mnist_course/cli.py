"""The command `mnist-course`: a thin line from the command line to the rooms of the kit.

Exit status: 0 done; 1 something failed while running; 2 bad input, nothing written; 130 interrupted by Ctrl-C,
143 by SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mnist_helpers._errors import UserError
from mnist_helpers._files import expand

_GO_ON = "Called again, the same command goes on where it was."


class _Terminated(KeyboardInterrupt):
    """SIGTERM: it ends a run as Ctrl-C does."""


def _terminate(*_: object) -> None:
    raise _Terminated


@contextlib.contextmanager
def _one_message() -> Iterator[None]:
    """Turns the errors that a user can cause, and signals, into one message and an exit status."""
    from mnist_course.run import runner

    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except UserError as error:
        raise _exit(error, 2) from error
    except runner.LessonFailedError as error:
        raise _exit(error, 1) from error
    except OSError as error:
        raise _exit(f"{error}. {_GO_ON}", 1) from error
    except KeyboardInterrupt as error:
        status = 143 if isinstance(error, _Terminated) else 130
        raise _exit(f"Interrupted. {_GO_ON}", status) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(message: object, status: int) -> click.ClickException:
    exception = click.ClickException(str(message))
    exception.exit_code = status
    return exception


_profile = click.option(
    "--profile",
    default="class",
    metavar="NAME",
    help="Set of parameters: quick, class or full.",
    show_default=True,
)
_dataset = click.option(
    "--dataset",
    default="auto",
    metavar="NAME|DIR",
    help="auto, mnist, fashion_mnist, digits, or a folder with the four idx files of another one.",
    show_default=True,
)
_only = click.option(
    "--only", multiple=True, metavar="LESSON", help="Run only this lesson, such as 03; can be repeated."
)


def _writable(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuses a folder that could not be made or written."""
    try:
        place = Path(value).resolve()
        nearest = next(folder for folder in (place, *place.parents) if folder.exists())
        good = nearest.is_dir() and os.access(nearest, os.W_OK)
    except (OSError, ValueError):
        good = False
    if (value and not good) or (parameter.required and not value):
        raise click.BadParameter(f"Expected: a folder that can be written, or made. Received: {value!r}.")
    return value


_results_dir = click.option(
    "--results-dir",
    default="",
    callback=_writable,
    metavar="DIR",
    help="Folder that holds the runs; without it, the course's results/.",
)
_offline = click.option(
    "--offline",
    is_flag=True,
    help="Never touch the network (as MNIST_COURSE_OFFLINE=1 does).",
    expose_value=False,
    callback=lambda context, parameter, value: os.environ.update(MNIST_COURSE_OFFLINE="1") if value else None,
)


_threads = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads of each run; without it, the cores shared out among the runs of this command.",
)
_cell_seconds = click.option(
    "--cell-seconds",
    type=click.IntRange(1, 10**7),
    metavar="N",
    help="Stop a lesson whose cell takes longer; without it, a cell may take for ever.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mnist-course")
def main() -> None:
    """Run the MNIST course: five notebooks, from the data to the evaluation."""
    for name in ("MNIST_DATA_DIR", "KERAS_HOME"):
        if os.environ.get(name):  # kernels run in another folder, notebooks/
            os.environ[name] = str(expand(os.environ[name]))


@main.command()
@click.argument("run", default="course")
@_profile
@_dataset
@click.option("--seed", default="1", metavar="N", help="Seed of all lessons.", show_default=True)
@click.option(
    "-p", "params", nargs=2, multiple=True, metavar="NAME VALUE", help="Set any notebook parameter."
)
@_only
@click.option("--fresh", is_flag=True, help="Delete what an earlier run of this name left.")
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
    results_dir: str,
) -> None:
    """Run the lessons in order into results/RUN/ and report; a run that was stopped goes on."""
    from mnist_course import processes
    from mnist_course.reports import run_report
    from mnist_course.run import runner
    from mnist_course.run.settings import Limits, check_lessons, check_search, check_settings
    from mnist_helpers import parameters, results

    with _one_message():
        if part_of_study:
            processes.end_with_parent()
        parameters.check("run", run)
        folder_of_runs = results.results_dir(results_dir)
        lesson_names = check_lessons(only)
        settings = check_settings(profile, dataset, parameters.parse("seed", seed), params)
        check_search(settings.params.get("search_from", ""), folder_of_runs)
        limits = Limits(threads or 0, cell_seconds or 0)
        folder = runner.run_lessons(
            run,
            settings,
            lesson_names,
            results_dir=folder_of_runs,
            fresh=fresh,
            limits=limits,
            wait_seconds=runner.PREDECESSOR_SECONDS if part_of_study else 0.0,
        )
        unfinished = [lesson for lesson in results.LESSONS if not runner.is_finished(folder, lesson)]
        if unfinished:
            click.echo(f"No report yet: {', '.join(unfinished)} not run.")
            return
        page = run_report.write_report(folder)
        rows = run_report.summary(results.load_records(folder))
        click.echo(f"\n{run_report.results_table(rows).text()}\n")
        click.echo(results.load_record(folder, results.LESSONS[-1])["conclusion"])
        click.echo(f"\nDataset: {results.load_record(folder, results.LESSONS[-1])['dataset']['name']}")
        click.echo(f"Figures: {', '.join(sorted(path.name for path in folder.glob('*.png')))} in {folder}")
        click.echo(f"Report:  {page}")


@main.command()
@click.argument("study")
@click.option("--seeds", required=True, metavar="LIST", help="Seeds and ranges, such as 1-10 or 1,2,5.")
@_profile
@_dataset
@click.option(
    "-p",
    "params",
    nargs=2,
    multiple=True,
    metavar="NAME V1,V2,...",
    help="Set any notebook parameter; several values are swept.",
)
@_only
@click.option(
    "--search-from", default="", metavar="RUN", help="Use the search of RUN (or STUDY/RUN) in all runs."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes on this machine; without it, one per core.",
)
@_threads
@_cell_seconds
@click.option("--scheduler", default="", metavar="ADDRESS", help="A Dask scheduler, such as tcp://HOST:8786.")
@_results_dir
@_offline
def study(
    study: str,
    seeds: str,
    profile: str,
    dataset: str,
    params: tuple,
    only: tuple,
    search_from: str,
    workers: int | None,
    threads: int | None,
    cell_seconds: int | None,
    scheduler: str,
    results_dir: str,
) -> None:
    """Run the course with several seeds, and several values of parameters, into results/STUDY/."""
    from mnist_course.reports import study_report
    from mnist_course.run import study as studies
    from mnist_helpers import parameters, results

    with _one_message():
        parameters.check("run", study)
        folder_of_runs = results.results_dir(results_dir)
        if workers and scheduler:
            raise UserError(
                "--workers is for this machine, and a scheduler has its own. Leave --workers or --scheduler out."
            )
        question = studies.check_spec(
            seeds=seeds,
            profile=profile,
            dataset=dataset,
            params=params,
            only=only,
            search_from=search_from,
            results_dir=folder_of_runs,
        )
        engine = {"workers": workers or 0, "threads": threads or 0, "cell_seconds": cell_seconds or 0}
        folder, failed = studies.run_study(
            study, question, results_dir=folder_of_runs, scheduler=scheduler, **engine
        )
        for outcome in failed:
            click.echo(f"\n{outcome.run} failed:\n{outcome.error.strip()}", err=True)
        if any(folder.glob("*/0*.json")):
            page = study_report.write_study_report(folder)
            click.echo(f"\n{study_report.study_text(folder)}\n\nReport:  {page}")
        if failed:
            raise _exit(
                f"{len(failed)} of the runs failed. Called again, the same command tries these again.", 1
            )


@main.command()
@click.argument("run", default="course")
@_results_dir
def report(run: str, results_dir: str) -> None:
    """Write the report of results/RUN/, a run or a study, anew from its records."""
    from mnist_course.reports import run_report, study_report
    from mnist_helpers import parameters, results

    with _one_message():
        parameters.check("run", run)
        folder = results.results_dir(results_dir) / run
        if not folder.is_dir():
            raise UserError(
                f"There is no run {run!r} in {folder.parent}. Run the course first: mnist-course run {run}"
            )
        is_study = (folder / study_report.STUDY_FILE).is_file()
        click.echo(study_report.write_study_report(folder) if is_study else run_report.write_report(folder))


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--into", default="", metavar="NAME", help="Write results/NAME/timings.json, too.")
@_results_dir
def timings(runs: tuple, into: str, results_dir: str) -> None:
    """Say how long the lessons of each RUN (or study) took, and how much memory, by profile."""
    from mnist_course.reports import timings
    from mnist_helpers import parameters, results

    with _one_message():
        for name in (*runs, *([into] if into else [])):
            parameters.check("run", name)
        base = results.results_dir(results_dir)
        profiles = timings.measured([base / run for run in runs])
        if into:
            click.echo(f"{timings.write(base / into, profiles)}\n")
        content = timings.content(profiles)
        for table in (timings.times_table(content), timings.memory_table(content)):
            click.echo(f"{table.text()}\n{table.note}\n")


@main.group(invoke_without_command=True)
@click.option("--data-dir", default="", metavar="DIR", help="Look here first; without it, $MNIST_DATA_DIR.")
@_offline
@click.pass_context
def data(context: click.Context, data_dir: str) -> None:
    """Show where each dataset was found, or why not."""
    if context.invoked_subcommand:
        return
    from mnist_helpers import data as datasets

    with _one_message():
        for dataset in datasets.NAMES:
            try:
                arrays, place = datasets.load_arrays(dataset, data_dir=data_dir, download=False)
            except datasets.DatasetNotFoundError as error:
                click.echo(f"{dataset}: not here")
                for attempt in error.attempts:
                    click.echo(f"  - {attempt.place}: {attempt.outcome}")
            else:
                click.echo(
                    f"{dataset}: {place} ({len(arrays['x_train']):,} + {len(arrays['x_test']):,} images)"
                )


@data.command()
@click.argument("name")
@_offline
def fetch(name: str) -> None:
    """Bring dataset NAME into the cache: for a teacher, before the class."""
    from mnist_helpers import data as datasets

    with _one_message():
        _, place = datasets.load_arrays(name)
        click.echo(f"{name}: {place}; the cache is {datasets.cache_dir()}")


@data.command()
@click.argument("folder")
def check(folder: str) -> None:
    """Say whether FOLDER, with four idx files, can be taken as --dataset."""
    from mnist_helpers import data as datasets

    with _one_message():
        name, place = datasets.resolve_dataset(str(datasets.expand(folder)))
        described = datasets.describe(name, **datasets.load_arrays(name, data_dir=place)[0])
        for array, shape in described["shapes"].items():
            click.echo(f"  {array}: {shape}, sha256 {described['sha256'][array]}")


@main.command()
@_offline
def doctor() -> None:
    """Say whether this machine is ready for the course."""
    from mnist_course.doctor import examine

    failed = 0
    for finding in examine():
        failed += not finding.ok
        click.echo(f"{'OK  ' if finding.ok else 'FAIL'}  {finding.question}: {finding.answer}")
    if failed:
        click.echo(f"{failed} FAIL: the course may not run here.", err=True)
        sys.exit(1)
    click.echo("Everything is ready.")


@main.command()
@click.argument("folder", callback=_writable)
def start(folder: str) -> None:
    """Copy the lessons and exercises into FOLDER, a student's own; never over anybody's work."""
    from mnist_course.handout import student_copy

    with _one_message():
        for line in student_copy.start(expand(folder)):
            click.echo(line)


@main.command()
@click.argument("folder", callback=_writable)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="Bring this dataset along (mnist, fashion_mnist); can be repeated. The digits always come.",
)
@_offline
def bundle(folder: str, datasets: tuple) -> None:
    """Make FOLDER: all that a machine with Python and without a network needs for the course."""
    from mnist_course.handout import bundle

    with _one_message():
        bundle.bundle(expand(folder), datasets)


@main.group()
def assignments() -> None:
    """Exercises for a class: build what students get, grade what they submit."""


@assignments.command("build")
@click.argument("folder")
def build_assignments(folder: str) -> None:
    """Make FOLDER an nbgrader course; FOLDER/release/ holds what students get."""
    from mnist_course.grading import release

    with _one_message():
        click.echo(release.build(expand(folder)))


@assignments.command("release")
def release_assignments() -> None:
    """Write the students' versions of the exercises into notebooks/exercises/release/ (for authors)."""
    from mnist_course.grading import release

    with _one_message():
        for path in release.write_release(release.RELEASE):
            click.echo(path)


@assignments.command("grade")
@click.argument("folder")
@click.option(
    "--seconds",
    default=120,
    type=click.IntRange(1, 10**6),
    metavar="N",
    help="Time of one notebook.",
    show_default=True,
)
@click.option(
    "--memory",
    default=4,
    type=click.IntRange(1, 1024),
    metavar="GIB",
    help="Memory of one notebook.",
    show_default=True,
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Notebooks at a time; without it, one per core.",
)
@click.option("--fresh", is_flag=True, help="Grade all submissions again, also those that have not changed.")
def grade_assignments(folder: str, seconds: int, memory: int, workers: int | None, fresh: bool) -> None:
    """Grade the submissions in FOLDER/submitted/ and write a report for the class."""
    from mnist_course.grading import sandbox
    from mnist_course.grading.grade import grade

    with _one_message():
        limits = sandbox.Limits(seconds=seconds, memory_bytes=memory * 2**30)
        click.echo(grade(expand(folder), limits=limits, workers=workers or 0, fresh=fresh))


@main.command()
@_offline
def notebooks() -> None:
    """Run the lessons anew on MNIST and write their outputs back into notebooks/ (for authors)."""
    from mnist_course.run import runner

    with _one_message():
        runner.refresh_lessons()


if __name__ == "__main__":
    main()
