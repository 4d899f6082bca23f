"""The committed table of faults is about the tests that there are."""

from collections import Counter
from pathlib import Path

import pytest

from mnist_helpers import _files
from tests.faults import report

REFERENCE = Path(__file__).parent.parent.parent / "results" / "reference"


@pytest.fixture
def committed():
    return _files.read_json(REFERENCE / report.FAULTS_FILE)


def test_every_fault_of_the_table_is_tried_by_a_test_and_the_other_way_round(committed, declared):
    tried = {row["test"] for row in committed["faults"]} | set(committed["not_tried"])
    assert tried == declared, "make faults writes the table again"


def test_the_kills_of_the_table_are_those_that_are_tried(committed):
    from tests.faults.test_run_faults import KILLS

    kills = Counter(row["test"] for row in committed["faults"] if row["group"] == "kill")
    assert kills == {"test_sigkill_at_random_moments": sum(count for _, count in KILLS)}


def test_no_committed_fault_was_lost_and_the_page_shows_them_all(committed):
    assert committed == report.content(committed["faults"], committed["not_tried"])
    assert committed["summary"]["lost"] == 0
    assert all(row["seen"] for row in committed["faults"])
    markdown, html = (REFERENCE / f"faults.{form}" for form in ("md", "html"))
    assert report.conclusion(committed) in markdown.read_text()
    assert report.table(committed).markdown() in markdown.read_text()
    assert report.table(committed).html() in html.read_text()
    for page in ("report.md", "report.html"):
        assert f"faults{Path(page).suffix}" in (REFERENCE / page).read_text()
