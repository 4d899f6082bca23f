"""`course.json`, the description of a run: its settings, and what the runner measured of each lesson."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mnist_helpers import _files
from mnist_helpers._errors import UserError

COURSE_FILE = "course.json"
_COURSE_TYPES = {"settings": dict, "lessons": dict}
_SETTINGS_TYPES = {"profile": str, "dataset": str, "seed": int, "params": dict}
_TIMING_TYPES = {"wall_seconds": (int, float), "longest_cell_seconds": (int, float)}


class Settings(NamedTuple):
    """The settings of a run, checked.

    Attributes:
        profile: a name in `profiles.yaml`.
        dataset: `"mnist"`, `"fashion_mnist"`, `"digits"`, or the absolute path of a folder.
        seed: the seed of all lessons.
        params: the other parameters, profile and `-p` together.
    """

    profile: str
    dataset: str
    seed: int
    params: dict[str, Any]


def read_course(folder: Path) -> tuple[Settings, dict[str, dict[str, float]]]:
    """Reads `course.json` of a run.

    Returns:
        The run's settings, and what the runner measured: lesson -> `wall_seconds` (process start to end) and
        `longest_cell_seconds`.

    Raises:
        UserError: the file is damaged, or is not a description of a run.
        OSError: the file cannot be read.
    """
    path = folder / COURSE_FILE
    advice = f"Give another name, or begin again: with --fresh, or after deleting {folder}."
    course = check_entries(path, _files.read_json(path, advice), _COURSE_TYPES, advice)
    settings = check_entries(path, course["settings"], _SETTINGS_TYPES, advice)
    measured = {
        str(lesson): check_entries(path, timing, _TIMING_TYPES, advice)
        for lesson, timing in course["lessons"].items()
    }
    return Settings(**settings), measured


def timings(folder: Path) -> dict[str, dict[str, float]]:
    """Returns what the runner measured, as `read_course` does; nothing for a run that was made by hand."""
    return read_course(folder)[1] if (folder / COURSE_FILE).is_file() else {}


def check_entries(
    path: Path, content: Any, types: Mapping[str, type | tuple[type, ...]], advice: str
) -> dict[str, Any]:
    """Checks (a part of) a JSON file that an earlier command wrote; the user may have changed it since.

    Args:
        path: the file, for the error message.
        content: what was read from it.
        types: the entries that it must have, and their types.
        advice: what the user can do, for the error message.

    Returns:
        The entries in `types`, without others.

    Raises:
        UserError: an entry is missing or has another type.
    """
    entries = content if isinstance(content, dict) else {}
    wrong = [name for name, kind in types.items() if not isinstance(entries.get(name), kind)]
    if wrong:
        raise UserError(
            f"{path} is damaged, or this command did not write it. Expected: entries {', '.join(types)}. "
            f"Missing or of another type: {', '.join(wrong)}. {advice}"
        )
    return {name: entries[name] for name in types}
