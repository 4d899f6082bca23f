"""What teachers are told: schedules add up from the notebooks' headers, and measured numbers are the records'.

`python -m tests.unit.test_teaching` writes the measured tables again, from `results/reference/timings.json`.
"""

import dataclasses
import json
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mnist_course import cli, course_file, lessons
from mnist_course.reports import study_report, timings
from mnist_course.run.settings import check_settings
from mnist_helpers import _files, results

ROOT = Path(__file__).parent.parent.parent
TEACHING, HUBS = ROOT / "TEACHING.md", ROOT / "docs" / "hubs.md"
REFERENCE = ROOT / "results" / "reference"
PARTS = ("reading", "doing", "machine")
_ITEM = re.compile(r"(?P<what>[a-z ]+?)(?: (?P<number>\d))?(?: \((?P<parts>[a-z, ]+)\))? (?P<minutes>\d+)")


def marked(name):
    """What stands between two marks of a page."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.S)


def expected_blocks():
    content = _files.read_json(REFERENCE / timings.TIMINGS_FILE)
    tables = timings.times_table(content), timings.memory_table(content)
    times, memory = (f"{dataclasses.replace(table, title='').markdown()}\n" for table in tables)
    return {"times": (TEACHING, times), "memory": (HUBS, memory)}


# --- the schedules ---


def schedules():
    """The rows of the table: session -> what is done in class, the minutes of it all, what is done at home."""
    section = TEACHING.read_text().split("## One, three or five sessions")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    head, *sessions = [[cell.strip() for cell in row] for row in rows]
    assert head == ["session", "in class, minutes", "together", "at home, minutes"]
    return {
        session: (items(doing), int(together), items(home)) for session, doing, together, home in sessions
    }


def items(cell):
    cell = re.sub(r"(before|after): ", "", cell)
    found = [_ITEM.fullmatch(item) for item in cell.split(" · ") if item]
    assert all(found), cell
    return [item.groupdict() for item in found]


def parts_of(item):
    """The parts of a notebook's header that an item stands for."""
    if item["parts"]:
        return item["parts"].split(", ")
    return PARTS if item["what"] == "lesson" else ("doing", "machine")


def notebook_of(item):
    if item["what"] == "exercise":
        return lessons.NOTEBOOKS / "exercises" / f"exercise_0{item['number']}.ipynb"
    return lessons.NOTEBOOKS / f"{results.LESSONS[int(item['number']) - 1]}.ipynb"


def test_each_session_adds_up_from_the_headers_of_its_notebooks():
    found = schedules()
    assert set(found) == {"one", *(f"{n} of 3" for n in (1, 2, 3)), *(f"{n} of 5" for n in range(1, 6))}
    for session, (in_class, together, home) in found.items():
        assert sum(int(item["minutes"]) for item in in_class) == together, session
        for item in (*in_class, *home):
            if item["what"] in ("lesson", "exercise"):
                minutes = timings.announced(notebook_of(item))
                assert int(item["minutes"]) == sum(minutes[part] for part in parts_of(item)), (session, item)
            else:
                assert not item["number"] and not item["parts"], item


@pytest.mark.parametrize("sessions", [3, 5])
def test_a_schedule_has_every_lesson_in_class_and_every_exercise_somewhere(sessions):
    rows = [row for session, row in schedules().items() if session.endswith(f"of {sessions}")]
    in_class = [item for row in rows for item in row[0]]
    somewhere = [*in_class, *(item for row in rows for item in row[2])]
    lessons = [
        (item["number"], part) for item in in_class if item["what"] == "lesson" for part in parts_of(item)
    ]
    assert sorted(lessons) == sorted((str(number), part) for number in range(1, 6) for part in PARTS)
    exercises = [item["number"] for item in somewhere if item["what"] == "exercise"]
    assert sorted(exercises) == ["1", "2", "3", "4", "5"]


def test_every_header_has_its_parts():
    for lesson in results.LESSONS:
        assert tuple(timings.announced(lessons.NOTEBOOKS / f"{lesson}.ipynb")) == PARTS
        exercise = lessons.NOTEBOOKS / "exercises" / f"exercise_{lesson[:2]}.ipynb"
        assert tuple(timings.announced(exercise)) == PARTS[1:]


# --- the measured tables ---


@pytest.mark.parametrize("name", ["times", "memory"])
def test_measured_tables_are_those_of_the_record(name):
    page, expected = expected_blocks()[name]
    assert marked(name).findall(page.read_text()) == [expected], (
        "write it again with: python -m tests.unit.test_teaching"
    )


def test_the_record_holds_every_lesson_of_every_profile_and_the_reference_runs():
    profiles = _files.read_json(REFERENCE / timings.TIMINGS_FILE)["profiles"]
    assert list(profiles) == list(lessons.profiles())
    for entry in profiles.values():
        assert list(entry["lessons"]) == list(results.LESSONS)
        assert entry["dataset"] == "mnist"
    assert profiles["full"] == timings.measured([REFERENCE])["full"]


def test_announced_machine_time_is_not_less_than_what_the_class_profile_took():
    taught = _files.read_json(REFERENCE / timings.TIMINGS_FILE)["profiles"]["class"]["lessons"]
    for lesson, timing in taught.items():
        announced = timings.announced(lessons.NOTEBOOKS / f"{lesson}.ipynb")["machine"]
        assert timing["median_seconds"] <= 60 * announced, lesson


def test_answers_quote_the_bands_of_the_lessons():
    cells = [
        cell
        for lesson in results.LESSONS
        for cell in _files.read_json(lessons.NOTEBOOKS / f"{lesson}.ipynb")["cells"]
    ]
    told = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    answers = TEACHING.read_text().split("## Answers")[1].split("\n## ")[0]
    bands = re.findall(r"\d[\d.]*(?: to \d[\d.]*)? %", answers)
    assert len(bands) >= 5
    for band in bands:
        assert band in told, band


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
        ({"params": {"epochs": 9}}, ["no plain quick run", "epochs"]),
        ({"dataset": "digits"}, ["'b'", "cannot be put together", "digits", "mnist"]),
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
    for words in ("30 s (n=1)", "500 MB (1)", "kernel start and imports included", "The largest: 500 MB."):
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
