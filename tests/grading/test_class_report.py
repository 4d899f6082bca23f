"""The report of a class, without a kernel."""

from __future__ import annotations

import csv
import datetime
import html
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mnist_course.grading import class_report, distribution, sandbox
from mnist_course.grading.submissions import Remark
from mnist_helpers import _files
from tests.grading.tiny import SENTENCE, sentence, tiny

GRADED = ("double-tests", "double-hidden", "number-tests", "explain")


def reported(
    folder: Path, results: dict[str, dict[str, class_report.Result]], *remarks: Remark, **options
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
        **options,
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
        ["student", "tiny", "tiny maximum", "total", "maximum", "percent", "passed"],
        ["Zoë", "2.5", "3", "2.5", "3", "83.3", "yes"],
        ["eve", "not graded", "3", "not graded", "3", "", ""],
        ["nobody", "not submitted", "3", "not submitted", "3", "", ""],
        ["'=1+1", "not recognised", "3", "not graded", "3", "", ""],
    ]
    assert [student["not_graded"] for student in report["students"]] == [0, 1, 0, 0]
    assert re.search(
        r"NOT GRADED \(2\):\n  - =1\+1: rename.*\n  - eve/tiny: cannot be\?\[2Jread\nReport: ", summary
    )
    assert summary.endswith(f"Marks:   {tmp_path / 'marks.csv'}")
    page = (tmp_path / "report.html").read_text()
    assert report["not_submitted_anything"] == ["nobody"]
    assert "1 of 4 students have not submitted anything: nobody." in page
    assert "rename the folder; not graded" in page
    assert "The other exercise" not in page


def test_several_students_and_exercises_with_names_and_messages_from_elsewhere(tmp_path):
    evil = "<script>evil()</script>"
    names = {"Ann O'Hara": 0.25, "b&b #1 %41": 0.5, "zoë": 0.75}
    report, summary = reported(
        tmp_path,
        {
            name: {"tiny": result(1, share, 0, number_tests=evil), "small": result(share, 0, 1)}
            for name, share in names.items()
        },
        Remark(evil, evil, evil, not_graded=True),
    )
    assert marks_of(tmp_path) == [
        [
            "student",
            "tiny",
            "tiny maximum",
            "small",
            "small maximum",
            "total",
            "maximum",
            "percent",
            "passed",
        ],
        ["Ann O'Hara", "1.25", "3", "1.25", "3", "2.5", "6", "41.7", "no"],
        ["b&b #1 %41", "1.5", "3", "1.5", "3", "3", "6", "50.0", "yes"],
        ["zoë", "1.75", "3", "1.75", "3", "3.5", "6", "58.3", "yes"],
    ]
    first, second, third = report["exercises"][0]["tasks"]
    assert (first["mean_points"], first["success_rate"], first["wrong_answers"]) == (1.5, 0, [])
    assert (second["mean_points"], second["success_rate"]) == (0, 0)
    assert second["wrong_answers"] == [{"count": 3, "message": evil}]
    assert [of["success_rate"] for of in report["exercises"][1]["tasks"]] == [0, 1, None]
    assert (third["title"], third["by_hand"], third["max_points"]) == ("Task 3: in a sentence", True, 0)
    assert [of["mean_points"] for of in report["exercises"]] == [1.5, 1.5, None]
    assert re.search(r"tiny +3 +0 +0 +1.5 +1.5 +3\n", summary)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count(html.escape(evil)) >= 4
    links = [urlsplit(html.unescape(link)) for link in re.findall(r'href="(feedback.*?)"', page)]
    assert not any(link.fragment or link.query for link in links)
    assert [unquote(link.path) for link in links] == [
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
    assert headings[:4] == ["Next session", "Distribution", "Students", "Remarks on submissions"]


def test_a_sentence_is_neither_failed_nor_missing_and_changes_no_total(tmp_path):
    report, _ = reported(tmp_path, {"a": {"tiny": result(1, 1, 1)}, "b": {"tiny": result(1, 0, 1)}})
    assert [task["title"] for task in report["next_session"]] == ["Task 1: double"]
    assert report["exercises"][0]["max_points"] == 3
    assert [row[:5] for row in marks_of(tmp_path)[1:]] == [
        ["a", "3", "3", "3", "3"],
        ["b", "2", "3", "2", "3"],
    ]
    assert "explain" not in (tmp_path / "report.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    row = page.split('<th scope="row">Task 3: in a sentence</th>')[1].split("</tr>")[0]
    assert re.findall('<td class="number">(.*?)</td>', row) == ["–"] * 3
    assert '<a href="sentences.html">2 answers for you to read</a>' in row


def test_the_report_has_the_sentences_of_what_was_graded(tmp_path):
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


def test_a_sentence_with_points_counts_in_the_totals_once_it_is_marked():
    notebook = tiny()
    notebook.cells[-1] = sentence("explain", "", points=2)
    task = class_report.tasks_of(notebook)[-1]
    assert task == class_report.Task("explain", "Task 3: in a sentence", {"explain": 2.0}, by_hand=True)
    marked = class_report._task(task, [result(1, 1, 1)._replace(marks={"explain": 2.0}), result(1, 1, 1)])
    assert (marked["max_points"], marked["mean_points"], marked["success_rate"]) == (2, 1, None)


# --- totals, percentages and the pass mark ---


def test_a_total_lacks_no_mark_that_is_not_known_yet(tmp_path):
    full, junk = result(1, 1, 1), Remark("junk", "", "notes.txt belongs to no exercise", not_graded=True)
    report, _ = reported(
        tmp_path,
        {
            "both": {"tiny": full, "small": result(0, 0, 0)},
            "one": {"tiny": full},
            "waits": {"tiny": full, "small": result()},
            "junk": {"tiny": full},
        },
        junk,
    )
    rows = {row[0]: row[3:] for row in marks_of(tmp_path)}
    assert rows == {
        "student": ["small", "small maximum", "total", "maximum", "percent", "passed"],
        "both": ["0", "3", "3", "6", "50.0", "yes"],
        "one": ["not submitted", "3", "3", "6", "50.0", "yes"],
        "waits": ["not graded", "3", "not graded", "6", "", ""],
        "junk": ["not recognised", "3", "not graded", "6", "", ""],
    }
    tiny_one, small_one, other = report["exercises"]
    assert [of["graded"] for of in report["exercises"]] == [4, 1, 0]
    assert [(of["not_graded"], of["not_submitted"]) for of in report["exercises"]] == [(0, 0), (1, 2), (0, 4)]
    assert report["total"]["count"] == 2
    assert (tiny_one["median_points"], small_one["median_points"], other["median_points"]) == (3, 0, None)
    page = (tmp_path / "report.html").read_text()
    assert page.count(">not submitted</td>") == page.count(">not recognised</td>") == 1
    assert "1 graded, 1 not graded, 2 not submitted." in page


def test_an_exercise_of_one_student_changes_no_total_of_a_class_that_was_not_given_it(tmp_path):
    results = {name: {"tiny": result(1, 1, 0)} for name in "abc"}
    results["d"] = {"tiny": result(1, 1, 1), "small": result(1, 0, 0)}
    report, _ = reported(tmp_path, results, rules=class_report.Rules(given=("tiny",)))
    *of_abc, of_d = [row[3:] for row in marks_of(tmp_path)[1:]]
    assert of_abc == [["not submitted", "3", "2", "3", "66.7", "yes"]] * 3
    assert of_d == ["1", "3", "3", "3", "100.0", "yes"]
    assert report["remarks"] == []
    assert "small<br>of 3, not in the total" in (tmp_path / "report.html").read_text()
    report, _ = reported(tmp_path, results)  # it counts, and the report says so
    assert {row[-3] for row in marks_of(tmp_path)[1:]} == {"6"}
    (remark,) = report["remarks"]
    assert (remark["exercise"], remark["text"][:32]) == ("small", "1 of 4 students submitted it, an")
    # Nobody has submitted the last one yet, and it counts.
    reported(tmp_path, results, rules=class_report.Rules(given=("tiny", "other")))
    assert marks_of(tmp_path)[1][5:] == ["not submitted", "3", "2", "6", "33.3", "no"]


def test_the_pass_mark_and_extra_credit(tmp_path):
    extra = result(1, 1, 1)._replace(marks={**result(1, 1, 1).marks, "explain": 0.5})
    results = {"a": {"tiny": extra}, "b": {"tiny": result(1, 1, 0.25)}, "c": {"tiny": result(1, 1, 0.24)}}
    report, _ = reported(tmp_path, results, rules=class_report.Rules(pass_mark=75))
    assert [row[3:] for row in marks_of(tmp_path)[1:]] == [
        ["3.5", "3", "116.7", "yes"],
        ["2.25", "3", "75.0", "yes"],
        ["2.24", "3", "74.7", "no"],
    ]
    of_tiny = report["exercises"][0]["distribution"]
    assert of_tiny == report["total"]
    assert (of_tiny["passed"], of_tiny["median"], report["pass_mark"]) == (2, 75, 75)
    assert [bar["count"] for bar in of_tiny["bars"]] == [0] * 7 + [2, 0, 1]
    assert "a,tiny,explain,explain,0.5,0.0" in (tmp_path / "report.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "pass mark 75 %" in page
    assert "by percentage, The tiny exercise: 70 to 79 %: 2; 90 or more %: 1." in page


def test_bars_of_a_distribution_begin_at_whole_tens():
    found = distribution.of([0, 9.99, 10, 100 * 0.7, 100 * 0.29, 79.99999999999999, 90, 100], 70)
    assert [bar["count"] for bar in found["bars"]] == [2, 1, 1, 0, 0, 0, 0, 1, 1, 2]
    assert (found["passed"], found["count"], found["lowest"], found["highest"]) == (4, 8, 0, 100)
    assert distribution.of([], 50)["mean"] is None


def test_those_of_the_roster_who_have_no_folder_are_listed(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Zoë Å")
    rules = class_report.Rules(absent=("Erik <b>",))
    report, _ = reported(tmp_path, {decomposed: {"tiny": result(1, 1, 1)}, "eve": {}}, rules=rules)
    assert report["not_submitted_anything"] == ["eve", "Erik <b>"]
    assert [row[0] for row in marks_of(tmp_path)[1:]] == [decomposed, "eve", "Erik <b>"]
    assert marks_of(tmp_path)[-1][1:] == ["not submitted", "3", "not submitted", "3", "", ""]
    assert report["exercises"][0]["not_submitted"] == 2
    page = (tmp_path / "report.html").read_text()
    assert "2 of 3 students have not submitted anything: eve, Erik &lt;b&gt;." in page


def test_the_report_lists_marks_given_by_hand_and_its_date(tmp_path):
    marks = [
        class_report.ByHand("a", "tiny", "explain", None, None, 0.75, "<i>well said</i>"),
        class_report.ByHand("a", "tiny", "number-tests", 0.0, 0.5),
    ]
    report, _ = reported(tmp_path, {"a": {"tiny": result(1, 1, 0.5)}}, by_hand=marks)
    assert [tuple(mark.values()) for mark in report["by_hand"]] == marks
    page = (tmp_path / "report.html").read_text()
    table = page.split("<h2>Marks given by hand</h2>")[1].split("</table>")[0]
    assert re.findall(r"<td.*?>(.*?)</td>", table) == [
        *("tiny", "explain", "–", "–", "0.75", "&lt;i&gt;well said&lt;/i&gt;"),
        *("tiny", "number-tests", "0", "0.5", "–", "–"),
    ]
    written = report["written"]
    age = datetime.datetime.now().astimezone() - datetime.datetime.fromisoformat(written)
    assert abs(age) < datetime.timedelta(minutes=2)
    assert f"written on {written[:10]} at {written[11:16]} (UTC{written[19:]})" in page


def test_more_than_the_full_points_is_a_success(tmp_path):
    report, _ = reported(tmp_path, {"a": {"tiny": result(1, 1, 1.5)}})
    assert report["exercises"][0]["tasks"][1]["success_rate"] == 1
