"""What holds for every exercise: its checks, points and hints, what students see of it, and its wrong answers.

The checks run in this process (`in_process.py`); `test_exercises.py` grades in a sandbox, as a teacher does.
"""

from __future__ import annotations

import ast
import functools
import importlib
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import pytest
import yaml

from mnist_course.grading import release
from mnist_helpers.checks import _core
from tests.grading import in_process
from tests.grading.tiny import STUB

# As in a notebook, where they are no errors: Keras Tuner's and other libraries'.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXERCISES = [path.stem for path in sorted(release.EXERCISES.glob("*.ipynb"))]
every_exercise = pytest.mark.parametrize("exercise", EXERCISES)
TRAINING = ("exercise_02", "exercise_03", "exercise_04")  # running their solutions takes some ten seconds


def _marks(exercise: str, task: str = "") -> list[pytest.MarkDecorator]:
    if exercise == "exercise_04" or task in ("train", "improve"):  # the run of exercise 4 contains a search
        return [pytest.mark.long]
    return [pytest.mark.course] if exercise in TRAINING else []


every_run = pytest.mark.parametrize(
    "exercise", [pytest.param(name, marks=_marks(name)) for name in EXERCISES]
)
every_long_run = pytest.mark.parametrize(
    "exercise",
    [pytest.param(name, marks=pytest.mark.long if name in TRAINING else ()) for name in EXERCISES],
)
MAX_LINE = 88
MAX_SHARE_OF_TESTS = 0.15
BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
IMPORT = "from mnist_helpers import checks"
WHEN_GRADED = "# When your work is graded, this cell checks more."

# Numbers in the text of a task that its code and its check do not have: number -> why it is there.
ONLY_IN_TEXT: dict[tuple[str, str], dict[float, str]] = {
    ("exercise_02", "task-4"): {0.45: "the form of an entry"},
    ("exercise_02", "task-6"): {29: "an invented result", 50: "what a percentage point is", 60: "the same"},
    ("exercise_03", "task-5"): {2.3: "log 10"},
    ("exercise_04", "task-1"): {
        128: "a choice, of which only the number of choices matters",
        256: "the same",
        0.0005: "the same",
        0.002: "the same",
        0.004: "the same",
        0.016: "the same",
    },
    ("exercise_04", "task-5"): {0.0081: "what the given cell prints"},
    ("exercise_04", "task-7"): {0.1813: "a mean of three numbers of the lesson"},
    ("exercise_05", "task-1"): {12: "the form of a division", 34: "the same"},
    ("exercise_05", "task-4"): {0.02: "a p-value of the lesson"},
    ("exercise_05", "task-6"): {97.9: "an invented claim"},
}


# Right choices that a hint or a message may name: (exercise, task) -> choice -> why.
MAY_BE_NAMED: dict[tuple[str, str], dict[str, str]] = {
    ("exercise_04", "winner"): {"tie": "the message repeats the rule of the task's text"},
}


@functools.cache
def checks_of(exercise: str) -> ModuleType:
    return importlib.import_module(f"mnist_helpers.checks.{exercise}")


def nbgrader(cell: nbformat.NotebookNode) -> Mapping[str, Any]:
    return cell.metadata.get("nbgrader", {})


def is_answer(cell: nbformat.NotebookNode) -> bool:
    return bool(nbgrader(cell).get("solution"))


def is_test(cell: nbformat.NotebookNode) -> bool:
    return bool(nbgrader(cell).get("grade")) and not is_answer(cell)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def sections(notebook: nbformat.NotebookNode) -> list[list[nbformat.NotebookNode]]:
    """The cells of each task, from its text on."""
    found: list[list[nbformat.NotebookNode]] = []
    inside = False
    for cell in notebook.cells:
        if re.fullmatch(r"task-\d+", cell.id):
            found.append([])
            inside = True
        elif cell.id == "next" or (cell.cell_type == "markdown" and cell.source.startswith("#")):
            inside = False
        if inside:
            found[-1].append(cell)
    return found


def answer_of(cells: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    (answer,) = [cell for cell in cells if is_answer(cell)]
    return answer


def hidden_lines(cell: nbformat.NotebookNode) -> list[str]:
    parts = re.findall(f"{BEGIN}\n(.*?){END}", cell.source, re.DOTALL)
    return [line.strip() for part in parts for line in part.splitlines() if line.strip()]


def solution_lines(cell: nbformat.NotebookNode) -> list[str]:
    """The lines of an answer that a student does not see."""
    if is_answer(cell) and cell.cell_type == "markdown":
        return cell.source.splitlines()
    parts = re.findall(r"### BEGIN SOLUTION\n(.*?) *### END SOLUTION", cell.source, re.DOTALL)
    return [line.strip() for part in parts for line in part.splitlines() if line.strip()]


def wrong_answers(exercise: str) -> list[dict[str, Any]]:
    path = Path(__file__).parent / "wrong_answers" / f"{exercise}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# --- checks and cells belong together ---


@every_exercise
def test_the_tasks_of_the_checks_are_those_of_the_notebook(exercise):
    """Names, headings, points, and who reads the answer."""
    module = checks_of(exercise)
    found = []
    for number, cells in enumerate(sections(in_process.solution(exercise)), 1):
        heading = cells[0].source.splitlines()[0]
        assert heading.startswith(f"### Task {number}: "), heading
        assert cells[0].id == f"task-{number}"
        answer = answer_of(cells)
        points = {cell.id: nbgrader(cell)["points"] for cell in cells if is_test(cell)}
        assert points.keys() <= {f"{answer.id}-tests", f"{answer.id}-hidden"}, points
        title = re.sub(r" \([^)]*\)$", "", heading.split(": ", 1)[1].replace("`", "")).casefold()
        found.append(
            (
                answer.id.replace("-", "_"),
                title,
                points.get(f"{answer.id}-tests", 0),
                points.get(f"{answer.id}-hidden", 0),
                bool(nbgrader(answer).get("grade")),
            )
        )
    assert [
        (task.name, task.title.casefold(), task.points, task.when_graded, task.for_teacher)
        for task in module.exercise.tasks
    ] == found
    assert module.exercise.name == exercise
    assert module.summary == module.exercise.summary


@every_exercise
def test_each_task_has_a_check_with_a_description_and_at_least_two_hints(exercise, capsys):
    module = checks_of(exercise)
    for task in module.exercise.tasks:
        if task.for_teacher:
            assert not hasattr(module, task.name)
            assert (task.points, task.when_graded, task.hints) == (0, 0, ())
            continue
        check = getattr(module, task.name)
        assert check.__name__ == task.name
        assert check.__doc__.strip()
        assert task.name in module.__all__
        assert len(task.hints) >= 2
        assert len(set(task.hints)) == len(task.hints)
        for number, hint in enumerate(task.hints, 1):
            assert re.search(r"[.?!]$", hint), hint
            check(None, hint=number)
            assert hint in capsys.readouterr().out
    assert {"summary"} <= set(module.__all__)


@every_exercise
def test_metadata_are_those_that_grading_needs(exercise):
    notebook = in_process.solution(exercise)
    graded = [cell for cell in notebook.cells if nbgrader(cell)]
    for cell in graded:
        assert nbgrader(cell)["grade_id"] == cell.id
        assert nbgrader(cell)["schema_version"] == 3
        assert nbgrader(cell)["locked"] == (not is_answer(cell))
        if is_test(cell):
            assert nbgrader(cell)["points"] > 0
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    by_hand = [cell for cell in graded if is_answer(cell) and nbgrader(cell)["grade"]]
    assert [(cell.cell_type, cell.id, nbgrader(cell)["points"]) for cell in by_hand] == [
        ("markdown", "explain", 0)
    ]
    (section,) = [cells for cells in sections(notebook) if by_hand[0] in cells]
    assert "Your teacher reads this answer; no check looks at it." in " ".join(section[0].source.split())
    (last,) = [cell for cell in graded if cell.id == "summary"]
    assert last.source == f"checks.{exercise}.summary()"
    assert [cell.id for cell in notebook.cells[-2:]] == ["summary", "next"]


@every_exercise
def test_check_cells_have_one_form(exercise):
    """One visible line; its arguments are names that the answer defines, in the form that hints are asked for."""
    for cells in sections(in_process.solution(exercise)):
        answer = answer_of(cells)
        for cell in cells:
            call = rf"checks\.{exercise}\.{answer.id.replace('-', '_')}\("
            if cell.id.endswith("-tests"):
                *before, line = cell.source.split("\n")
                assert before == [BEGIN, IMPORT, "", END]  # the formatter wants the empty line
                assert re.match(call, line), line
                (statement,) = ast.parse(line).body
                assert not statement.value.keywords
                names = [argument.id for argument in statement.value.args]
                assigned = {
                    node.id if isinstance(node, ast.Name) else node.name
                    for node in ast.walk(ast.parse(answer.source))
                    if isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef)
                }
                assert names and set(names) <= assigned, line
            elif cell.id.endswith("-hidden"):
                lines = cell.source.split("\n")
                assert lines[:2] == [WHEN_GRADED, BEGIN]
                assert any(line.startswith(IMPORT) for line in lines)
                assert lines[-1] == END
                assert cell.source.count(BEGIN) == 1
                called = re.findall(r"checks\.\w+\.\w+\(", cell.source)
                assert called and all(re.fullmatch(call, found) for found in called), called


@every_exercise
def test_code_lines_are_short(exercise):
    for notebook in (in_process.solution(exercise), in_process.students(exercise)):
        lines = [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
        assert [line for line in lines if len(line) > MAX_LINE] == []


# --- what students see ---


@every_exercise
def test_the_students_version_shows_one_line_of_each_check_and_little_test_code(exercise):
    tests = all_lines = 0
    originals = {cell.id: cell for cell in in_process.solution(exercise).cells}
    for cell in code_cells(in_process.students(exercise)):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        all_lines += len(lines)
        if is_test(cell):
            tests += sum(not line.startswith("#") for line in lines)
            expected = (
                WHEN_GRADED if cell.id.endswith("-hidden") else originals[cell.id].source.split("\n")[-1]
            )
            assert cell.source.strip() == expected
    assert tests / all_lines <= MAX_SHARE_OF_TESTS, f"{tests} of {all_lines} lines"


@every_exercise
def test_the_students_version_shows_no_solution_and_no_hidden_case(exercise):
    original, given = in_process.solution(exercise), in_process.students(exercise)
    secret = {line for cell in original.cells for line in (*solution_lines(cell), *hidden_lines(cell))}
    assert secret
    seen_anyway = {
        line.strip()
        for cell in original.cells
        if not (cell.cell_type == "markdown" and is_answer(cell))
        for line in _without(cell.source, "SOLUTION|HIDDEN TESTS").splitlines()
    }
    shown = {line.strip() for cell in given.cells for line in cell.source.splitlines()}
    assert sorted((secret - seen_anyway) & shown) == []
    text = "\n".join(cell.source for cell in given.cells)
    assert not re.search(r"###\s*(BEGIN|END)\b", text)
    for cell in given.cells:
        if is_answer(cell):
            expected = STUB if cell.cell_type == "markdown" else "# write your code here"
            assert cell.source.count(expected) >= 1, cell.id
    assert [cell for cell in code_cells(given) if cell.outputs] == []


def _without(source: str, names: str) -> str:
    return re.sub(rf"^ *### BEGIN ({names})\n.*?### END \1\n?", "", source, flags=re.DOTALL | re.MULTILINE)


@every_exercise
def test_numbers_of_a_task_are_in_its_code(exercise):
    """A text that asks for another number than its check is noticed here."""
    notebook = in_process.solution(exercise)
    everywhere = [cell for cell in code_cells(notebook) if not is_answer(cell) and not is_test(cell)]
    known = _numbers_of_code(Path(checks_of(exercise).__file__).read_text(encoding="utf-8"))
    for cell in everywhere:
        known |= _numbers_of_code(cell.source)
    missing = {}
    for cells in sections(notebook):
        here = known.union(*(_numbers_of_code(cell.source) for cell in cells if cell.cell_type == "code"))
        here |= {100 * number for number in here}
        text = "\n".join(
            cell.source for cell in cells if cell.cell_type == "markdown" and not is_answer(cell)
        )
        unknown = {number for number in _numbers_of_text(text) if not _is_among(number, here)}
        if unknown != set(ONLY_IN_TEXT.get((exercise, cells[0].id), ())):
            missing[cells[0].id] = unknown
    assert missing == {}


def _is_among(number: float, known: set[float]) -> bool:
    return any(abs(number - other) <= 1e-9 * max(1, abs(number)) for other in known)


def _numbers_of_text(text: str) -> list[float]:
    text = re.sub(r"(?m)^### Task \d+|^\s*\d+\. ", "", text)
    text = re.sub(r"\]\([^)]*\)|hint=\d|\w*[a-z_]\d+\w*", " ", text)  # links, hints, names such as x_2
    text = re.sub(
        r"\b[Ll]essons? \d( and \d)?|\b[Ee]xercises? \d|\b[Tt]asks? \d( and \d)?|\b[Ss]ections? \d", "", text
    )
    return [float(found.replace(",", "")) for found in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)]


def _numbers_of_code(source: str) -> set[float]:
    """Numbers of code: its tokens, and what its strings and comments name."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NUMBER:
            found.add(float(abs(ast.literal_eval(token.string))))
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            found |= {
                float(part.replace(",", "")) for part in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", token.string)
            }
    return found


# --- no answer in sight ---


def right_values(exercise: str, cells: list[nbformat.NotebookNode]) -> list[Any]:
    """The right numbers and strings of a task: what its answer variables hold after the solution has run.

    Strings in a collection are left out: to name one of them does not say where it belongs.
    """
    (line,) = [cell.source.split("\n")[-1] for cell in cells if cell.id.endswith("-tests")] or ["None"]
    names = [node.id for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)]
    answers = [in_process.solved(exercise)[0][name] for name in names if name != "checks"]
    return [*(answer for answer in answers if isinstance(answer, str)), *_flat(answers)]


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        yield from _flat(list(value.values()))
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
        yield float(value)


def shows(text: str, value: float | str, others: set[str]) -> bool:
    """Returns whether a text gives a right answer away.

    A number of one or two digits is in many texts by chance. A choice may be named together with another one.
    """
    if isinstance(value, float):
        digits = f"{abs(value):.4g}".replace(".", "").lstrip("0").split("e")[0].rstrip("0")
        if len(digits) < 3 and abs(value) < 100:
            return False
        numbers = [abs(number) for number in _numbers_of_text(text)]
        return any(abs(number - abs(value)) <= 1e-3 * abs(value) for number in numbers)

    def named(choice: str) -> bool:
        return re.search(rf"(?<!\w){re.escape(choice.casefold())}(?!\w)", text.casefold()) is not None

    return len(value) > 2 and named(value) and not any(named(other) for other in others - {value})


@every_long_run
def test_neither_hints_nor_messages_give_the_answer(exercise):
    module, answers = checks_of(exercise), wrong_answers(exercise)
    for task, cells in zip(module.exercise.tasks, sections(in_process.solution(exercise)), strict=True):
        mine = [answer for answer in answers if answer["task"] == answer_of(cells).id]
        choices = {
            node.value
            for answer in mine
            for node in ast.walk(ast.parse(answer["code"]))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        texts = [*task.hints, *(answer["hint"] for answer in mine)]
        for value in right_values(exercise, cells):
            if value in MAY_BE_NAMED.get((exercise, task.name), ()):
                continue
            assert [text for text in texts if shows(text, value, choices)] == [], value


@every_run
def test_no_table_of_wrong_answers_names_a_right_number(exercise):
    module = checks_of(exercise)
    rows = [row for value in vars(module).values() for row in _rows(value)]
    values = [
        value
        for cells in sections(in_process.solution(exercise))
        for value in right_values(exercise, cells)
        if isinstance(value, float)
    ]
    for value in values:
        told = [row for row in rows if shows(row.message, value, set())]
        # A message may repeat what the student has entered, which may be right in another place.
        assert [row.message for row in told if not _core.same(row.answer, value)] == [], value
    for row in rows:
        assert re.search(r"[.?!][)\"']*$", row.message), row.message


def _rows(value: Any) -> Iterator[_core.Row]:
    if isinstance(value, _core.Row):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _rows(item)
    elif isinstance(value, Mapping):
        yield from _rows(list(value.values()))


# --- right, missing and wrong answers ---


def most_points(exercise: str) -> dict[str, float]:
    return {
        cell.id: nbgrader(cell)["points"] for cell in in_process.solution(exercise).cells if is_test(cell)
    }


@every_run
def test_the_solution_gets_all_points(exercise):
    _, outcome = in_process.solved(exercise)
    assert outcome.messages == {}
    assert outcome.points == most_points(exercise)
    tasks = checks_of(exercise).exercise.tasks
    assert sum(outcome.points.values()) == sum(task.points + task.when_graded for task in tasks)
    printed = outcome.printed["summary"]
    assert "All checks are passed." in printed
    assert [task.title for task in tasks if task.title not in printed] == []


@every_long_run
def test_the_untouched_release_gets_nothing_and_says_not_done_yet(exercise):
    outcome = in_process.run(in_process.untouched(exercise))
    assert outcome.points == dict.fromkeys(most_points(exercise), 0)
    assert outcome.messages.keys() == most_points(exercise).keys()  # no other cell ends with an error
    for number, cells in enumerate(sections(in_process.solution(exercise)), 1):
        for cell in cells:
            if is_test(cell):
                assert outcome.messages[cell.id].startswith(f"Task {number} is not done yet: ")


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        pytest.param(
            exercise, answer, id=f"{exercise}-{answer['name']}", marks=_marks(exercise, answer["task"])
        )
        for exercise in EXERCISES
        for answer in wrong_answers(exercise)
    ],
)
def test_a_wrong_answer_gets_its_points_and_its_hint(exercise, answer):
    outcome = in_process.run_answer(exercise, answer["task"], answer["code"])
    assert answer["points"].keys() == outcome.points.keys()
    assert {test: outcome.points[test] for test in answer["points"]} == answer["points"], outcome.messages
    failed = (cell for cell in (*answer["points"], answer["task"]) if cell in outcome.messages)
    assert answer["hint"] in outcome.messages[next(failed)]
