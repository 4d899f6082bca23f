"""The real exercises: solutions, untouched gaps, wrong answers and their hints."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import yaml

from mnist_course.grading import release, submissions
from mnist_helpers import _files
from tests.grading.tiny import answered, copy_of, messages, points, remarks, submit

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

EXERCISES = [path.stem for path in sorted(release.EXERCISES.glob("*.ipynb"))]


def build_and_grade(folder: Path, fill: Callable[[Path], None]) -> tuple[Path, str, float]:
    """One command for a class; returns its folder, what was printed, and the seconds it took."""
    release.build(folder)
    fill(folder)
    command = [sys.executable, "-m", "mnist_course.cli", "assignments", "grade", str(folder)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, time.monotonic() - began


def _put(folder: Path, student: str, exercise: str, notebook: Path) -> None:
    (folder / "submitted" / student).mkdir(exist_ok=True)
    shutil.copy(notebook, folder / "submitted" / student / f"{exercise}.ipynb")


def _solutions_and_gaps(folder: Path) -> None:
    for exercise in EXERCISES:
        _put(folder, "solved", exercise, folder / "source" / exercise / f"{exercise}.ipynb")
        _put(folder, "untouched", exercise, folder / "release" / exercise / f"{exercise}.ipynb")


@pytest.fixture(scope="session")
def both_ends(tmp_path_factory) -> Path:
    return build_and_grade(tmp_path_factory.mktemp("both") / "course", _solutions_and_gaps)[0]


def most_points(folder: Path, exercise: str) -> dict[str, float]:
    notebook = nbformat.read(folder / "source" / exercise / f"{exercise}.ipynb", as_version=4)
    cells = [cell.metadata.nbgrader for cell in notebook.cells if submissions.name_of(cell)]
    return {cell.grade_id: float(cell.points) for cell in cells if cell.grade}


@pytest.mark.course
@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_gets_full_points(both_ends, exercise):
    assert points(both_ends, "solved", exercise) == most_points(both_ends, exercise)
    assert messages(both_ends, "solved", exercise) == {}


@pytest.mark.course
@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_untouched_release_gets_nothing_and_every_test_says_not_done_yet(both_ends, exercise):
    assert points(both_ends, "untouched", exercise) == dict.fromkeys(most_points(both_ends, exercise), 0)
    said = messages(both_ends, "untouched", exercise)
    assert said.keys() == most_points(both_ends, exercise).keys()
    assert [text for text in said.values() if not re.match(r"Task \d is not done yet", text)] == []


@pytest.mark.course
def test_whole_submissions__draw_no_remark(both_ends):
    assert remarks(both_ends, "solved") + remarks(both_ends, "untouched") == ""


def wrong_answers(exercise: str) -> list[dict]:
    path = Path(__file__).parent / "wrong_answers" / f"{exercise}.yaml"
    return yaml.safe_load(path.read_text()) if path.is_file() else []


def in_few_submissions_(exercise: str) -> list[list[dict]]:
    """Wrong answers of different tasks, together: the k-th of every task."""
    by_task: dict[str, list[dict]] = {}
    for answer in wrong_answers(exercise):
        by_task.setdefault(answer["task"], []).append(answer)
    most = max(map(len, by_task.values()), default=0)
    return [[answers[k] for answers in by_task.values() if k < len(answers)] for k in range(most)]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_each_exercise_has_at_least_three_wrong_answers(exercise):
    assert len({answer["name"] for answer in wrong_answers(exercise)}) == len(wrong_answers(exercise)) >= 3


def _thirty_students(folder: Path) -> None:
    """One student per set of wrong answers; the rest have mixed up, damaged or half finished something."""
    _solutions_and_gaps(folder)
    for exercise in EXERCISES:
        for k, answers in enumerate(in_few_submissions_(exercise)):
            source = nbformat.read(folder / "source" / exercise / f"{exercise}.ipynb", as_version=4)
            replaced = {answer["task"]: answer["code"] for answer in answers}
            submit(folder, f"wrong-{exercise[:2]}-{k}", answered(source, replaced), f"{exercise}.ipynb")
    number = 0
    while number < len(EXERCISES) or len(list((folder / "submitted").iterdir())) < 30:
        exercise = EXERCISES[number % len(EXERCISES)]
        notebook = nbformat.read(folder / "source" / exercise / f"{exercise}.ipynb", as_version=4)
        graded = [cell for cell in notebook.cells if submissions.name_of(cell)]
        notebook.cells.remove(graded[-1 - number // len(EXERCISES)])
        notebook.cells.insert(0, copy_of(graded[-2], "copied"))
        submit(folder, f"damaged-{number}", notebook, f"{exercise}.ipynb")
        number += 1
    (folder / "submitted" / "untouched" / f"{EXERCISES[0]}.ipynb").write_text("half a downl")


@pytest.fixture(scope="session")
def whole_class(tmp_path_factory) -> tuple[Path, str, float]:
    return build_and_grade(tmp_path_factory.mktemp("class") / "course", _thirty_students)


@pytest.mark.long
@pytest.mark.parametrize(
    ("exercise", "k", "answer"),
    [
        pytest.param(exercise, k, answer, id=f"{exercise[:2]}-{answer['name']}")
        for exercise in EXERCISES
        for k, answers in enumerate(in_few_submissions_(exercise))
        for answer in answers
    ],
)
def test_a_wrong_answer_gets_its_points_and_its_hint(whole_class, exercise, k, answer):
    folder, student = whole_class[0], f"wrong-{exercise[:2]}-{k}"
    marks, said = points(folder, student, exercise), messages(folder, student, exercise)
    assert {test: marks[test] for test in answer["points"]} == answer["points"], said
    hint = next(said[test] for test in answer["points"] if test in said)
    assert answer["hint"] in hint


@pytest.mark.long
def test_a_class_of_thirty_is_graded_in_one_command_in_time(whole_class):
    folder, said, seconds = whole_class
    report = _files.read_json(folder / "report.json")
    assert len(report["students"]) >= 30
    found = sum(len(student["lessons"]) for student in report["students"])
    assert len(re.findall(r"^[\w.-]+/0\d_\w+: ", said, re.MULTILINE)) == found
    assert seconds < 15 * 60
    assert "is no notebook" in remarks(folder, "untouched")
    for student in (entry["student"] for entry in report["students"]):
        if student.startswith("damaged"):
            assert "is there 2 times" in remarks(folder, student)
            assert "was missing" in remarks(folder, student)
    (solved_all,) = [entry for entry in report["students"] if entry["student"] == "solved"]
    assert solved_all["points"] == solved_all["max_points"]
