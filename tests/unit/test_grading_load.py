"""The record of a class graded on a cluster: its numbers, table, picture and page. Nothing is graded."""

import json

import pytest
from click.testing import CliRunner

from mnist_course.grading import recognition
from tests.grading import load

MEASURED = {
    "seconds": 130.0,
    "points": [{"seconds": 2.0 * n, "graded": max(0, n - 5)} for n in range(1, 66)],
    "killed": 1,
    "different": [],
}


@pytest.fixture
def asked(monkeypatch):
    asked = []

    def measure(folder, exercise, submissions, workers, *, kill):
        asked.append((exercise, submissions, workers, kill))
        return MEASURED

    monkeypatch.setattr(load, "measure", measure)
    return asked


def run(folder, *options):
    return CliRunner().invoke(load.main, ["--into", str(folder), *options])


def test_the_record_the_picture_and_the_page(asked, tmp_path):
    done = run(
        tmp_path / "new", "--submissions", "60", "--workers", "3", "--exercise", "exercise_02", "--kill"
    )
    assert done.exit_code == 0, done.output
    assert asked == [("exercise_02", 60, 3, True)]
    record = json.loads((tmp_path / "new" / "grading-load.json").read_text())
    assert record["points"] == MEASURED["points"]
    assert "3 workers grade 30 submissions of exercise_02 per minute" in done.output
    assert "no marks of 60 submissions differ from grading without a cluster" in done.output
    page = (tmp_path / "new" / "grading-load.md").read_text()
    assert "| exercise_02 | 60 | 3 | 2.2 min | 30 | 1.0000 | 1 | 0 |" in page
    assert (tmp_path / "new" / "grading-load.png").stat().st_size > 1000


def test_another_mark_is_a_failure(asked, tmp_path, monkeypatch):
    monkeypatch.setitem(MEASURED, "different", ["student-0003"])
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "1 mark of 40 submissions differs from" in done.output
    assert 'Other marks: ["student-0003"]' in done.output + done.stderr


def test_growth_is_that_of_a_straight_line():
    assert load.line(MEASURED["points"]) == pytest.approx((0.5, 1))
    curved = [{"seconds": n, "graded": n**2} for n in range(1, 60)]
    assert load.line(curved)[1] < 0.95
    rate, r_squared = load.line(MEASURED["points"][:6])
    assert rate != rate and r_squared != r_squared


@pytest.mark.parametrize("exercise", load.NAMES)
def test_each_template_lacks_another_answer(exercise):
    made = dict(load.templates(exercise))
    texts = ["\n".join(cell.source for cell in notebook.cells) for notebook in made.values()]
    assert len(set(texts)) == len(made) >= 6
    solution = recognition.named_cells(made.pop("solution"))
    untouched = recognition.named_cells(made.pop("untouched"))
    for name, notebook in made.items():
        answer = name.removeprefix("without ")
        cells = recognition.named_cells(notebook)
        assert cells[answer].source == untouched[answer].source
        others = cells.keys() - {answer}
        assert all(cells[other].source == solution[other].source for other in others)
