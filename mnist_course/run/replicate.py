"""Run one seed of a study again, and compare its numbers with the record.

    STUDY/<run with this seed> -> results/replicas/STUDY-RUN/ -> a table of differences

On the same processor, with the same versions and the same number of threads, a training gives the same numbers. On
another one, sums are rounded in another order, and the training ends at another point, as with another seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnist_course import course_file
from mnist_course.reports.page import Table, number
from mnist_course.run import runner
from mnist_course.run.settings import Limits, check_lessons, check_settings
from mnist_helpers import parameters, results
from mnist_helpers._course import REFERENCE
from mnist_helpers._errors import UserError

FOLDER = "replicas"
_METRICS = ("val_accuracy", "val_loss", "test_accuracy", "test_loss")
_HARDWARE = ("architecture", "processor", "threads")
# What a run sets itself: where it is, and what `course.json` holds apart from the parameters.
_NOT_PARAMETERS = ("run", "results_dir", "data_dir", "profile", "dataset", "seed")
_FEW = 3  # seeds; a spread of fewer says nothing


class Difference(NamedTuple):
    """A number of a record, and the same number of now.

    Attributes:
        lesson: the lesson.
        model: the model.
        metric: such as `"val_accuracy"`.
        recorded: the number in the record.
        now: the number of the replica.
        sd: its standard deviation over the seeds of the study; `None` if there are too few.
    """

    lesson: str
    model: str
    metric: str
    recorded: float
    now: float
    sd: float | None

    @property
    def is_expected(self) -> bool:
        """Whether two seeds could differ as much: by three standard deviations of a difference."""
        return self.sd is None or abs(self.now - self.recorded) <= 3 * math.sqrt(2) * self.sd


def replicate(
    study: str, seed: int, *, results_dir: Path, only: Sequence[str] = (), threads: int = 0
) -> tuple[str, bool]:
    """Runs one seed of a study again.

    Args:
        study: STUDY, or STUDY/RUN where several runs have this seed; `reference/...` is the course's own.
        seed: the seed.
        results_dir: the folder that holds the studies.
        only: the lessons to run again; empty for all that were run.
        threads: threads of each kernel; 0 for the recorded number.

    Returns:
        A summary for the terminal; and whether the numbers are as expected: the same ones if processor, threads,
        versions and code are the same.

    Raises:
        UserError: the run was not found, or this version of the course cannot run it.
        runner.LessonFailedError: a lesson did not run to its end.
    """
    folder = _run_of(study, seed, results_dir)
    settings, _ = course_file.read_course(folder)
    names = [name for name in results.recorded_lessons(folder) if not only or name in check_lessons(only)]
    recorded = {name: results.load_record(folder, name) for name in names}
    if not recorded:
        raise UserError(f"{folder} has no records of these lessons. Expected: a run whose lessons were run.")
    # With the defaults of then: records hold all parameters.
    params = dict(settings.params)
    for record in recorded.values():
        params |= {name: value for name, value in record["params"].items() if name not in _NOT_PARAMETERS}
    _check_known(params)
    options = [(name, str(value)) for name, value in params.items()]
    checked = check_settings(settings.profile, settings.dataset, settings.seed, options)
    limits = Limits(threads or recorded[names[0]]["machine"].get("threads") or 0)
    name = "-".join([*(part for part in Path(study).parts if part != folder.name), folder.name])
    again = runner.run_lessons(
        name, checked, names, results_dir=results_dir / FOLDER, limits=limits, wait_seconds=0
    )
    now = {lesson: results.load_record(again, lesson) for lesson in names}
    found = differences(recorded, now, _spreads(folder.parent))
    changes = changed(recorded, now)
    return _summary(folder, again, found, changes), is_expected(found, changes)


def _run_of(study: str, seed: int, results_dir: Path) -> Path:
    """Returns the folder of the one run of a study that has a seed."""
    place = results.find_run(study, results_dir)
    if study == REFERENCE.name and not place.is_dir():  # outside a checkout
        place = REFERENCE
    folders = [place] if (place / course_file.COURSE_FILE).is_file() else results.run_folders(place)
    found = [
        folder
        for folder in folders
        if (folder / course_file.COURSE_FILE).is_file() and course_file.read_course(folder)[0].seed == seed
    ]
    if len(found) != 1:
        what = "several runs" if found else "no run"
        names = (
            ", ".join(f"{study}/{of.name}" for of in found)
            or "a study with this seed, such as reference/class"
        )
        raise UserError(
            f"{study!r} has {what} with the seed {seed} in {results_dir}. Expected: one of {names}."
        )
    return found[0]


def _check_known(params: Mapping[str, Any]) -> None:
    if unknown := [name for name in params if name not in parameters.PARAMETERS]:
        raise UserError(
            f"Another edition of the course has made this run: it has the parameter {unknown[0]!r}, which no "
            "lesson has now. To repeat it, check out the commit of its records."
        )


def differences(
    recorded: Mapping[str, Mapping[str, Any]],
    now: Mapping[str, Mapping[str, Any]],
    spreads: Mapping[tuple[str, str], float],
) -> list[Difference]:
    """Compares all scores of two runs.

    Args:
        recorded: lesson -> record.
        now: lesson -> record of the replica.
        spreads: (model, metric) -> standard deviation over the seeds of the study.
    """
    return [
        Difference(lesson, model, metric, entry[metric], again[metric], spreads.get((model, metric)))
        for lesson, record in recorded.items()
        for model, entry in record["models"].items()
        for again in [now[lesson]["models"].get(model, {})]
        for metric in _METRICS
        if entry.get(metric) is not None and again.get(metric) is not None
    ]


def changed(recorded: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns in words what else differs between two runs: processor, threads, versions, code, images."""
    found: dict[str, None] = {}
    for lesson, record in recorded.items():
        again = now[lesson]
        for name in _HARDWARE:
            before, after = (of["machine"].get(name) for of in (record, again))
            if before != after:
                found[f"{name}: {before or 'not recorded'} then, {after or 'not limited'} now"] = None
        for name, version in record["versions"].items():
            if again["versions"].get(name) != version:
                found[f"{name}: {version} then, {again['versions'].get(name)} now"] = None
        if record.get("code_sha256") != again.get("code_sha256"):
            was = (
                "has changed since"
                if "code_sha256" in record
                else "may have changed (its hash was not recorded)"
            )
            found[f"the code of {lesson} {was}"] = None
        if record["dataset"]["sha256"] != again["dataset"]["sha256"]:
            found["the images are others"] = None
    return list(found)


def is_expected(found: Sequence[Difference], changes: Sequence[str]) -> bool:
    """Returns whether the numbers are the same, or differ as they may if something else has changed."""
    return all(of.now == of.recorded or (changes and of.is_expected) for of in found)


def _spreads(study: Path) -> dict[tuple[str, str], float]:
    """Returns (model, metric) -> standard deviation over the runs of a study, where it has enough of them."""
    table = results.table(study)
    found = {}
    for model, rows in table.groupby("model"):
        for metric in _METRICS:
            values = rows[metric].dropna().tolist() if metric in rows else []
            if len(values) >= _FEW:
                found[str(model), metric] = statistics.stdev(values)
    return found


def _summary(folder: Path, again: Path, found: Sequence[Difference], changes: Sequence[str]) -> str:
    rows = [
        [
            *(of.lesson, of.model, of.metric),
            *(number(value, ".4f") for value in (of.recorded, of.now)),
            number(of.now - of.recorded, "+.4f"),
            number(of.sd, ".4f"),
        ]
        for of in found
    ]
    columns = ["lesson", "model", "number", "recorded", "now", "difference", "sd over seeds"]
    other = [of for of in found if of.now != of.recorded]
    if not other:
        words = f"All {len(found)} numbers are the same as in the record."
    else:
        words = f"{len(other)} of {len(found)} numbers differ from the record."
        unexpected = [of for of in other if not of.is_expected]
        if changes:
            words += (
                " If processor, threads, versions or code differ, a training ends as with another seed: "
                "differences of up to three standard deviations (of a difference between two seeds) are expected. "
                f"{len(unexpected) or 'None'} of them {'is' if len(unexpected) == 1 else 'are'} larger."
            )
        else:
            words += " Processor, threads, versions and code are the same, so they should not differ."
    lines = [Table(f"{again} against {folder}", columns, rows).text(), words]
    return "\n\n".join(
        [*lines, "\n".join(["Changed since the record:", *changes]) if changes else ""]
    ).rstrip()
