"""How many submissions a cluster grades in a given time, and whether any mark is lost if a worker is killed.

    python -m tests.grading.load                      -> results/grading-load/: grading-load.json, .png, a page
    python -m tests.grading.load --submissions 1000 --workers 2 --exercise exercise_01 --kill

The class consists of copies of a few templates: the solution, the untouched exercise, and solutions in which one
answer is missing. The templates are graded on this machine first. Then a local Dask cluster grades the class, and
each student must get the marks of the template.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import nbformat
from scipy import stats

from mnist_course.grading import grade, recognition, recorded, release
from mnist_course.reports import page
from mnist_helpers import _files, plots, results
from tests import measurements
from tests.grading.tiny import submit

NAME = "grading-load"
NAMES = sorted(path.stem for path in release.RELEASE.glob("*.ipynb"))
_POLL_SECONDS = 2.0


def templates(exercise: str) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Yields names and notebooks: the solution, the untouched exercise, and solutions without one answer each."""
    source = nbformat.read(release.EXERCISES / f"{exercise}.ipynb", as_version=4)
    untouched = nbformat.read(release.RELEASE / f"{exercise}.ipynb", as_version=4)
    yield "solution", source
    yield "untouched", untouched
    given = recognition.named_cells(untouched)
    for name, cell in given.items():
        if cell.cell_type == "code" and cell.metadata.nbgrader.solution:
            notebook = nbformat.from_dict(source)
            recognition.named_cells(notebook)[name].source = cell.source
            yield f"without {name}", notebook


def measure(folder: Path, exercise: str, submissions: int, workers: int, *, kill: bool) -> dict[str, Any]:
    """Grades a class on a local cluster.

    Args:
        folder: an empty folder.
        exercise: the exercise that everybody submits.
        submissions: how many students there are.
        workers: of the cluster; each grades one submission at a time.
        kill: whether one worker is killed after a quarter of the submissions.

    Returns:
        `seconds`, `points` (dicts with `seconds` and `graded`), `killed`, and `different`: the students whose marks
        are not those of their template.
    """
    from distributed import Client, LocalCluster

    made = dict(templates(exercise))
    release.build(folder / "few")
    for name, notebook in made.items():
        submit(folder / "few", name, notebook, f"{exercise}.ipynb")
    grade.grade(folder / "few")
    right = {name.rpartition("/")[0]: of.marks for name, of in recorded.read(folder / "few").items()}
    course = folder / "class"
    release.build(course)
    students = {}
    for number in range(submissions):
        name = list(made)[number % len(made)]
        students[f"student-{number:04}"] = name
        submit(course, f"student-{number:04}", made[name], f"{exercise}.ipynb")
    points: list[dict[str, float]] = []
    killed: list[int] = []
    done = threading.Event()
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:

        def watch() -> None:
            while not done.wait(_POLL_SECONDS):
                graded = len(_files.read_json_or_none(course / "graded.json") or {})
                points.append({"seconds": time.perf_counter() - started, "graded": graded})
                if kill and not killed and graded >= submissions / 4:
                    with Client(cluster) as client:
                        killed.append(min(client.run(os.getpid).values()))
                    os.kill(killed[0], signal.SIGKILL)

        watcher = threading.Thread(target=watch)
        started = time.perf_counter()
        watcher.start()
        try:
            grade.grade(course, scheduler=cluster.scheduler_address)
        finally:
            seconds = time.perf_counter() - started
            done.set()
            watcher.join()
    found = {name.rpartition("/")[0]: of.marks for name, of in recorded.read(course).items()}
    different = [name for name, template in students.items() if found.get(name) != right[template]]
    return {"seconds": seconds, "points": points, "killed": len(killed), "different": different}


def line(points: list[dict[str, float]]) -> tuple[float, float]:
    """Returns submissions per second and the squared correlation, of a straight line through the points."""
    begun = [point for point in points if point["graded"]]
    if len(begun) < 3:
        return float("nan"), float("nan")
    fitted = stats.linregress([of["seconds"] for of in begun], [of["graded"] for of in begun])
    return float(fitted.slope), float(fitted.rvalue**2)


def table(record: dict[str, Any]) -> page.Table:
    """Returns the record as a table."""
    rate, r_squared = line(record["points"])
    row = [
        record["exercise"],
        record["submissions"],
        record["workers"],
        page.number(record["seconds"] / 60, ".1f", " min"),
        page.number(60 * rate, ".0f"),
        page.number(r_squared, ".4f"),
        record["killed"],
        len(record["different"]),
    ]
    columns = [
        "exercise",
        "submissions",
        "workers",
        "time",
        "per minute",
        "R squared",
        "killed",
        "other marks",
    ]
    machine = record["machine"]
    note = (
        f"A local Dask cluster; {machine['processor'] or machine['architecture']}, {machine['cores']} cores. Per "
        "minute and R squared: of a straight line through the numbers of graded submissions. Killed: workers that "
        "were killed on the way. Other marks: students whose marks differ from those of the same submission if it "
        "is graded without a cluster."
    )
    return page.Table("A class graded on a cluster", columns, [row], note)


def figure(record: dict[str, Any]) -> plots.DescribedFigure:
    """Draws the number of graded submissions against time."""
    points = record["points"]
    minutes, graded = [point["seconds"] / 60 for point in points], [point["graded"] for point in points]
    drawn, axes = plots.single_axes(6.5, 3.8)
    axes.plot(minutes, graded, color=plots.COLORS[0])
    title = f"{record['submissions']} submissions of {record['exercise']}, {record['workers']} workers"
    axes.set(title=title, xlabel="minutes", ylabel="graded submissions", xlim=(0, None), ylim=(0, None))
    quarters = [points[len(points) * part // 4 - 1] for part in (1, 2, 3, 4)]
    words = [f"{of['graded']:.0f} after {of['seconds'] / 60:.1f} minutes" for of in quarters]
    return plots.described(drawn, f"{title}.", words)


def conclusion(record: dict[str, Any]) -> str:
    """Returns the result in words."""
    rate, r_squared = line(record["points"])
    lost = len(record["different"])
    return (
        f"{record['workers']} workers grade {60 * rate:.0f} submissions of {record['exercise']} per minute "
        f"(R squared of a straight line: {r_squared:.4f}); {lost or 'no'} mark{'' if lost == 1 else 's'} of "
        f"{record['submissions']} submissions differ{'s' if lost == 1 else ''} from grading without a cluster."
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--submissions", default=40, type=click.IntRange(1), metavar="N", help="How many students there are."
)
@click.option("--workers", default=2, type=click.IntRange(1), metavar="N", help="Workers of the cluster.")
@click.option("--exercise", default="exercise_01", type=click.Choice(NAMES), help="What they submit.")
@click.option("--kill", is_flag=True, help="Kill a worker after a quarter of the submissions.")
@click.option("--into", default=f"results/{NAME}", type=click.Path(path_type=Path), help="Folder to write.")
def main(submissions: int, workers: int, exercise: str, kill: bool, into: Path) -> None:
    """Measure how many submissions a cluster grades in a given time."""
    record: dict[str, Any] = {"exercise": exercise, "submissions": submissions, "workers": workers}
    record |= {"date": datetime.now().date().isoformat(), "machine": results.machine()}
    with tempfile.TemporaryDirectory(prefix="grading-load-") as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbformat's and nbgrader's
        record |= measure(Path(temporary), exercise, submissions, workers, kill=kill)
    shown, words = table(record), conclusion(record)
    title = "Grading on a cluster"
    report = measurements.write(
        into, NAME, record, title=title, conclusion=words, table=shown, figure=figure(record)
    )
    click.echo(f"{shown.text()}\n{words}\nReport: {report}")
    if record["different"]:
        raise click.ClickException(f"Other marks: {json.dumps(record['different'][:20])}")


if __name__ == "__main__":
    main()
