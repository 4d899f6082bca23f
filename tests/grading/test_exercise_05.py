"""Exercise 5: its solution, its students' version, right answers in several styles, every message of its checks."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as exact_test
from statsmodels.stats.proportion import proportion_confint

from mnist_helpers import metrics
from mnist_helpers._errors import UserError
from mnist_helpers.checks import exercise_05 as checks
from mnist_helpers.checks._core import AnswerError, NotDoneError
from tests.grading import in_process

pytestmark = pytest.mark.usefixtures("unwatched")
NAME = "exercise_05"
TASKS = {task.name: task for task in checks.exercise.tasks}
POINTS = {
    "by-hand-tests": 2,
    "recall-precision-tests": 1,
    "recall-precision-hidden": 1,
    "wilson-tests": 1,
    "wilson-hidden": 2,
    "mcnemar-tests": 1,
    "mcnemar-hidden": 2,
    "shift-tests": 3,
    "conclusion-tests": 2,
}
BY_HAND = {"precision_1": 17 / 21, "recall_1": 17 / 24, "mistaken_for": 2}
SHIFT = {
    "accuracy_right": 124 / 239,
    "accuracy_trained": 234 / 239,
    "accuracy_down": 117 / 239,
    "reason": "C",
}
CONCLUSION = {
    "verdict_1": "better",
    "verdict_2": "not shown to differ",
    "verdict_3": "worse",
    "gain": 26 / 2.39,
    "factor": 100,
    "claim": "B",
}


def cell(notebook, name):
    return next(cell for cell in notebook.cells if cell.id == name)


def message(check, *answers, **named):
    """What a check says about a wrong answer, without the line about hints."""
    with pytest.raises(AnswerError) as error:
        check(*answers, **named)
    first, *hint = str(error.value).split("\n")
    assert isinstance(error.value, NotDoneError) or "hint=1" in hint[0]
    return first


def passes(capsys, check, *answers, **named):
    capsys.readouterr()
    check(*answers, **named)
    return re.fullmatch(r"Task \d: correct \(.*\)\n", capsys.readouterr().out) is not None


run_answer = functools.partial(in_process.run_answer, NAME)


# --- the notebook ---


@pytest.fixture(scope="module")
def names():
    return {}


@pytest.fixture(scope="module")
def solved(names):
    return in_process.run(in_process.solution(NAME), names)


def test_the_solution_has_all_points_and_no_message(solved):
    assert solved.messages == {}
    assert solved.points == POINTS
    for task in TASKS.values():
        answer = task.name.replace("_", "-")
        assert task.points == solved.points.get(f"{answer}-tests", 0), task.name
        assert task.when_graded == solved.points.get(f"{answer}-hidden", 0), task.name
    assert "All checks are passed" in solved.printed["summary"]


def test_headings_are_those_of_the_tasks():
    headings = re.findall(
        r"^### Task (\d): (.+)$", "\n".join(c.source for c in in_process.solution(NAME).cells), re.M
    )
    assert headings == [(str(number), task.title) for number, task in enumerate(TASKS.values(), 1)]


def test_what_the_checks_expect_is_what_the_notebook_shows(solved, names):
    """The figure of task 1 and the results of task 6."""
    matrix = names["matrix"]
    assert (matrix[1, 1], matrix[1].sum(), matrix[:, 1].sum()) == (17, 24, 21)
    assert (np.trace(matrix), matrix.sum(), matrix[0, 0]) == (208, 239, 23)
    assert matrix[0].sum() == matrix[:, 0].sum() == 24
    assert (matrix[1] * (np.arange(10) != 1)).argmax() == 2
    assert sorted(matrix[1])[-2] > sorted(matrix[1])[-3]
    assert matrix[1, 2] == 3
    assert matrix[1, 6] > 0
    assert (matrix[:, 1] * (np.arange(10) != 1)).argmax() == 8
    correct = [np.sum(names["predictions"][name] == names["y_val"]) for name in names["classifiers"]]
    assert correct == [208, 235, 234]
    said = solved.printed["results"]
    assert "only five_neighbours is correct: 27, only nearest_mean is correct: 1, p < 0.001" in said
    assert "only five_neighbours is correct: 1, only one_neighbour is correct: 2, p = 1.000" in said
    assert "only nearest_mean is correct: 0, only one_neighbour is correct: 27, p < 0.001" in said


@pytest.mark.parametrize(
    ("down", "right", "train_shifts", "table", "correct"),
    [
        (0, 0, "[0]", checks.ACCURACY_RIGHT, 234),
        (0, -3, "[0]", checks.ACCURACY_RIGHT, 115),
        (3, 0, "[0]", checks.ACCURACY_RIGHT, 114),
        (-3, 0, "[0]", checks.ACCURACY_RIGHT, 107),
        (0, 1, "[0]", checks.ACCURACY_RIGHT, 226),
        (0, 2, "[0]", checks.ACCURACY_RIGHT, 202),
        (0, 4, "[0]", checks.ACCURACY_RIGHT, 43),
        (0, 3, "[0]", checks.ACCURACY_TRAINED, 124),
        (0, 3, "range(-3, 3)", checks.ACCURACY_TRAINED, 226),
        (0, 0, "range(-3, 4)", checks.ACCURACY_TRAINED, 235),
        (3, 0, "range(-3, 4)", checks.ACCURACY_TRAINED, 117),
        (3, 0, "[0]", checks.ACCURACY_DOWN, 114),
        (-3, 0, "range(-3, 4)", checks.ACCURACY_DOWN, 110),
        (3, 3, "range(-3, 4)", checks.ACCURACY_DOWN, 118),
        (4, 0, "range(-3, 4)", checks.ACCURACY_DOWN, 56),
        (0, 3, "range(-3, 4)", checks.ACCURACY_DOWN, 234),
        (0, 0, "range(-3, 4)", checks.ACCURACY_DOWN, 235),
    ],
)
def test_the_experiment_gives_the_numbers_of_the_tables(
    solved, names, down, right, train_shifts, table, correct
):
    assert changed_experiment(down, right, train_shifts) == correct / 239
    assert correct / 239 in [row.answer for row in table]


@pytest.mark.parametrize(
    ("down", "right", "train_shifts", "name"),
    [
        (0, 3, "[0]", "accuracy_right"),
        (0, 3, "range(-3, 4)", "accuracy_trained"),
        (3, 0, "range(-3, 4)", "accuracy_down"),
    ],
)
def test_the_steps_of_the_experiment_give_the_right_answers(down, right, train_shifts, name):
    """The settings stand in the text; each answer is what the cell prints with four places."""
    text = cell(in_process.solution(NAME), "task-5").source
    assert f"`down, right = {down}, {right}`" in text
    assert train_shifts == "[0]" or f"`train_shifts = {train_shifts}`" in text
    printed = float(f"{changed_experiment(down, right, train_shifts):.4f}")
    checks.shift(**{**SHIFT, name: printed})


@functools.cache
def changed_experiment(down, right, train_shifts):
    """The accuracy in the cell of task 5 with other settings."""
    names = dict(trained(train_shifts))
    names.update(down=down, right=right)
    moves = cell(in_process.solution(NAME), "experiment").source.split("\nmoved =")[1]
    exec("moved =" + moves.split("\nprint(")[0], names)
    return names["accuracy"]


@functools.cache
def trained(train_shifts):
    """The names after the training in the cell of task 5."""
    source = cell(in_process.solution(NAME), "experiment").source
    settings, training = source.split("\nmoved =")[0].split("\n\n")
    assert re.match("down, right = 0, 0 .+\ntrain_shifts = \\[0\\] ", settings)
    names = dict(in_process.solved(NAME)[0])
    exec(f"train_shifts = {train_shifts}\n{training}", names)
    return names


def test_no_pixel_is_lost_by_a_shift_of_three_to_the_right(solved, names):
    """Reason B of task 5."""
    assert not names["x_val"][:, :, -3:].any()


def test_the_students_version_gets_nothing_and_each_check_says_not_done_yet():
    """With the hidden cells of the solution version, which are put back when it is graded."""
    notebook = in_process.students(NAME)
    for one in notebook.cells:
        if one.id in POINTS:
            one.source = cell(in_process.solution(NAME), one.id).source
    outcome = in_process.run(notebook)
    assert outcome.points == dict.fromkeys(POINTS, 0)
    assert outcome.messages.keys() == POINTS.keys()
    said = [re.match(r"Task (\d) is not done yet", outcome.messages[name])[1] for name in POINTS]
    assert said == list("122334456")
    assert "Still open: tasks 1, 2, 3, 4, 5, 6." in outcome.printed["summary"]


def test_the_students_version_shows_no_solution_and_no_hidden_case():
    students = in_process.students(NAME)
    text = "\n".join(cell.source for cell in students.cells)
    for told in (
        "SOLUTION",
        "HIDDEN",
        "17 / 21",
        "0.5188",
        "axis=1)",
        "& ~",
        "9_988",
        "12, 3, 200",
        "82.2 to 90.7",
    ):
        assert told not in text.replace("axis=0)", "")
    assert [c.id for c in students.cells] == [c.id for c in in_process.solution(NAME).cells]
    for name in POINTS:
        lines = cell(students, name).source.strip().splitlines()
        if name.endswith("-tests"):
            assert len(lines) == 1, name
            assert lines[0].startswith(f"checks.{NAME}.{name.removesuffix('-tests').replace('-', '_')}("), (
                name
            )
        else:
            assert lines == ["# When your work is graded, this cell checks more."]
    for name in (*BY_HAND, *SHIFT, *CONCLUSION):
        assert re.search(rf"^{name} = None$", text, re.M), name


@pytest.mark.parametrize(
    ("task", "phrases"),
    [
        (
            "task-1",
            (
                "confusion matrix of *nearest_mean*",
                "for the digit 1:",
                "at least three digits",
                "not recognised",
            ),
        ),
        (
            "task-2",
            ("the recall of each class and the precision of each class, as fractions", "may not be used"),
        ),
        (
            "task-3",
            (
                "$z = 1.96$",
                r"\frac{p + \dfrac{z^2}{2n}}{1 + \dfrac{z^2}{n}}",
                r"\frac{z}{1 + \dfrac{z^2}{n}} \sqrt{\frac{p\,(1-p)}{n} + \frac{z^2}{4n^2}}",
                "as fractions, the lower end first",
                "may not be used",
            ),
        ),
        (
            "task-4",
            ("numbers: - `only_first`", "If there are no such images, the p-value is 1", "may not be used"),
        ),
        (
            "task-5",
            ("**C** Images are compared pixel by pixel", "step 1 cost", "fraction with at least three"),
        ),
        (
            "task-6",
            (
                "`verdict_1`: *five_neighbours* compared with *nearest_mean*",
                "`verdict_2`: *five_neighbours* compared with *one_neighbour*",
                "`verdict_3`: *nearest_mean* compared with *one_neighbour*",
                "how many percentage points is *five_neighbours* more accurate than *nearest_mean*",
                "intervals ten times as narrow",
                "**A** *one_neighbour* and *five_neighbours* are equally accurate",
                "**B** *five_neighbours* is more accurate than *nearest_mean* on images of this kind",
                "**C** Classifiers with neighbours",
            ),
        ),
    ],
)
def test_the_text_asks_for_what_the_check_expects(task, phrases):
    for notebook in (in_process.solution(NAME), in_process.students(NAME)):
        text = " ".join(cell(notebook, task).source.split())
        for phrase in phrases:
            assert phrase in text


def test_the_students_version_is_made_from_the_solution_version():
    for one, other in zip(in_process.solution(NAME).cells, in_process.students(NAME).cells, strict=True):
        if not one.metadata.get("nbgrader", {}).get("grade") and not one.metadata.get("nbgrader", {}).get(
            "solution"
        ):
            assert one.source == other.source


def test_a_check_cell_imports_the_checks_again():
    for name in POINTS:
        source = cell(in_process.solution(NAME), name).source
        if name.endswith("-tests"):
            head, end = (
                "### BEGIN HIDDEN TESTS\nfrom mnist_helpers import checks\n",
                "### END HIDDEN TESTS\nchecks.",
            )
            assert source.startswith(head), name
            assert source[len(head) :].lstrip("\n").startswith(end), name
        else:
            begin = "this cell checks more.\n### BEGIN HIDDEN TESTS\nfrom mnist_helpers import checks\n"
            assert begin in source, name
            assert source.endswith("### END HIDDEN TESTS"), name


def test_hidden_cases_are_not_in_the_package():
    for name in ("recall-precision", "wilson", "mcnemar"):
        source = cell(in_process.solution(NAME), f"{name}-hidden").source
        module = Path(checks.__file__).read_text(encoding="utf-8")
        cases = re.findall(r"\[\[.*\]\]|\(\d[\d_, ]+\)", source)
        assert len(cases) >= 3
        assert [case for case in cases if case in module] == []


def test_code_cells_have_short_lines_and_few_of_tests():
    students = [cell for cell in in_process.students(NAME).cells if cell.cell_type == "code"]
    solution = [cell for cell in in_process.solution(NAME).cells if cell.cell_type == "code"]
    assert max(len(line) for cell in (*students, *solution) for line in cell.source.splitlines()) <= 88
    lines = {cell.id: len([line for line in cell.source.splitlines() if line.strip()]) for cell in students}
    assert sum(count for name, count in lines.items() if name in POINTS) < 0.15 * sum(lines.values())


def test_the_sentence_is_for_the_teacher():
    one = cell(in_process.solution(NAME), "explain")
    assert one.cell_type == "markdown"
    nbgrader = one.metadata.nbgrader
    assert (nbgrader.grade, nbgrader.solution, nbgrader.locked, nbgrader.points) == (True, True, False, 0)
    assert "no check looks at it" in cell(in_process.solution(NAME), "task-7").source
    assert one.source not in cell(in_process.students(NAME), "explain").source


# --- wrong answers ---


VALUES = [
    (checks.by_hand, BY_HAND, "precision_1", checks.PRECISION_BY_HAND),
    (checks.by_hand, BY_HAND, "recall_1", checks.RECALL_BY_HAND),
    (checks.by_hand, BY_HAND, "mistaken_for", checks.MISTAKEN_FOR),
    (checks.shift, SHIFT, "accuracy_right", checks.ACCURACY_RIGHT),
    (checks.shift, SHIFT, "accuracy_trained", checks.ACCURACY_TRAINED),
    (checks.shift, SHIFT, "accuracy_down", checks.ACCURACY_DOWN),
    (checks.shift, SHIFT, "reason", checks.REASON),
    (checks.conclusion, CONCLUSION, "verdict_1", checks.VERDICT_1),
    (checks.conclusion, CONCLUSION, "verdict_2", checks.VERDICT_2),
    (checks.conclusion, CONCLUSION, "verdict_3", checks.VERDICT_3),
    (checks.conclusion, CONCLUSION, "gain", checks.GAIN),
    (checks.conclusion, CONCLUSION, "factor", checks.FACTOR),
    (checks.conclusion, CONCLUSION, "claim", checks.CLAIM),
]


@pytest.mark.parametrize(("check", "right", "name", "table"), VALUES, ids=[value[2] for value in VALUES])
def test_each_row_of_values_gives_its_message(check, right, name, table):
    for row in table:
        assert row.message in message(check, **{**right, name: row.answer}), row.answer
    assert f"{name} is still None" in message(check, **{**right, name: None})


@pytest.mark.parametrize(
    ("check", "right", "name", "choices"),
    [
        (checks.shift, SHIFT, "reason", "ABCD"),
        (checks.conclusion, CONCLUSION, "claim", "ABCD"),
        *((checks.conclusion, CONCLUSION, f"verdict_{number}", checks.VERDICTS) for number in (1, 2, 3)),
    ],
)
def test_every_wrong_choice_has_its_own_message(check, right, name, choices):
    wrong = [choice for choice in choices if choice != right[name]]
    said = [message(check, **{**right, name: choice}) for choice in wrong]
    assert len(set(said)) == len(wrong)
    assert not any("again." in text for text in said)
    assert f"{name} should be one of" in message(check, **{**right, name: "E"})


@pytest.mark.parametrize("number", range(8))
def test_choices_stand_in_the_text(number):
    task = "task-5" if number < 4 else "task-6"
    text = cell(in_process.solution(NAME), task).source
    assert re.search(rf"^   - \*\*{'ABCD'[number % 4]}\*\* \S.+\.$", text, re.M)
    for verdict in checks.VERDICTS:
        assert f'`"{verdict}"`' in cell(in_process.solution(NAME), "task-6").source


@pytest.mark.parametrize("row", checks.RECALL, ids=range(len(checks.RECALL)))
def test_each_row_about_the_recall_gives_its_message(row):
    def function(matrix):
        return (row.answer(matrix), checks._precision(matrix))

    assert row.message in message(checks.recall_precision, function)
    matrices = [[90, 10], [5, 3]], [[7, 1], [2, 9]]
    assert row.message in message(checks.recall_precision, function, matrices=matrices)


@pytest.mark.parametrize("row", checks.PRECISION, ids=range(len(checks.PRECISION)))
def test_each_row_about_the_precision_gives_its_message(row):
    def function(matrix):
        return (checks._recall(matrix), row.answer(matrix))

    assert row.message in message(checks.recall_precision, function)


@pytest.mark.parametrize("row", checks.WILSON, ids=range(len(checks.WILSON)))
def test_each_row_about_the_interval_gives_its_message(row):
    assert row.message in message(checks.wilson, row.answer)


@pytest.mark.parametrize("row", checks.COUNTED, ids=range(len(checks.COUNTED)))
def test_each_row_about_the_counts_gives_its_message(row):
    def function(*case):
        return (*row.answer(*case), checks._p_value(*case))

    assert row.message in message(checks.mcnemar, function)


@pytest.mark.parametrize("row", checks.P_VALUE, ids=range(len(checks.P_VALUE)))
def test_each_row_about_the_p_value_gives_its_message(row):
    def mcnemar(*case):
        counts = checks._counts(*case)
        return (*counts, row.answer(*case) if sum(counts) else 1.0)

    assert row.message in message(checks.mcnemar, mcnemar)


def test_messages_are_sentences_and_do_not_tell_the_answer():
    tables = [
        table
        for name, table in vars(checks).items()
        if name.isupper() and name[0] != "_" and name != "VERDICTS"
    ]
    rows = [row for table in tables for row in table]
    assert len(rows) > 100
    for row in rows:
        assert row.message.endswith((".", "?")), row.message
    for task in TASKS.values():
        assert task.for_teacher or len(task.hints) >= 2
        assert all(hint.endswith(".") for hint in task.hints)
    secrets = (
        r"17 ?/ ?2[14]|0\.81|0\.71|0\.708|0\.519|0\.979|0\.49|10\.9|10\.88|(?<![,\d])100(?!\d)|\"[ABCD]\""
    )
    for text in (*(row.message for row in rows), *(hint for task in TASKS.values() for hint in task.hints)):
        assert not re.search(secrets, text), text
    assert not any("2" in row.message for row in checks.MISTAKEN_FOR)


# --- hints ---


@pytest.mark.parametrize(("name", "words"), [
    ("by_hand", ("row and the column of the digit 1", "numerator of both fractions")),
    ("recall_precision", ("np.diag(matrix)", "matrix.sum(axis=0)")),
    ("wilson", ("1 + z²/n", "(a / 2) * n")),
    ("mcnemar", ("first == labels", "number of heads")),
    ("shift", ("run it once for each number", "range(-3, 4)")),
    ("conclusion", ("below 0.05", "gain is the difference")),
])  # fmt: skip
def test_hints_are_those_of_the_task(capsys, name, words):
    for step, word in enumerate(words, 1):
        getattr(checks, name)(..., hint=step)
        assert word in capsys.readouterr().out


def test_the_sentence_has_no_check():
    assert not hasattr(checks, "explain")
    with pytest.raises(UserError, match="has 2 hints"):
        checks.wilson(None, hint=3)


# --- right answers in other styles ---


@pytest.mark.parametrize(
    "answers",
    [
        BY_HAND,
        {"precision_1": 0.81, "recall_1": 0.708, "mistaken_for": 2.0},
        {"precision_1": np.float32(0.8095), "recall_1": np.array([0.7083]), "mistaken_for": np.int64(2)},
        {"precision_1": 0.8095238095, "recall_1": 0.71, "mistaken_for": np.array(2)},
    ],
)
def test_numbers_by_hand_may_be_rounded_and_of_any_type(capsys, answers):
    assert passes(capsys, checks.by_hand, **answers)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("precision_1", 0.813),
        ("recall_1", 0.75),
        ("mistaken_for", 7),
    ],
)
def test_other_numbers_by_hand_do_not_fit_the_figure(name, answer):
    assert f"{name} does not fit the figure" in message(checks.by_hand, **{**BY_HAND, name: answer})


@pytest.mark.parametrize(
    ("check", "right", "name", "answer"),
    [
        (checks.by_hand, BY_HAND, "precision_1", 0.8),
        (checks.by_hand, BY_HAND, "recall_1", 0.7),
        (checks.shift, SHIFT, "accuracy_right", 0.5),
        (checks.shift, SHIFT, "accuracy_trained", 1.0),
        (checks.shift, SHIFT, "accuracy_down", 0.5),
        (checks.conclusion, CONCLUSION, "gain", 11),
        (checks.conclusion, CONCLUSION, "gain", 10),
    ],
)
def test_a_number_with_too_few_digits_is_not_called_wrong(check, right, name, answer):
    said = message(check, **{**right, name: answer})
    assert f"{name} is rounded too much. Give at least three significant digits." in said


def test_results_of_functions_may_be_rounded_to_three_digits():
    def rounded(function):
        def to_three_digits(*case):
            return [float(f"{value:.3g}") for value in function(*case)]

        return to_three_digits

    checks.recall_precision(
        lambda matrix: (rounded(checks._recall)(matrix), rounded(checks._precision)(matrix)),
        matrices=([[90, 10], [5, 3]], [[8, 2], [1, 10]]),
    )
    checks.wilson(rounded(checks._wilson))
    checks.mcnemar(lambda *case: (*checks._counts(*case), round(checks._p_value(*case), 3)))


def test_no_message_shows_the_expected_value():
    """What a function should return for a case that a student can try."""
    said = message(checks.recall_precision, lambda matrix: (checks._recall(matrix) ** 2,) * 2)
    assert "[[8, 2], [1, 10]] is not [0.64" in said.replace("array(", "")
    assert "0.8," not in said and "0.909" not in said
    said = message(checks.wilson, lambda *_: (0.5, 0.6))
    assert "your interval goes from 0.5 to 0.6, which is not correct" in said
    assert "0.69" not in said and "0.97" not in said
    said = message(checks.mcnemar, lambda *_: (7, 3, 0.5))
    assert "For 100 images, your counts are 7 and 3, which is not correct" in said
    assert not re.search("[82]", said.split(":", 1)[1].split("hint")[0])
    said = message(checks.mcnemar, lambda *case: (*checks._counts(*case), 0.5))
    assert "but 0.5 is not the p-value" in said and "0.1" not in said


def test_further_cases_are_given_by_name_only():
    for check in (checks.recall_precision, checks.wilson, checks.mcnemar):
        with pytest.raises(TypeError, match="positional argument"):
            check(len, ())


def test_the_digit_is_the_answer_and_neither_text_nor_a_list():
    for answer in ("2", [2, 8], "two"):
        assert "should be one number" in message(checks.by_hand, **{**BY_HAND, "mistaken_for": answer})


STYLES = {
    "recall-precision": [
        """
        def recall_and_precision(counts):
            recall, precision = [], []
            for k in range(len(counts)):
                recall.append(counts[k][k] / sum(counts[k]))
                precision.append(counts[k][k] / sum(row[k] for row in counts))
            return recall, precision
        """,
        """
        def recall_and_precision(matrix):
            right = matrix.diagonal()
            return np.array([right / matrix.sum(1), right / matrix.sum(0)])
        """,
        """
        import pandas as pd

        def recall_and_precision(matrix):
            table = pd.DataFrame(matrix)
            right = pd.Series(np.diag(matrix))
            return [right / table.sum(axis=1), right / table.sum(axis=0)]
        """,
        """
        def fraction(matrix, axis):
            return (matrix * np.eye(len(matrix))).sum(axis=axis) / matrix.sum(axis=axis)

        recall_and_precision = lambda matrix: (fraction(matrix, 1), fraction(matrix, 0))
        """,
        """
        def recall_and_precision(matrix):
            recall = np.zeros(len(matrix))
            precision = np.zeros(len(matrix))
            for k in range(len(matrix)):
                recall[k] = round(matrix[k, k] / matrix[k, :].sum(), 4)
                precision[k] = round(matrix[k, k] / matrix[:, k].sum(), 4)
            matrix[:] = 0
            return recall, precision
        """,
    ],
    "wilson": [
        """
        def wilson(k, n, z=1.96):
            low = (2 * k + z**2 - z * (z**2 + 4 * k * (1 - k / n)) ** 0.5) / (2 * (n + z**2))
            high = (2 * k + z**2 + z * (z**2 + 4 * k * (1 - k / n)) ** 0.5) / (2 * (n + z**2))
            return low, high
        """,
        """
        def wilson(num_correct, num_images):
            z = stats.norm.ppf(0.975)
            interval = stats.binomtest(num_correct, num_images).proportion_ci(method="wilson")
            return interval.low, interval.high
        """,
        """
        from math import sqrt

        def wilson(num_correct, num_images):
            z, p, n = 1.959964, num_correct / num_images, num_images
            middle = (p + z * z / (2 * n)) / (1 + z * z / n)
            half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
            return [max(0, middle - half), min(1, middle + half)]
        """,
        """
        def wilson(num_correct, num_images):
            p = np.float64(num_correct / num_images)
            z = 1.96
            stretch = 1 + z**2 / num_images
            centre = (p + z**2 / (2 * num_images)) / stretch
            half = z / stretch * np.sqrt(p * (1 - p) / num_images + z**2 / (4 * num_images**2))
            return np.round(np.array([centre - half, centre + half]), 4)
        """,
    ],
    "mcnemar": [
        """
        def mcnemar(labels, first, second):
            only_first = only_second = 0
            for label, one, other in zip(labels, first, second):
                if one == label and other != label:
                    only_first += 1
                elif other == label and one != label:
                    only_second += 1
            if only_first + only_second == 0:
                return only_first, only_second, 1
            p = stats.binomtest(only_second, only_first + only_second).pvalue
            return only_first, only_second, p
        """,
        """
        def mcnemar(labels, first, second):
            a = np.count_nonzero((first == labels) & (first != second))
            b = np.count_nonzero((second == labels) & (first != second))
            return [a, b, min(1, 2 * stats.binom.cdf(min(a, b), a + b, 0.5))]
        """,
        """
        from math import comb

        def mcnemar(labels, first, second):
            a = len([1 for x, y, z in zip(labels, first, second) if x == y != z])
            b = len([1 for x, y, z in zip(labels, first, second) if x == z != y])
            p = 2 * sum(comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b)
            return np.array([a, b, min(p, 1)])
        """,
        """
        def mcnemar(labels, first, second):
            right = np.array([first, second]) == labels
            one, other = (right[0] > right[1]).sum(), (right[1] > right[0]).sum()
            tosses = one + other
            p = 1.0 if not tosses else round(stats.binomtest(one, n=tosses, p=0.5).pvalue, 4)
            return one, other, p
        """,
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "code"), [(task, code) for task, styles in STYLES.items() for code in styles]
)
def test_functions_in_any_style_get_full_points(task, code):
    outcome = run_answer(task, "\n".join(line[8:] for line in code.split("\n")))
    tests = {name: points for name, points in POINTS.items() if name.rsplit("-", 1)[0] == task}
    assert {name: outcome.points[name] for name in tests} == tests, outcome.messages
    assert outcome.messages == {}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"accuracy_right": 0.519, "accuracy_trained": 0.979, "accuracy_down": 0.49},
        {"accuracy_right": 0.518, "accuracy_trained": 0.98, "accuracy_down": 0.489},
        {"accuracy_right": np.float64(124 / 239), "accuracy_trained": np.array([234 / 239]), "reason": " c "},
    ],
)
def test_observed_numbers_may_be_rounded(capsys, changed):
    assert passes(capsys, checks.shift, **{**SHIFT, **changed})


@pytest.mark.parametrize("name", ["accuracy_right", "accuracy_trained", "accuracy_down"])
def test_one_image_more_or_less_is_another_answer(name):
    for images in (-1, 1):
        message(checks.shift, **{**SHIFT, name: SHIFT[name] + images / 239})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"gain": 10.9, "factor": 100.0, "claim": "b"},
        {"gain": 97.91 - 87.03, "factor": np.int64(100), "verdict_2": "Not shown to differ "},
        {"gain": np.float32(10.8787), "verdict_1": "Better", "verdict_3": "WORSE"},
    ],
)
def test_conclusions_may_be_rounded_and_of_any_case(capsys, changed):
    assert passes(capsys, checks.conclusion, **{**CONCLUSION, **changed})


@pytest.mark.parametrize(
    ("name", "answer"), [("gain", 10.8), ("gain", 10.95), ("factor", 99), ("factor", 101), ("factor", 1000)]
)
def test_near_misses_of_a_conclusion_are_not_correct(name, answer):
    assert f"{name} is not" in message(checks.conclusion, **{**CONCLUSION, name: answer})


# --- the checks' own calculations ---


@pytest.mark.parametrize("counts", [(18, 20), (0, 7), (3, 40), (20, 20), (208, 239), (9_988, 10_000)])
def test_the_interval_is_the_known_one(counts):
    assert np.allclose(checks._wilson(*counts), proportion_confint(*counts, method="wilson"), atol=1e-4)
    checks.wilson(lambda *counts: proportion_confint(*counts, method="wilson"), counts=[counts])


@pytest.mark.parametrize(
    "counts", [(8, 2, 85, 5), (0, 6, 50, 0), (3, 12, 200, 40), (31, 29, 300, 7), (0, 0, 9, 1)]
)
def test_mcnemar_is_the_known_one(counts):
    case = checks.made_up(*counts)
    assert len(case[0]) == sum(counts)
    assert checks._counts(*case) == counts[:2]
    assert np.sum((case[1] == case[0]) & (case[2] == case[0])) == counts[2]
    table = [[counts[2], counts[0]], [counts[1], counts[3]]]
    assert checks._p_value(*case) == pytest.approx(min(exact_test(table, exact=True).pvalue, 1))
    assert checks._p_value(*case) == pytest.approx(metrics.mcnemar(*case).p_value)


def test_some_images_that_both_classify_wrongly_get_different_predictions():
    labels, first, second = checks.made_up(*checks._PAIRED[0])
    assert np.sum((first != labels) & (second != labels) & (first != second)) > 0


def test_the_example_of_the_text_is_that_of_the_lesson():
    assert round(stats.binomtest(9, 10).pvalue, 2) == 0.02


# --- the students' namespaces ---


@pytest.mark.parametrize(
    ("task", "code"),
    [
        (
            "by-hand",
            "precision_1, recall_1, mistaken_for = 17 / 21, 17 / 24, 2\nchecks = metrics = matrix = np = 0",
        ),
        (
            "shift",
            "accuracy_right, accuracy_trained, accuracy_down, reason = 0.519, 0.979, 0.49, 'C'\nround = str = 0",
        ),
        (
            "recall-precision",
            "def recall_and_precision(m):\n    d = m.diagonal()\n    return d / m.sum(1), d / m.sum(0)\n"
            "np = list = checks = data = range = len = str = 'mine'",
        ),
        (
            "wilson",
            "def wilson(k, n, z=1.96):\n    p, s = k / n, 1 + z**2 / n\n    c = (p + z**2 / 2 / n) / s\n"
            "    h = z / s * (p * (1 - p) / n + z**2 / 4 / n**2) ** 0.5\n    return c - h, c + h\n"
            "np = stats = checks = tuple = 'mine'",
        ),
        (
            "conclusion",
            "verdict_1, verdict_2, verdict_3 = 'better', 'not shown to differ', 'worse'\n"
            "gain, factor, claim = 10.88, 100, 'B'\nstr = list = checks = results = float = 3",
        ),
    ],
)
def test_names_of_the_notebook_may_be_used_for_something_else(task, code):
    outcome = run_answer(task, code)
    tests = {name: points for name, points in POINTS.items() if name.rsplit("-", 1)[0] == task}
    assert {name: outcome.points[name] for name in tests} == tests, outcome.messages


def test_mcnemar_may_follow_any_names(names, solved):
    outcome = in_process.run_answer(
        NAME,
        "mcnemar",
        cell(in_process.solution(NAME), "mcnemar").source + "\nlabels = first = checks = metrics = 7",
    )
    assert outcome.points["mcnemar-tests"] == 1
    assert outcome.points["mcnemar-hidden"] == 2


# --- functions that are nearly right ---


def test_a_wrong_answer_in_one_hidden_case_loses_the_hidden_points():
    for name, wrong in {
        "wilson": "def wilson(k, n):\n    return right(k, n) if n in (20, 10_000) else (0.5, 0.6)",
        "mcnemar": "def mcnemar(a, b, c):\n    return right(a, b, c) if len(a) in (100, 84, 53, 90) else (1, 2, 1)",
        "recall-precision": "def recall_and_precision(m):\n    return right(m) if len(m) < 4 else (m[0], m[1])",
    }.items():
        source = cell(in_process.solution(NAME), name).source
        function = re.search(r"def (\w+)", source)[1]
        outcome = run_answer(name, f"{source}\n\nright = {function}\n\n{wrong}\n")
        points = {test: outcome.points[test] for test in POINTS if test.rsplit("-", 1)[0] == name}
        assert points == {f"{name}-tests": 1, f"{name}-hidden": 0}, outcome.messages


@pytest.mark.parametrize(
    "answer", [3, "a", {"low": 0.7, "high": 0.9}, (1, 2, 3), [(1, 2), 3], (0.7, (1, 2)), "ab"]
)
def test_wilson_returns_two_numbers(answer):
    assert "should return a pair of numbers" in message(checks.wilson, lambda *_: answer)


def test_wilson_of_texts_is_not_correct():
    assert "your interval goes from 'a' to 'b'" in message(checks.wilson, lambda *_: ("a", "b"))


@pytest.mark.parametrize("answer", [3, {"a": 1}, (1, 2), (1, (2, 3), 4), "abc"])
def test_mcnemar_returns_three_numbers(answer):
    assert "should return three numbers" in message(checks.mcnemar, lambda *_: answer)


@pytest.mark.parametrize("answer", [3, {"a": 1, "b": 2}, ([1, 2], 3), (1, 2), "ab", ([1, [2, 3]], [1, 2])])
def test_recall_and_precision_are_two_arrays(answer):
    assert "should return two arrays" in message(checks.recall_precision, lambda _: answer)


def test_a_p_value_of_nan_without_difference_is_not_correct():
    def mcnemar(*case):
        counts = checks._counts(*case)
        return (*counts, checks._p_value(*case) if sum(counts) else float("nan"))

    assert "Return p = 1 then" in message(checks.mcnemar, mcnemar)


def test_counts_without_difference_must_be_zero():
    def mcnemar(*case):
        counts = checks._counts(*case)
        return (*counts, checks._p_value(*case)) if sum(counts) else (1, 1, 1)

    assert "The two counts are 0" in message(checks.mcnemar, mcnemar)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((checks.by_hand, 0.5, 0.7, 2), "precision_1 does not fit"),
        ((checks.shift, 0.3, 0.9, 0.4, "C"), "step 1: down, right = 0, 3"),
        ((checks.shift, 124 / 239, 0.9, 0.4, "C"), "step 2: train_shifts = range(-3, 4)"),
        ((checks.shift, 124 / 239, 234 / 239, 0.4, "C"), "step 3: down, right = 3, 0"),
    ],
)
def test_other_answers_get_a_message_about_what_to_check(answers, words):
    assert words in message(*answers)
