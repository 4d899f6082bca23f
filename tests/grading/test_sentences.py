"""The page and the table of the answers that a teacher reads."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from mnist_course.grading import class_report, sentences, tables
from mnist_course.grading.class_report import ByHand
from tests.grading.tiny import sentence, tiny

EVIL = '=cmd|\' <script>evil()</script>\n"two", lines'


def result(text: str) -> class_report.Result:
    return class_report.Result({"explain": 0.0}, {}, (), {"explain": text}, 1.0, isolated=True)


RESULTS = {"ben": {"tiny": result(EVIL)}, "anna": {"tiny": result("Because.")}, "cara": {}}
GIVEN = [
    ByHand("anna", "tiny", "explain", None, None, 0.125, "Why?"),
    ByHand("ben", "tiny", "number", comment="no"),
]


def written(folder: Path, marks=(), results=RESULTS, points: float = 0) -> str:
    notebook = tiny()
    notebook.cells[-1] = sentence("explain", "", points=points)
    tasks = {"tiny": class_report.tasks_of(notebook)}
    return sentences.write(folder, {"tiny": "The <tiny> exercise"}, tasks, results, marks)


def rows(folder: Path) -> list[dict[str, str]]:
    return [row for _, row in tables.read(folder / "sentences.csv", ())]


def test_the_table_has_every_sentence_with_the_marks_that_it_has(tmp_path):
    assert written(tmp_path, GIVEN) == f"Sentences: {tmp_path / 'sentences.html'}\n"
    same = {"exercise": "tiny", "task": "explain"}
    assert rows(tmp_path) == [
        {"student": "ben", **same, "sentence": EVIL, "points": "", "comment": ""},
        {"student": "anna", **same, "sentence": "Because.", "points": "0.125", "comment": "Why?"},
    ]
    assert "'=cmd|" in (tmp_path / "sentences.csv").read_text("utf-8-sig")


def test_the_page_shows_sentences_as_text_and_runs_its_own_script_only(tmp_path):
    written(tmp_path, GIVEN)
    page = (tmp_path / "sentences.html").read_text()
    assert page.count("<script") == 1
    assert "&lt;script&gt;evil()" in page
    assert "The &lt;tiny&gt; exercise: Task 3: in a sentence" in page
    assert "extra credit (up to 3)" in page
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'" in page
    assert re.findall(r'type="number" .*? value="(.*?)"', page) == ["", "0.125"]


def test_a_sentence_with_points_has_its_own_maximum(tmp_path):
    written(tmp_path, [ByHand("anna", "tiny", "explain", None, 1.5, None, "")], points=2)
    page = (tmp_path / "sentences.html").read_text()
    assert "0 to 2 points." in page
    assert 'max="2"' in page
    assert rows(tmp_path)[1]["points"] == "1.5"


def test_no_sentences(tmp_path):
    assert written(tmp_path, results={"cara": {}}) == ""
    assert "No student has written a sentence yet" in (tmp_path / "sentences.html").read_text()
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    ("filled", "column"),
    [
        ("ben,tiny,explain,,1,", "points"),
        ("ben,tiny,explain,,,good", "comment"),
        ("anna,tiny,explain,Because.,0.25,Why?", "points"),
        ("anna,tiny,explain,Because.,-,", "points"),
        ("cara,tiny,explain,I have gone.,1,", "points"),
    ],
)
def test_a_table_with_new_marks_is_left_as_it_is(tmp_path, filled, column):
    path = tmp_path / "sentences.csv"
    path.write_text(f"student,exercise,task,sentence,points,comment\n{filled}\n")
    before = path.read_bytes()
    said = written(tmp_path, GIVEN)
    assert path.read_bytes() == before
    assert f"because row 2 has a value in the column {column} that is not in the gradebook" in said
    assert f"mnist-course assignments mark {tmp_path} {path}" in said


@pytest.mark.parametrize(
    "filled", ['anna;tiny;explain;x;"0,125";Why?', "anna;tiny;explain;;;", "ben;tiny;explain;;-;-"]
)
def test_a_table_whose_marks_are_all_in_the_gradebook_is_written_again(tmp_path, filled):
    (tmp_path / "sentences.csv").write_text(f"student;exercise;task;sentence;points;comment\n{filled}\n")
    written(tmp_path, GIVEN)
    assert len(rows(tmp_path)) == 2


def test_a_file_that_cannot_be_read_is_left_as_it_is(tmp_path):
    (tmp_path / "sentences.csv").write_text("my own notes")
    assert "it cannot be read" in written(tmp_path, GIVEN)
    assert (tmp_path / "sentences.csv").read_text() == "my own notes"
