"""The command `python -m benchmarks`. Exit status: 0 done, 1 a measurement failed, 2 wrong input."""

from __future__ import annotations

import os

import click

from benchmarks import marks, schedules, speed, speed_report
from mnist_course import course_file
from mnist_helpers import _files, parameters, results
from mnist_helpers._errors import UserError


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m benchmarks monday --repeats 10 --course class",
)
@click.argument("name", default="bench")
@click.option(
    "--repeats",
    default=10,
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Repetitions of each measurement, each with another seed. With fewer than "
    f"{marks.FEWEST_SEEDS}, the report has no intervals.",
    show_default=True,
)
@click.option(
    "--validate",
    is_flag=True,
    help="First step: compare the candidates on validation images, by which the schedules are chosen. It needs "
    f"{schedules.FEWEST_VALIDATION_SEEDS} repetitions or more.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(speed.PARTS),
    help="Measure only this part; can be repeated. `marks` is the time to the target accuracies. Without it: all "
    "parts.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(schedules.RECIPES)),
    help="Measure the time to the target accuracies for this recipe only; can be repeated.",
)
@click.option("--quick", is_flag=True, help="Tiny, on the digits: only to see that it works.")
@click.option(
    "--course",
    "runs",
    multiple=True,
    metavar="RUN",
    help="Split the times of this run's lessons; can be repeated.",
)
@click.option(
    "--only-report", is_flag=True, help="Measure nothing: write the report of results/NAME/bench.json."
)
@click.option("--results-dir", default="", metavar="DIR", help="Folder that holds the runs.")
@click.option("--offline", is_flag=True, help="Never use the network.")
def main(
    name: str,
    repeats: int,
    validate: bool,
    parts: tuple[str, ...],
    only: tuple[str, ...],
    quick: bool,
    runs: tuple[str, ...],
    only_report: bool,
    results_dir: str,
    offline: bool,
) -> None:
    """Measure how fast training is on this machine, into results/NAME/bench.json, and report."""
    if offline:
        os.environ["MNIST_COURSE_OFFLINE"] = "1"
    try:
        if validate and (quick or only_report or parts or runs):
            raise UserError(
                "--validate: Expected: alone, or with --only and --repeats. "
                "Received: --quick, --only-report, --part or --course as well. Give the commands one by one."
            )
        if validate and repeats < schedules.FEWEST_VALIDATION_SEEDS:
            raise UserError(
                f"--repeats: Expected: with --validate, {schedules.FEWEST_VALIDATION_SEEDS} or more. "
                f"Received: {repeats}. Schedules are chosen by a mean over several seeds; give --repeats 4."
            )
        base = results.results_dir(_files.expand(results_dir) if results_dir else "")
        if not _files.is_writable_place(base):
            raise UserError(
                f"--results-dir: Expected: a folder that can be written, or created. Received: {base}."
            )
        folders = {run: base / run for run in (parameters.check("run", run) for run in runs)}
        for run, folder in folders.items():
            if not (folder / course_file.COURSE_FILE).is_file():
                raise UserError(
                    f"--course: there is no run {run!r} in {base}. Run it first: mnist-course run {run}"
                )
        folder = base / parameters.check("run", name)
        if validate:
            speed.run_validation(folder, repeats=repeats, only=only)
        elif not only_report:
            asked = {"parts": parts or speed.PARTS, "only": only}
            speed.run_bench(folder, repeats=repeats, quick=quick, course_runs=folders, **asked)
        content = speed_report.read(folder)
        page = speed_report.write(folder, content)
    except UserError as error:
        raise click.UsageError(str(error)) from error
    for table in speed_report.tables(content):
        click.echo(f"{table.text()}\n{table.note}\n")
    click.echo(
        f"{speed_report.conclusion(content)}\n\nNumbers: {folder / speed_report.BENCH_FILE}\nReport:  {page}"
    )


if __name__ == "__main__":
    main()
