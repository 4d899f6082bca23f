"""Grading again: a lost gradebook, marks given by hand, renamed students. No kernel runs."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from mnist_course import cli
from mnist_course.grading import (
    collect,
    course_folder,
    export,
    grade,
    isolation,
    nbgrader_bridge,
    regrading,
    sandbox,
)
from mnist_helpers import _files
from mnist_helpers._errors import UserError
from tests.grading.tiny import points, remarks, solved, submit

pytestmark = [
    pytest.mark.course,  # nbgrader is slow
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

HALF = solved(number="number = 8")


def _run(notebook: nbformat.NotebookNode, work: Path, **_: object) -> sandbox.Outcome:
    names: dict = {}
    cells = {}
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        outputs = []
        try:
            exec(cell.source, names)
        except Exception as error:
            outputs = [nbformat.v4.new_output("error", ename=type(error).__name__, evalue=str(error))]
        cells[place] = {"outputs": outputs, "execution_count": 1}
    return sandbox.Outcome(cells, [], 1.0, False, False)


@pytest.fixture
def graded(folder, monkeypatch) -> Callable[[], set[str]]:
    """Grades the folder; returns the submissions that ran."""
    monkeypatch.setattr(isolation, "find", lambda: isolation.Isolation("", ""))
    monkeypatch.setattr(sandbox, "run", _run)

    def graded(**options: bool) -> set[str]:
        before = {path.stat().st_mtime_ns for path in folder.glob("autograded/*/*/*.ipynb")}
        grade.grade(folder, workers=1, **options)
        return {
            path.parts[-3]
            for path in folder.glob("autograded/*/*/*.ipynb")
            if path.stat().st_mtime_ns not in before
        }

    return graded


def give(folder: Path, student: str, score: float | None, comment: str = "") -> None:
    with nbgrader_bridge.gradebook(folder) as book:
        book.find_grade("number-tests", "tiny", "tiny", student).manual_score = score
        if comment:
            book.find_comment("explain", "tiny", "tiny", student).manual_comment = comment
        book.db.commit()


def marks(folder: Path) -> dict[str, str]:
    rows = (folder / "marks.csv").read_text(encoding="utf-8-sig").splitlines()[1:]
    return {row.split(",")[0]: row.split(",")[1] for row in rows}


def test_a_deleted_gradebook_is_rebuilt(folder, graded):
    submit(folder, "anna", solved())
    submit(folder, "ben", HALF)
    (folder / "gradebook.db").unlink()
    assert graded() == {"anna", "ben"}
    (folder / "gradebook.db").unlink()
    assert graded() == {"anna", "ben"}
    assert marks(folder) == {"anna": "3", "ben": "2"}
    assert graded() == set()


@pytest.mark.parametrize("content", [b"", b"not a database", None])
def test_a_damaged_gradebook_is_named_and_never_deleted(folder, graded, content):
    submit(folder, "anna", solved())
    graded()
    book = folder / "gradebook.db"
    damaged = content if content is not None else book.read_bytes()[:5000]
    book.write_bytes(damaged)
    with pytest.raises(UserError, match=r"gradebook.db cannot be used .* or delete it .* assignments grade"):
        graded()
    assert book.read_bytes() == damaged
    book.unlink()
    assert graded() == {"anna"}
    assert marks(folder) == {"anna": "3"}


def test_an_older_copy_of_the_gradebook_is_not_believed(folder, graded):
    submit(folder, "anna", HALF)
    submit(folder, "ben", solved())
    graded()
    shutil.copy(folder / "gradebook.db", folder.parent / "copy.db")
    submit(folder, "anna", solved())
    graded()
    shutil.copy(folder.parent / "copy.db", folder / "gradebook.db")
    assert graded() == {"anna"}
    assert marks(folder) == {"anna": "3", "ben": "3"}


def test_a_mark_given_by_hand_stays_with_its_answers_and_is_cleared_with_others(folder, graded):
    submit(folder, "anna", HALF)
    graded()
    give(folder, "anna", 0.25, "Think of 7.")
    graded()
    assert marks(folder) == {"anna": "2.25"}
    with_outputs = solved(number="number = 8  ")
    with_outputs.cells[2].outputs = [nbformat.v4.new_output("stream", text="again")]
    submit(folder, "anna", with_outputs)
    assert graded() == {"anna"}
    assert marks(folder) == {"anna": "2.25"}
    assert graded(fresh=True) == {"anna"}
    assert marks(folder) == {"anna": "2.25"}
    assert remarks(folder, "anna") == ""
    submit(folder, "anna", solved(number="number = 9"))
    for _ in range(2):  # the remark stays
        graded()
        assert marks(folder) == {"anna": "2"}
        assert remarks(folder, "anna").splitlines() == [
            "cell explain: given by hand for earlier answers, and cleared: the comment 'Think of 7.'",
            "cell number-tests: given by hand for earlier answers, and cleared: 0.25 points",
        ]
    give(folder, "anna", 0.5, "Still 7.")
    graded()
    assert marks(folder) == {"anna": "2.5"}
    assert remarks(folder, "anna") == ""


def test_a_cleared_mark_is_said_although_the_grading_was_interrupted(folder, graded, monkeypatch):
    submit(folder, "anna", HALF)
    graded()
    give(folder, "anna", 0.25)
    graded()
    submit(folder, "anna", solved(number="number = 9"))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for place, name in ((regrading, "clear_marks"), (nbgrader_bridge, "record_marks")):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(place, name, interrupted)
            graded()
    for _ in range(2):
        graded()
        assert marks(folder) == {"anna": "2"}
        assert remarks(folder, "anna").endswith("given by hand for earlier answers, and cleared: 0.25 points")


def test_marks_by_hand_outlive_the_notebooks_that_nbgrader_keeps(folder, graded):
    for student in ("anna", "ben"):
        submit(folder, student, HALF)
    graded()
    for student in ("anna", "ben"):
        give(folder, student, 0.25)
    graded()
    shutil.rmtree(folder / "autograded")
    submit(folder, "ben", solved(number="number = 9"))
    graded(fresh=True)
    assert marks(folder) == {"anna": "2.25", "ben": "2"}
    assert remarks(folder, "anna") == ""
    assert "cleared: 0.25 points" in remarks(folder, "ben")


def test_a_damaged_submission_does_not_give_the_marks_to_who_copied_it(folder, graded):
    path = submit(folder, "anna", HALF)
    graded()
    give(folder, "anna", 0.25)
    graded()
    submit(folder, "carl", HALF)
    path.write_text("damaged")
    path.rename(path.with_name("notes.txt"))
    graded()
    assert marks(folder) == {"anna": "not recognised", "carl": "2"}


@pytest.mark.parametrize("where", ["grade", "export"])
def test_extra_credit_of_the_formgrader_counts_for_a_sentence_too(folder, graded, where, tmp_path):
    submit(folder, "anna", solved(explain="It is two of them."))
    graded()
    with nbgrader_bridge.gradebook(folder) as book:  # as the formgrader does it
        book.find_grade("explain", "tiny", "tiny", "anna").extra_credit = 0.5
        book.db.commit()
    if where == "grade":
        graded()
        assert marks(folder) == {"anna": "3.5"}
        page = (folder / "feedback" / "anna" / "tiny" / "tiny.html").read_text()
        assert "3.5 of 3 points" in page
    else:
        export.export(folder, csv_file=tmp_path / "list.csv")
        assert ",3.5,3.5,3" in (tmp_path / "list.csv").read_text(encoding="utf-8-sig")


def test_feedback_goes_back_to_moodle_under_the_names_that_it_has_given(folder, graded, tmp_path):
    class_list = tmp_path / "class.csv"
    class_list.write_text("name,id\nAnna Lee,1\nBen Oz,2\nCarl Po,3\nDora Qi,4\n")
    names = [
        "Anna Lee_11_assignsubmission_file_/tiny.ipynb",
        "Group A-Ben Oz_12_assignsubmission_file_my.ipynb",
    ]
    names += ["Carl Po_13_assignsubmission_file_/work.zip/x/tiny.ipynb"]
    for name, notebook in zip(names, (HALF, solved(), HALF), strict=True):
        path = tmp_path / "download" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook))
    collect.collect(folder, tmp_path / "download", roster=class_list)
    submit(folder, "Dora Qi", solved())
    submit(folder, "damaged", HALF).write_text("damaged")
    graded()
    give(folder, "Carl Po", 0.5)  # after the pages were written
    place = tmp_path / "back"
    for _ in range(2):  # the second one replaces the file of the first one
        asked = ["assignments", "export", str(folder), "--moodle-feedback", str(place)]
        found = CliRunner().invoke(cli.main, asked)
        summary = found.output
        assert found.exit_code == 0, summary
        assert [path.name for path in place.iterdir()] == ["feedback_tiny.zip"]
        with zipfile.ZipFile(place / "feedback_tiny.zip") as archive:
            pages = {name: archive.read(name).decode() for name in archive.namelist()}
        assert list(pages) == [
            "Anna Lee_11_assignsubmission_file_/tiny.html",
            "Group A-Ben Oz_12_assignsubmission_file_/tiny.html",
        ]
        points_of = [re.search(r"(\d) of 3 points", page)[1] for page in pages.values()]
        assert points_of == ["2", "3"]
        assert "feedback_tiny.zip (2 pages)" in summary
        left_out = summary.partition("Without feedback in these files (2):\n")[2].splitlines()[:2]
        assert left_out == [
            "  - Carl Po/tiny: the page is missing or shows earlier marks; grade again",
            "  - Dora Qi/tiny: the submission was not collected from Moodle",
        ]
    graded()
    assert "feedback_tiny.zip (3 pages)" in export.export(folder, feedback=place)
    (place / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds other things \(notes.txt\)"):
        export.export(folder, feedback=place)
    with pytest.raises(UserError, match="Expected: a folder"):
        export.export(folder, feedback=place / "notes.txt")


def test_an_empty_sentence_has_no_points_and_waits_for_nobody(folder, graded):
    _with_points_for_the_sentence(folder)
    submit(folder, "anna", solved(explain="  \n"))
    graded()
    assert marks(folder) == {"anna": "3"}
    assert "waits" not in remarks(folder, "anna")


def _with_points_for_the_sentence(folder: Path) -> None:
    for kind in ("source", "release"):
        path = folder / kind / "tiny" / "tiny.ipynb"
        notebook = nbformat.read(path, as_version=4)
        (explain,) = [cell for cell in notebook.cells if cell.id == "explain"]
        explain.metadata.nbgrader.points = 2
        nbformat.write(notebook, path)
    (folder / "gradebook.db").unlink()


def test_a_note_beside_the_answers_changes_them_too(folder, graded):
    submit(folder, "anna", HALF)
    graded()
    give(folder, "anna", 0.25)
    notebook = solved(number="number = 8")
    notebook.cells.append(nbformat.v4.new_code_cell("number = 9"))
    submit(folder, "anna", notebook)
    graded()
    assert marks(folder) == {"anna": "2"}


def test_a_renamed_student_is_one_student(folder, graded):
    submit(folder, "anna", HALF)
    submit(folder, "ben", solved())
    graded()
    give(folder, "anna", 0.25)
    graded()
    (folder / "submitted" / "anna").rename(folder / "submitted" / "Anna Lee")
    assert graded() == set()
    assert marks(folder) == {"Anna Lee": "2.25", "ben": "3"}
    assert sorted(path.name for path in folder.glob("feedback/*")) == ["Anna Lee", "ben"]
    assert points(folder, "Anna Lee")["number-tests"] == 0.25
    assert sorted(course_folder.read_graded(folder)) == ["Anna Lee/tiny", "ben/tiny"]
    assert remarks(folder, "Anna Lee") == "was called anna before; marks given by hand were kept"
    assert graded() == set()
    assert remarks(folder, "Anna Lee") == remarks(folder, "anna") == ""


@pytest.mark.parametrize("twins", ["two new folders", "two old ones", "untouched"])
def test_nobody_gets_the_marks_of_somebody_else(folder, graded, built, twins):
    release = course_folder.read_exercise(folder, "tiny").release
    notebook = release if twins == "untouched" else HALF
    old = ["anna", "ben"] if twins == "two old ones" else ["anna"]
    new = ["carl", "dora"] if twins == "two new folders" else ["carl"]
    for student in old:
        submit(folder, student, notebook)
    graded()
    give(folder, "anna", 0.25)
    for student in old:
        shutil.rmtree(folder / "submitted" / student)
    for student in new:
        submit(folder, student, notebook)
    assert graded() == set(new)
    assert marks(folder) == dict.fromkeys(new, "0" if twins == "untouched" else "2")
    for student in old:
        assert "has marks in the gradebook, but no folder in submitted/" in remarks(folder, student)


def test_a_submission_that_became_unreadable_has_no_mark(folder, graded):
    path = submit(folder, "anna", solved())
    graded()
    path.write_text("damaged")
    graded()
    assert marks(folder) == {"anna": "not graded"}
    assert "still show an earlier submission" in remarks(folder, "anna")


def test_names_that_nbgrader_cannot_use_are_graded_and_shown_as_they_are(folder, graded):
    names = ["a*b", "[x]", "Müller, Anna (2) & Co", "अनिल कुमार", "=cmd()"]
    for name in names:
        submit(folder, name, solved())
    graded()
    report = _files.read_json(folder / "report.json")
    assert sorted(entry["student"] for entry in report["students"]) == sorted(names)
    assert {entry["points"] for entry in report["students"]} == {3}
    for entry in report["students"]:
        assert (folder / entry["exercises"]["tiny"]["feedback"]).is_file()
    for table in ("marks.csv", "report.csv"):
        text = (folder / table).read_text(encoding="utf-8-sig")
        assert "\n=cmd" not in text
        assert "'=cmd()" in text
    assert graded() == set()


def test_a_students_code_that_prints_a_hidden_test_is_reported(folder):
    source = course_folder.read_exercise(folder, "tiny").source
    hidden = "the test is:\n    assert double(531) == 1062"
    source.cells[2].outputs = [nbformat.v4.new_output("stream", text=hidden)]
    source.cells[6].outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": hidden})]
    source.cells[7].outputs = [nbformat.v4.new_output("stream", text="number is not 7")]
    assert nbgrader_bridge.hide_leaks(source) == [
        f"cell {name} prints lines of a hidden test; the output was left out" for name in ("double", "number")
    ]
    assert "531" not in json.dumps([cell.get("outputs") for cell in source.cells])
    assert source.cells[7].outputs[0].text == "number is not 7"


def test_a_run_that_never_started_is_no_mark(folder, graded, monkeypatch):
    submit(folder, "anna", solved())
    never = sandbox.Outcome({}, ["it could not be started"], 0.1, True, False)
    monkeypatch.setattr(sandbox, "run", lambda *_, **__: never)
    graded()
    assert marks(folder) == {"anna": "not graded"}
    assert remarks(folder, "anna") == "could not be graded: it could not be started"
    monkeypatch.setattr(sandbox, "run", _run)
    graded()
    assert marks(folder) == {"anna": "3"}


def test_an_interrupted_grading_shows_no_mark_of_an_earlier_submission(folder, graded, monkeypatch):
    submit(folder, "anna", solved())
    submit(folder, "ben", solved())
    graded()
    submit(folder, "anna", HALF)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        graded()
    assert marks(folder) == {"anna": "not graded", "ben": "3"}
    assert remarks(folder, "anna") == "not graded yet"


def test_after_an_interruption_the_feedback_has_the_marks_of_the_report(folder, graded, monkeypatch):
    submit(folder, "anna", solved())
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(grade, "_renew_feedback", interrupted)
        with pytest.raises(KeyboardInterrupt):
            graded()
    give(folder, "anna", 0.25)
    assert graded() == set()
    page = (folder / "feedback" / "anna" / "tiny" / "tiny.html").read_text()
    assert f"{marks(folder)['anna']} of 3 points" in page
    assert marks(folder)["anna"] != "3"


def test_a_sentence_with_points_is_no_mark_before_a_teacher_has_given_one(folder, graded):
    _with_points_for_the_sentence(folder)
    submit(folder, "anna", solved(explain="It is two of them."))
    graded()
    assert marks(folder) == {"anna": "not graded"}
    assert "explain waits for a mark by hand" in remarks(folder, "anna")
    with nbgrader_bridge.gradebook(folder) as book:
        book.find_grade("explain", "tiny", "tiny", "anna").manual_score = 1.5
        book.db.commit()
    graded()
    assert marks(folder) == {"anna": "4.5"}
    assert "waits" not in remarks(folder, "anna")
