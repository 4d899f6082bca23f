"""How long each lesson takes, and how much memory it uses, for planning a class or a hub.

    runs and studies in results/ -> timings.json -> tables

The announced minutes are in the header of each notebook: `**Time:** 50 minutes, of which ...`.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_course import course_file, lessons
from mnist_course.reports import study_report
from mnist_course.reports.page import Table
from mnist_helpers import _files, results
from mnist_helpers._errors import UserError

TIMINGS_FILE = "timings.json"
_TIME = re.compile(r"\*\*Time:\*\* ([^\n]+)")
_MINUTES = re.compile(r"(two classes of )?(\d+) min")


def announced(notebook: Path) -> int:
    """Returns the minutes that a notebook's header announces in all, the computer's included.

    Raises:
        UserError: the header has no line with times.
    """
    line = _TIME.search("".join(_files.read_json(notebook)["cells"][0]["source"]))
    if not line:
        expected = "Expected: a line `**Time:** 50 minutes ...`"
        raise UserError(f"{notebook.name} does not announce its time. {expected}.")
    parts = _MINUTES.findall(line[1].split(", of which")[0])
    return sum(int(minutes) * (2 if twice else 1) for twice, minutes in parts)


# --- measured ---


def measured(folders: Sequence[Path]) -> dict[str, Any]:
    """Gathers what the runner and the records say about time and memory.

    Args:
        folders: runs that `mnist-course run` made, and studies.

    Returns:
        profile -> `dataset`, `cores`, and `lessons`: lesson -> `n` (runs), `median_seconds`, `low`, `high` (wall
        time, from the start of the lesson's process to its end), `longest_cell_seconds` and `peak_memory_bytes`
        (the largest of all runs).

    Raises:
        UserError: a run has no measured lesson, another parameter than its profile, or another dataset or
            machine than the other runs of its profile.
    """
    found: dict[str, Any] = {}
    for folder in folders:
        is_study = (folder / study_report.STUDY_FILE).is_file()
        for run in [folder / name for name in study_report.study_runs(folder)] if is_study else [folder]:
            _add(found, run)
    for entry in found.values():
        runs = entry["lessons"]
        entry["lessons"] = {name: _summary(runs[name]) for name in results.IN_ORDER if name in runs}
    return {profile: found[profile] for profile in lessons.profiles() if profile in found}


def _add(found: dict[str, Any], run: Path) -> None:
    measured_lessons = course_file.timings(run)
    if not measured_lessons:
        expected = "Expected: a run of `mnist-course run`, or a study."
        hint = "What is run by hand, in JupyterLab, is not measured."
        raise UserError(f"Nothing was measured in {run}. {expected} {hint}")
    settings, _ = course_file.read_course(run)
    profile = settings.profile
    given = lessons.profile_parameters(profile)
    params = settings.params.items()
    changed = sorted(name for name, value in params if name != "search_from" and given.get(name) != value)
    if changed:
        raise UserError(f"Run {run.name!r} is not a plain {profile} run: {', '.join(changed)} was given.")
    for lesson, timing in measured_lessons.items():
        record = results.load_record(run, lesson)
        where = {"dataset": record["dataset"]["name"], "cores": record["machine"]["cores"]}
        entry = found.setdefault(profile, where | {"lessons": {}})
        if where != {name: entry[name] for name in where}:
            raise UserError(
                f"Run {run.name!r} cannot be combined with the other {profile} runs: it was made on "
                f"{where['dataset']} with {where['cores']} cores, they on {entry['dataset']} with {entry['cores']}."
            )
        memory = {"peak_memory_bytes": record["peak_memory_bytes"]}
        entry["lessons"].setdefault(lesson, []).append(timing | memory)


def _summary(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    seconds = [run["wall_seconds"] for run in runs]
    return {
        "n": len(runs),
        "median_seconds": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "longest_cell_seconds": max(run["longest_cell_seconds"] for run in runs),
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
    }


def write(folder: Path, profiles: dict[str, Any]) -> Path:
    """Writes `timings.json` into a folder: what `measured` returned, this machine, and the date."""
    path = folder / TIMINGS_FILE
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_json(path, content(profiles))
    return path


def content(profiles: dict[str, Any]) -> dict[str, Any]:
    """Returns what `timings.json` holds: what `measured` returned, this machine, and the date."""
    machine = results.machine() | {"versions": results.versions(), "date": time.strftime("%Y-%m-%d")}
    return {"machine": machine, "profiles": profiles}


# --- tables ---


def times_table(content: dict[str, Any]) -> Table:
    """Returns the announced minutes of each lesson, and the measured time of each profile."""
    profiles = content["profiles"]
    minutes = [announced(lessons.NOTEBOOKS / f"{lesson}.ipynb") for lesson in results.LESSONS]
    rows = []
    for lesson, announced_minutes in zip(results.LESSONS, minutes, strict=True):
        times = [_time(entry["lessons"].get(lesson)) for entry in profiles.values()]
        rows.append([lesson, f"{announced_minutes} min", *times])
    measured = [
        [timing for name, timing in entry["lessons"].items() if name in results.LESSONS]
        for entry in profiles.values()
    ]
    sums = [_duration(sum(timing["median_seconds"] for timing in timings)) for timings in measured]
    rows.append(["all", f"{sum(minutes)} min", *sums])
    columns = ["lesson", "in class", *(f"{name}, measured" for name in profiles)]
    note = (
        "In class: announced in the lesson's header. Measured: wall time with kernel start and imports, median "
        f"(range, n runs); {_where(content)}."
    )
    return Table("Time", columns, rows, note)


def memory_table(content: dict[str, Any]) -> Table:
    """Returns the largest memory of each lesson's kernel."""
    profiles = content["profiles"]
    rows = [
        [lesson, *(_memory(entry["lessons"].get(lesson)) for entry in profiles.values())]
        for lesson in results.IN_ORDER
        if lesson in results.LESSONS or any(lesson in entry["lessons"] for entry in profiles.values())
    ]
    entries = [timing for entry in profiles.values() for timing in entry["lessons"].values()]
    largest = max(timing["peak_memory_bytes"] for timing in entries)
    note = (
        f"The largest memory of each lesson's kernel in n runs; {_where(content)}. The largest: "
        f"{largest / 1e6:,.0f} MB.{waiting_time(profiles['class']) if 'class' in profiles else ''}"
    )
    return Table("Memory", ["lesson", *(f"{name} (n)" for name in profiles)], rows, note)


def waiting_time(taught: dict[str, Any], students: int = 30, cores: int = 32) -> str:
    """Returns in words how long a class waits for a hub.

    Args:
        taught: what `measured` returned of the class profile.
        students: the number of students who run the longest lesson at the same moment.
        cores: the number of cores of the hub, each as fast as the measured ones.
    """
    lesson, slowest = max(taught["lessons"].items(), key=lambda item: item[1]["median_seconds"])
    alone = slowest["median_seconds"]
    together = alone * max(1.0, students * taught["cores"] / cores)
    return (
        f" The longest lesson of the class profile, {lesson}, takes {_duration(alone)} alone "
        f"on {taught['cores']} cores. If it kept them busy all the time, {students} students who run it at the "
        f"same moment on a hub of {cores} such cores would wait {_duration(together)}."
    )


def _time(lesson: dict[str, float] | None) -> str | None:
    if lesson is None:
        return None
    low, high = _duration(lesson["low"]), _duration(lesson["high"])
    spread = f"{low} to {high}, " if lesson["n"] > 1 else ""
    return f"{_duration(lesson['median_seconds'])} ({spread}n={lesson['n']})"


def _memory(lesson: dict[str, float] | None) -> str | None:
    return f"{lesson['peak_memory_bytes'] / 1e6:,.0f} MB ({lesson['n']})" if lesson else None


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _where(content: dict[str, Any]) -> str:
    machine = content["machine"]
    datasets = sorted({entry["dataset"] for entry in content["profiles"].values()})
    processor = machine["processor"] or machine["architecture"]
    return f"{', '.join(datasets)}, {processor}, {machine['cores']} cores, compiled on {machine['date']}"
