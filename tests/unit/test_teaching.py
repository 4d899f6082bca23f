"""What teachers and students are told: schedules, times and answers agree with the notebooks and the records.

`python -m tests.unit.test_teaching` writes the measured tables again, from `results/reference/timings.json`.
"""

import dataclasses
import json
import math
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mnist_course import cli, course_file, lessons
from mnist_course.reports import study_report, timings
from mnist_course.run.settings import check_settings
from mnist_helpers import _files, metrics, results
from mnist_helpers._errors import UserError
from tests.grading import load as grading_load
from tests.hub import load as hub_load

ROOT = Path(__file__).parent.parent.parent
TEACHING, HUBS, GLOSSARY = ROOT / "TEACHING.md", ROOT / "docs" / "hubs.md", ROOT / "docs" / "glossary.md"
REFERENCE = ROOT / "results" / "reference"
CLASS_MINUTES = 50
_ITEM = re.compile(r"(?P<what>[a-z ]+?)(?: (?P<number>\d|\*k\*))?(?P<part> \(first half\))? (?P<minutes>\d+)")


def marked(name):
    """The text between two marks of a page."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.S)


def expected_blocks():
    content = _files.read_json(REFERENCE / timings.TIMINGS_FILE)
    users = _files.read_json(REFERENCE / "hub" / f"{hub_load.NAME}.json")
    tables = timings.times_table(content), timings.memory_table(content), hub_load.table(users)
    times, memory, waiting = (f"{dataclasses.replace(table, title='').markdown()}\n" for table in tables)
    sentences = [f"- {grading_load.conclusion(record)}\n" for record in graded_classes()]
    return {
        "times": (TEACHING, times),
        "memory": (HUBS, memory),
        "grading-load": (HUBS, "".join(sentences)),
        "hub-load": (HUBS, f"{waiting}\n{hub_load.conclusion(users)}\n"),
    }


def graded_classes():
    """The records of classes that a cluster has graded."""
    paths = sorted(REFERENCE.glob(f"grading/*/{grading_load.NAME}.json"))
    return [_files.read_json(path) for path in paths]


# --- the schedules ---


def section(heading):
    return TEACHING.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def schedules():
    """The rows of the table: plan -> what is done in class, and the minutes of it all."""
    rows = [line.strip("|").split("|") for line in section("Schedules").splitlines() if line.startswith("| ")]
    head, *plans = [[cell.strip() for cell in row] for row in rows]
    assert head == ["plan", "in class, minutes", "together"]
    return {plan: (items(doing), int(together)) for plan, doing, together in plans}


def items(cell):
    found = [_ITEM.fullmatch(item) for item in cell.split(" · ")]
    assert all(found), cell
    return [item.groupdict() for item in found]


def classes(lesson):
    return math.ceil(timings.announced(lessons.NOTEBOOKS / f"{lesson}.ipynb") / CLASS_MINUTES)


def test_each_schedule_adds_up():
    found = schedules()
    names = ["seven classes", "one week, days 1, 4 and 5", "one week, days 2 and 3", "one long day"]
    assert list(found) == names
    for plan, (in_class, together) in found.items():
        assert sum(int(item["minutes"]) for item in in_class) == together, plan
        for item in in_class:
            assert bool(item["number"]) == (item["what"] in ("lesson", "exercise")), item
            assert not item["part"] or item["what"] == "lesson", item


def test_every_lesson_has_the_classes_that_it_needs():
    """Before the table, in its rows, and in the notebooks' headers."""
    one, two = re.findall(r"Lessons ([\d, and]+) take", section("Schedules"))
    needed = dict.fromkeys(re.findall(r"\d", one), 1) | dict.fromkeys(re.findall(r"\d", two), 2)
    assert needed == {str(int(lesson[:2])): classes(lesson) for lesson in results.LESSONS}
    for plan, (in_class, _) in schedules().items():
        days = re.findall(r"\d", plan)
        for item in in_class:
            if item["what"] == "lesson":
                for number in days if item["number"] == "*k*" else [item["number"]]:
                    asked = 1 if item["part"] else needed[number]
                    assert int(item["minutes"]) == asked * CLASS_MINUTES, (plan, item)


def test_the_schedules_have_every_lesson():
    found = schedules()
    assert [item["number"] for item in found["seven classes"][0]] == ["1", "2", "3", "4", "5"]
    days = [day for plan in found for day in re.findall(r"\d", plan)]
    assert sorted(days) == ["1", "2", "3", "4", "5"]


def test_every_exercise_takes_as_long_as_teachers_are_told():
    low, high = map(int, re.findall(r"An exercise takes (\d+) to (\d+) minutes", section("Schedules"))[0])
    for path in sorted(lessons.NOTEBOOKS.glob("exercises/*.ipynb")):
        assert low <= timings.announced(path) <= high, path.name


MINUTES = {
    "less than one": 0.5,
    "about half a": 0.5,
    "about one": 1,
    "about two": 2,
    "about two and a half": 2.5,
}


@pytest.mark.parametrize("lesson", results.LESSONS)
def test_the_computer_needs_about_as_long_as_a_lesson_says(lesson):
    """Its header, and the median of the class profile on two cores."""
    title = next(
        cell for cell in lessons.read_lesson(lesson)["cells"] if "**Time:**" in "".join(cell["source"])
    )
    found = re.search(r"of which the computer needs ([a-z ]+?)(?: minutes?)?[;\n]", "".join(title["source"]))
    said = MINUTES[found[1]]
    record = _files.read_json(lessons.NOTEBOOKS.parent / "results" / "reference" / "timings.json")
    measured = record["profiles"]["class"]["lessons"][lesson]["median_seconds"] / 60
    assert abs(said - measured) <= max(0.3, 0.3 * measured), (said, measured)


def test_announced_minutes_are_all_of_a_header(tmp_path):
    notebook = tmp_path / "a.ipynb"
    for line, minutes in (
        ("**Time:** 50 minutes, of which the computer needs about 2 minutes", 50),
        ("**Time:** two classes of 45 minutes (the break is marked), of which the computer needs 3", 90),
        ("**Time:** doing 45 min · machine 1 min", 46),
    ):
        _files.write_json(notebook, {"cells": [{"source": ["# 1 · A title\n", "\n", f"{line}\n", "\n"]}]})
        assert timings.announced(notebook) == minutes
    _files.write_json(notebook, {"cells": [{"source": ["# 1 · A title"]}]})
    with pytest.raises(UserError, match="does not announce its time"):
        timings.announced(notebook)


# --- the measured tables ---


def test_all_that_was_measured_is_reported():
    """Two exercises graded on a cluster, one of them for a thousand students and with a worker killed."""
    records = graded_classes()
    by_exercise = {record["exercise"]: record for record in records}
    assert set(by_exercise) == {"exercise_01", "exercise_02"} and len(records) == 2
    assert (by_exercise["exercise_01"]["submissions"], by_exercise["exercise_01"]["killed"]) == (1000, 1)
    assert by_exercise["exercise_02"]["submissions"] == 50
    assert all(record["different"] == [] for record in records)
    assert all(grading_load.line(record["points"])[1] > 0.99 for record in records)


@pytest.mark.parametrize("name", ["times", "memory", "grading-load", "hub-load"])
def test_measured_tables_are_those_of_the_record(name):
    page, expected = expected_blocks()[name]
    assert marked(name).findall(page.read_text()) == [expected], (
        "write it again with: python -m tests.unit.test_teaching"
    )


def test_the_record_holds_every_lesson_of_the_profiles_that_are_used_in_class():
    """The profile full is added when the reference results are made again with these lessons."""
    profiles = _files.read_json(REFERENCE / timings.TIMINGS_FILE)["profiles"]
    assert set(profiles) == {"class", "quick"}
    for entry in profiles.values():
        assert list(entry["lessons"]) == list(results.LESSONS)
        assert entry["dataset"] == "mnist"
    measured = timings.measured([REFERENCE / "class"])["class"]
    assert profiles["class"] == measured


def test_the_computer_leaves_most_of_a_class_to_people():
    taught = _files.read_json(REFERENCE / timings.TIMINGS_FILE)["profiles"]["class"]["lessons"]
    for lesson, timing in taught.items():
        assert timing["median_seconds"] <= 60 * CLASS_MINUTES / 5, lesson


# --- answers, glossary ---


def test_answers_hold_no_measured_scores():
    """Scores differ between runs, so answers use words, ranges of arithmetic and the chance level."""
    answers = section("Answers")
    assert [f"**Lesson {number}.**" in answers for number in range(1, 6)] == [True] * 5
    assert re.findall(r"\d+\.\d+ ?%|\d+(?:\.\d+)? to \d+(?:\.\d+)? ?%", answers) == []
    low, high = metrics.accuracy_interval(9800, 10_000)
    assert "about half a percentage point wide" in answers and round(high - low, 3) == pytest.approx(
        0.005, abs=6e-4
    )


def glossary():
    """The rows of the glossary: term -> its meaning, and the lesson or further notebook that introduces it."""
    rows = [
        line.strip("|").split(" | ") for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")
    ]
    head, *terms = [[cell.strip() for cell in row] for row in rows]
    assert head == ["term", "meaning", "lesson"]
    return {term: (meaning, where) for term, meaning, where in terms}


def notebook_of(where):
    if where.isdigit():
        return lessons.NOTEBOOKS / f"{results.LESSONS[int(where) - 1]}.ipynb"
    return lessons.NOTEBOOKS / "further" / f"{where}.ipynb"


def stems(term):
    """The beginnings of a term's words, so that *overfits* is found as overfitting."""
    words = re.findall(r"[a-z]+", term.lower().replace("'s", ""))
    words = [re.sub(r"(?:isation|ises|ise|ised|ing|ions|ion|ed|es|s|e)$", "", word) for word in words]
    return {re.sub(r"(.)\1$", r"\1", word) for word in words}


def introduced(notebook):
    """The terms in single asterisks in a notebook's text, as the beginnings of their words."""
    cells = _files.read_json(notebook)["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return [stems(term) for term in re.findall(r"(?<![*\w])\*([^*\n]{2,60})\*(?!\*)", text)]


def test_the_glossary_is_in_order_and_explains():
    terms = glossary()
    assert len(terms) >= 55
    assert list(terms) == sorted(terms, key=str.lower)
    for term, (meaning, _) in terms.items():
        assert 5 <= len(meaning.split()) <= 45 and meaning.endswith("."), term


@pytest.mark.parametrize("where", sorted({where for _, where in glossary().values()}))
def test_each_term_of_the_glossary_is_introduced_where_it_says(where):
    """In single asterisks, perhaps with another ending or another word: *95 % confidence intervals*."""
    found = introduced(notebook_of(where))
    terms = [term for term, (_, place) in glossary().items() if place == where]
    assert [term for term in terms if not any(stems(term) <= words for words in found)] == []


# --- how they are measured ---


def made_up_run(folder, seconds, memory, monkeypatch, profile="quick", params=None, dataset="mnist"):
    lesson = results.LESSONS[1]
    folder.mkdir(parents=True)
    plain = check_settings(profile, "digits", 1, [])
    settings = plain._asdict() | {"params": plain.params | (params or {})}
    lessons = {lesson: {"wall_seconds": seconds, "longest_cell_seconds": seconds / 2}}
    _files.write_json(folder / course_file.COURSE_FILE, {"settings": settings, "lessons": lessons})
    monkeypatch.setattr(results, "peak_memory", lambda: memory)
    results.save_record(
        folder, lesson, params={"seed": 1}, dataset={"name": dataset}, models={}, started=time.perf_counter()
    )
    return folder


def test_runs_become_a_median_a_range_and_the_largest_memory(tmp_path, monkeypatch):
    for seed, seconds, memory in ((1, 30.0, 5e8), (2, 200.0, 7e8), (3, 40.0, 6e8)):
        made_up_run(tmp_path / "s" / f"seed-{seed}", seconds, memory, monkeypatch)
    _files.write_json(tmp_path / "s" / study_report.STUDY_FILE, {})
    profiles = timings.measured([tmp_path / "s"])
    entry = profiles["quick"]
    assert entry["lessons"] == {
        "02_baseline": {
            "n": 3,
            "median_seconds": 40.0,
            "low": 30.0,
            "high": 200.0,
            "longest_cell_seconds": 100.0,
            "peak_memory_bytes": 7e8,
        }
    }
    content = timings.content(profiles)
    assert timings.times_table(content).rows[1][-1] == "40 s (30 s to 3.3 min, n=3)"
    assert timings.times_table(content).rows[0][-1] is None
    assert timings.memory_table(content).rows[1] == ["02_baseline", "700 MB (3)"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"params": {"epochs": 9}}, ["is not a plain quick run", "epochs"]),
        ({"dataset": "digits"}, ["'b'", "cannot be combined", "digits", "mnist"]),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(tmp_path, monkeypatch, other, words):
    first = made_up_run(tmp_path / "a", 1.0, 1e6, monkeypatch)
    second = made_up_run(tmp_path / "b", 1.0, 1e6, monkeypatch, **other)
    with pytest.raises(ValueError) as caught:
        timings.measured([first, second])
    for word in words:
        assert word in str(caught.value)


def test_the_command_prints_tables_and_writes_a_record_on_demand(tmp_path, monkeypatch):
    made_up_run(tmp_path / "a", 30.0, 5e8, monkeypatch)
    arguments = ["timings", "a", "--results-dir", str(tmp_path)]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0, done.output
    for words in (
        "30 s (n=1)",
        "500 MB (1)",
        "wall time with kernel start and imports",
        "The largest: 500 MB.",
    ):
        assert words in done.output
    assert "would wait" not in done.output  # only the class profile says how long a class waits
    assert not list(tmp_path.glob("*/timings.json"))
    done = CliRunner().invoke(cli.main, [*arguments, "--into", "b"])
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "b" / "timings.json").read_text())
    assert content["profiles"] == timings.measured([tmp_path / "a"])
    assert content["machine"]["cores"] >= 1


@pytest.mark.parametrize("run", ["missing", "../a"])
def test_a_run_that_was_not_measured_is_refused_in_one_message(tmp_path, run):
    done = CliRunner().invoke(cli.main, ["timings", run, "--results-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output.startswith("Error: ") and "Expected: a " in done.output


def test_a_hub_with_cores_enough_makes_nobody_wait():
    lesson = {"median_seconds": 60.0, "peak_memory_bytes": 1e9}
    taught = {"dataset": "mnist", "cores": 2, "lessons": {"04_tuning": lesson}}
    assert "would wait 60 s" in timings.waiting_time(taught, students=3, cores=6)
    assert "would wait 2.0 min" in timings.waiting_time(taught, students=3, cores=3)


if __name__ == "__main__":
    for name, (page, text) in expected_blocks().items():
        page.write_text(marked(name).sub(lambda _, text=text: text, page.read_text()))
