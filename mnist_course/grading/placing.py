"""Put collected files into `submitted/`, so that nothing that is there already is lost.

A replaced attempt is moved into `replaced/`; a file that was put there or changed by hand stays where it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat

from mnist_course.grading import collected, course_folder, platforms, reading, submissions
from mnist_course.grading.collected import Attempt, NotRecognised, Record
from mnist_course.grading.course_folder import Exercise
from mnist_helpers import _files

REPLACED = "replaced"
_MAX_NAME = 60  # characters of a student's folder


class Batch(NamedTuple):
    """What one archive holds.

    Attributes:
        attempts: the notebooks of exercises.
        others: all other files, with a copy of the content if there is one.
        copies: sha256 -> a copy of the content.
        similar: student's folder -> the name in the archive, which is not exactly that of the roster.
    """

    attempts: list[Attempt]
    others: list[tuple[NotRecognised, Path | None]]
    copies: dict[str, Path]
    similar: dict[str, str]


def folder_name(name: str, identifier: str = "") -> str:
    """Returns a name that is safe as a folder, in a glob pattern and in a spreadsheet.

    Args:
        name: the name, which is cut if it is long.
        identifier: what tells the student apart from another one of this name; it is not cut.
    """
    if identifier:
        name = f"{name[: max(1, _MAX_NAME - len(identifier) - 1)]} {identifier}"
    text = unicodedata.normalize("NFC", name)
    text = "".join(
        sign if unicodedata.category(sign)[0] in "LMN" or sign in " ._@+'’-" else " " for sign in text
    )
    text = " ".join(text.split())[:_MAX_NAME]
    return re.sub(r"^[\W_]+|[ .'’]+$", "", text) or "unnamed"


def releases_of(exercises: Mapping[str, Exercise]) -> dict[str, nbformat.NotebookNode]:
    """Returns exercise -> the students' version."""
    return {name: of.release for name, of in exercises.items()}


def named_after(name: str, exercises: Mapping[str, Exercise]) -> str:
    """Returns the exercise whose name is a part of a file's name, or the empty string."""
    found = (known for known in exercises if re.search(rf"(?<![^\W_]){re.escape(known)}(?![^\W_])", name))
    return next(found, "")


def place(
    folder: Path, batch: Batch, record: Record, exercises: Mapping[str, Exercise]
) -> tuple[list[Attempt], list[str]]:
    """Adds a batch to the record, and brings `submitted/` up to date.

    Returns:
        The attempts that were not known, and what the teacher should know.
    """
    known = {attempt.key: attempt for attempt in record.attempts}
    new = []
    for attempt in batch.attempts:
        if attempt.key not in known:
            known[attempt.key] = attempt
            new.append(attempt)
        elif attempt.late is not None:  # collected again, this time with the time when it was due
            known[attempt.key].late = attempt.late
    record.attempts += new
    _remove_others(folder, record, exercises)
    existing = submitted(folder, exercises)
    lines: list[str] = []
    for student, exercise in sorted({(attempt.student, attempt.exercise) for attempt in batch.attempts}):
        of_both = [of for of in record.attempts if (of.student, of.exercise) == (student, exercise)]
        best = collected.decide(of_both)
        lines += [*_submitted_again(batch, new, best), *_other_numbers(of_both)]
        lines += _place_one(
            folder, best, of_both, batch.copies, existing.get((student, exercise)), is_new=best in new
        )
    _keep_others(folder, batch, record, exercises)
    return new, lines


def _submitted_again(batch: Batch, new: Sequence[Attempt], best: Attempt) -> list[str]:
    """Says that an archive has an attempt that a later one had replaced: nothing shows which is the latest.

    Canvas and Brightspace number each attempt, or write its time into its name. Other platforms give out the latest
    attempt only: then this is an older archive, or the student has submitted the earlier attempt again.
    """
    mine = [of for of in batch.attempts if (of.student, of.exercise) == (best.student, best.exercise)]
    if any(of in new or of.key == best.key or of.platform in ("Canvas", "Brightspace") for of in mine):
        return []
    label = f"{best.student}/{best.exercise}"
    return [
        f"{label}: this archive has an earlier attempt, and {best.file} of {best.archive} still counts. If the "
        f"student has submitted the earlier one again, copy it to {course_folder.SUBMITTED}/{label}/"
        f"{best.exercise}.ipynb"
    ]


def _other_numbers(attempts: Sequence[Attempt]) -> list[str]:
    """Says that a platform has given several numbers to one name: in one assignment, that is two people."""
    numbers = {number for of in attempts if (number := platforms.number_of(of.file, of.platform))}
    if len(numbers) < 2:
        return []
    first = attempts[0]
    return [
        f"{first.student}/{first.exercise}: the platform's numbers differ ({', '.join(sorted(numbers))}). Either "
        "there are two assignments with this exercise, or two people have this name: compare the numbers with the "
        "platform"
    ]


def submitted(folder: Path, exercises: Mapping[str, Exercise]) -> dict[tuple[str, str], Path]:
    """Returns (student's folder, exercise) -> the notebook that the grading takes from `submitted/`."""
    found, _, _ = submissions.find(folder / course_folder.SUBMITTED, releases_of(exercises))
    return {(submission.student, submission.exercise): submission.path for submission in found}


def _place_one(
    folder: Path,
    best: Attempt,
    attempts: Sequence[Attempt],
    copies: Mapping[str, Path],
    existing: Path | None,
    *,
    is_new: bool,
) -> list[str]:
    place = folder / course_folder.SUBMITTED / best.student / best.exercise
    target = place / f"{best.exercise}.ipynb"
    label = f"{best.student}/{best.exercise}"
    if existing is None and target.exists():
        existing = target
    if existing is not None:
        digest = _files.sha256(existing) if existing.is_file() else ""
        if digest == best.sha256:
            return []
        known = {attempt.sha256 for attempt in attempts}
        # A known attempt that counts was put there when it was new.
        if existing != target or digest not in known or not is_new:
            shown = existing.relative_to(folder)
            return [
                f"{label}: {shown} was put there or changed by hand; it was kept, and it is what is graded"
            ]
    if best.sha256 not in copies:
        return [f"{label}: the attempt that counts is missing; collect {best.archive} again"]
    if existing is not None:
        _move_aside(folder, target)
    place.mkdir(parents=True, exist_ok=True)
    _files.write(target, copies[best.sha256].read_bytes())
    if best.time:
        _files.write(place / course_folder.TIMESTAMP, f"{collected.in_utc(best.time)}\n")
    return []


def _move_aside(folder: Path, path: Path) -> None:
    """Moves a file of `submitted/` into `replaced/`, under a name that is free."""
    place = folder / REPLACED / path.parent.relative_to(folder / course_folder.SUBMITTED)
    place.mkdir(parents=True, exist_ok=True)
    number = 1
    while (free := place / f"{path.stem}-{number}{path.suffix}").exists():
        number += 1
    path.rename(free)


def _remove_others(folder: Path, record: Record, exercises: Mapping[str, Exercise]) -> None:
    """Moves aside what was kept only to be named, of students who have submitted a notebook since."""
    for other in record.not_recognised:
        if other.kept_as and not _may_be_submission(other, record, exercises):
            path = folder / course_folder.SUBMITTED / other.student / other.kept_as
            if path.is_file():
                _move_aside(folder, path)
            other.kept_as = ""


def _keep_others(folder: Path, batch: Batch, record: Record, exercises: Mapping[str, Exercise]) -> None:
    """Keeps what may be a student's submission where the grading finds it: its report then says NOT GRADED.

    In place of a file that could not be read from the archive, a note says why.
    """
    known = {(other.file, other.archive): other for other in record.not_recognised}
    for other, copy in batch.others:
        if (other.file, other.archive) in known:
            continue
        known[other.file, other.archive] = other
        record.not_recognised.append(other)
        if other.student and _may_be_submission(other, record, exercises):
            name = Path(other.file.rpartition("/")[2])
            suffix = name.suffix if copy or name.suffix == ".ipynb" else f"{name.suffix}.ipynb"
            path = folder / course_folder.SUBMITTED / other.student / f"{folder_name(name.stem)}{suffix}"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                content = copy.read_bytes() if copy else f"{reading.NOT_COLLECTED}{other.reason}\n".encode()
                _files.write(path, content)
                other.kept_as = path.name


def _may_be_submission(other: NotRecognised, record: Record, exercises: Mapping[str, Exercise]) -> bool:
    has = {attempt.exercise for attempt in record.attempts if attempt.student == other.student}
    named = named_after(other.file.rpartition("/")[2], exercises)
    return named not in has if named else not has
