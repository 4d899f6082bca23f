"""Bring what a learning platform gives out into `submitted/`: each student's latest valid attempt.

    archive or folder + roster -> submitted/STUDENT/EXERCISE/EXERCISE.ipynb, roster.csv, collected.json

Which exercise a file belongs to is decided as in the grading (`submissions.find`), whose it is by `platforms`.
Of several attempts the latest one counts that can be read and has answers. Nothing in `submitted/` is lost: a
replaced attempt is moved into `replaced/`, and a file that was put there or changed by hand stays where it is.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mnist_course.grading import (
    archives,
    collected,
    course_folder,
    nbgrader_bridge,
    placing,
    platforms,
    reading,
    recognition,
    submissions,
    tables,
)
from mnist_course.grading.archives import Member
from mnist_course.grading.collected import Attempt, NotRecognised, Record
from mnist_course.grading.course_folder import Exercise
from mnist_course.grading.platforms import Origin
from mnist_course.grading.roster import Roster, Student, keep_roster, kept_roster, read_roster
from mnist_helpers._errors import UserError

_STAGED = "notebook.ipynb"  # a name that no exercise has: the content decides
_NOT_A_NOTEBOOK = "is not a notebook"


def collect(
    folder: Path, source: Path, *, roster: Path | None = None, due: datetime.datetime | None = None
) -> str:
    """Collects the submissions of an archive or a folder into a grading folder.

    Collecting the same archive again changes nothing; a newer one replaces earlier attempts by later ones.

    Args:
        folder: a folder made by `release.build`.
        source: a zip or tar archive, or a folder, as a learning platform gives it out.
        roster: the list of the class; by default, the one that the grading folder keeps.
        due: local time after which a submission is late; by default, only the platform's own marks of late
            submissions are recorded.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: the folder is not a grading folder, there is no roster, the roster or the archive cannot be read,
            or another process is working in the folder. Nothing was written then.
    """
    nbgrader_bridge.check_installed()
    folder, source = folder.resolve(), source.resolve()
    exercises = {name: course_folder.read_exercise(folder, name) for name in course_folder.exercises(folder)}
    if source.is_relative_to(folder) or folder.is_relative_to(source):
        raise UserError(f"Expected: an archive or a folder outside of {folder}. Received: {source}.")
    in_class = read_roster(roster) if roster else kept_roster(folder)
    if in_class is None:
        raise UserError(
            f"{folder} has no roster yet. Expected: --roster FILE, a CSV file with the columns name, email, id, or "
            "a list of the participants or a gradebook that your platform exports."
        )
    with tempfile.TemporaryDirectory(prefix="collect-") as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbformat warns about what the grading repairs
        members = archives.read(source, _made(Path(temporary) / "files"))
        with course_folder.lock(folder):
            record = collected.read(folder)
            batch = _sorted(members, source.name, folder, in_class, exercises, record, Path(temporary), due)
            keep_roster(folder, in_class)
            new, lines = placing.place(folder, batch, record, exercises)
            collected.write(folder, record)
    return _summary(folder, source.name, batch, new, lines, record, in_class, exercises)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# --- sorting out ---


def _sorted(
    members: Sequence[Member],
    archive: str,
    folder: Path,
    roster: Roster,
    exercises: Mapping[str, Exercise],
    record: Record,
    temporary: Path,
    due: datetime.datetime | None,
) -> placing.Batch:
    origins = platforms.origins([member.path for member in members], roster, exercises)
    doubtful = _doubtful(origins)
    folders = _Folders(folder / course_folder.SUBMITTED, roster, record)
    found = _exercises_of(members, exercises, _made(temporary / "staged"))
    times = {
        member.path[:-1]: _timestamp(member)
        for member in members
        if member.path[-1] == course_folder.TIMESTAMP
    }
    batch = placing.Batch([], [], {}, {})
    containers: dict[tuple, list[tuple[Attempt, int, str]]] = {}
    for member in members:
        origin = doubtful.get(member.path, origins[member.path])
        name = member.path[-1]
        if isinstance(origin, str):
            if name not in (course_folder.TIMESTAMP, "index.html"):  # Brightspace adds an index
                other = NotRecognised(tables.printable(member.name), archive, "", member.problem or origin)
                batch.others.append((other, None))
            continue
        if name == course_folder.TIMESTAMP:
            continue
        student = folders.of(origin)
        exercise, reason = found.get(member.path, ("", member.problem or _NOT_A_NOTEBOOK))
        if member.copy:
            content = member.copy.read_bytes()
            batch.copies[digest := hashlib.sha256(content).hexdigest()] = member.copy
        if not exercise or not member.copy:
            other = NotRecognised(tables.printable(member.name), archive, student, reason)
            batch.others.append((other, member.copy))
            continue
        time = origin.time or times.get(member.path[:-1]) or member.modified
        # The platform's own mark comes first: the times in Canvas's archives are those of the download.
        late = origin.late if origin.late is not None or not (due and time) else time > due
        readable, answers = _quality(member.copy, exercises[exercise])
        if origin.students and origin.platform != "Canvas" and not roster.is_exact(origin.name):
            batch.similar[student] = tables.printable(origin.name)
        attempt = Attempt(
            student=student,
            exercise=exercise,
            file=tables.printable(member.name),
            archive=archive,
            platform=origin.platform,
            time=time.strftime(collected.TIME_FORMAT) if time else "",
            order=origin.order,
            late=late,
            sha256=digest,
            readable=readable,
            answered=answers > 0,
        )
        batch.attempts.append(attempt)
        containers.setdefault((student, exercise, origin.container), []).append((attempt, answers, name))
    for same in containers.values():
        _prefer_one(same)
    return batch


def _doubtful(origins: Mapping[tuple[str, ...], Origin | str]) -> dict[tuple[str, ...], str]:
    """Returns the files of which one name means several people, as the platform's numbers show."""
    numbers: dict[tuple, set[str]] = {}
    keys: dict[tuple[str, ...], tuple] = {}
    for path, origin in origins.items():
        if isinstance(origin, str) or origin.platform not in (platforms.MOODLE, "Canvas"):
            continue
        if origin.platform == "Canvas" and not origin.students:
            continue  # its number is a part of the folder's name
        # Moodle's numbers are other ones in each assignment, and so in each archive.
        place = origin.container[:-1] if origin.platform == platforms.MOODLE else ()
        keys[path] = (place, origin.students or origin.name)
        numbers.setdefault(keys[path], set()).add(origin.number)
    return {
        path: f"two people have this name (numbers {', '.join(sorted(numbers[key]))}); {platforms.WAY_OUT}"
        for path, key in keys.items()
        if len(numbers[key]) > 1
    }


def _exercises_of(
    members: Sequence[Member], exercises: Mapping[str, Exercise], stage: Path
) -> dict[tuple[str, ...], tuple[str, str]]:
    """Returns path -> its exercise, or the empty string and the reason, as the grading recognises a notebook."""
    staged = {}
    for number, member in enumerate(members):
        is_notebook_like = Path(member.path[-1]).suffix.lower() in archives.NOTEBOOK_LIKE
        if member.copy and not member.problem and is_notebook_like:
            shutil.copyfile(member.copy, _made(stage / str(number)) / _STAGED)
            staged[str(number)] = member.path
    found, _, remarks = submissions.find(stage, placing.releases_of(exercises))
    known = {staged[submission.student]: (submission.exercise, "") for submission in found}
    for remark in remarks:
        if remark.student in staged and staged[remark.student] not in known:
            path = staged[remark.student]
            known[path] = (_named_but_damaged(path[-1], stage / remark.student / _STAGED, exercises), "")
            if not known[path][0]:
                known[path] = ("", remark.text.removeprefix(f"{_STAGED} "))
    return known


def _named_but_damaged(name: str, copy: Path, exercises: Mapping[str, Exercise]) -> str:
    """Returns the exercise after which a notebook is named that cannot be read; the grading then says why."""
    exercise = placing.named_after(name, exercises)
    if not exercise or not name.lower().endswith(".ipynb"):
        return ""
    try:
        reading.read(copy)
    except reading.NotReadableError:
        return exercise
    return ""


def _quality(copy: Path, exercise: Exercise) -> tuple[bool, int]:
    """Returns whether a notebook can be read, and how many answers differ from the students' version."""
    try:
        notebook = reading.read(copy)
    except reading.NotReadableError:
        return False, 0
    return True, recognition.num_answers(notebook, exercise.release)


def _prefer_one(same: Sequence[tuple[Attempt, int, str]]) -> None:
    """Prefers one of several notebooks that were submitted together: with more answers, then with the right name.

    The grading chooses in the same way between copies in a student's folder.
    """

    def rank(entry: tuple[Attempt, int, str]) -> tuple:
        attempt, answers, name = entry
        exact = name.endswith(f"{attempt.exercise}.ipynb")
        return attempt.readable, answers, attempt.order, exact, attempt.time

    best = max(same, key=rank)[0]
    for attempt, _, _ in same:
        attempt.beside = attempt is not best


def _timestamp(member: Member) -> datetime.datetime | None:
    """Reads the time of submission that nbgrader has recorded, and returns it as local time."""
    from nbgrader.utils import parse_utc

    if member.copy is None or member.copy.stat().st_size > nbgrader_bridge.MAX_TIMESTAMP_BYTES:
        return None
    with contextlib.suppress(ValueError):
        time = parse_utc(member.copy.read_text(encoding="utf-8", errors="replace").strip())
        return time.replace(microsecond=0, tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)
    return None


class _Folders:
    """The folder of each student in `submitted/`: the known one, one that was made by hand, or a new one."""

    def __init__(self, submitted: Path, roster: Roster, record: Record) -> None:
        self._record = record
        self._unique = collections.Counter(
            placing.folder_name(student.name).casefold() for student in roster.students
        )
        self._by_hand: dict[Student, str] = {}
        for path in sorted(submitted.iterdir()):
            students = roster.find(path.name)
            if path.is_dir() and len(students) == 1:
                self._by_hand.setdefault(students[0], path.name)

    def of(self, origin: Origin) -> str:
        """Returns the name of a student's folder, and notes it in the record."""
        folder = self._of_student(origin.students[0]) if origin.students else self._of_stranger(origin)
        identity = {}
        if origin.students:
            student = origin.students[0]
            identity = {
                field: getattr(student, field) for field in collected.IDENTITY if getattr(student, field)
            }
        self._record.students[folder] = identity
        return folder

    def _of_student(self, student: Student) -> str:
        for folder, identity in self._record.students.items():
            if student.is_same(identity):
                return folder
        if student in self._by_hand:
            return self._by_hand[student]
        name = placing.folder_name(student.name)
        if self._unique[name.casefold()] > 1:
            name = placing.folder_name(name, student.identifier)
        return name

    def _of_stranger(self, origin: Origin) -> str:
        name = placing.folder_name(
            f"{origin.name} {origin.number}" if origin.platform == "Canvas" else origin.name
        )
        return f"{name} not in the roster" if self._record.students.get(name) else name


# --- the summary ---


def _summary(
    folder: Path,
    source: str,
    batch: placing.Batch,
    new: Sequence[Attempt],
    lines: Sequence[str],
    record: Record,
    roster: Roster,
    exercises: Mapping[str, Exercise],
) -> str:
    pairs = {(attempt.student, attempt.exercise) for attempt in batch.attempts}
    mine = [of for of in record.attempts if (of.student, of.exercise) in pairs]
    counting = [of for of in mine if of.counts]
    students = {of.student for of in counting}
    late = [f"{of.student}/{of.exercise}{f', {of.time}' if of.time else ''}" for of in counting if of.late]
    several = [line for of in counting if (line := _about_several(of, mine))]
    invalid = [f"{of.student}/{of.exercise}: {of.file} cannot be read" for of in counting if not of.readable]
    blank = [f"{of.student}/{of.exercise}" for of in counting if of.readable and not of.answered]
    others = [f"{other.file}: {other.reason}" for other, _ in batch.others]
    strangers = sorted(name for name in students if not record.students.get(name))
    text = (
        f"{_count(len(counting), 'submission')} of {_count(len(students), 'student')} in {source}; "
        f"{_count(len(new), 'new attempt')}.\n"
    )
    if students and len(strangers) == len(students):
        text += "None of these students is in the roster: check that it is the roster of this class.\n"
    text += (
        _list("Late", late)
        + _list("More than one attempt", several)
        + _list("Not readable", invalid)
        + _list("Without answers, as it was given out", blank)
        + _list("Kept, or to be checked", lines)
        + _list(
            "Matched by a similar name", [f"{name!r}: {who}" for who, name in sorted(batch.similar.items())]
        )
        + _list("NOT RECOGNISED", others)
        + _list("Not in the roster", strangers)
        + _not_submitted(folder, record, roster, exercises, {of.exercise for of in batch.attempts})
    )
    return f"{text}Record: {folder / collected.FILE}\nNext:   mnist-course assignments grade {folder}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _list(title: str, lines: Sequence[str]) -> str:
    return "".join([f"{title} ({len(lines)}):\n", *(f"  - {line}\n" for line in lines)]) if lines else ""


def _about_several(counts: Attempt, attempts: Sequence[Attempt]) -> str:
    """Returns which of several attempts counts, and why; the empty string if there is only one."""
    others = [
        of
        for of in attempts
        if (of.student, of.exercise) == (counts.student, counts.exercise) and of is not counts
    ]
    if not others:
        return ""
    worse = [
        f"{of.file} of {of.archive}: {of.decision}" for of in others if not (of.readable and of.answered)
    ]
    text = f"{counts.student}/{counts.exercise}: {counts.file} counts ({counts.decision})"
    return "; ".join([text, *worse])


def _not_submitted(
    folder: Path,
    record: Record,
    roster: Roster,
    exercises: Mapping[str, Exercise],
    collected_now: Collection[str],
) -> str:
    """Lists who of the roster has not submitted the exercises that were collected now."""
    have: dict[str, set[Student]] = {}
    for student, exercise in placing.submitted(folder, exercises):
        have.setdefault(exercise, set())
        if known := collected.student_of(student, record, roster):
            have[exercise].add(known)
    unclear = {
        collected.student_of(other.student, record, roster)
        for other in record.not_recognised
        if other.kept_as
    }
    names = collections.Counter(of.name for of in roster.students)
    shown = {of: f"{of.name} ({of.identifier})" if names[of.name] > 1 else of.name for of in roster.students}
    return "".join(
        _list(
            f"{exercise}: not submitted",
            [
                f"{name} (but a file that was not recognised)" if of in unclear else name
                for of, name in shown.items()
                if of not in have[exercise]
            ],
        )
        for exercise in sorted(have.keys() & (collected_now or have.keys()))
    )
