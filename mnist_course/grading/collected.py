"""The record of what was collected, `collected.json`: all attempts, which of them count, and why."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mnist_course.grading.roster import Roster, Student
from mnist_helpers import _files
from mnist_helpers._errors import UserError

FILE = "collected.json"
# What is kept of a student of the roster.
IDENTITY = ("name", "email", "id", "login", "canvas_id")
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
_ADVICE = "Delete it, and collect the archives again: what is in submitted/ stays."


@dataclasses.dataclass
class Attempt:
    """One notebook of one student.

    Attributes:
        student: the student's folder in `submitted/`.
        exercise: the exercise.
        file: its path in the archive.
        archive: the name of the archive.
        platform: where it came from, see `platforms`.
        time: local time of the submission as a text, or the empty string.
        order: the platform's number, higher for later attempts; 0 if there is none.
        late: whether it was late; `None` if that is not known.
        sha256: of its content.
        readable: whether it is a notebook.
        answered: whether an answer differs from the version that students get.
        beside: whether another notebook of the same submission was preferred.
        counts: whether it is the one that is graded.
        decision: why it counts, or does not.
    """

    student: str
    exercise: str
    file: str
    archive: str
    platform: str
    time: str
    order: int
    late: bool | None
    sha256: str
    readable: bool
    answered: bool
    beside: bool = False
    counts: bool = False
    decision: str = ""

    @property
    def key(self) -> tuple:
        """What is the same for the same attempt in another download."""
        # The time of a file in an archive can be that of the download; Brightspace's is in the name.
        time = self.time if self.platform == "Brightspace" else ""
        return self.student, self.exercise, self.sha256, self.order, time


@dataclasses.dataclass
class NotRecognised:
    """A file that is not a submission.

    Attributes:
        file: its path in the archive.
        archive: the name of the archive.
        student: the student's folder, or the empty string.
        reason: why it was not recognised.
        kept_as: the name under which it lies in the student's folder, so that the report names it; or empty.
    """

    file: str
    archive: str
    student: str
    reason: str
    kept_as: str = ""


@dataclasses.dataclass
class Record:
    """What `collected.json` holds.

    Attributes:
        students: folder -> what is known of its student (`IDENTITY`); empty for one who is not in the roster.
        attempts: all attempts that were ever collected.
        not_recognised: the other files.
    """

    students: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    not_recognised: list[NotRecognised] = dataclasses.field(default_factory=list)


def read(folder: Path) -> Record:
    """Reads `collected.json`; an empty record if there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return Record()
    content: Any = _files.read_json(path, _ADVICE)
    try:
        record = Record(**content)
        record.attempts = [Attempt(**entry) for entry in record.attempts]  # type: ignore[arg-type]
        record.not_recognised = [NotRecognised(**entry) for entry in record.not_recognised]  # type: ignore[arg-type]
        names = [name for entry in record.attempts for name in (entry.student, entry.exercise)]
        names += [name for entry in record.not_recognised for name in (entry.student, entry.kept_as)]
        if not all(map(_is_safe, names)):
            raise TypeError("a name is not that of a file")
        if not all(isinstance(identity, dict) for identity in record.students.values()):
            raise TypeError("students has another form")
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is damaged, or was written by another version ({error}). {_ADVICE}"
        ) from error
    return record


def _is_safe(name: object) -> bool:
    return isinstance(name, str) and name not in (".", "..") and not set("/\\\0") & set(name)


def student_of(name: str, record: Record, roster: Roster) -> Student | None:
    """Returns the student of the roster to whom a folder in `submitted/` belongs, or `None`."""
    if identity := record.students.get(name):
        return next((student for student in roster.students if student.is_same(identity)), None)
    found = roster.find(name)
    return found[0] if len(found) == 1 and name not in record.students else None


def absent(names: Sequence[str], record: Record, roster: Roster) -> list[str]:
    """Returns the students of the roster to whom no folder belongs; one who shares a name with its identifier.

    Args:
        names: the folders in `submitted/`.
        record: what was collected.
        roster: the roster.
    """
    present = [student_of(name, record, roster) for name in names]
    missing = [student for student in roster.students if student not in present]
    taken = [*names, *(student.name for student in missing)]
    return [
        f"{student.name} ({student.identifier})" if taken.count(student.name) > 1 else student.name
        for student in missing
    ]


def write(folder: Path, record: Record) -> None:
    """Writes `collected.json`, if anything has changed."""
    path, content = folder / FILE, dataclasses.asdict(record)
    if not path.is_file() or _files.read_json_or_none(path) != content:
        _files.write_json(path, content)


def in_utc(time: str) -> str:
    """Returns the time of an attempt as nbgrader writes it."""
    local = datetime.datetime.strptime(time, TIME_FORMAT).astimezone()
    return f"{local.astimezone(datetime.UTC):{TIME_FORMAT}} UTC"


def decide(attempts: Iterable[Attempt]) -> Attempt:
    """Chooses the attempt that counts among those of one student and exercise, and notes the reasons.

    An attempt that can be read is preferred, then one with answers, then the later one.
    """
    attempts = list(attempts)
    best = next(attempt for attempt in attempts if not attempt.beside)
    for attempt in attempts:
        if not attempt.beside and _is_better(attempt, best):
            best = attempt
    for attempt in attempts:
        attempt.counts = attempt is best
        attempt.decision = _why_not(attempt, best)
    best.decision = _why(best, [attempt for attempt in attempts if attempt is not best])
    return best


def _is_better(attempt: Attempt, best: Attempt) -> bool:
    quality, of_best = (attempt.readable, attempt.answered), (best.readable, best.answered)
    return quality > of_best or (quality == of_best and _is_later(attempt, best) is True)


def _is_later(one: Attempt, other: Attempt) -> bool | None:
    """Compares two attempts; `None` if it is not known which is later."""
    if one.order and other.order:
        return one.order > other.order
    if one.time and other.time and one.time != other.time:
        return one.time > other.time
    return None


def _why(best: Attempt, others: Sequence[Attempt]) -> str:
    if not others:
        return "the only attempt"
    apart = [other for other in others if not other.beside]
    if not apart:
        return "of the notebooks that were submitted together, it has the most answers, or the right name"
    if any(_is_later(other, best) for other in apart):
        return "the latest attempt with answers that can be read"
    if all(_is_later(best, other) for other in apart):
        return "the latest attempt"
    if not any(other.readable and other.answered for other in apart):
        return "the only attempt with answers that can be read"
    return "it is not known which is the latest: the one that was there first counts"


def _why_not(attempt: Attempt, best: Attempt) -> str:
    if attempt.beside:
        return "another notebook of the same submission counts"
    if best.readable and not attempt.readable:
        return "it cannot be read as a notebook"
    if best.answered and not attempt.answered:
        return "it has no answers"
    if _is_later(attempt, best) is None:
        return "it is not known whether it is later: the one that was there first counts"
    return "it is an earlier attempt"
