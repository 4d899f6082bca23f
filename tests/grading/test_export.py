"""Marks for learning platforms, from a gradebook that was filled without a kernel."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nbformat
import pytest

from mnist_course.grading import collect, collected, course_folder, export, grade, nbgrader_bridge, roster
from mnist_course.grading.course_folder import Graded
from mnist_course.grading.roster import Roster, Student
from mnist_course.grading.submissions import Submission
from mnist_helpers import _files
from mnist_helpers._errors import UserError
from tests.grading.tiny import sentence, snapshot, solved, submit

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
]

ANN = Student("Lee, Ann", "Ann.Lee@example.org", "1001", "alee", "12345", "Section A, early")
ZOE = Student("Zoë O'Hara", "zoe@example.org", "1002", "zoe", "12346", "=1+1")
BOB = Student("Bob Hill", "bob@example.org", "1003", "bob", "12347")
HOSTILE = Student('=HYPERLINK("http://x","y")', "h@example.org", "1004", "h", "12348")
LATE = Student("Never Came", "never@example.org", "1005", "nev", "12349")
CLASS = [ANN, ZOE, BOB, HOSTILE, LATE]
TESTS = ("double-tests", "double-hidden", "number-tests")


def graded(
    folder: Path, student: str, *points: float, exercise: str = "tiny", problems: tuple[str, ...] = ()
) -> Submission:
    """A submission in its state after grading; without points, it was not graded."""
    path = submit(folder, student, solved(), f"{exercise}.ipynb")
    submission = Submission(student, exercise, path)
    if points:
        with nbgrader_bridge.gradebook(folder) as book:
            book.update_or_create_student(student)
            book.update_or_create_submission(exercise, student)
            for name, value in zip(TESTS, points, strict=True):
                book.find_grade(name, exercise, exercise, student).auto_score = value
            book.find_grade(
                "explain", exercise, exercise, student
            ).auto_score = 0  # an answer that was left empty
            book.db.commit()
    entries = course_folder.read_graded(folder)
    key = grade._key(path, course_folder.read_exercise(folder, exercise))
    seconds = 1.0 if points else None
    entries[submission.label] = Graded(key, True, seconds=seconds, problems=list(problems))
    course_folder.write_graded(folder, entries)
    return submission


@pytest.fixture
def graded_class(folder) -> Path:
    roster.keep_roster(folder, Roster(CLASS))
    graded(folder, "Ann Lee", 1, 0.25, 0.5)
    graded(folder, "zoe@example.org", 0, 0, 0)
    graded(folder, "1003", problems=("is not a notebook",))
    graded(folder, "1004", 1, 1, 1)
    graded(folder, "eve", 1, 1, 0)
    return folder


def rows(path: Path, encoding: str = "utf-8") -> list[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file))


def test_l4_moodle(graded_class, tmp_path):
    summary = export.export(graded_class, moodle=tmp_path / "m.csv")
    assert rows(tmp_path / "m.csv") == [
        ["Email address", "ID number", "Full name", "tiny (of 3)"],
        ["Ann.Lee@example.org", "1001", "Lee, Ann", "1.75"],  # Moodle tells capital letters apart
        ["zoe@example.org", "1002", "Zoë O'Hara", "0"],
        ["h@example.org", "1004", '\'=HYPERLINK("http://x","y")', "3"],
    ]
    assert "tiny: 4 marks (of 3 points)" in summary
    assert "  - Bob Hill/tiny: not graded (is not a notebook)\n" in summary
    assert "  - Never Came/tiny: not submitted\n" in summary
    assert "Left out (1):\n  - eve: not in the roster\n" in summary
    assert "'Email address'" in summary and "tiny: 3" in summary


def test_moodle_by_id_number_where_the_roster_has_no_addresses(graded_class, tmp_path):
    roster.keep_roster(graded_class, Roster([Student("Ann Lee", "", "7"), Student("Zoë", "zoe@example.org")]))
    summary = export.export(graded_class, moodle=tmp_path / "m.csv")
    assert len(rows(tmp_path / "m.csv")) == 2
    roster.keep_roster(graded_class, Roster([Student("Ann Lee", "", "7"), Student("1004", "", "8"), ZOE]))
    summary = export.export(graded_class, moodle=tmp_path / "m.csv")
    assert [row[1] for row in rows(tmp_path / "m.csv")[1:]] == ["7", "8", "1002"]
    assert "'ID number'" in summary


def test_l4_canvas(graded_class, tmp_path):
    summary = export.export(graded_class, canvas=tmp_path / "c.csv")
    assert rows(tmp_path / "c.csv") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "tiny"],
        ["    Points Possible", "", "", "", "", "3"],
        ["Lee, Ann", "12345", "1001", "alee", "Section A, early", "1.75"],
        ["Zoë O'Hara", "12346", "1002", "zoe", "'=1+1", "0"],
        ['\'=HYPERLINK("http://x","y")', "12348", "1004", "h", "", "3"],
    ]
    assert "eve: not in the roster" in summary
    roster.keep_roster(graded_class, Roster([Student("Ann Lee", "ann@example.org"), ZOE]))
    summary = export.export(graded_class, canvas=tmp_path / "c.csv")
    assert len(rows(tmp_path / "c.csv")) == 3
    assert "Ann Lee: the roster has no Canvas ID, SIS User ID or SIS Login ID" in summary


def test_l4_a_list_of_all_students_tells_what_is_missing_apart(graded_class, tmp_path):
    submit(graded_class, "1005", nbformat.v4.new_notebook(), "answers.txt")
    export.export(graded_class, csv_file=tmp_path / "l.csv")
    assert (tmp_path / "l.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert rows(tmp_path / "l.csv", "utf-8-sig") == [
        ["Name", "Email", "ID", "tiny (of 3)", "Total", "Maximum"],
        ["Lee, Ann", "Ann.Lee@example.org", "1001", "1.75", "1.75", "3"],
        ["Zoë O'Hara", "zoe@example.org", "1002", "0", "0", "3"],
        ["Bob Hill", "bob@example.org", "1003", "not graded", "", "3"],
        ['\'=HYPERLINK("http://x","y")', "h@example.org", "1004", "3", "3", "3"],
        ["Never Came", "never@example.org", "1005", "not graded", "", "3"],
        ["eve", "", "", "2", "2", "3"],
    ]
    (graded_class / "submitted" / "1005" / "answers.txt").unlink()
    export.export(graded_class, csv_file=tmp_path / "l.csv")
    assert rows(tmp_path / "l.csv", "utf-8-sig")[5][3:] == ["not submitted", "", "3"]


def add_second_exercise(folder: Path) -> None:
    """Three other points, of which one can only be given by a teacher."""
    for kind in ("source", "release"):
        content = nbformat.read(folder / kind / "tiny" / "tiny.ipynb", as_version=4)
        content.cells[-1] = sentence("explain", "Why?", points=0.5)
        (folder / kind / "second").mkdir()
        (folder / kind / "second" / "second.ipynb").write_text(json.dumps(content))
    from nbgrader.converters import GenerateAssignment

    nbgrader_bridge.convert(nbgrader_bridge.converter(GenerateAssignment, folder, "second"), "second")


def test_each_exercise_has_its_own_maximum_and_a_missing_mark_is_empty(folder, tmp_path):
    add_second_exercise(folder)
    roster.keep_roster(folder, Roster([ANN, ZOE]))
    graded(folder, "Ann Lee", 1, 1, 1)
    graded(folder, "Ann Lee", 0.5, 0, 0, exercise="second")
    graded(folder, "1002", 1, 0, 0)
    export.export(folder, moodle=tmp_path / "m.csv", canvas=tmp_path / "c.csv", csv_file=tmp_path / "l.csv")
    assert [row[3:] for row in rows(tmp_path / "m.csv")] == [
        ["second (of 3.5)", "tiny (of 3)"],
        ["0.5", "3"],
        ["", "1"],
    ]
    assert [row[5:] for row in rows(tmp_path / "c.csv")] == [
        ["second", "tiny"],
        ["3.5", "3"],
        ["0.5", "3"],
        ["", "1"],
    ]
    found = rows(tmp_path / "l.csv", "utf-8-sig")
    assert [row[3:] for row in found[1:]] == [["0.5", "3", "3.5", "6.5"], ["not submitted", "1", "1", "6.5"]]


def test_a_mark_that_waits_for_a_teacher_is_not_exported(folder, tmp_path):
    add_second_exercise(folder)
    graded(folder, "Ann Lee", 1, 1, 1, exercise="second")
    graded(folder, "Ann Lee", 1, 1, 1)

    def set_score(needs: bool, score: float | None) -> None:
        with nbgrader_bridge.gradebook(folder) as book:
            found = book.find_grade("explain", "second", "second", "Ann Lee")
            found.needs_manual_grade, found.auto_score, found.manual_score = needs, None, score
            book.db.commit()

    set_score(True, None)
    summary = export.export(folder, csv_file=tmp_path / "l.csv")
    assert rows(tmp_path / "l.csv", "utf-8-sig")[1][3:] == ["not graded", "3", "", "6.5"]
    assert "explain waits for a mark by hand" in summary
    set_score(True, 0.25)
    export.export(folder, csv_file=tmp_path / "l.csv")
    assert rows(tmp_path / "l.csv", "utf-8-sig")[1][3:] == ["3.25", "3", "6.25", "6.5"]


def test_a_submission_that_has_changed_since_has_no_mark(graded_class, tmp_path):
    submit(graded_class, "Ann Lee", solved(number="number = 8"))
    graded(graded_class, "new", 1, 1, 1)
    entries = course_folder.read_graded(graded_class)
    del entries["new/tiny"]
    course_folder.write_graded(graded_class, entries)
    summary = export.export(graded_class, moodle=tmp_path / "m.csv")
    assert [row[1] for row in rows(tmp_path / "m.csv")[1:]] == ["1002", "1004"]
    assert "Lee, Ann/tiny: not graded (it has changed since it was graded)" in summary
    assert "new/tiny: not graded (it was not graded yet)" in summary


def test_marks_given_by_hand_since_are_exported(graded_class, tmp_path):
    with nbgrader_bridge.gradebook(graded_class) as book:
        book.find_grade("number-tests", "tiny", "tiny", "Ann Lee").manual_score = 1
        book.db.commit()
    export.export(graded_class, moodle=tmp_path / "m.csv")
    assert rows(tmp_path / "m.csv")[1][3] == "2.25"


def test_two_folders_of_one_student_have_no_mark(graded_class, tmp_path):
    graded(graded_class, "alee", 1, 1, 1)
    summary = export.export(graded_class, moodle=tmp_path / "m.csv")
    assert "Lee, Ann/tiny: not graded (the student has several folders with it: alee, Ann Lee)" in summary
    assert "1001" not in (tmp_path / "m.csv").read_text()


def test_folders_that_were_collected_are_known_by_the_record(folder, class_zip, tmp_path):
    twins = [Student("Ann Lee", "a1@example.org", "1"), Student("Ann Lee", "a2@example.org", "2")]
    roster.keep_roster(folder, Roster(twins))
    collect.collect(folder, class_zip)
    assert set(collected.read(folder).students) == {"Ann Lee 1", "Ann Lee 2"}
    for name, points in (("Ann Lee 1", (1, 1, 1)), ("Ann Lee 2", (0, 0, 1))):
        path = folder / "submitted" / name / "tiny" / "tiny.ipynb"
        content = path.read_bytes()
        graded(folder, name, *points)
        (folder / "submitted" / name / "tiny.ipynb").unlink()
        path.write_bytes(content)
        entries = course_folder.read_graded(folder)
        entries[f"{name}/tiny"].key = grade._key(path, course_folder.read_exercise(folder, "tiny"))
        course_folder.write_graded(folder, entries)
    export.export(folder, moodle=tmp_path / "m.csv")
    assert [row[1:] for row in rows(tmp_path / "m.csv")[1:]] == [["1", "Ann Lee", "3"], ["2", "Ann Lee", "1"]]


@pytest.fixture
def class_zip(tmp_path) -> Path:
    for student in ("1", "2"):
        path = tmp_path / "class" / student / "tiny.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(solved()))
    return tmp_path / "class"


def refused(folder: Path, **files: Path) -> str:
    before = snapshot(folder)
    with pytest.raises(UserError) as caught:
        export.export(folder, **files)
    assert snapshot(folder) == before
    return str(caught.value)


def test_bad_input_is_one_message_and_nothing_is_written(graded_class, folder, tmp_path):
    assert "at least one" in refused(graded_class)
    same = {"moodle": tmp_path / "x.csv", "canvas": tmp_path / "x.csv"}
    assert "a different FILE" in refused(graded_class, **same)
    for name in ("roster.csv", "gradebook.db", "graded.json"):
        for option in ("moodle", "canvas", "csv_file"):
            assert "is no earlier export" in refused(graded_class, **{option: graded_class / name})
    (tmp_path / "mine.csv").write_text("mine")
    files = {"moodle": tmp_path / "new.csv", "csv_file": tmp_path / "mine.csv"}
    assert "is no earlier export" in refused(graded_class, **files)
    assert not (tmp_path / "new.csv").exists()
    (graded_class / "roster.csv").unlink()
    assert "has no roster" in refused(graded_class, canvas=tmp_path / "new.csv")
    export.export(graded_class, csv_file=tmp_path / "new.csv")
    (graded_class / "graded.json").unlink()
    assert "no marks yet" in refused(graded_class, csv_file=tmp_path / "new.csv")
    assert "is not a grading folder" in refused(tmp_path, csv_file=tmp_path / "new.csv")


def test_an_export_is_replaced_by_the_next_one(graded_class, tmp_path):
    for _ in range(2):
        export.export(graded_class, moodle=tmp_path / "m.csv", csv_file=tmp_path / "l.csv")
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".csv", ".csv"]
    assert not _files.read_json_or_none(tmp_path / "m.csv")


def test_marks_of_an_older_copy_of_the_gradebook_are_not_exported(folder, tmp_path):
    roster.keep_roster(folder, Roster([ANN]))
    submission = graded(folder, "Ann Lee", 1, 0, 0)
    entries = course_folder.read_graded(folder)
    entries[submission.label].scores = {**dict(zip(TESTS, (1, 1, 1), strict=True)), "explain": 0}
    course_folder.write_graded(folder, entries)
    with pytest.raises(UserError, match="There are no marks yet"):
        export.export(folder, csv_file=tmp_path / "l.csv")
    submission = graded(folder, "Ann Lee", 1, 1, 1)
    export.export(folder, csv_file=tmp_path / "l.csv")
    assert rows(tmp_path / "l.csv", "utf-8-sig")[1][3] == "3"


def test_the_exercises_are_those_that_count_in_the_report(folder, tmp_path):
    add_second_exercise(folder)
    roster.keep_roster(folder, Roster([ANN, ZOE]))
    graded(folder, "Ann Lee", 1, 1, 1)
    graded(folder, "Ann Lee", 0.5, 0, 0, exercise="second")
    counted = {"exercises": [{"exercise": "second", "counted": False}, {"exercise": "tiny", "counted": True}]}
    _files.write_json(folder / "report.json", counted)
    export.export(folder, moodle=tmp_path / "m.csv", csv_file=tmp_path / "l.csv")
    assert [row[3:] for row in rows(tmp_path / "m.csv")] == [["tiny (of 3)"], ["3"]]
    assert rows(tmp_path / "l.csv", "utf-8-sig")[1][3:] == ["3", "3", "3"]
