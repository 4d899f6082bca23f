"""What learning platforms give out comes into `submitted/`: archives of each platform, without a kernel."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
import os
import tarfile
import time as clock
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest

from mnist_course.grading import (
    archives,
    collect,
    collected,
    placing,
    platforms,
    reading,
    roster,
    submissions,
)
from mnist_course.grading.roster import Roster, Student
from mnist_helpers import _files
from mnist_helpers._errors import UserError
from tests.grading.tiny import snapshot, solved, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

ANN = Student("Ann Lee", "ann@example.org", "1001", "alee", "12345")
ZOE = Student("Zoë O'Hara-Smith", "zoe@example.org", "1002")
RAM = Student("राम शर्मा", "ram@example.org", "1003")
LI = Student("李 小龙", "li@example.org", "1004")
BOB = Student("Bob van der Berg", "bob@example.org", "1005")
CLASS = [ANN, ZOE, RAM, LI, BOB]
MORNING = (2026, 3, 3, 10, 12, 0)
NOON = (2026, 3, 3, 12, 0, 0)
EVENING = (2026, 3, 4, 18, 30, 0)


def notebook(mark: str = "", **answers: str) -> bytes:
    """A solved notebook; `mark` tells several apart."""
    content = solved(**answers)
    content.cells.append(nbformat.v4.new_markdown_cell(f"This is {mark}.", id="mark"))
    return json.dumps(content).encode()


def mark_of(path: Path) -> str:
    return json.loads(path.read_text())["cells"][-1]["source"].removeprefix("This is ").removesuffix(".")


def untouched(folder: Path) -> bytes:
    return (folder / "release" / "tiny" / "tiny.ipynb").read_bytes()


def zipped(path: Path, files: Mapping[str, bytes], times: Mapping[str, tuple] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (times or {}).get(name, MORNING))
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def in_memory(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), datetime.datetime(*MORNING).timestamp()
            archive.addfile(info, io.BytesIO(content))
    return path


def unpacked(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def class_list(tmp_path) -> Path:
    return write_roster(tmp_path / "class.csv", CLASS)


def write_roster(path: Path, students: list[Student]) -> Path:
    rows = [(of.name, of.email, of.id, of.login, of.canvas_id) for of in students]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "email", "id", "login", "canvas_id"), *rows])
    return path


def submitted(folder: Path) -> dict[str, str]:
    """Student/exercise -> the mark of the notebook that is graded; notes in place of files are left out."""
    found = [path for path in sorted((folder / "submitted").rglob("*.ipynb")) if path not in notes(folder)]
    return {"/".join(path.relative_to(folder / "submitted").parts[:-1]): mark_of(path) for path in found}


def notes(folder: Path) -> dict[Path, str]:
    """File -> what is written in place of one that could not be read from an archive."""
    found = {path: path.read_bytes() for path in (folder / "submitted").rglob("*.ipynb")}
    note = reading.NOT_COLLECTED.encode()
    return {path: content.decode() for path, content in found.items() if content.startswith(note)}


def others(folder: Path) -> dict[str, str]:
    return {other.file: other.reason for other in collected.read(folder).not_recognised}


# --- formats ---

FORMATS = {
    "moodle folders": (
        {
            "Ann Lee_4711_assignsubmission_file_/tiny.ipynb": "a",
            "Zoë O'Hara-Smith_4712_assignsubmission_file_/my work.ipynb": "z",
            "राम शर्मा_4713_assignsubmission_file_/tiny.ipynb": "r",
            "李 小龙_4714_assignsubmission_file/tiny.ipynb": "l",
            "Group B-Bob van der Berg_4715_assignsubmission_file_/tiny.ipynb": "b",
        },
        "Moodle",
    ),
    "moodle flat": (
        {
            "Ann Lee_4711_assignsubmission_file_tiny.ipynb": "a",
            "O'Hara-Smith Zoë_4712_assignsubmission_file_my_work.ipynb": "z",
            "राम शर्मा_4713_assignsubmission_file_tiny.ipynb": "r",
            "李 小龙_4714_assignsubmission_file_tiny (1).ipynb": "l",
            "Bob van der Berg_4715_assignsubmission_file_tiny-Copy1.ipynb": "b",
        },
        "Moodle",
    ),
    "canvas": (
        {
            "leeann_12345_678901_02_baseline.ipynb": "a",
            "oharasmithzoë_LATE_12346_678902_tiny.ipynb": "z",
            "शर्माराम_12347_678903_tiny.ipynb": "r",
            "李小龙_12348_678904_tiny.ipynb": "l",
            "vanderbergbob_12349_678905_tiny-1.ipynb": "b",
        },
        "Canvas",
    ),
    "brightspace": (
        {
            "index.html": None,
            "12345-67890 - Ann Lee - Mar 3, 2026 1012 AM/tiny.ipynb": "a",
            "12346-67890 - Zoe O'Hara-Smith - Mar 3, 2026 112 PM/tiny.ipynb": "z",
            "12347-67890 - राम शर्मा - March 3, 2026 10:12 AM/tiny.ipynb": "r",
            "12348-67890 - 李 小龙 - 3 March, 2026 1012 AM/tiny.ipynb": "l",
            "12349-67890 - Bob van der Berg - Mar 13, 2026 1012 AM/tiny.ipynb": "b",
        },
        "Brightspace",
    ),
    "google flat": (
        {
            "Exercise/Ann Lee - tiny.ipynb": "a",
            "Exercise/tiny - Zoë O'Hara-Smith.ipynb": "z",
            "Exercise/राम शर्मा - Copy of tiny.ipynb": "r",
            "Exercise/李 小龙 - work.ipynb": "l",
            "Exercise/Bob_van_der_Berg_tiny.ipynb": "b",
        },
        "Google Classroom",
    ),
    "google folders": (
        {
            "Class/Ann Lee/tiny.ipynb": "a",
            "Class/Zoë O'Hara-Smith/Untitled.ipynb": "z",
            "Class/राम शर्मा/tiny.ipynb": "r",
            "Class/Class 2/李 小龙/tiny.ipynb": "l",
            "Class/Berg, Bob van der/tiny.ipynb": "b",
        },
        "folders",
    ),
    "plain tree": (
        {
            "alee/tiny.ipynb": "a",
            "zoe@example.org/week 1/deep/deeper/tiny.ipynb": "z",
            "1003/tiny.ipynb": "r",
            "tiny/1004/tiny.ipynb": "l",
            "BOB VAN DER BERG/tiny.ipynb.txt": "b",
        },
        "folders",
    ),
    "nbgrader": (
        {
            "submitted/Ann Lee/tiny/tiny.ipynb": "a",
            "submitted/Ann Lee/tiny/timestamp.txt": None,
            "submitted/1002/tiny/tiny.ipynb": "z",
            "submitted/1003/tiny/tiny.ipynb": "r",
            "submitted/1004/tiny/tiny.ipynb": "l",
            "submitted/1005/tiny/tiny.ipynb": "b",
        },
        "folders",
    ),
    "zips of students": (
        {
            "Ann Lee_4711_assignsubmission_file_/work.zip": {"a/b/c/d/tiny.ipynb": "a", "x.png": None},
            "leeann_9_1_unused.txt": None,
            "Zoë O'Hara-Smith.zip": {"tiny.ipynb": "z"},
            "शर्माराम_12347_678903_work.zip": {"__MACOSX/._tiny.ipynb": None, "work/tiny.ipynb": "r"},
            "李 小龙/work.zip": {"tiny.ipynb": "l"},
            "12349-67890 - Bob van der Berg - Mar 3, 2026 1012 AM/w.zip": {"tiny.ipynb": "b"},
        },
        None,
    ),
}
JUNK = {
    "__MACOSX/Ann Lee/._tiny.ipynb": b"",
    ".DS_Store": b"",
    "Ann Lee/Thumbs.db": b"",
    "Ann Lee/desktop.ini": b"",
}
EXPECTED = {"Ann Lee/tiny": "a", "Zoë O'Hara-Smith/tiny": "z", "राम शर्मा/tiny": "r", "李 小龙/tiny": "l"} | {
    "Bob van der Berg/tiny": "b"
}


def contents(files: Mapping) -> dict[str, bytes]:
    return {
        name: in_memory(contents(of))
        if isinstance(of, dict)
        else notebook(of)
        if of
        else b"2026-03-03 08:00:00 UTC"
        for name, of in files.items()
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
@pytest.mark.parametrize("form", FORMATS)
def test_l1_l2_l3_every_platform_and_form_comes_in(form, kind, folder, class_list, tmp_path):
    files, platform = FORMATS[form]
    make = {"zip": zipped, "tar": tarred, "folder": unpacked}[kind]
    source = make(tmp_path / f"download.{kind}", contents(files) | JUNK)
    summary = collect.collect(folder, source, roster=class_list)
    assert submitted(folder) == EXPECTED, others(folder)
    assert "5 submissions of 5 students" in summary and "not submitted" not in summary
    record = collected.read(folder)
    if platform:
        assert {attempt.platform for attempt in record.attempts} == {platform}
    assert record.students["Ann Lee"].items() <= dataclasses.asdict(ANN).items()
    assert record.students["Ann Lee"].keys() >= {"name", "email", "id"}
    assert "__MACOSX" not in str(record) and "Thumbs" not in str(record)
    before = snapshot(folder)
    again = collect.collect(folder, source)  # without a roster: the folder keeps it
    assert "0 new attempts" in again
    assert snapshot(folder) == before


def test_times_and_lateness_are_recorded(folder, class_list, tmp_path):
    names = list(FORMATS["brightspace"][0])[1:]
    source = zipped(tmp_path / "b.zip", contents(dict.fromkeys(names, "x")))
    summary = collect.collect(folder, source, roster=class_list, due=datetime.datetime(2026, 3, 3, 11, 0))
    times = {attempt.student: (attempt.time, attempt.late) for attempt in collected.read(folder).attempts}
    assert times == {
        "Ann Lee": ("2026-03-03 10:12:00", False),
        "Zoë O'Hara-Smith": ("2026-03-03 13:12:00", True),
        "राम शर्मा": ("2026-03-03 10:12:00", False),
        "李 小龙": ("2026-03-03 10:12:00", False),
        "Bob van der Berg": ("2026-03-13 10:12:00", True),
    }
    assert (
        "Late (2):\n  - Zoë O'Hara-Smith/tiny, 2026-03-03 13:12:00\n  - Bob van der Berg/tiny, 2026-03-13"
        in summary
    )
    collect.collect(folder, source, due=datetime.datetime(2026, 3, 3, 13, 12))
    late = {attempt.student for attempt in collected.read(folder).attempts if attempt.late}
    assert late == {"Bob van der Berg"}  # in the minute when it was due is not late
    assert (folder / "submitted/Ann Lee/tiny/timestamp.txt").read_text() == "2026-03-03 10:12:00 UTC\n"


@pytest.mark.skipif(not hasattr(clock, "tzset"), reason="Windows has one time zone for all programs")
def test_nbgraders_times_are_in_utc_and_ours_are_local(folder, class_list, tmp_path, monkeypatch):
    files = {
        "submitted/Ann Lee/tiny/tiny.ipynb": notebook("a"),
        "submitted/Ann Lee/tiny/timestamp.txt": b"2026-07-02 22:30:00.678 UTC",
        "12346-67890 - Zoe O'Hara-Smith - Mar 3, 2026 112 PM/tiny.ipynb": notebook("z"),
    }
    monkeypatch.setenv("TZ", "Europe/Berlin")
    clock.tzset()
    try:
        due = datetime.datetime(2026, 7, 3, 0, 0)
        collect.collect(folder, zipped(tmp_path / "b.zip", files), roster=class_list, due=due)
    finally:
        monkeypatch.undo()
        clock.tzset()
    times = {attempt.student: (attempt.time, attempt.late) for attempt in collected.read(folder).attempts}
    assert times == {
        "Ann Lee": ("2026-07-03 00:30:00", True),
        "Zoë O'Hara-Smith": ("2026-03-03 13:12:00", False),
    }
    written = {path.parts[-3]: path.read_text() for path in folder.glob("submitted/*/tiny/timestamp.txt")}
    assert written == {
        "Ann Lee": "2026-07-02 22:30:00 UTC\n",
        "Zoë O'Hara-Smith": "2026-03-03 12:12:00 UTC\n",
    }


def test_canvas_says_what_is_late_and_nbgrader_when(folder, class_list, tmp_path):
    collect.collect(folder, zipped(tmp_path / "c.zip", contents(FORMATS["canvas"][0])), roster=class_list)
    late = {attempt.student: attempt.late for attempt in collected.read(folder).attempts}
    assert late == dict.fromkeys(late, False) | {"Zoë O'Hara-Smith": True}
    other = {
        "submitted/Ann Lee/tiny/tiny.ipynb": notebook("later"),
        "submitted/Ann Lee/tiny/timestamp.txt": b"",
    }
    other["submitted/Ann Lee/tiny/timestamp.txt"] = b"2027-01-02 03:04:05.678 UTC"
    collect.collect(folder, zipped(tmp_path / "n.zip", other))
    assert collected.read(folder).attempts[-1].time == "2027-01-02 03:04:05"


# --- attempts ---


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_latest_attempt_counts_in_whatever_order_archives_come(is_reversed, folder, class_list, tmp_path):
    name = "Ann Lee_{}_assignsubmission_file_/tiny.ipynb"
    sources = []
    for number, (mark, time) in enumerate((("first", MORNING), ("second", NOON), ("third", EVENING))):
        path = name.format(number + 10)
        sources.append(zipped(tmp_path / f"{mark}.zip", {path: notebook(mark)}, {path: time}))
    for source in reversed(sources) if is_reversed else sources:
        summary = collect.collect(folder, source, roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "third"}
    attempts = collected.read(folder).attempts
    assert sorted((of.time, of.counts) for of in attempts) == [
        ("2026-03-03 10:12:00", False),
        ("2026-03-03 12:00:00", False),
        ("2026-03-04 18:30:00", True),
    ]
    assert {of.decision for of in attempts} == {"the latest attempt", "it is an earlier attempt"}
    assert "More than one attempt (1):" in summary
    kept = sorted(mark_of(path) for path in (folder / "replaced").rglob("*.ipynb"))
    assert kept == ([] if is_reversed else ["first", "second"])
    before = snapshot(folder)
    collect.collect(folder, sources[0])
    assert snapshot(folder) == before


def test_l1_of_canvas_files_the_higher_number_counts(folder, class_list, tmp_path):
    """Not the time: Canvas's archives are packed when they are downloaded."""
    old, new = "leeann_12345_678901_tiny.ipynb", "leeann_LATE_12345_678999_tiny-1.ipynb"
    files = {new: notebook("new"), old: notebook("old")}
    collect.collect(folder, zipped(tmp_path / "1.zip", files, {old: EVENING}), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "new"}
    collect.collect(folder, zipped(tmp_path / "2.zip", {old: notebook("old")}, {old: (2026, 5, 5, 5, 5, 4)}))
    assert submitted(folder) == {"Ann Lee/tiny": "new"}


def test_brightspace_has_a_folder_for_each_attempt(folder, class_list, tmp_path):
    files = {
        "12345-67890 - Ann Lee - Mar 3, 2026 912 PM/tiny.ipynb": notebook("evening"),
        "12345-67890 - Ann Lee - Mar 3, 2026 1012 AM/tiny.ipynb": notebook("morning"),
        "12345-67890 - Ann Lee - Mar 3, 2026 112 PM/tiny.ipynb": notebook("noon"),
    }
    collect.collect(folder, zipped(tmp_path / "b.zip", files), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "evening"}


def test_a_later_attempt_that_is_blank_or_cannot_be_read_does_not_count(folder, class_list, tmp_path):
    name = "12345-67890 - Ann Lee - Mar {}, 2026 1012 AM/tiny.ipynb"
    files = {
        name.format(3): notebook("answers"),
        name.format(4): untouched(folder),
        name.format(5): b'{"cells": [',
    }
    summary = collect.collect(folder, zipped(tmp_path / "b.zip", files), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "answers"}
    assert {of.decision for of in collected.read(folder).attempts} == {
        "the latest attempt with answers that can be read",
        "it has no answers",
        "it cannot be read as a notebook",
    }
    assert "counts (the latest attempt with answers that can be read)" in summary


def test_what_cannot_be_read_is_collected_so_that_the_grading_says_why(folder, class_list, tmp_path):
    source = zipped(tmp_path / "b.zip", {"Ann Lee/tiny.ipynb": b'{"cells": ['})
    summary = collect.collect(folder, source, roster=class_list)
    assert (folder / "submitted/Ann Lee/tiny/tiny.ipynb").read_bytes() == b'{"cells": ['
    assert "Not readable (1):\n  - Ann Lee/tiny: Ann Lee/tiny.ipynb cannot be read" in summary


def test_a_notebook_without_answers_is_named(folder, class_list, tmp_path):
    summary = collect.collect(
        folder, zipped(tmp_path / "b.zip", {"1001/x.ipynb": untouched(folder)}), roster=class_list
    )
    assert "Without answers, as it was given out (1):\n  - Ann Lee/tiny\n" in summary
    assert (folder / "submitted/Ann Lee/tiny/tiny.ipynb").read_bytes() == untouched(folder)


def test_m9_of_notebooks_that_were_submitted_together_the_one_with_answers_counts(
    folder, class_list, tmp_path
):
    start = "Ann Lee_4711_assignsubmission_file_/"
    files = {start + "tiny.ipynb": untouched(folder), start + "tiny-Copy1.ipynb": notebook("copy")}
    times = {start + "tiny.ipynb": EVENING}
    collect.collect(folder, zipped(tmp_path / "m.zip", files, times), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "copy"}
    files = {start + "tiny.ipynb": notebook("right name"), start + "backup.ipynb": notebook("other")}
    times = dict.fromkeys(files, (2026, 4, 1, 1, 1, 0))
    collect.collect(folder, zipped(tmp_path / "m2.zip", files, times))
    assert submitted(folder) == {"Ann Lee/tiny": "right name"}


def test_what_is_not_known_to_be_later_does_not_replace_anything(folder, class_list, tmp_path):
    for mark in ("one", "two"):
        name = "Ann Lee/tiny.ipynb"
        source = zipped(tmp_path / f"{mark}.zip", {name: notebook(mark)}, {name: (1980, 1, 1, 0, 0, 0)})
        collect.collect(folder, source, roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "one"}
    assert "not known whether it is later" in collected.read(folder).attempts[1].decision


def test_a_new_download_of_an_old_attempt_is_not_a_later_attempt(folder, class_list, tmp_path):
    """The times in an archive can be those of the download."""
    name = "Ann Lee_4711_assignsubmission_file_/tiny.ipynb"
    for number, (mark, time) in enumerate(
        (("old", MORNING), ("new", NOON), ("old", EVENING), ("new", EVENING))
    ):
        source = zipped(tmp_path / f"{number}.zip", {name: notebook(mark)}, {name: time})
        collect.collect(folder, source, roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "new"}
    assert [of.time for of in collected.read(folder).attempts] == [
        "2026-03-03 10:12:00",
        "2026-03-03 12:00:00",
    ]


def test_an_earlier_attempt_that_comes_again_is_said(folder, class_list, tmp_path):
    """Nothing shows whether the student has gone back to it, or the teacher to an older archive."""
    name = "Ann Lee_4711_assignsubmission_file_/tiny.ipynb"
    for number, (mark, time) in enumerate((("a", MORNING), ("b", NOON), ("a", EVENING))):
        source = zipped(tmp_path / f"{number}.zip", {name: notebook(mark)}, {name: time})
        summary = collect.collect(folder, source, roster=class_list)
        assert ("has an earlier attempt" in summary) == (number == 2)
    assert submitted(folder) == {"Ann Lee/tiny": "b"}
    assert "of 1.zip still counts" in summary and "copy it to submitted/Ann Lee/tiny/tiny.ipynb" in summary
    (folder / "submitted/Ann Lee/tiny/tiny.ipynb").write_bytes(notebook("a"))
    collect.collect(folder, tmp_path / "1.zip")
    assert submitted(folder) == {"Ann Lee/tiny": "a"}


# --- nothing is lost ---


def test_a_file_by_hand_that_is_also_an_earlier_attempt_stays(folder, class_list, tmp_path):
    unpacked(folder / "submitted", {"Ann Lee/my.ipynb": notebook("one")})
    for mark, time in (("one", MORNING), ("two", EVENING)):
        name = "Ann Lee/tiny.ipynb"
        source = zipped(tmp_path / f"{mark}.zip", {name: notebook(mark)}, {name: time})
        summary = collect.collect(folder, source, roster=class_list)
    assert submitted(folder) == {"Ann Lee": "one"}
    assert "submitted/Ann Lee/my.ipynb was put there or changed by hand; it was kept" in summary


@pytest.mark.parametrize(
    "place", ["Ann Lee/tiny.ipynb", "Ann Lee/tiny/tiny.ipynb", "ann@example.org/my.ipynb"]
)
def test_what_was_put_there_by_hand_stays_and_is_said(place, folder, class_list, tmp_path):
    unpacked(folder / "submitted", {place: notebook("by hand")})
    source = zipped(tmp_path / "z.zip", {"Lee, Ann/tiny.ipynb": notebook("collected")})
    summary = collect.collect(folder, source, roster=class_list)
    assert list(submitted(folder).values()) == ["by hand"]
    assert f"submitted/{place} was put there or changed by hand; it was kept" in summary
    (folder / "submitted" / place).unlink()
    collect.collect(folder, source)
    assert list(submitted(folder).values()) == ["collected"]


def test_what_was_changed_by_hand_after_collecting_stays(folder, class_list, tmp_path):
    name = "Ann Lee/tiny.ipynb"
    collect.collect(folder, zipped(tmp_path / "1.zip", {name: notebook("one")}), roster=class_list)
    (folder / "submitted/Ann Lee/tiny/tiny.ipynb").write_bytes(notebook("corrected by the teacher"))
    summary = collect.collect(folder, zipped(tmp_path / "2.zip", {name: notebook("two")}, {name: EVENING}))
    assert submitted(folder) == {"Ann Lee/tiny": "corrected by the teacher"}
    assert "changed by hand" in summary


def test_a_file_that_the_teacher_deleted_comes_back_with_its_archive(folder, class_list, tmp_path):
    source = zipped(tmp_path / "1.zip", {"Ann Lee/tiny.ipynb": notebook("one")})
    collect.collect(folder, source, roster=class_list)
    (folder / "submitted/Ann Lee/tiny/tiny.ipynb").unlink()
    collect.collect(folder, source)
    assert submitted(folder) == {"Ann Lee/tiny": "one"}


# --- who is it? ---


@pytest.mark.parametrize("year", ["1001", "ALEE"])
@pytest.mark.parametrize(
    "names",
    [
        ["Zoë O'Hara-Smith/tiny.ipynb", "1003/week 1/tiny.ipynb", "Bob van der Berg.zip/tiny.ipynb"],
        [
            "leeann_12345_678901_tiny.ipynb",
            "vanderbergbob_12349_678905_tiny.ipynb",
            "李小龙_12348_678904_x.ipynb",
        ],
        ["Zoë O'Hara-Smith - tiny.ipynb", "Bob_van_der_Berg_tiny.ipynb"],
        ["alee/tiny.ipynb", "1005/tiny.ipynb"],
    ],
)
def test_a_folder_around_everything_is_nobody(year, names, folder, class_list, tmp_path):
    """Even if it is called like a student's id or login."""
    files = {f"{year}/{name}": notebook(name) for name in names}
    for name in [name for name in files if ".zip/" in name]:
        outer, _, inner = name.partition(".zip/")
        files[f"{outer}.zip"] = in_memory({inner: files.pop(name)})
    collect.collect(folder, zipped(tmp_path / "m.zip", files), roster=class_list)
    assert sorted(submitted(folder).values()) == sorted(names)
    assert len({attempt.student for attempt in collected.read(folder).attempts}) == len(names)


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("1001/Bob van der Berg/tiny.ipynb", ""),
        ("Ann Lee/Bob van der Berg/tiny.ipynb", "Ann Lee"),
        ("1001/bob_van_der_berg_tiny.ipynb", "Ann Lee"),
        ("Ann Lee/1001/week 2/tiny.ipynb", "Ann Lee"),
    ],
)
def test_a_folder_of_one_student_in_that_of_another(name, student, folder, class_list, tmp_path):
    collect.collect(folder, zipped(tmp_path / "m.zip", {name: notebook("x")}), roster=class_list)
    assert submitted(folder) == ({f"{student}/tiny": "x"} if student else {})
    if not student:
        assert "mean different students (Ann Lee and Bob van der Berg)" in others(folder)[name]


def test_folders_in_a_students_own_archive_are_nobody_else(folder, class_list, tmp_path):
    work = in_memory({"Bob van der Berg/tiny.ipynb": notebook("mine"), "1003/tiny.ipynb": notebook("mine")})
    collect.collect(folder, zipped(tmp_path / "m.zip", {"1001/work.zip": work}), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "mine"}


KIM = Student("Kim Park", "kim@example.org", "1006")


@pytest.mark.parametrize(
    "name",
    [
        "Kim Park - homework.zip/Ann Lee/tiny.ipynb",
        "Kim Park - homework/Ann Lee/tiny.ipynb",
        "Kim Park - homework.zip/tiny.ipynb",
        "homework - Kim Park.zip/work/Ann Lee - tiny.ipynb",
        "Kim Park/Ann Lee.zip/tiny.ipynb",
        "Kim Park.zip/1001/tiny.ipynb",
        "Kim Park_77_assignsubmission_file_/Ann Lee.zip/tiny.ipynb",
        "Kim Park_77_assignsubmission_file_/Ann Lee/tiny.ipynb",
        "parkkim_9_10_homework.zip/Ann Lee/tiny.ipynb",
        "9-9 - Kim Park - Mar 3, 2026 1012 AM/Ann Lee.zip/alee/tiny.ipynb",
    ],
)
def test_who_submits_is_the_outermost_name(name, folder, tmp_path):
    """A student can name folders in a zip file after anybody."""
    class_list = write_roster(tmp_path / "class.csv", [*CLASS, KIM])
    outer, is_zipped, inner = name.partition(".zip/")
    content = in_memory({inner: notebook("kim")}) if is_zipped else notebook("kim")
    files = {f"{outer}.zip" if is_zipped else name: content, "Ann Lee/tiny.ipynb": notebook("ann")}
    collect.collect(folder, zipped(tmp_path / "g.zip", files), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "ann", "Kim Park/tiny": "kim"}, others(folder)


def test_an_archive_of_a_class_in_an_archive_is_still_read(folder, class_list, tmp_path):
    inner = in_memory({"Ann Lee/tiny.ipynb": notebook("a"), "1003/tiny.ipynb": notebook("r")})
    collect.collect(folder, zipped(tmp_path / "g.zip", {"week 1.zip": inner}), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "a", "राम शर्मा/tiny": "r"}


@pytest.mark.parametrize("people", [["Ann", "Ann - Marie Lee"], ["Ann - Marie Lee", "Marie Lee"]])
def test_of_names_with_dashes_the_longest_counts(people, folder, tmp_path):
    roster_of = [Student(name, f"{n}@example.org", f"20{n}") for n, name in enumerate(people)]
    class_list = write_roster(tmp_path / "class.csv", roster_of)
    name = "Ann - Marie Lee - tiny.ipynb"
    collect.collect(folder, zipped(tmp_path / "g.zip", {name: notebook("x")}), roster=class_list)
    (student,) = collected.read(folder).students.values()
    assert student["name"] == "Ann - Marie Lee"


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (("Awa N'Diaye", "Awa Ndiaye"), "Awa NDiaye"),
        (("Ann O’Hara", "Ann Ohara"), "Ann OHara"),
        (('Jo "JJ" Lee', "Jo JJ Lee"), "Jo JJ Lee"),
    ],
)
def test_a_name_without_its_apostrophe_can_be_two_students(names, written, folder, tmp_path):
    """Moodle leaves it out."""
    roster_of = [Student(name, f"{n}@example.org", f"20{n}") for n, name in enumerate(names)]
    class_list = write_roster(tmp_path / "class.csv", roster_of)
    path = f"{written}_11_assignsubmission_file_/tiny.ipynb"
    summary = collect.collect(folder, zipped(tmp_path / "m.zip", {path: notebook("x")}), roster=class_list)
    assert submitted(folder) == {}
    assert "can be 2 students of the roster; put the files into a folder that is named after" in summary
    found = Roster(roster_of)
    assert [of.name for of in found.find(names[0])] == [names[0]]
    assert [of.name for of in found.find("200")] == [names[0]]
    alone = Roster(roster_of[:1])
    assert [of.name for of in alone.find(written)] == [names[0]]


def test_a_similar_name_is_said(folder, class_list, tmp_path):
    files = {
        "Lee Ann_1_assignsubmission_file_/tiny.ipynb": notebook("a"),
        "Zoe O'Hara-Smith - tiny.ipynb": notebook("z"),
        "BOB VAN DER BERG/tiny.ipynb": notebook("b"),
        "1003/tiny.ipynb": notebook("r"),
    }
    summary = collect.collect(folder, zipped(tmp_path / "m.zip", files), roster=class_list)
    assert (
        "Matched by a similar name (2):\n  - 'Lee Ann': Ann Lee\n"
        "  - \"Zoe O'Hara-Smith\": Zoë O'Hara-Smith\n" in summary
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ann Lee_11_assignsubmission_file_/tiny.ipynb", "Ann Lee_12_assignsubmission_file_/tiny.ipynb"),
        (
            "11-9 - Ann Lee - Mar 3, 2026 1012 AM/tiny.ipynb",
            "12-9 - Ann Lee - Mar 4, 2026 1012 AM/tiny.ipynb",
        ),
    ],
)
def test_another_number_for_the_same_name_is_said(first, second, folder, class_list, tmp_path):
    collect.collect(folder, zipped(tmp_path / "1.zip", {first: notebook("1")}), roster=class_list)
    summary = collect.collect(folder, zipped(tmp_path / "2.zip", {second: notebook("2")}, {second: EVENING}))
    assert "Ann Lee/tiny: the platform's numbers differ (11, 12)" in summary
    same = collect.collect(folder, zipped(tmp_path / "3.zip", {second.replace("12", "11", 1): notebook("3")}))
    assert "numbers differ" in same  # it stays a question


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("name", ["tiny-Copy1.ipynb", "solved.ipynb"])
@pytest.mark.parametrize(
    "place",
    [
        "Ann Lee_4711_assignsubmission_file_/",
        "1-1 - Ann Lee - Mar 3, 2026 1012 AM/",
        "Ann Lee - ",
        "Ann Lee/",
        "Ann Lee - work.zip/",
    ],
)
def test_a_begun_notebook_does_not_beat_the_finished_copy_beside_it(
    place, name, later, folder, class_list, tmp_path
):
    begun = json.loads(untouched(folder))
    (cell,) = [cell for cell in begun["cells"] if cell["id"] == "number"]
    cell["source"] = "number = 7"
    files = {"tiny.ipynb": json.dumps(begun).encode(), name: notebook("finished")}
    times = {place + "tiny.ipynb": EVENING if later else MORNING}
    outer, is_zipped, _ = place.partition(".zip/")
    files = (
        {f"{outer}.zip": in_memory(files)} if is_zipped else {place + of: what for of, what in files.items()}
    )
    summary = collect.collect(folder, zipped(tmp_path / "m.zip", files, times), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "finished"}
    assert "submitted together, it has the most answers, or the right name" in summary


def test_canvas_says_itself_what_is_late(folder, class_list, tmp_path):
    """The times in its archives are those of the download."""
    files = contents(FORMATS["canvas"][0])
    source = zipped(tmp_path / "c.zip", files, dict.fromkeys(files, (2026, 5, 5, 5, 5, 4)))
    summary = collect.collect(folder, source, roster=class_list, due=datetime.datetime(2026, 3, 3, 11, 0))
    assert "Late (1):\n  - Zoë O'Hara-Smith/tiny" in summary


def test_a_later_attempt_that_cannot_be_read_is_named(folder, class_list, tmp_path):
    name = "Ann Lee_4711_assignsubmission_file_/tiny.ipynb"
    collect.collect(folder, zipped(tmp_path / "1.zip", {name: notebook("good")}), roster=class_list)
    summary = collect.collect(folder, zipped(tmp_path / "2.zip", {name: b'{"cells": ['}, {name: EVENING}))
    assert "counts (the latest attempt with answers that can be read); " in summary
    assert f"{name} of 2.zip: it cannot be read as a notebook" in summary


def test_only_the_exercises_of_an_archive_are_listed_as_missing(folder, class_list, tmp_path):
    make_second_exercise(folder)
    unpacked(folder / "submitted", {"Ann Lee/second.ipynb": json.dumps(second()).encode()})
    summary = collect.collect(
        folder, zipped(tmp_path / "1.zip", {"1002/tiny.ipynb": notebook("z")}), roster=class_list
    )
    assert "tiny: not submitted (4):" in summary
    assert "second: not submitted" not in summary


def test_who_has_not_submitted_and_who_is_not_in_the_roster_are_listed(folder, class_list, tmp_path):
    unpacked(folder / "submitted", {"1003/tiny.ipynb": notebook("by hand")})
    files = {
        "Ann Lee_1_assignsubmission_file_/tiny.ipynb": notebook("a"),
        "Eve Stranger_2_assignsubmission_file_/tiny.ipynb": notebook("e"),
        "mallorymo_77_88_tiny.ipynb": notebook("m"),
        "nobody.ipynb": notebook("n"),
        "Participant_9_assignsubmission_file_/tiny.ipynb": notebook("p"),
    }
    summary = collect.collect(folder, zipped(tmp_path / "m.zip", files), roster=class_list)
    assert submitted(folder) == {
        "1003": "by hand",
        "Ann Lee/tiny": "a",
        "Eve Stranger/tiny": "e",
        "mallorymo 77/tiny": "m",
    }
    assert "tiny: not submitted (3):\n  - Zoë O'Hara-Smith\n  - 李 小龙\n  - Bob van der Berg\n" in summary
    assert "Not in the roster (2):\n  - Eve Stranger\n  - mallorymo 77\n" in summary
    assert others(folder) == {
        "nobody.ipynb": "no student's name is in its path",
        "Participant_9_assignsubmission_file_/tiny.ipynb": "the platform has hidden the student's name; reveal the "
        "identities, and download again",
    }
    assert "  - nobody.ipynb: no student's name is in its path\n" in summary


def test_strangers_in_a_folder_that_holds_everything_are_not_one_student(folder, class_list, tmp_path):
    files = {f"week 1/{name}/tiny.ipynb": notebook(name) for name in ("Eve A", "Mo B", "Ann Lee")}
    collect.collect(
        folder, zipped(tmp_path / "m.zip", files | {"week 1/read me.pdf": b""}), roster=class_list
    )
    assert submitted(folder) == {"Ann Lee/tiny": "Ann Lee", "Eve A/tiny": "Eve A", "Mo B/tiny": "Mo B"}
    files = {f"week 1/{name}/tiny.ipynb": notebook(name) for name in ("Eve C", "Mo D")}
    summary = collect.collect(folder, zipped(tmp_path / "n.zip", files))
    assert submitted(folder).keys() >= {"Eve C/tiny", "Mo D/tiny"}
    assert "check that it is the roster of this class" in summary


def test_one_student_across_exercises_although_moodles_numbers_differ(folder, class_list, tmp_path):
    make_second_exercise(folder)
    for number, exercise in enumerate(("tiny", "second")):
        content = notebook(exercise) if exercise == "tiny" else json.dumps(second()).encode()
        name = f"Ann Lee_{number}_assignsubmission_file_/work.ipynb"
        collect.collect(folder, zipped(tmp_path / f"{exercise}.zip", {name: content}), roster=class_list)
    assert sorted(path.name for path in (folder / "submitted/Ann Lee").iterdir()) == ["second", "tiny"]
    assert list(collected.read(folder).students) == ["Ann Lee"]


def second() -> nbformat.NotebookNode:
    content = tiny()
    for cell in content.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.grade_id = cell.id = "second-" + cell.id
    return content


def make_second_exercise(folder: Path) -> None:
    for kind in ("release", "source"):
        (folder / kind / "second").mkdir()
        (folder / kind / "second" / "second.ipynb").write_text(json.dumps(second()))


def test_two_students_of_one_name_are_never_mixed_up(folder, tmp_path):
    twins = [Student("Ann Lee", "a1@example.org", "1"), Student("Ann Lee", "a2@example.org", "2"), BOB]
    class_list = write_roster(tmp_path / "twins.csv", twins)
    files = {
        "Ann Lee_4711_assignsubmission_file_/tiny.ipynb": notebook("?"),
        "1/tiny.ipynb": notebook("one"),
        "a2@example.org/tiny.ipynb": notebook("two"),
    }
    collect.collect(folder, zipped(tmp_path / "m.zip", files), roster=class_list)
    assert submitted(folder) == {"Ann Lee 1/tiny": "one", "Ann Lee 2/tiny": "two"}
    assert "can be 2 students" in others(folder)["Ann Lee_4711_assignsubmission_file_/tiny.ipynb"]


@pytest.mark.parametrize(
    "names",
    [
        [
            "Bob van der Berg_1_assignsubmission_file_/tiny.ipynb",
            "Bob van der Berg_2_assignsubmission_file_/tiny.ipynb",
        ],
        ["vanderbergbob_1_10_tiny.ipynb", "vanderbergbob_2_11_tiny.ipynb"],
        ["bergbobvander_1_10_tiny.ipynb", "bobvanderberg_2_11_tiny.ipynb"],
        ["Eve A_1_assignsubmission_file_/tiny.ipynb", "Eve A_2_assignsubmission_file_/tiny.ipynb"],
    ],
)
def test_two_people_with_one_name_on_the_platform_are_told_apart_by_its_numbers(
    names, folder, class_list, tmp_path
):
    files = {name: notebook(name) for name in names}
    collect.collect(folder, zipped(tmp_path / "m.zip", files), roster=class_list)
    assert submitted(folder) == {}
    assert all("two people have this name" in reason for reason in others(folder).values())


def test_canvas_numbers_of_the_roster_count_more_than_names(folder, class_list, tmp_path):
    files = {
        "leeann_999_1_tiny.ipynb": notebook("another Ann"),
        "marriednameann_12345_2_tiny.ipynb": notebook("Ann"),
    }
    collect.collect(folder, zipped(tmp_path / "c.zip", files), roster=class_list)
    assert submitted(folder) == {"Ann Lee/tiny": "Ann", "leeann 999/tiny": "another Ann"}


@pytest.mark.parametrize("name", ["Ann Lee Smith", "Ann", "Leeann", "रामा शर्मा", "AnnLee", "Anna Lee"])
def test_similar_names_are_other_people(name):
    assert Roster(CLASS).find(name) == []


@pytest.mark.parametrize(
    "name", ["ann lee", "LEE, Ann", "Ánn  Lee", "Ann_Lee", "Lee Ann", "ALEE", "Ann@Example.org", "1001"]
)
def test_the_same_person_in_other_words(name):
    assert Roster(CLASS).find(name) == [ANN]


def test_a_changed_name_in_the_roster_is_the_same_student(folder, class_list, tmp_path):
    collect.collect(
        folder, zipped(tmp_path / "1.zip", {"Ann Lee/tiny.ipynb": notebook("1")}), roster=class_list
    )
    married = write_roster(tmp_path / "new.csv", [Student("Ann Berg", "ann@example.org", "1001"), *CLASS[1:]])
    name = "Ann Berg/tiny.ipynb"
    collect.collect(
        folder, zipped(tmp_path / "2.zip", {name: notebook("2")}, {name: EVENING}), roster=married
    )
    assert submitted(folder) == {"Ann Lee/tiny": "2"}


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "..",
        "-rf",
        ".hidden",
        "a*b?[c]",
        "=1+1",
        "x" * 200,
        "a,b;c|d",
        "con\\",
        "\u202eevil",
        "日本 語",
    ],
)
def test_folders_of_students_are_safe(name):
    from mnist_course.grading import placing

    made = placing.folder_name(name)
    assert made and made[0].isalnum() and len(made) <= 60
    assert not set(made) & set('/\\*?[]:|"<>\0%;,=\u202e') and made == made.strip(" .")


# --- what is not recognised ---


def test_l3_what_is_no_notebook_reaches_the_report(folder, class_list, tmp_path):
    files = {
        "Ann Lee_1_assignsubmission_file_/answers.py": b"print(1)",
        "Zoë O'Hara-Smith_2_assignsubmission_onlinetext_/onlinetext.html": b"<p>My answer</p>",
        "Bob van der Berg_3_assignsubmission_file_/tiny.ipynb": notebook("b"),
        "Bob van der Berg_3_assignsubmission_file_/notes.pdf": b"%PDF",
        "李 小龙_4_assignsubmission_file_/work.rar": b"Rar!",
    }
    source = zipped(tmp_path / "m.zip", files)
    summary = collect.collect(folder, source, roster=class_list)
    found = {
        str(path.relative_to(folder / "submitted"))
        for path in (folder / "submitted").rglob("*.*")
        if path.is_file()
    }
    assert found == {
        "Ann Lee/answers.py",
        "Zoë O'Hara-Smith/onlinetext.html",
        "李 小龙/work.rar",
        "Bob van der Berg/tiny/tiny.ipynb",
        "Bob van der Berg/tiny/timestamp.txt",
    }
    assert "NOT RECOGNISED (4):" in summary and "onlinetext.html: is not a notebook\n" in summary
    assert "work.rar: is an archive of a kind that is not read; a zip file is" in summary
    assert "  - Ann Lee (but a file that was not recognised)\n" in summary and "  - राम शर्मा\n" in summary
    name = "Ann Lee_1_assignsubmission_file_/tiny.ipynb"
    collect.collect(folder, zipped(tmp_path / "m2.zip", {name: notebook("a")}, {name: EVENING}))
    assert not (folder / "submitted/Ann Lee/answers.py").exists()
    assert (folder / "replaced/Ann Lee/answers-1.py").read_bytes() == b"print(1)"
    before = snapshot(folder)
    collect.collect(folder, source)
    assert snapshot(folder) == before


def test_a_notebook_of_nothing_is_named(folder, class_list, tmp_path):
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    source = zipped(tmp_path / "m.zip", {"Ann Lee/lesson.ipynb": json.dumps(content).encode()})
    summary = collect.collect(folder, source, roster=class_list)
    assert "Ann Lee/lesson.ipynb: " in summary.split("NOT RECOGNISED")[1]
    assert (folder / "submitted/Ann Lee/lesson.ipynb").is_file()


# --- archives that are damaged or hostile ---


def zip_of(path: Path, *infos: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in infos:
            archive.writestr(info, content)
    return path


def linked(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    "name",
    [
        "../Ann Lee/tiny.ipynb",
        "/Ann Lee/tiny.ipynb",
        "Ann Lee/../../tiny.ipynb",
        "C:\\Ann Lee\\tiny.ipynb",
        "..\\Ann Lee\\tiny.ipynb",
    ],
)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_paths_that_lead_outside_are_not_read(name, make, folder, class_list, tmp_path):
    source = make(tmp_path / "archive", {name: notebook("x"), "1002/tiny.ipynb": notebook("z")})
    before = {path for path in tmp_path.rglob("*") if folder not in path.parents}
    collect.collect(folder, source, roster=class_list)
    assert {path for path in tmp_path.rglob("*") if folder not in path.parents} == before
    assert submitted(folder) == {"Zoë O'Hara-Smith/tiny": "z"}
    assert list(others(folder).values()) == ["has a path that leads out of the archive; it was not read"]
    said = "not collected: it has a path that leads out of the archive; it was not read\n"
    assert notes(folder) in ({}, {folder / "submitted/Ann Lee/tiny.ipynb": said})


def test_windows_paths_are_paths(folder, class_list, tmp_path):
    collect.collect(
        folder, zipped(tmp_path / "w.zip", {"Ann Lee\\tiny.ipynb": notebook("w")}), roster=class_list
    )
    assert submitted(folder) == {"Ann Lee/tiny": "w"}


def test_names_of_macs_without_the_flag_are_utf_8(folder, class_list, tmp_path):
    info = zipfile.ZipInfo("Zoë O'Hara-Smith/tiny.ipynb".encode().decode("cp437"))
    path = zip_of(tmp_path / "m.zip", (info, notebook("z")))
    content = path.read_bytes()
    # Without the flag for UTF-8, and with the bytes that a Mac writes.
    content = content.replace(info.filename.encode(), "Zoë O'Hara-Smith/tiny.ipynb".encode())
    assert archives._zip_name(info) == "Zoë O'Hara-Smith/tiny.ipynb"


def test_links_and_devices_are_not_followed(folder, class_list, tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(notebook("secret"))
    zip_of(tmp_path / "l.zip", (linked("Ann Lee/tiny.ipynb"), str(secret).encode()))
    with tarfile.open(tmp_path / "l.tar", "w") as archive:
        for kind, name in (
            (tarfile.SYMTYPE, "s"),
            (tarfile.LNKTYPE, "h"),
            (tarfile.FIFOTYPE, "f"),
            (tarfile.CHRTYPE, "c"),
        ):
            info = tarfile.TarInfo(f"Ann Lee/{name}.ipynb")
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
    (tmp_path / "l" / "Ann Lee").mkdir(parents=True)
    (tmp_path / "l" / "Ann Lee" / "tiny.ipynb").symlink_to(secret)
    (tmp_path / "l" / "Bob van der Berg").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "l" / "Ann Lee" / "pipe.ipynb")
    for source, count in (("l.zip", 1), ("l.tar", 4), ("l", 3)):
        summary = collect.collect(folder, tmp_path / source, roster=class_list)
        assert f"NOT RECOGNISED ({count})" in summary
    assert submitted(folder) == {}
    assert {path.parent.name for path in notes(folder)} == {"Ann Lee", "Bob van der Berg"}
    assert {reason.split(";")[0] for reason in others(folder).values()} == {"is a link or no ordinary file"}


def refused(folder: Path, source: Path, class_list: Path | None) -> str:
    before = snapshot(folder)
    with pytest.raises(UserError) as caught:
        collect.collect(folder, source, roster=class_list)
    assert snapshot(folder) == before
    return str(caught.value)


def encrypted(content: bytes) -> bytes:
    """A zip file whose entries say that they are encrypted."""
    changed = bytearray(content)
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(start)
        while place >= 0:
            changed[place + offset] |= 1
            place = content.find(start, place + 1)
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not an archive"),
        (b"hello", "it is not an archive"),
        (b"PK\x03\x04 cut off", "it is an incomplete zip file"),
        (b"7z\xbc\xaf\x27\x1c", "RAR or 7-Zip"),
        (encrypted(in_memory({"Ann Lee/tiny.ipynb": b"{}"})), "it is encrypted"),
    ],
)
def test_archives_that_cannot_be_read_are_one_message(content, reason, folder, class_list, tmp_path):
    (tmp_path / "a.zip").write_bytes(content)
    assert reason in refused(folder, tmp_path / "a.zip", class_list)


def test_cut_and_changed_archives(folder, class_list, tmp_path):
    whole = tarred(tmp_path / "a.tgz", {f"{of.id}/tiny.ipynb": os.urandom(9000) for of in CLASS})
    (tmp_path / "cut.tgz").write_bytes(whole.read_bytes()[:20_000])
    assert "damaged or incomplete" in refused(folder, tmp_path / "cut.tgz", class_list)
    files = {"Ann Lee/tiny.ipynb": notebook("a"), "1002/tiny.ipynb": notebook("z")}
    content = bytearray(zipped(tmp_path / "b.zip", files).read_bytes())
    content[200] ^= 0xFF  # in Ann's data
    (tmp_path / "b.zip").write_bytes(content)
    summary = collect.collect(folder, tmp_path / "b.zip", roster=class_list)
    assert "is damaged or incomplete" in others(folder)["Ann Lee/tiny.ipynb"]
    assert "  - Ann Lee" not in summary.partition("tiny: not submitted")[2]
    assert submitted(folder) == {"Zoë O'Hara-Smith/tiny": "z"}
    found, _, remarks = submissions.find(folder / "submitted", {"tiny": untouched_notebook(folder)})
    assert {of.student: of.can_be_graded for of in found} == {"Ann Lee": True, "Zoë O'Hara-Smith": True}
    assert remarks == []
    with pytest.raises(reading.NotReadableError, match="was not collected: it is damaged or incomplete"):
        reading.read(folder / "submitted/Ann Lee/tiny.ipynb")
    collect.collect(folder, zipped(tmp_path / "c.zip", files))
    assert submitted(folder) == {"Ann Lee/tiny": "a", "Zoë O'Hara-Smith/tiny": "z"}


def untouched_notebook(folder: Path) -> nbformat.NotebookNode:
    return nbformat.reads(untouched(folder).decode(), as_version=4)


@pytest.mark.parametrize("name", ["tiny.ipynb", "work.ipynb", "work.zip"])
def test_a_file_that_is_too_large_is_not_graded_and_not_missing(
    name, folder, class_list, tmp_path, monkeypatch
):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 2**20)
    content = notebook("x" * 2**20)
    source = zipped(tmp_path / "a.zip", {f"Ann Lee/{name}": content, "1002/tiny.ipynb": notebook("z")})
    summary = collect.collect(folder, source, roster=class_list)
    assert f"Ann Lee/{name}: is larger than 1 MiB" in summary
    found, _, remarks = submissions.find(folder / "submitted", {"tiny": untouched_notebook(folder)})
    if name == "tiny.ipynb":
        with pytest.raises(reading.NotReadableError, match="was not collected: it is larger than 1 MiB"):
            reading.read(next(of.path for of in found if of.student == "Ann Lee"))
    else:
        (remark,) = remarks
        assert remark.student == "Ann Lee" and remark.not_graded
        assert "belongs to no exercise: it was not collected: it is larger than 1 MiB" in remark.text


def test_a_bomb_is_refused_and_one_of_a_student_stops_nobody_else(folder, class_list, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_RATIO_COUNTS_FROM", 2**20)
    bomb = {f"{number}.ipynb": bytes(2**20) for number in range(3)}
    assert "zip bomb" in refused(folder, zipped(tmp_path / "bomb.zip", bomb), class_list)
    files = {"Ann Lee/work.zip": in_memory(bomb), "1002/tiny.ipynb": notebook("z")}
    files["noise"] = os.urandom(10**5)
    collect.collect(folder, zipped(tmp_path / "class.zip", files), roster=class_list)
    assert submitted(folder) == {"Zoë O'Hara-Smith/tiny": "z"}
    assert "was not unpacked: it unpacks to more than" in others(folder)["Ann Lee/work.zip"]


@pytest.mark.parametrize("make", [zipped, tarred])
def test_limits_of_number_and_size(make, folder, class_list, tmp_path, monkeypatch):
    source = make(tmp_path / "a", {f"Ann Lee/{number}.ipynb": notebook("a") for number in range(6)})
    monkeypatch.setattr(archives, "MAX_FILES", 5)
    assert "more than 5 files" in refused(folder, source, class_list)
    monkeypatch.setattr(archives, "MAX_FILES", 6)
    monkeypatch.setattr(archives, "MAX_BYTES", 9000)
    assert "it unpacks to more than" in refused(folder, source, class_list)
    monkeypatch.setattr(archives, "MAX_BYTES", 10**9)
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    collect.collect(folder, source, roster=class_list)
    assert submitted(folder) == {} and len(others(folder)) == 6


def test_sizes_are_counted_and_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    info = zipfile.ZipInfo("Ann Lee/tiny.ipynb")
    reader = archives._Reader(tmp_path)
    member = reader._copied(("a", "tiny.ipynb"), None, io.BytesIO(bytes(5000)), 10, archives._Budget(0))
    assert member.copy is None and "larger than" in member.problem
    assert info.file_size == 0


def test_what_a_tar_file_holds_beside_notebooks_is_limited_too(folder, class_list, tmp_path, monkeypatch):
    source = tarred(
        tmp_path / "a.tgz", {"Ann Lee/film.mp4": bytes(3 * 2**20), "Ann Lee/tiny.ipynb": notebook("a")}
    )
    monkeypatch.setattr(archives, "MAX_BYTES", 2 * 2**20)
    assert "it unpacks to more than" in refused(folder, source, class_list)


def test_archives_are_unpacked_one_level_deep(folder, class_list, tmp_path):
    inner = in_memory({"tiny.ipynb": notebook("deep")})
    source = zipped(
        tmp_path / "a.zip", {"Ann Lee/a.zip": in_memory({"b.zip": inner}), "1002/c.zip": b"PK no zip"}
    )
    collect.collect(folder, source, roster=class_list)
    assert submitted(folder) == {}
    assert others(folder) == {
        "Ann Lee/a.zip/b.zip": "is an archive in an archive in an archive; it was not unpacked",
        "1002/c.zip": "cannot be unpacked: it is an incomplete zip file: download it again",
    }


def test_hostile_names_are_shown_without_control_characters(folder, class_list, tmp_path):
    files = {"Ann Lee/\x1b[2J\r\n.ipynb": notebook("a"), "\x1b]0;x\x07/tiny.ipynb": notebook("e")}
    summary = collect.collect(folder, zipped(tmp_path / "a.zip", files), roster=class_list)
    assert "\x1b" not in summary and "\x07" not in summary and "\r" not in summary
    assert "\\u001b" not in (folder / "collected.json").read_text()


# --- the command's own input ---


def test_bad_input_is_one_message_and_nothing_is_written(folder, class_list, tmp_path):
    source = zipped(tmp_path / "a.zip", {"Ann Lee/tiny.ipynb": notebook("a")})
    assert "has no roster yet" in refused(folder, source, None)
    assert "outside of" in refused(folder, folder / "submitted", class_list)
    assert "outside of" in refused(folder, tmp_path, class_list)
    assert "is not a grading folder" in refused(tmp_path / "class.csv", source, class_list)
    (folder / "collected.json").write_text('{"attempts": 1}')
    assert "collected.json is damaged" in refused_after_lock(folder, source, class_list)
    (folder / "collected.json").write_text(
        '{"students": {}, "not_recognised": [{"file": "x", "archive": "a", '
        '"student": "../..", "reason": "r"}]}'
    )
    assert "collected.json is damaged" in refused_after_lock(folder, source, class_list)


def refused_after_lock(folder: Path, source: Path, class_list: Path) -> str:
    (folder / ".grading.lock").touch()
    before = sorted(path for path in folder.rglob("*"))
    with pytest.raises(UserError) as caught:
        collect.collect(folder, source, roster=class_list)
    assert sorted(path for path in folder.rglob("*")) == before
    return str(caught.value)


def test_it_waits_for_nobody_who_grades(folder, class_list, tmp_path):
    source = zipped(tmp_path / "a.zip", {"Ann Lee/tiny.ipynb": notebook("a")})
    with _files.lock(folder / ".grading.lock", ""), pytest.raises(UserError, match="Another process"):
        collect.collect(folder, source, roster=class_list)


# --- the roster ---

NAMES = [("Ann Lee", "ann@example.org", "1001"), ("Zoë Ümit", "zoe@example.org", "1002")]


def read_text(path: Path, text: str, encoding: str = "utf-8") -> list[tuple[str, str, str]]:
    path.write_bytes(text.encode(encoding))
    return [(of.name, of.email, of.id) for of in roster.read_roster(path).students]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("name,email,id", (0, 1, 2)),
        ("ID,E-Mail,Full name", (2, 1, 0)),
        (" Student Name , Email Address , Student Number ", (0, 1, 2)),
    ],
)
def test_rosters_as_programs_write_them(encoding, delimiter, end, header, order, tmp_path):
    rows = [",".join(row[place] for place in order) for row in NAMES]
    text = end.join([header, *rows, "", ",,", ""]).replace(",", delimiter)
    assert read_text(tmp_path / "r.csv", text, encoding) == NAMES


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (
            "First name,Last name,ID number,Institution,Department,Email address,Groups",
            "Ann,Lee,1001,x,y,ann@example.org,g",
        ),
        ("First name,Surname,Email address,ID number", "Ann,Lee,ann@example.org,1001"),
        ("Vorname;Nachname;ID-Nummer;E-Mail-Adresse", "Ann;Lee;1001;ann@example.org"),
        (
            "OrgDefinedId,Username,Last Name,First Name,Email,End-of-Line Indicator",
            "#1001,#alee,Lee,Ann,ann@example.org,#",
        ),
        ("sep=;\nname;email;id", "Ann Lee;ann@example.org;1001"),
    ],
)
def test_rosters_of_platforms(header, row, tmp_path):
    assert read_text(tmp_path / "r.csv", f"{header}\n{row}\n") == NAMES[:1]


def test_l4_a_gradebook_of_canvas_is_a_roster(tmp_path):
    text = (
        "Student,ID,SIS User ID,SIS Login ID,Section,Old work (99)\n"
        ",,,,,Manual Posting\n    Points Possible,,,,,10\n"
        '"Lee, Ann",12345,1001,alee,Section A,9\n"Student, Test",99,,abc,Section A,\n'
    )
    (tmp_path / "r.csv").write_text(text)
    found = roster.read_roster(tmp_path / "r.csv")
    assert found.students == [Student("Lee, Ann", "", "1001", "alee", "12345", "Section A")]
    assert found.find("Ann Lee") == found.find("leeann", is_compact=True) == found.students


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("email,id\nx@y.z,1\n", "no column with names"),
        ("name,email\n", "has no students"),
        ("name,email,id\nAnn,a@x.y,1\n\n ,b@x.y,2\n", "row 4: the name is empty"),
        ("name,email,id\nAnn,a@x.y,1\nBob,A@x.y,2\n", "row 3: the email 'a@x.y' is in row 2, too"),
        ("name,email,id\nAnn,a@x.y,1\nBob,b@x.y,1\n", "row 3: the id '1' is in row 2, too"),
        ("name\nAnn\nBob\nann\n", "row 4: the name 'ann' is in row 2, too"),
        ("name,email,id\nAnn,=1+1@x,1\n", "row 2, email: Expected: an e-mail address"),
        ("name,email,id\nAnn,nothing,1\n", "row 2, email: Expected: an e-mail address"),
        ("name,email,id\nAnn,a@x.y,=1\n", "row 2, id: Expected: letters or digits"),
        ('name,email\n"Ann\nLee",a@x.y\nBob,nothing\n', "row 3, email"),
        ('name,email\n"Ann" Lee,a@x.y\n', "line 2: "),
        ("PK\x03\x04", "is a workbook"),
        ("name\0", "is not a text file"),
    ],
)
def test_what_is_wrong_with_a_roster_is_said_with_the_line(text, reason, tmp_path):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        roster.read_roster(tmp_path / "r.csv")
    assert reason in str(caught.value) and str(tmp_path / "r.csv") in str(caught.value)


def test_the_kept_roster_is_the_one_that_was_read(tmp_path):
    roster.keep_roster(tmp_path, Roster([*CLASS, Student('A "quoted", name', section="x,y")]))
    kept = roster.kept_roster(tmp_path)
    assert kept and kept.students == [*CLASS, Student('A "quoted", name', section="x,y")]
    assert (tmp_path / "roster.csv").read_text(encoding="utf-8-sig").startswith("name,email,id,")


def test_moodles_numbers_and_texts_are_not_names():
    found = platforms.origins([("Ann Lee_47_assignsubmission_file_x_y.ipynb",)], Roster(CLASS), [])
    (origin,) = found.values()
    assert isinstance(origin, platforms.Origin)
    assert (origin.students, origin.number, origin.platform) == ((ANN,), "47", "Moodle")


def test_absent_is_who_has_no_folder_under_any_of_their_names():
    record = collected.Record(students={"ann.2": {"name": "Ann Lee", "email": "", "id": "1001"}})
    other_ann = Student("Ann Lee", "ann2@example.org", "2001")
    decomposed = unicodedata.normalize("NFD", "zoë  o'hara-smith")
    folders = ["ann.2", decomposed, "Bob van der Berg", "nobody"]
    assert collected.absent(folders, record, Roster(CLASS)) == [RAM.name, LI.name]
    assert collected.absent(["ann.2"], record, Roster([ANN, other_ann])) == ["Ann Lee"]
    assert collected.absent(["Ann Lee"], record, Roster([ANN, other_ann])) == [
        "Ann Lee (1001)",
        "Ann Lee (2001)",
    ]
    assert collected.absent(folders, record, Roster(())) == []


def test_namesakes_whom_only_canvas_tells_apart_keep_their_own_folders(folder, tmp_path):
    twins = [
        Student("Ana Lee", login="ana1", canvas_id="11"),
        Student("Ana Lee", login="ana2", canvas_id="22"),
    ]
    class_list = write_roster(tmp_path / "twins.csv", twins)
    files = {"leeana_11_901_tiny.ipynb": notebook("one"), "leeana_22_902_tiny.ipynb": notebook("two")}
    for _ in range(2):
        collect.collect(folder, zipped(tmp_path / "c.zip", files), roster=class_list)
        assert submitted(folder) == {"Ana Lee ana1/tiny": "one", "Ana Lee ana2/tiny": "two"}
    record, both = collected.read(folder), Roster(twins)
    assert [collected.student_of(f"Ana Lee ana{number}", record, both) for number in (1, 2)] == twins
    assert collected.absent(["Ana Lee ana2"], record, both) == ["Ana Lee"]


def test_a_long_name_does_not_push_the_identifier_out_of_the_folders_name():
    names = {placing.folder_name("Ana " + 80 * "x", identifier) for identifier in ("1001", "1002")}
    assert len(names) == 2 and max(map(len, names)) <= 60


def test_collected_again_with_a_time_it_is_late(folder, class_list, tmp_path):
    files = {"Ann Lee_1_assignsubmission_file_/tiny.ipynb": notebook("late")}
    archive = zipped(tmp_path / "m.zip", files, dict.fromkeys(files, EVENING))
    collect.collect(folder, archive, roster=class_list)
    assert [attempt.late for attempt in collected.read(folder).attempts] == [None]
    collect.collect(folder, archive, due=datetime.datetime(2026, 3, 3, 23, 59))
    assert [attempt.late for attempt in collected.read(folder).attempts] == [True]
