"""Run one seed of a study again, and compare its numbers with the record.

    STUDY/<run with this seed> -> results/replicas/STUDY-RUN/ -> a table of differences

On the same processor, with the same versions and the same number of threads, a training gives the same numbers. On
another one, sums are rounded in another order, and the training ends at another point, as with another seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnist_course import course_file, lessons, study_grid
from mnist_course.reports import study_report
from mnist_course.reports.page import Table, number
from mnist_course.run import runner
from mnist_course.run.settings import Limits, check_lessons, check_settings
from mnist_helpers import _files, parameters, results
from mnist_helpers._course import REFERENCE
from mnist_helpers._errors import UserError

FOLDER = "replicas"
_METRICS = ("val_accuracy", "val_loss", "test_accuracy", "test_loss")
_MACHINE = ("python", "architecture", "processor", "threads")
# What a run sets itself: where it is, and what `course.json` holds apart from the parameters.
_NOT_PARAMETERS = ("run", "results_dir", "data_dir", "profile", "dataset", "seed")
_FEW = 3  # seeds; a spread of fewer says nothing
_UNCOMMITTED = "+changes"  # the end of `commit` in a record, if there were uncommitted changes


class Difference(NamedTuple):
    """A number of a record, and the same number of now.

    Attributes:
        lesson: the lesson.
        model: the model.
        metric: such as `"val_accuracy"`.
        recorded: the number in the record.
        now: the number of the replica.
        sd: its standard deviation over the seeds of the study; `None` if it is not known.
    """

    lesson: str
    model: str
    metric: str
    recorded: float
    now: float
    sd: float | None

    @property
    def is_expected(self) -> bool | None:
        """Whether two seeds could differ as much: by three standard deviations of a difference.

        `None` if the standard deviation is not known, so that a difference cannot be judged.
        """
        if self.now == self.recorded:
            return True
        return None if self.sd is None else abs(self.now - self.recorded) <= 3 * math.sqrt(2) * self.sd


def replicate(
    study: str, seed: int, *, results_dir: Path, only: Sequence[str] = (), threads: int = 0
) -> tuple[str, str]:
    """Runs one seed of a study again, from the beginning: an earlier replica of the same run is deleted.

    Args:
        study: STUDY, or STUDY/RUN where several runs have this seed; `reference/...` is the course's own.
        seed: the seed.
        results_dir: the folder that holds the studies.
        only: the lessons to run again; empty for all that were run.
        threads: threads of each kernel; 0 for the recorded number.

    Returns:
        A summary for the terminal; and in a few words what is not as expected, empty if everything is. If nothing
        else has changed, numbers have to be the same. Otherwise they may differ by what two seeds would explain; a
        difference that cannot be judged, because no spread over seeds is known, is not as expected.

    Raises:
        UserError: the run was not found, this version of the course cannot run it, or its records hold no score.
        runner.LessonFailedError: a lesson did not run to its end.
    """
    folder = _run_of(study, seed, results_dir)
    settings, _ = course_file.read_course(folder)
    names = [name for name in results.recorded_lessons(folder) if not only or name in check_lessons(only)]
    recorded = {name: results.load_record(folder, name) for name in names}
    if not recorded:
        raise UserError(f"{folder} has no records of these lessons. Expected: a run whose lessons were run.")
    _check_complete(folder, names)
    if not _scores(recorded):
        raise UserError(
            f"Nothing can be compared: {folder} has no scores of these lessons. Expected: lessons with validation "
            f"or test scores. Received: {', '.join(names)}."
        )
    spreads, why_unknown = _spreads(folder)
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
        name, checked, names, results_dir=results_dir / FOLDER, fresh=True, limits=limits, wait_seconds=0
    )
    now = {lesson: results.load_record(again, lesson) for lesson in names}
    found = differences(recorded, now, spreads)
    compared = {of[:3] for of in found}
    lacking = [score for score in _scores(recorded) if score not in compared]
    changes = changed(recorded, now)
    table = _table(f"{again} against {folder}", found)
    texts = [table, _in_words(found, lacking, changes, recorded, why_unknown)]
    if changes:
        texts.append("\n".join(["Changed since the record:", *changes]))
    return "\n\n".join(filter(None, texts)), problem(found, lacking, changes)


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


def _check_complete(folder: Path, names: Sequence[str]) -> None:
    """Refuses an evaluation without the lessons that save what it evaluates: a replica begins without files."""
    evaluations = [name for name in names if name in lessons.EVALUATIONS]
    missing = [
        name for name in results.recorded_lessons(folder) if name in results.LESSONS and name not in names
    ]
    if evaluations and missing:
        raise UserError(
            f"--only: {evaluations[0]} measures what the lessons of the same run have saved. Expected: all lessons "
            f"of the run, or some without it. Missing: {', '.join(missing)}."
        )


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
        Difference(lesson, model, metric, before, after, spreads.get((model, metric)))
        for (lesson, model, metric), before in _scores(recorded).items()
        for after in [now[lesson]["models"].get(model, {}).get(metric)]
        if after is not None
    ]


def _scores(records: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str, str], float]:
    """Returns all scores of a run: (lesson, model, metric) -> score."""
    return {
        (lesson, model, metric): entry[metric]
        for lesson, record in records.items()
        for model, entry in record["models"].items()
        for metric in _METRICS
        if entry.get(metric) is not None
    }


def changed(recorded: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns in words what else differs between two runs: machine, threads, versions, code, images.

    Without a limit of threads, their number is that of the cores, so these are compared.
    """
    found: dict[str, None] = {}
    for lesson, record in recorded.items():
        again = now[lesson]
        machines = [of["machine"] for of in (record, again)]
        has_limit = all(machine.get("threads") for machine in machines)
        for name in (*_MACHINE, *([] if has_limit else ["cores"])):
            before, after = (_machine_in_words(machine, name) for machine in machines)
            if before != after:
                found[f"{name}: {before} then, {after} now"] = None
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
        before, after = (of.get("commit", "not recorded") for of in (record, again))
        if before != after:
            found[f"commit: {before} then, {after} now"] = None
        elif before.endswith(_UNCOMMITTED):
            found[f"commit: {before} in both, so the uncommitted changes may differ"] = None
        if record["dataset"]["sha256"] != again["dataset"]["sha256"]:
            found["the images are others"] = None
    return list(found)


def _machine_in_words(machine: Mapping[str, Any], name: str) -> str:
    value = machine.get(name)
    unknown = "not limited" if name == "threads" and name in machine else "not recorded"
    return str(value) if value else unknown


def problem(found: Sequence[Difference], lacking: Sequence[Any], changes: Sequence[str]) -> str:
    """Returns in a few words what is not as expected; empty if everything is.

    Args:
        found: the numbers that were compared.
        lacking: recorded scores that the replica does not have.
        changes: from `changed`.
    """
    other = [of for of in found if of.now != of.recorded]
    parts = {
        "The numbers differ more than expected.": any(not changes or of.is_expected is False for of in other),
        "Differences cannot be judged.": bool(changes) and any(of.is_expected is None for of in other),
        "Recorded numbers are missing from the replica.": bool(lacking),
    }
    return " ".join(sentence for sentence, is_true in parts.items() if is_true)


def _spreads(folder: Path) -> tuple[dict[tuple[str, str], float], str]:
    """Returns the standard deviations over the runs of the same study with the same swept parameters.

    Args:
        folder: the folder of one of these runs.

    Returns:
        (model, metric) -> standard deviation, where there are enough seeds; and why others are not known.
    """
    study = folder.parent
    if not (study / study_report.STUDY_FILE).is_file():
        return {}, "the run is not part of a study"
    asked = _files.read_json(study / study_report.STUDY_FILE)
    settings = {run: setting for run, (_, setting) in study_grid.grid(asked["seeds"], asked["swept"]).items()}
    own = study_grid.belonging(study_report.study_runs(study), asked)
    if folder.name not in own:
        return {}, "the run does not belong to the study in whose folder it is"
    table = results.table(study)
    same = table[table["run"].isin([run for run in own if settings[run] == settings[folder.name]])]
    found = {}
    for model, rows in same.groupby("model"):
        for metric in _METRICS:
            values = rows[metric].dropna().tolist()
            if len(values) >= _FEW:
                found[str(model), metric] = statistics.stdev(values)
    return found, f"the study has fewer than {_FEW} seeds{' with these settings' if asked['swept'] else ''}"


def _table(title: str, found: Sequence[Difference]) -> str:
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
    return Table(title, columns, rows).text()


def _in_words(
    found: Sequence[Difference],
    lacking: Sequence[tuple[str, str, str]],
    changes: Sequence[str],
    recorded: Mapping[str, Mapping[str, Any]],
    why_unknown: str,
) -> str:
    """Returns the sentences below the table."""
    words = []
    other = [of for of in found if of.now != of.recorded]
    if other:
        words.append(f"{len(other)} of {len(found)} numbers differ from the record.")
    elif found:
        compared = "that the replica has " if lacking else ""
        words.append(f"All {len(found)} numbers {compared}are the same as in the record.")
    if other and changes:
        words.append(
            "If processor, threads, versions or code differ, a training ends as with another seed: differences of "
            "up to three standard deviations (of a difference between two seeds) are expected."
        )
        unknown = [of for of in other if of.is_expected is None]
        larger = sum(of.is_expected is False for of in other)
        if len(unknown) < len(other):
            words.append(f"{larger or 'None'} of them {'is' if larger == 1 else 'are'} larger.")
        if unknown:
            named = _named(of[:3] for of in unknown)
            words.append(f"{len(unknown)} of them cannot be judged, since {why_unknown}: {named}.")
    elif other:
        code = "code" if all("commit" in record for record in recorded.values()) else "the notebooks' code"
        same = f"Processor, threads, versions and {code} are the same as in the record"
        words.append(f"{same}, so they should not differ.")
    if lacking:
        words.append(f"Recorded, but missing from the replica ({len(lacking)}): {_named(lacking)}.")
    return " ".join(words)


def _named(scores: Iterable[tuple[str, str, str]]) -> str:
    return ", ".join(f"{metric} of {model} ({lesson})" for lesson, model, metric in scores)
