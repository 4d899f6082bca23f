"""The report of a class, without a kernel."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path
from urllib.parse import unquote

from mnist_course.grading import class_report, sandbox
from mnist_course.grading.submissions import Remark
from mnist_helpers import _files
from tests.grading.tiny import SENTENCE, sentence, tiny

GRADED = ("double-tests", "double-hidden", "number-tests", "explain")


def reported(
    folder: Path, results: dict[str, dict[str, class_report.Result]], *remarks: Remark
) -> tuple[dict, str]:
    """The report of a class on three exercises, of which nobody has submitted the last."""
    tasks = class_report.tasks_of(tiny())
    names = ("tiny", "small", "other")
    summary = class_report.write(
        folder,
        titles={name: f"The {name} exercise" for name in names},
        tasks=dict.fromkeys(names, tasks),
        results=results,
        remarks=remarks,
        limits=sandbox.Limits(),
    )
    return _files.read_json(folder / "report.json"), summary


def result(*marks: float, not_done: tuple[str, ...] = (), **messages: str) -> class_report.Result:
    """What is known about a submission to the tiny exercise."""
    return class_report.Result(
        marks=dict(zip(GRADED, (*marks, 0.0), strict=True)) if marks else {},
        messages={name.replace("_", "-"): message for name, message in messages.items()},
        not_done=not_done,
        sentences={"explain": SENTENCE} if marks else {},
        seconds=1.0 if marks else None,
        isolated=True,
    )


def marks_of(folder: Path) -> list[list[str]]:
    text = (folder / "marks.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(text.decode("utf-8-sig").splitlines()))


def test_marks_for_a_school_have_a_row_for_every_student(tmp_path):
    report, summary = reported(
        tmp_path,
        {"Zoë": {"tiny": result(1, 1, 0.5)}, "eve": {"tiny": result()}, "nobody": {}, "=1+1": {}},
        Remark("=1+1", "", "rename the folder", not_graded=True),
        Remark("eve", "tiny", "cannot be\x1b[2Jread", not_graded=True),
        Remark("Zoë", "tiny", "cell number was missing, so it was not graded"),
    )
    assert marks_of(tmp_path) == [
        ["student", "tiny", "total", "maximum"],
        ["Zoë", "2.5", "2.5", "3"],
        ["eve", "not graded", "0", "3"],
        ["nobody", "", "0", "3"],
        ["'=1+1", "", "0", "3"],
    ]
    assert [student["not_graded"] for student in report["students"]] == [0, 1, 0, 0]
    assert re.search(
        r"NOT GRADED \(2\):\n  - =1\+1: rename.*\n  - eve/tiny: cannot be\?\[2Jread\nReport: ", summary
    )
    assert summary.endswith(f"Marks:   {tmp_path / 'marks.csv'}")
    page = (tmp_path / "report.html").read_text()
    assert "0 of 3; 1 not graded" in page
    assert "rename the folder; not graded" in page
    assert "The other exercise" not in page


def test_several_students_and_exercises_with_names_and_messages_from_elsewhere(tmp_path):
    evil = "<script>evil()</script>"
    names = {"Ann O'Hara": 0.25, "b&b #1": 0.5, "zoë": 0.75}
    report, summary = reported(
        tmp_path,
        {
            name: {"tiny": result(1, share, 0, number_tests=evil), "small": result(share, 0, 1)}
            for name, share in names.items()
        },
        Remark(evil, evil, evil, not_graded=True),
    )
    assert marks_of(tmp_path) == [
        ["student", "tiny", "small", "total", "maximum"],
        ["Ann O'Hara", "1.25", "1.25", "2.5", "6"],
        ["b&b #1", "1.5", "1.5", "3", "6"],
        ["zoë", "1.75", "1.75", "3.5", "6"],
    ]
    first, second, third = report["exercises"][0]["tasks"]
    assert (first["mean_points"], first["success_rate"], first["wrong_answers"]) == (1.5, 0, [])
    assert (second["mean_points"], second["success_rate"]) == (0, 0)
    assert second["wrong_answers"] == [{"count": 3, "message": evil}]
    assert [of["success_rate"] for of in report["exercises"][1]["tasks"]] == [0, 1, None]
    assert (third["title"], third["by_hand"], third["max_points"]) == ("Task 3: in a sentence", True, 0)
    assert [of["mean_points"] for of in report["exercises"]] == [1.5, 1.5, None]
    assert re.search(r"tiny +3 +1.5 +3\n", summary)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count(html.escape(evil)) >= 4
    assert [unquote(html.unescape(link)) for link in re.findall(r'href="(feedback.*?)"', page)] == [
        f"feedback/{name}/{exercise}/{exercise}.html" for name in names for exercise in ("tiny", "small")
    ]
    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert rows[0] == "student,exercise,task,test,points,max_points"
    assert rows[2] == "Ann O'Hara,tiny,double,double-hidden,0.25,1.0"
    assert len(rows) == 1 + 3 * 2 * 3


def test_the_report_begins_with_what_to_take_up_next(tmp_path):
    square, undone = (
        "This is the square: 9.",
        "Nothing to see.",
    )  # the kind of the error decides, not its words
    both = ("double-tests", "double-hidden")
    report, _ = reported(
        tmp_path,
        {
            "a": {"tiny": result(0, 0, 1, double_tests=undone, double_hidden=undone, not_done=both)},
            "b": {"tiny": result(1, 0, 1, double_hidden=undone, not_done=both[1:])},
            "c": {"tiny": result(0, 0, 1, double_tests=square)},
            "d": {
                "tiny": result(
                    *(1, 1, 0),
                    number="SyntaxError in the answer: x",
                    number_tests="Task 2 is not done yet.",
                    not_done=("number-tests",),
                )
            },
        },
    )
    first, second, third = report["exercises"][0]["tasks"]
    assert (first["not_done"], first["wrong_answers"]) == (2, [{"count": 1, "message": square}])
    assert second["wrong_answers"] == [{"count": 1, "message": "SyntaxError in the answer: x"}]
    assert (second["not_done"], third["not_done"], third["wrong_answers"]) == (0, 0, [])
    assert [task["title"] for task in report["next_session"]] == ["Task 1: double", "Task 2: a number"]
    assert report["next_session"][0]["wrong_answer"]["message"] == square
    headings = re.findall("<h2>(.*?)</h2>", (tmp_path / "report.html").read_text())
    assert headings[:4] == ["Next session", "Students", "Remarks on submissions", "The tiny exercise"]


def test_a_sentence_is_neither_failed_nor_missing_and_changes_no_total(tmp_path):
    report, _ = reported(tmp_path, {"a": {"tiny": result(1, 1, 1)}, "b": {"tiny": result(1, 0, 1)}})
    assert [task["title"] for task in report["next_session"]] == ["Task 1: double"]
    assert report["exercises"][0]["max_points"] == 3
    assert marks_of(tmp_path)[1:] == [["a", "3", "3", "3"], ["b", "2", "2", "3"]]
    assert "explain" not in (tmp_path / "report.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    row = page.split('<th scope="row">Task 3: in a sentence</th>')[1].split("</tr>")[0]
    assert re.findall('<td class="number">(.*?)</td>', row) == ["–"] * 3
    assert "2 answers, for you to read" in row


def test_the_teacher_reads_all_sentences_as_text(tmp_path):
    evil = "<script>evil()</script>"
    wrote = result(1, 1, 1)
    report, _ = reported(
        tmp_path,
        {
            "a": {"tiny": wrote},
            "b": {"tiny": wrote._replace(sentences={"explain": evil})},
            "c": {"tiny": wrote._replace(sentences={})},
            "d": {"tiny": wrote._replace(marks={})},  # not graded
        },
    )
    assert [task["sentences"] for task in report["exercises"][0]["tasks"]] == [
        [],
        [],
        [{"student": "a", "text": SENTENCE}, {"student": "b", "text": evil}],
    ]
    page = (tmp_path / "report.html").read_text()
    assert f"a: {SENTENCE}" in page
    assert f"b: {html.escape(evil)}" in page
    assert evil not in page


def test_a_sentence_with_points_counts_in_the_totals_once_it_is_marked():
    notebook = tiny()
    notebook.cells[-1] = sentence("explain", "", points=2)
    task = class_report.tasks_of(notebook)[-1]
    assert task == class_report.Task("explain", "Task 3: in a sentence", {"explain": 2.0}, by_hand=True)
    marked = class_report._task(task, [result(1, 1, 1)._replace(marks={"explain": 2.0}), result(1, 1, 1)])
    assert (marked["max_points"], marked["mean_points"], marked["success_rate"]) == (2, 1, None)
