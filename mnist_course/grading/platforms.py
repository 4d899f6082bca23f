"""Whose file is it? What learning platforms write into the names of the files and folders that they give out.

Moodle      `First Last_4711_assignsubmission_file_/NAME`, or flat `First Last_4711_assignsubmission_file_NAME`; the
            number is another one in each assignment; a group may stand before the name (`Group A-First Last`).
Canvas      flat `lastfirst_LATE_12345_678901_NAME`: the student's number, which stays the same, and the file's,
            which is higher for what was submitted later; `-1` at the end of NAME is a second file of this name.
Brightspace `12345-67890 - First Last - Mar 3, 2026 1012 AM/NAME`, a folder for each attempt.
Google      `First Last - NAME`, or a folder with the student's name.
Others      a folder with the student's name, e-mail address, id or login, at any depth.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import re
from collections.abc import Collection
from typing import NamedTuple

from mnist_course.grading import archives
from mnist_course.grading.roster import Roster, Student

MOODLE = "Moodle"
WAY_OUT = "put the files into a folder that is named after the e-mail address or id, and collect that folder"
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_.*)?", re.DOTALL)
_CANVAS = re.compile(
    r"(?P<name>.+?)(?P<late>_?LATE)?_(?P<user>\d+)_(?P<file>\d+)_.+", re.IGNORECASE | re.DOTALL
)
_BRIGHTSPACE = re.compile(r"(?P<number>\d+-\d+) - (?P<name>.+) - (?P<time>[^-]+ \d{1,2}:?\d\d(?: ?[AP]M)?)")
_GOOGLE = re.compile(r"(?P<name>\S+ \S.*?) - \S.*")
_HIDDEN_NAME = re.compile(r"(?:.+-)?participant|anon(?:ymous)?.*", re.IGNORECASE)
_COPY = re.compile(r"-Copy\d*$|[ _]?\(\d+\)$|^Copy of |^Kopie von ", re.IGNORECASE)
_NOBODY = "no student's name is in its path"
_FILLING = {
    "copy",
    "of",
    "final",
    "late",
    "submission",
    "solution",
    "homework",
    "assignment",
    "v1",
    "v2",
    "v3",
}


class Origin(NamedTuple):
    """What the path of a file says.

    Attributes:
        platform: Moodle, Canvas, Brightspace, Google Classroom or "folders".
        students: the students of the roster whom it can mean; empty if the student is not in the roster.
        name: the student's name, as the path has it.
        number: the platform's number of the student (Canvas) or of the student's submission (Moodle).
        container: what is one attempt: files with the same container were submitted together.
        order: a number that is higher for later attempts; 0 if there is none.
        late: whether it was late; `None` if the path does not say so.
        time: local time of the submission; `None` if the path does not say it.
    """

    platform: str
    students: tuple[Student, ...]
    name: str
    container: tuple[str, ...]
    number: str = ""
    order: int = 0
    late: bool | None = None
    time: datetime.datetime | None = None


def origins(
    paths: Collection[tuple[str, ...]], roster: Roster, exercises: Collection[str]
) -> dict[tuple[str, ...], Origin | str]:
    """Finds out whose files they are; see `origin_of`."""
    start, doubt = _folders_around(paths, roster, exercises)
    if doubt:
        return dict.fromkeys(paths, doubt)
    inner = {path: path[start:] for path in paths}
    above = wrappers_of(inner.values(), roster, exercises)
    known = {path: origin_of(rest, roster, exercises, None) for path, rest in inner.items()}
    for origin in known.values():
        if isinstance(origin, Origin):
            above |= {origin.container[:end] for end in range(1, len(origin.container))}
    return {
        path: origin_of(inner[path], roster, exercises, above) if origin == _NOBODY else origin
        for path, origin in known.items()
    }


def _folders_around(
    paths: Collection[tuple[str, ...]], roster: Roster, exercises: Collection[str]
) -> tuple[int, str]:
    """Finds folders around everything that are called like a student's id or login by chance, such as `2026`.

    Returns:
        How many folders at the beginning of all paths are left out; and the reason, if it cannot be told.
    """
    by_depth = zip(*map(_before_archives, paths), strict=False)
    shared = [names[0] for names in itertools.takewhile(lambda names: len(set(names)) == 1, by_depth)]
    for depth in range(len(shared), 0, -1):
        name = shared[depth - 1]
        students = [
            of for of in roster.find(name) if name.casefold() in (of.id.casefold(), of.login.casefold())
        ]
        if not students:
            continue
        inner = {
            of[0]
            for path in paths
            for part in _before_archives(path)[depth:]
            if len(of := roster.find(part)) == 1
        }
        if len(inner) > 1 or len(_named(paths, depth, roster, exercises) - set(students)) > 1:
            return depth, ""
        if inner - set(students):
            names = " and ".join(of.name for of in (*students, *inner))
            return 0, f"its folders mean different students ({names}); collect the inner folder alone"
    return 0, ""


def _before_archives(path: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the folders of a file, as far as no student has named them in an archive."""
    return tuple(itertools.takewhile(lambda part: not archives.is_archive(part), path[:-1]))


def _named(
    paths: Collection[tuple[str, ...]], depth: int, roster: Roster, exercises: Collection[str]
) -> set[Student]:
    """Returns the students whom the names of files mean."""
    names = [path[depth:] for path in paths]
    found = [_of_canvas(path, roster) or _of_file_name(path, roster, exercises) for path in names]
    return {student for of in found if of for student in of.students}


def origin_of(
    path: tuple[str, ...],
    roster: Roster,
    exercises: Collection[str],
    above: Collection[tuple[str, ...]] | None,
) -> Origin | str:
    """Finds out whose file it is.

    Args:
        path: the folders, the archives, and the name of the file.
        roster: the class.
        exercises: the names of the exercises: a folder with such a name is no student's.
        above: the folders that hold several students; `None` to leave out folders of people who are not in the
            roster.

    Returns:
        The origin, or the reason why it cannot be told.
    """
    around = _before_archives(path)
    found = (
        # What is in an archive has names that a student gave: the name of the archive comes first.
        _of_known(path[: len(around) + 1], roster, exercises)
        or _of_known(path, roster, exercises)
        or (None if above is None else _of_stranger(path, exercises, above))
    )
    if found is None:
        return _NOBODY
    if found.platform in (MOODLE, "Canvas") and not found.students and _HIDDEN_NAME.fullmatch(found.name):
        return "the platform has hidden the student's name; reveal the identities, and download again"
    if len(found.students) > 1:
        return f"{found.name!r} can be {len(found.students)} students of the roster; {WAY_OUT}"
    return found


def _of_known(path: tuple[str, ...], roster: Roster, exercises: Collection[str]) -> Origin | None:
    return (
        _of_moodle_or_brightspace(path, roster)
        or _of_folder(path, roster)
        or _of_canvas(path, roster)
        or _of_file_name(path, roster, exercises)
    )


def wrappers_of(
    paths: Collection[tuple[str, ...]], roster: Roster, exercises: Collection[str]
) -> set[tuple[str, ...]]:
    """Returns the folders at the beginning of all paths that hold everything and are no student's."""
    found: set[tuple[str, ...]] = set()
    depth = 0
    while paths and min(map(len, paths)) > depth + 2 and len({path[: depth + 1] for path in paths}) == 1:
        path = next(iter(paths))
        if any(other[depth + 1] in exercises for other in paths) or roster.find(path[depth]):
            break
        depth += 1
        found.add(path[:depth])
    return found


def _of_moodle_or_brightspace(path: tuple[str, ...], roster: Roster) -> Origin | None:
    for place, part in enumerate(path):
        if match := _MOODLE.fullmatch(part):
            container = (*path[:place], f"{match['name']}_{match['number']}")
            students, name = _without_group(match["name"], roster)
            return Origin(MOODLE, tuple(students), name, container, match["number"])
        if match := _BRIGHTSPACE.fullmatch(part):
            students = roster.find(match["name"])
            time = _brightspace_time(match["time"])
            return Origin(
                "Brightspace", tuple(students), match["name"], path[: place + 1], match["number"], time=time
            )
    return None


def moodle_folder(path: str) -> str:
    """Returns the folder of a student as Moodle names it, such as `First Last_4711_assignsubmission_file_`."""
    found = filter(None, map(_MOODLE.fullmatch, path.split("/")))
    return next((f"{of['name']}_{of['number']}_assignsubmission_{of['kind']}_" for of in found), "")


def number_of(path: str, platform: str) -> str:
    """Returns the number that Moodle or Brightspace gives to a student in an assignment, or the empty string."""
    pattern = {MOODLE: _MOODLE, "Brightspace": _BRIGHTSPACE}.get(platform)
    found = filter(None, map(pattern.fullmatch, path.split("/"))) if pattern else iter(())
    return next((match["number"].partition("-")[0] for match in found), "")


def _without_group(name: str, roster: Roster) -> tuple[list[Student], str]:
    """Finds a student with or without the group before the name."""
    parts = name.split("-")
    for start in range(len(parts)):
        if students := roster.find(rest := "-".join(parts[start:])):
            return students, rest
    return [], name


def _brightspace_time(text: str) -> datetime.datetime | None:
    words = text.upper().replace(",", " ").replace(".", " ").replace(":", "").split()
    words = [word.zfill(4) if len(word) == 3 and word.isdigit() else word for word in words]
    for day in ("%b %d %Y", "%B %d %Y", "%d %b %Y", "%d %B %Y"):
        for hour in ("%I%M %p", "%H%M"):
            with contextlib.suppress(ValueError):
                return datetime.datetime.strptime(" ".join(words), f"{day} {hour}")
    return None


def _of_folder(path: tuple[str, ...], roster: Roster) -> Origin | None:
    is_whole = archives.is_archive(path[-1])
    for part in path if is_whole else path[:-1]:
        name = archives.without_suffix(part)
        students, name = (found, name) if (found := roster.find(name)) else _between_dashes(name, roster)
        if students:
            return Origin("folders", tuple(students), name, path if is_whole else path[:-1])
    return None


def _between_dashes(text: str, roster: Roster) -> tuple[list[Student], str]:
    """Finds a student in `First Last - NAME` or `NAME - First Last`; the longest name that somebody has counts."""
    parts = [_COPY.sub("", part) for part in text.split(" - ")]
    for length in range(len(parts) - (len(parts) > 1), 0, -1):
        for start in range(len(parts) - length + 1):
            if students := roster.find(name := " - ".join(parts[start : start + length])):
                return students, name
    return [], ""


def _of_canvas(path: tuple[str, ...], roster: Roster) -> Origin | None:
    for place, part in enumerate(path):
        is_file = place == len(path) - 1 or archives.is_archive(part)
        match = _CANVAS.fullmatch(part) if is_file else None
        if not match or match["name"].casefold() in ("exercise", "lesson", "copy"):
            continue
        known = roster.with_canvas_id(match["user"])
        # Whoever has another number of Canvas in the roster is somebody else.
        named = [of for of in roster.find(match["name"], is_compact=True) if not of.canvas_id]
        students = (known,) if known else tuple(named)
        late = bool(match["late"])
        name = match["name"]
        return Origin(
            "Canvas", students, name, path[: place + 1], match["user"], int(match["file"]), late=late
        )
    return None


def _of_file_name(path: tuple[str, ...], roster: Roster, exercises: Collection[str]) -> Origin | None:
    """Finds `First Last - NAME`, `NAME - First Last` and, with an exercise's name, `First_Last_exercise_01`."""
    stem = _COPY.sub("", path[-1].rpartition(".")[0] or path[-1])
    students, name = _between_dashes(stem, roster)
    if students:
        return Origin("Google Classroom", tuple(students), name, (*path[:-1], name))
    words = re.split(r"[_\s]+", stem)
    known = _FILLING.union(*(name.casefold().split("_") for name in exercises))
    while words and (words[0].casefold() in known or words[0].isdigit()):
        words.pop(0)
    while words and (words[-1].casefold() in known or words[-1].isdigit()):
        words.pop()
    name = " ".join(words)
    students = roster.find(name) if name else []
    return Origin("Google Classroom", tuple(students), name, (*path[:-1], name)) if students else None


def _of_stranger(
    path: tuple[str, ...], exercises: Collection[str], above: Collection[tuple[str, ...]]
) -> Origin | None:
    """Finds the name of somebody who is not in the roster."""
    for place, part in enumerate(path[:-1]):
        is_above = path[: place + 1] in above or part in exercises or part == "submitted"
        if not is_above and not archives.is_archive(part):
            return Origin("folders", (), part, path[:-1])
    match = _GOOGLE.fullmatch(path[-1])
    return Origin("Google Classroom", (), match["name"], (*path[:-1], match["name"])) if match else None
