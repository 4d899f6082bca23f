"""The command `python -m benchmarks`. Exit status: 0 done, 1 a measurement failed, 2 wrong input."""

from __future__ import annotations

import os

import click

from benchmarks import speed, speed_report
from mnist_course import course_file
from mnist_helpers import _files, parameters, results
from mnist_helpers._errors import UserError


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m benchmarks monday --repeats 3 --course class",
)
@click.argument("name", default="bench")
@click.option(
    "--repeats",
    default=5,
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Repetitions of each measurement.",
    show_default=True,
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
        if not only_report:
            speed.run_bench(folder, repeats=repeats, quick=quick, course_runs=folders)
        elif not (folder / speed_report.BENCH_FILE).is_file():
            raise UserError(
                f"--only-report: there is no {speed_report.BENCH_FILE} in {folder}. Measure it first."
            )
        content = _files.read_json(folder / speed_report.BENCH_FILE)
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
