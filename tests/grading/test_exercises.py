"""The real exercises, graded as a teacher does: solutions, untouched gaps, a class with wrong answers.

All wrong answers and their hints are checked without a sandbox, in `test_checks.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from mnist_course.grading import class_report, grade, release, submissions
from mnist_helpers import _files
from tests.grading.tiny import answered, copy_of, messages, points, remarks, submit

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]

EXERCISES = [path.stem for path in sorted(release.EXERCISES.glob("*.ipynb"))]


def _put(folder: Path, student: str, exercise: str, notebook: Path) -> None:
    (folder / "submitted" / student).mkdir(exist_ok=True)
    shutil.copy(notebook, folder / "submitted" / student / f"{exercise}.ipynb")


def _solutions_and_gaps(folder: Path, exercises: list[str]) -> None:
    for exercise in exercises:
        _put(folder, "solved", exercise, folder / "source" / exercise / f"{exercise}.ipynb")
        _put(folder, "untouched", exercise, folder / "release" / exercise / f"{exercise}.ipynb")


@pytest.fixture(scope="session")
def first_exercise(built, tmp_path_factory) -> Path:
    """The first exercise alone, in a copy of a folder that has a gradebook already."""
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("first") / "course"))
    only = tmp_path_factory.mktemp("only")
    shutil.copy(release.EXERCISES / f"{EXERCISES[0]}.ipynb", only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "EXERCISES", only)
        release.build(folder)
    _solutions_and_gaps(folder, EXERCISES[:1])
    grade.grade(folder)
    return folder


def most_points(folder: Path, exercise: str) -> dict[str, float]:
    notebook = nbformat.read(folder / "source" / exercise / f"{exercise}.ipynb", as_version=4)
    cells = [cell.metadata.nbgrader for cell in notebook.cells if submissions.name_of(cell)]
    return {cell.grade_id: float(cell.points) for cell in cells if cell.grade and not cell.solution}


def points_of_tests(folder: Path, student: str, exercise: str) -> dict[str, float]:
    """The marks without those of the sentences, which have no points."""
    marks = points(folder, student, exercise)
    tests = most_points(folder, exercise)
    assert [marks[cell] for cell in marks.keys() - tests] == [0] * len(marks.keys() - tests)
    return {test: marks[test] for test in tests}


graded_ones = pytest.mark.parametrize(
    ("graded", "exercise"),
    [
        pytest.param("first_exercise", EXERCISES[0], marks=pytest.mark.course),
        *(pytest.param("whole_class", exercise, marks=pytest.mark.full) for exercise in EXERCISES),
    ],
)


@graded_ones
def test_the_solution_gets_full_points(request, graded, exercise):
    folder = request.getfixturevalue(graded)
    assert points_of_tests(folder, "solved", exercise) == most_points(folder, exercise)
    assert messages(folder, "solved", exercise) == {}
    identical = "all answers are identical to those of "  # damaged copies in the whole class
    assert [text for text in remarks(folder, "solved").splitlines() if not text.startswith(identical)] == []


@graded_ones
def test_the_untouched_release_gets_nothing_and_every_test_says_not_done_yet(request, graded, exercise):
    folder = request.getfixturevalue(graded)
    assert points_of_tests(folder, "untouched", exercise) == dict.fromkeys(most_points(folder, exercise), 0)
    said = messages(folder, "untouched", exercise)
    assert said.keys() == most_points(folder, exercise).keys()
    assert [text for text in said.values() if not re.match(r"Task \d is not done yet", text)] == []
    of_files = remarks(folder, "untouched").splitlines()
    assert f"{exercise}.ipynb is as it was given out: it has no answers" in of_files
    assert [text for text in of_files if not text.endswith("is as it was given out: it has no answers")] == []
    (found,) = [of for of in report_of(folder)["exercises"] if of["exercise"] == exercise]
    untouched = [1 if task["max_points"] and not task["by_hand"] else 0 for task in found["tasks"]]
    assert [min(task["not_done"], 1) for task in found["tasks"]] == untouched


def report_of(folder: Path) -> dict:
    return _files.read_json(folder / "report.json")


def wrong_answers(exercise: str) -> list[dict]:
    path = Path(__file__).parent / "wrong_answers" / f"{exercise}.yaml"
    return yaml.safe_load(path.read_text()) if path.is_file() else []


def in_one_submission(exercise: str) -> list[dict]:
    """Wrong answers together: the first of every task."""
    by_task: dict[str, dict] = {}
    for answer in wrong_answers(exercise):
        by_task.setdefault(answer["task"], answer)
    return list(by_task.values())


@pytest.mark.parametrize("exercise", EXERCISES)
def test_each_task_that_is_graded_by_code_has_wrong_answers_that_lose_points(exercise):
    """Running them checks the points; this finds what has drifted apart."""
    notebook = nbformat.read(release.EXERCISES / f"{exercise}.ipynb", as_version=4)
    tasks = {task.name: task for task in class_report.tasks_of(notebook) if not task.by_hand}
    answers = wrong_answers(exercise)
    assert {answer["task"] for answer in answers} == tasks.keys()
    assert len({answer["name"] for answer in answers}) == len(answers)
    for answer in answers:
        assert answer["points"].keys() <= tasks[answer["task"]].tests.keys(), answer["name"]
        assert any(answer["points"][test] < tasks[answer["task"]].tests[test] for test in answer["points"])


def _thirty_students(folder: Path) -> None:
    """Some have wrong answers; the rest have mixed up, damaged or half finished something."""
    _solutions_and_gaps(folder, EXERCISES)
    for exercise in EXERCISES:
        source = nbformat.read(folder / "source" / exercise / f"{exercise}.ipynb", as_version=4)
        replaced = {answer["task"]: answer["code"] for answer in in_one_submission(exercise)}
        submit(folder, f"wrong-{exercise}", answered(source, replaced), f"{exercise}.ipynb")
    number = 0
    while number < len(EXERCISES) or len(list((folder / "submitted").iterdir())) < 30:
        exercise = EXERCISES[number % len(EXERCISES)]
        notebook = nbformat.read(folder / "source" / exercise / f"{exercise}.ipynb", as_version=4)
        graded = [cell for cell in notebook.cells if submissions.name_of(cell)]
        missing, copied = graded[-1 - number // len(EXERCISES)], graded[number // len(EXERCISES)]
        notebook.cells.remove(missing)
        notebook.cells.insert(0, copy_of(copied, "copied"))
        submit(folder, f"damaged-{number}", notebook, f"{exercise}.ipynb")
        number += 1
    (folder / "submitted" / "cut").mkdir()
    (folder / "submitted" / "cut" / f"{EXERCISES[0]}.ipynb").write_text("half a downl")


@pytest.fixture(scope="session")
def class_by_command(tmp_path_factory) -> tuple[Path, str, float]:
    """One command for a class: its folder, what was printed, and the seconds it took."""
    folder = tmp_path_factory.mktemp("class") / "course"
    release.build(folder)
    _thirty_students(folder)
    command = [sys.executable, "-m", "mnist_course.cli", "assignments", "grade", str(folder)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, time.monotonic() - began


@pytest.fixture(scope="session")
def whole_class(class_by_command) -> Path:
    return class_by_command[0]


@pytest.mark.full
@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        pytest.param(exercise, answer, id=f"{exercise}-{answer['name']}")
        for exercise in EXERCISES
        for answer in in_one_submission(exercise)
    ],
)
def test_a_wrong_answer_gets_its_points_and_its_hint_in_the_sandbox_too(whole_class, exercise, answer):
    student = f"wrong-{exercise}"
    marks, said = points(whole_class, student, exercise), messages(whole_class, student, exercise)
    assert {test: marks[test] for test in answer["points"]} == answer["points"], said
    hint = next(said[test] for test in answer["points"] if test in said)
    assert answer["hint"] in hint


@pytest.mark.full
def test_a_class_of_thirty_is_graded_in_one_command_in_time(class_by_command):
    folder, said, seconds = class_by_command
    report = _files.read_json(folder / "report.json")
    assert len(report["students"]) >= 30
    found = sum(len(student["exercises"]) for student in report["students"])
    assert len(re.findall(r"^[\w.-]+/exercise_0\d: ", said, re.MULTILINE)) == found
    assert seconds < 15 * 60
    assert "is not a notebook" in remarks(folder, "cut")
    for student in (entry["student"] for entry in report["students"]):
        if student.startswith("damaged"):
            assert "is there 2 times" in remarks(folder, student)
            assert "was missing" in remarks(folder, student)
    (solved_all,) = [entry for entry in report["students"] if entry["student"] == "solved"]
    assert solved_all["points"] == solved_all["max_points"]
