"""What a teacher and a student read after grading: the class report, the sentences, the feedback."""

from __future__ import annotations

import shutil

import pytest

from mnist_course.grading import by_hand, grade, release, sandbox
from tests.grading.conftest import _tiny_exercises, built  # noqa: F401 (fixtures)
from tests.grading.tiny import solved, submit

pytest.importorskip("playwright", reason="no Playwright here: pip install --editable '.[browser]'")
pytestmark = pytest.mark.browser

LONG = "x" * 300
TABLE = "import pandas as pd\ndisplay(pd.DataFrame([range(60)] * 2))\nnumber = 7"
PAGES = ("report.html", "sentences.html", "feedback/anna/tiny/tiny.html", "feedback/ben/tiny/tiny.html")


@pytest.fixture(scope="module")
def graded(built, _tiny_exercises, tmp_path_factory):  # noqa: F811
    """A grading folder with long lines, a wide table, a sentence to mark, and one mark by hand."""
    folder = shutil.copytree(built, tmp_path_factory.mktemp("graded") / "course")
    submit(folder, "anna", solved(number=TABLE, explain='=1+1, "so" it\'s\ntwo <b>lines</b>'))
    submit(folder, "ben", solved(double=f"double = lambda x: x * x  # {LONG}", number=f"print('{LONG}')"))
    submit(folder, "a-student-with-a-very-long-name-" * 2, solved()).write_text("{")
    (folder / "roster.csv").write_text("name,email\nErik,erik@example.org\n")
    limits = sandbox.Limits(60, 2**30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "EXERCISES", _tiny_exercises)
        grade.grade(folder, limits=limits)
        table = folder.parent / "marks.csv"
        table.write_text(f"student,exercise,task,points,comment\nben,tiny,explain,1,See {LONG}\n")
        by_hand.mark(folder, table)
        grade.grade(folder, limits=limits)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_serious_violation(graded, violations, page):
    assert violations(graded / page) == []


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_is_as_wide_as_the_window(graded, browser, page, width):
    window = browser.new_page(viewport={"width": width, "height": 800}, java_script_enabled=False)
    window.goto((graded / page).as_uri())
    assert window.evaluate("document.documentElement.scrollWidth") == width
    if page == "report.html" and width == 1280:
        wider = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
        assert window.evaluate(wider) == 0
    window.close()


def test_the_feedback_begins_with_the_points(graded, browser):
    page = browser.new_page(viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page.goto((graded / "feedback/ben/tiny/tiny.html").as_uri())
    rows = page.locator("tbody").first.locator("tr").all_inner_texts()
    assert [row.split("\t")[:2] for row in rows] == [
        ["Task 1: double", "0 of 2"],
        ["Task 2: a number", "0 of 1"],
        ["Task 3: in a sentence", "1 extra"],
    ]
    assert page.locator(".total").bounding_box()["y"] < 200
    page.goto((graded / "feedback/anna/tiny/tiny.html").as_uri())
    assert page.locator(".output_html td").count() > 20  # a table, not its source
    page.close()


def test_the_page_saves_a_table_that_can_be_marked(graded, browser, tmp_path):
    page = browser.new_page()
    page.goto((graded / "sentences.html").as_uri())
    page.get_by_label("Points for anna").fill("0.5")
    page.get_by_label("Comment to anna").fill('=Good, "yes"\nindeed')
    page.get_by_label("Points for ben").fill("")
    page.get_by_label("Points for anna").fill("99")
    page.get_by_role("button").click()  # too many points: nothing is saved
    assert page.get_by_role("status").inner_text() == "Not saved yet."
    page.get_by_label("Points for anna").fill("0.5")
    with page.expect_download() as download:
        page.get_by_role("button").click()
    assert download.value.suggested_filename == "sentences.csv"
    download.value.save_as(tmp_path / "saved.csv")
    page.close()
    anna, ben = by_hand.read_table(tmp_path / "saved.csv")
    assert anna[1:] == (
        *("anna", "tiny", "explain", '=1+1, "so" it\'s\ntwo <b>lines</b>', "0.5"),
        '=Good, "yes"\nindeed',
    )
    assert (ben.student, ben.points, ben.comment) == ("ben", "-", f"See {LONG}")
    folder = shutil.copytree(graded, tmp_path / "course")
    assert by_hand.mark(folder, tmp_path / "saved.csv").startswith("3 points and comments")
    assert [mark.extra_credit for mark in by_hand.read(folder)] == [0.5, None]
