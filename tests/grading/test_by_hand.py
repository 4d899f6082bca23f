"""Points and comments by hand: from a table into nbgrader's gradebook, and back into report and feedback."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from mnist_course.grading import by_hand, course_folder, grade, sandbox
from mnist_course.grading.class_report import ByHand
from mnist_helpers import _files
from mnist_helpers._errors import UserError
from tests.grading.tiny import SENTENCE, points, remarks, solved, submit

COLUMNS = "student,exercise,task,sentence,points,comment"


@pytest.fixture
def graded(folder) -> Path:
    """A grading folder in which Ann and Ben have marks; no kernel has run for it."""
    from nbgrader.api import Gradebook

    with warnings.catch_warnings(), Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        warnings.simplefilter("ignore")  # SQLAlchemy warns about nbgrader
        for student in ("Ann O'Hara", "ben"):
            book.add_student(student)
            book.add_submission("tiny", student)
            for name in ("double-tests", "double-hidden", "number-tests"):
                book.find_grade(name, "tiny", "tiny", student).auto_score = 1
        book.db.commit()
    entry = course_folder.Graded("", isolated=True, sentences={"explain": SENTENCE})
    course_folder.write_graded(folder, {"Ann O'Hara/tiny": entry, "ben/tiny": entry})
    return folder


def marked(folder: Path, *rows: str, columns: str = COLUMNS) -> str:
    table = folder.parent / "marks given.csv"
    table.write_text("\n".join([columns, *rows]), encoding="utf-8")
    return by_hand.mark(folder, table)


def test_points_and_comments_reach_the_gradebook(graded):
    rows = (
        f"Ann O'Hara,tiny,explain,{SENTENCE},0.75,well said",
        "ben,tiny,explain,,,'=why?",
        "ben,tiny,number-tests,,0,",
        "ben,tiny,double-tests,,,",
    )
    said = marked(graded, *rows)
    assert said.startswith("4 points and comments were written into the gradebook; 3 rows were filled in.")
    assert f"mnist-course assignments grade {graded}" in said
    marks = [
        ByHand("Ann O'Hara", "tiny", "explain", None, None, 0.75, "well said"),
        ByHand("ben", "tiny", "explain", comment="=why?"),
        ByHand("ben", "tiny", "number-tests", 1.0, 0.0),
    ]
    assert by_hand.read(graded) == marks
    assert sum(points(graded, "Ann O'Hara").values()) == 3.75  # nbgrader counts the extra credit
    assert points(graded, "ben")["number-tests"] == 0
    assert marked(graded, *rows).startswith("0 points and comments")
    assert by_hand.read(graded) == marks


def test_an_empty_field_changes_nothing_and_a_dash_withdraws(graded):
    marked(graded, "ben,tiny,explain,,1,good", "ben,tiny,number-tests,,0,")
    marked(graded, "ben,tiny,explain,,,better")
    assert by_hand.read(graded)[0] == ByHand("ben", "tiny", "explain", None, None, 1.0, "better")
    marked(graded, "ben,tiny,explain,,-,", "ben,tiny,number-tests,,-,")
    assert by_hand.read(graded) == [ByHand("ben", "tiny", "explain", comment="better")]
    assert points(graded, "ben") == {"double-tests": 1, "double-hidden": 1, "number-tests": 1, "explain": 0}
    marked(graded, "ben,tiny,explain,,,'-")
    assert by_hand.read(graded) == []


def test_what_formgrader_leaves_is_read(graded):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{graded}/gradebook.db") as book:
        book.find_grade("explain", "tiny", "tiny", "ben").manual_score = 0.5
        book.find_grade("double-tests", "tiny", "tiny", "ben").extra_credit = 0.25
        book.find_comment("double", "tiny", "tiny", "ben").manual_comment = " "
        book.db.commit()
    assert by_hand.read(graded) == [
        ByHand("ben", "tiny", "double-tests", 1.0, None, 0.25),
        ByHand("ben", "tiny", "explain", None, None, 0.5),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("ben,tiny,explain,,3.01,", "from 0 to 3"),
        ("ben,tiny,number-tests,,1.5,", "from 0 to 1"),
        ("ben,tiny,number-tests,,-0.5,", "from 0 to 1"),
        ("ben,tiny,number-tests,,nan,", "from 0 to 1"),
        ("ben,tiny,number-tests,,1e999,", "from 0 to 1"),
        ("ben,tiny,number-tests,,one,", "Received: 'one'"),
        ("ben,tiny,number,,1,", "one of: double-hidden, double-tests, explain, number-tests"),
        ("ben,tiny,number-tests,,,good", "a comment belongs to an answer"),
        ("ben,tiny,nothing,,,good", "a comment belongs to an answer"),
        ("eve,tiny,explain,,1,", "no graded submission"),
        ("ben,small,explain,,1,", "'small' is not an exercise. Expected: tiny"),
        ("ben,tiny,explain,Another sentence,1,", "another sentence since"),
        ("Ann O'Hara,tiny,explain,,2,", "row 2 has other marks"),
    ],
)
def test_a_table_with_a_mistake_changes_nothing(graded, row, words):
    with pytest.raises(UserError, match="Nothing was written") as error:
        marked(graded, "Ann O'Hara,tiny,explain,,1,good", row)
    assert words in str(error.value)
    assert re.findall(r"row (\d)", str(error.value))[0] == "3"
    assert by_hand.read(graded) == []


def test_all_mistakes_are_named_at_once(graded):
    with pytest.raises(UserError) as error:
        marked(graded, *(f"s{number},tiny,explain,,1," for number in range(12)))
    assert str(error.value).count("no graded submission") == 10
    assert "and 2 more" in str(error.value)


def test_a_table_from_a_spreadsheet_with_decimal_commas_and_other_columns(graded):
    marked(graded, "0,5;note;;ben;explain;tiny", columns="Points;mine;Comment;Student;Task;Exercise")
    assert by_hand.read(graded)[0].extra_credit == 0.5


def test_a_sentence_may_have_other_spaces_and_line_ends(graded):
    row = f'ben,tiny,explain,"{SENTENCE.replace(" ", chr(10))} ",1,'
    assert marked(graded, row).startswith("1 points")


def test_marks_wait_for_the_grading(graded):
    with _files.lock(graded / ".grading.lock", ""), pytest.raises(UserError, match="Another process"):
        marked(graded, "ben,tiny,explain,,1,")


def test_a_folder_that_is_no_grading_folder_and_a_table_that_is_none(graded, tmp_path):
    with pytest.raises(UserError, match="is not a grading folder"):
        by_hand.mark(tmp_path, tmp_path / "x.csv")
    with pytest.raises(UserError, match=r"x\.csv cannot be read"):
        by_hand.mark(graded, tmp_path / "x.csv")
    with pytest.raises(UserError, match="lacks the columns points, comment"):
        marked(graded, columns="student,exercise,task")


@pytest.mark.course
def test_a_mark_by_hand_reaches_report_and_feedback_without_another_run(folder, exercises, capsys):
    submit(folder, "anna", solved(explain="It is *two* of them."))
    submit(folder, "ben", solved(explain="It is  *two* of them.\n", number="# mine\nnumber=7"))
    submit(folder, "cara", solved(number="number = 8"))
    (folder / "roster.csv").write_text("name,email,id\nAnna,a@example.org,1\nErik,e@example.org,2\n")
    said = grade.grade(folder, limits=sandbox.Limits(60, 2**30))
    assert f"Sentences: {folder / 'sentences.html'}" in said
    # Anna's number has other lines than Ben's.
    assert "identical" not in remarks(folder, "anna") + remarks(folder, "ben")
    submit(folder, "anna", solved(explain="It is *two* of them.", number="number = 7  # !"))
    grade.grade(folder, limits=sandbox.Limits(60, 2**30))
    table = folder / "sentences.csv"
    filled = table.read_text("utf-8-sig").replace(
        "It is *two* of them.,,", "It is *two* of them.,1.5,**Yes**"
    )
    assert filled.count("Yes") == 1
    table.write_text(filled)
    by_hand.mark(folder, table)
    capsys.readouterr()
    grade.grade(folder, limits=sandbox.Limits(60, 2**30), pass_mark=100, given=("tiny",))
    out = capsys.readouterr().out
    assert "ben/tiny: graded before" in out
    assert "identical to those of ben," in remarks(folder, "anna")
    report = _files.read_json(folder / "report.json")
    assert report["pass_mark"] == 100
    assert report["not_submitted_anything"] == ["Erik"]
    assert [student["passed"] for student in report["students"]] == [True, True, False, None]
    row = (folder / "marks.csv").read_text("utf-8-sig").splitlines()[1]
    assert row == "anna,4.5,3,4.5,3,150.0,yes"
    assert "<td>explain</td>" in (folder / "report.html").read_text()
    page = (folder / "feedback" / "anna" / "tiny" / "tiny.html").read_text()
    assert "4.5 of 3 points" in page
    assert '<td class="points">1.5 extra</td>' in page
    assert "<strong>Yes</strong>" in page
    assert 'value="1.5"' in (folder / "sentences.html").read_text()
    with pytest.raises(UserError, match=r"Unknown exercise 'small'\. Expected: tiny"):
        grade.grade(folder, given=("small",))


def test_points_for_a_sentence_that_is_gone_are_refused(graded):
    entries = course_folder.read_graded(graded)
    entries["ben/tiny"].sentences = {}
    course_folder.write_graded(graded, entries)
    with pytest.raises(UserError, match="another sentence since, or none"):
        marked(graded, f"ben,tiny,explain,{SENTENCE},1,")
    assert by_hand.read(graded) == []
