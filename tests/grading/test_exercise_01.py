"""Exercise 1: its solution, the students' version, right answers in several styles, and wrong answers."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from mnist_helpers import data
from mnist_helpers._errors import UserError
from mnist_helpers.checks import exercise_01 as checks
from mnist_helpers.checks._core import AnswerError, NotDoneError, Row
from tests.grading import in_process

pytestmark = pytest.mark.usefixtures("unwatched")
NAME = "exercise_01"
NUM_BYTES = 60_000 * 28 * 28
OBSERVED = {"num_shared": 80, "accuracy_unseen": 0.8408, "gain": 3.45, "conclusion": "C"}
ALL_POINTS = {
    "memory-tests": 1,
    "rescale-tests": 1,
    "rescale-hidden": 1,
    "standardise-tests": 1,
    "standardise-hidden": 2,
    "nearest-mean-tests": 1,
    "nearest-mean-hidden": 2,
    "shared-tests": 2,
    "shared-hidden": 1,
}


@pytest.fixture(autouse=True, scope="module")
def _what_is_read_is_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load_training", functools.cache(data.load_training))
        patch.setattr(in_process, "solution", functools.cache(in_process.solution))
        patch.setattr(in_process, "students", functools.cache(in_process.students))
        yield


def points_of(cell_id):
    return {name: points for name, points in ALL_POINTS.items() if name.rsplit("-", 1)[0] == cell_id}


def cell(cell_id, notebook=None):
    cells = (notebook or in_process.solution(NAME)).cells
    return next(cell for cell in cells if cell.id == cell_id)


def message_of(check, *answers, **options):
    with pytest.raises(AnswerError) as error:
        check(*answers, **options)
    return str(error.value)


# --- the notebook ---


@functools.cache
def solved():
    names = {}
    return in_process.run(in_process.solution(NAME), names), names


def test_the_solution_has_all_points_and_no_messages():
    outcome, _ = solved()
    assert outcome.points == ALL_POINTS
    assert outcome.messages == {}
    assert "6 of 6 points so far. 6 more points are checked when" in outcome.printed["summary"]
    assert "All checks are passed." in outcome.printed["summary"]


def test_the_students_version_has_no_points_and_says_what_is_not_done():
    outcome = in_process.run(in_process.students(NAME))
    names = {name: name for name in ALL_POINTS if name.endswith("-tests")}
    assert {name: outcome.points[name] for name in names} == dict.fromkeys(names, 0)
    assert outcome.messages.keys() == names.keys()  # the hidden checks are not there
    for number, name in enumerate(names, 1):
        assert outcome.messages[name].startswith(f"Task {number} is not done yet")
    assert "0 of 6 points so far" in outcome.printed["summary"]
    assert "Still open: tasks 1, 2, 3, 4, 5." in outcome.printed["summary"]


def test_hidden_checks_of_gaps_say_what_is_not_done():
    gaps = {cell.id: cell.source for cell in in_process.students(NAME).cells}
    for number, cell_id in enumerate(("memory", "rescale", "standardise", "nearest-mean", "shared"), 1):
        outcome = in_process.run_answer(NAME, cell_id, gaps[cell_id])
        assert outcome.points == dict.fromkeys(points_of(cell_id), 0)
        for message in outcome.messages.values():
            assert message.startswith(f"Task {number} is not done yet")


def test_the_students_version_shows_no_solution_and_no_hidden_case():
    notebook = in_process.students(NAME)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"HIDDEN|SOLUTION|raise|astype\(|std\(|argmin|faint|default_rng\(7\)|\.T\b", text)
    assert not re.search(r"60_000|\b289\b|\b80 of\b|conclusion = \"|known|squared_distances", text)
    assert text.count("\n### Task") == 6
    assert len(re.findall("^ *# write your code here$", text, re.MULTILINE)) == 6
    for name in ("num_bytes", "num_bytes_float32", *OBSERVED):
        assert f"\n{name} = None\n" in f"\n{text}\n"
    for cell_id in (name for name in ALL_POINTS if name.endswith("-hidden")):
        assert cell(cell_id, notebook).source.strip() == (
            "# When your work is graded, this cell checks more."
        )
    assert "84 %" not in cell("explain", notebook).source


def test_a_check_cell_is_one_call():
    calls = {
        "memory-tests": "memory(num_bytes, num_bytes_float32)",
        "rescale-tests": "rescale(rescaled)",
        "standardise-tests": "standardise(standardised)",
        "nearest-mean-tests": "nearest_mean(nearest_mean)",
        "shared-tests": "shared(count_shared, num_shared, accuracy_unseen, gain, conclusion)",
    }
    for cell_id, call in calls.items():
        lines = [line for line in cell(cell_id).source.splitlines() if line]
        assert lines == [
            "### BEGIN HIDDEN TESTS",
            "from mnist_helpers import checks",
            "### END HIDDEN TESTS",
            f"checks.exercise_01.{call}",
        ]
        assert cell(cell_id, in_process.students(NAME)).source.strip() == lines[-1]


def test_less_than_one_line_in_seven_that_a_student_sees_is_a_test():
    count = {True: 0, False: 0}
    for each in in_process.students(NAME).cells:
        if each.cell_type == "code":
            lines = [line for line in each.source.splitlines() if line.strip() and line[0] != "#"]
            assert max(map(len, each.source.splitlines())) <= 88, each.id
            count[each.metadata.nbgrader.grade] += len(lines)
    assert count[True] == 5
    assert count[True] / sum(count.values()) < 0.15


def test_titles_and_points_of_the_checks_are_those_of_the_notebook():
    headings = [
        re.match(r"### Task (\d): (.+)", each.source)
        for each in in_process.solution(NAME).cells
        if each.source.startswith("### Task")
    ]
    assert [int(heading[1]) for heading in headings] == [1, 2, 3, 4, 5, 6]
    assert [heading[2] for heading in headings] == [task.title for task in checks.exercise.tasks]
    graded = {
        each.metadata.nbgrader.grade_id: each.metadata.nbgrader.points
        for each in in_process.solution(NAME).cells
        if each.metadata.get("nbgrader", {}).get("grade")
    }
    assert graded == ALL_POINTS | {"explain": 0}
    for task in checks.exercise.tasks[:-1]:
        cell_id = task.name.replace("_", "-")
        assert (task.points, task.when_graded) == (
            graded[f"{cell_id}-tests"],
            graded.get(f"{cell_id}-hidden", 0),
        )
    explain = cell("explain").metadata.nbgrader
    assert (explain.grade, explain.solution, explain.locked) == (True, True, False)
    assert cell("explain").cell_type == "markdown"
    assert checks.exercise.tasks[-1].for_teacher


def test_the_text_asks_for_what_is_checked():
    images, rows, columns = re.search(
        r"([\d,]+) training images of (\d+)x(\d+)", cell("task-1").source
    ).groups()
    asked = int(images.replace(",", "")) * int(rows) * int(columns)
    assert "which takes one byte" in cell("task-1").source
    assert "takes four bytes" in cell("task-1").source
    checks.memory(asked, asked * 4)
    assert "A pixel of 255 becomes 1" in cell("task-2").source
    assert "`float32` with values from 0 to 1" in cell("task-2").source
    assert checks._rescaled(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    text = cell("task-3").source
    assert "calculated over the **training images**" in text
    assert "their standard deviation is 0. Replace these zeros by 1" in text
    assert "by the number of images n. (The check also accepts the version that divides by n − 1.)" in text
    assert "whose mean image is nearest" in cell("task-4").source
    assert "An image that occurs twice in `x_new` counts twice" in cell("task-5-steps").source
    for name in OBSERVED:
        assert f"- `{name}`: " in cell("task-5-steps").source
    assert "reported accuracy is higher than the accuracy on the unseen images" in cell("task-5-steps").source
    assert "no check looks at it" in cell("task-6").source


def test_the_summary_has_a_heading_and_says_what_it_counts():
    heading, text = cell("text-summary").source.split("\n\n")
    assert heading == "### Summary"
    assert text.endswith(
        "After a restart of the kernel, run all cells again: the summary counts only what has been checked since "
        "then."
    )


def test_the_conclusions_in_the_text_are_those_of_the_check():
    rows = dict(re.findall(r"^\| ([A-D]) \| (.+) \|$", cell("task-5-steps").source, re.MULTILINE))
    assert list(rows) == ["A", "B", "C", "D"]
    assert "about as accurate as on the whole report" in rows["A"]
    assert "less accurate on new images because it has stored" in rows["B"]
    assert "about as accurate as on the unseen images" in rows["C"]
    assert "exactly" in rows["D"]
    assert sorted([row.answer for row in checks.CONCLUSION] + ["C"]) == list(rows)
    for row in checks.CONCLUSION:
        assert not re.search(r"\b[A-D]\b(?! new image)", row.message)  # the article "A" may begin a sentence


def test_the_experiment_of_the_notebook_is_that_of_the_check():
    _, names = solved()
    leak = checks._leak()
    assert (names["num_shared"], len(names["x_report"])) == (leak.num_shared, leak.num_report) == (80, 369)
    accuracy = names["accuracy"]
    assert accuracy(names["x_report"], names["y_report"]) == pytest.approx(leak.reported)
    assert accuracy(names["x_val"], names["y_val"]) == pytest.approx(leak.validation)
    assert names["accuracy_unseen"] == pytest.approx(leak.unseen)
    assert names["gain"] == pytest.approx(leak.gain)
    assert accuracy(names["x_stored"], names["y_stored"]) == 1
    assert leak.num_unseen == 289
    assert "stored 100 images" in cell("task-5").source
    assert len(names["x_stored"]) == checks._NUM_STORED == 100


def test_the_numbers_of_the_model_sentence_are_right():
    leak = checks._leak()
    text = cell("explain").source
    for words in (
        f"On the {leak.num_unseen} images",
        f"about {100 * leak.unseen:.0f} %, so",
        f"reported accuracy of about {100 * leak.reported:.0f} %",
        f"stored {leak.num_shared} of the {leak.num_report} images",
    ):
        assert words in text


# --- hints ---

IN_HINTS = {
    "memory": ("rows and columns", "Multiply the number of images"),
    "rescale": ("255", "astype"),
    "standardise": ("Over which axis", "axis=0"),
    "nearest_mean": ("y_train == 3", "argmin"),
    "shared": ("Section 8 of lesson 1", "only the unseen images and their labels"),
}


@pytest.mark.parametrize("task", checks.exercise.tasks[:-1], ids=lambda task: task.name)
def test_hints_belong_to_their_task_and_come_in_steps(task, capsys):
    assert len(task.hints) == 2
    for hint, words in zip(task.hints, IN_HINTS[task.name], strict=True):
        assert words in hint
        assert not re.search(
            r" / 255|47[,_ ]?040|188[,_ ]?160|std\[|\.mean\(|\.argmin\(|\b(80|289|369)\b", hint
        )
    for number in (1, 2):
        getattr(checks, task.name)(hint=number)
        assert task.hints[number - 1] in capsys.readouterr().out


# --- tables of wrong answers ---

RANDOM = np.random.default_rng(3)
FAINT = np.full((2, 28, 28), 51, np.uint8)
FAINT[1, 0] = 102
OTHER = (
    RANDOM.integers(0, 256, (60, 28, 28), np.uint8),
    np.append(np.arange(10), RANDOM.integers(0, 10, 50)),
    RANDOM.integers(0, 256, (40, 28, 28), np.uint8),
)


def known_by(check, row: Row, other_case):
    """Returns whether the visible check knows the row; if not, the row passes it, and another case knows it."""
    try:
        check(row.answer)
    except AnswerError as error:
        assert row.message in str(error)
        return True
    assert row.message in message_of(check, row.answer, cases=[other_case])
    return False


def test_wrong_numbers_of_bytes():
    for row in checks.NUM_BYTES:
        assert row.message in message_of(checks.memory, row.answer, 4 * NUM_BYTES)


def test_wrong_numbers_of_bytes_as_float32():
    for row in checks.NUM_BYTES_FLOAT32:
        assert row.message in message_of(checks.memory, NUM_BYTES, row.answer)


def test_wrong_ways_to_rescale():
    only_when_graded = [row for row in checks.RESCALE if not known_by(checks.rescale, row, (FAINT,))]
    assert len(checks.RESCALE) == 15
    assert only_when_graded == []
    for row in checks.RESCALE:
        message_of(checks.rescale, row.answer, cases=[(FAINT,)])


def test_wrong_ways_to_standardise():
    for row in checks.STANDARDISE:
        assert row.message in message_of(checks.standardise, row.answer)


def test_wrong_nearest_centroid_classifiers():
    only_when_graded = [row for row in checks.NEAREST_MEAN if not known_by(checks.nearest_mean, row, OTHER)]
    assert only_when_graded == []


def test_wrong_ways_to_count():
    for row in checks.COUNT_SHARED:
        assert row.message in message_of(checks.shared, row.answer)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("num_shared", checks.num_shared_rows),
        ("accuracy_unseen", checks.accuracy_rows),
        ("gain", checks.gain_rows),
        ("conclusion", lambda: checks.CONCLUSION),
    ],
)
def test_wrong_observations(name, rows):
    assert len(rows()) >= 3
    for row in rows():
        observed = OBSERVED | {name: row.answer}
        assert row.message in message_of(checks.shared, checks._count_shared, *observed.values())


# What a row means, said independently of the module: an exchange of answers or messages is noticed.
NUMBERS = [
    ("num_bytes", 784, "bytes of one image"),
    ("num_bytes", 60_000, "the number of images"),
    ("num_bytes", 60_000 * 28, "28 rows of 28 pixels"),
    ("num_bytes", 60_000 * 56, "are multiplied"),
    ("num_bytes", 376_320_000, "These are bits"),
    ("num_bytes", 188_160_000, "answer to the second question"),
    ("num_bytes", 60_000 * 784 * 255, "largest value"),
    ("num_bytes", 60_000 * 784 * 256, "256 possible values"),
    ("num_bytes", 54_880_000, "MNIST's test images"),
    ("num_bytes", 39_200_000, "validation images are part"),
    ("num_bytes", 47_040, "kilobytes"),
    ("num_bytes", 45_937.5, "kibibytes"),
    ("num_bytes", 47.04, "megabytes"),
    ("num_bytes", 44.86, "mebibytes"),
    ("num_bytes_float32", 47_040_000, "stays the same"),
    ("num_bytes_float32", 60_000 * 784 * 32, "These are bits"),
    ("num_bytes_float32", 60_000 * 784 * 8, "float64"),
    ("num_bytes_float32", 60_000 * 784 * 2, "float16"),
    ("num_bytes_float32", 11_760_000, "or fewer?"),
    ("num_bytes_float32", 141_120_000, "by which the memory grows"),
    ("num_bytes_float32", 235_200_000, "without the uint8 images"),
    ("num_bytes_float32", 3136, "bytes of one image"),
    ("num_bytes_float32", 188_160, "kilobytes"),
    ("num_bytes_float32", 183_750, "kibibytes"),
    ("num_bytes_float32", 188.16, "megabytes"),
    ("num_bytes_float32", 179.44, "mebibytes"),
    ("num_shared", 130, "has stored only x_stored"),
    ("num_shared", 289, "has not stored"),
    ("num_shared", 369, "all images of x_report"),
    ("num_shared", 100, "has stored so many"),
    ("num_shared", 239, "validation images"),
    ("num_shared", 0, "There are shared images"),
    ("num_shared", 0.2168, "This is a share"),
    ("num_shared", 21.68, "This is a percentage"),
    ("accuracy_unseen", 0.8753, "all images of x_report, among them"),
    ("accuracy_unseen", 1, "images that the classifier has stored"),
    ("accuracy_unseen", 0.8452, "validation images"),
    ("accuracy_unseen", 84.08, "percentage"),
    ("accuracy_unseen", 0.1592, "wrong answers"),
    ("accuracy_unseen", 243, "number of images"),
    ("accuracy_unseen", 243 / 369, "Divide by the number of unseen images"),
    ("gain", 0.0345, "percentage points"),
    ("gain", -3.45, "sign"),
    ("gain", 4.1, "relative"),
    ("gain", 3.94, "relative"),
    ("gain", 3.02, "the accuracy on the validation images"),
    ("gain", 15.9, "between unseen and stored"),
    ("gain", 21.7, "percentage of images"),
    ("gain", 0, "do change the accuracy"),
]


def test_what_is_said_of_a_wrong_number():
    for name, answer, words in NUMBERS:
        if name in OBSERVED:
            observed = OBSERVED | {name: answer}
            assert words in message_of(checks.shared, checks._count_shared, *observed.values())
        else:
            numbers = {"num_bytes": NUM_BYTES, "num_bytes_float32": 4 * NUM_BYTES} | {name: answer}
            assert words in message_of(checks.memory, *numbers.values())


def test_each_row_with_a_number_is_tried():
    for name, rows in (
        ("num_bytes", checks.NUM_BYTES),
        ("num_bytes_float32", checks.NUM_BYTES_FLOAT32),
        ("num_shared", checks.num_shared_rows()),
        ("accuracy_unseen", checks.accuracy_rows()),
        ("gain", checks.gain_rows()),
    ):
        assert len(rows) == sum(tried == name for tried, _, _ in NUMBERS)


STANDARDISED = {
    "own_statistics": "validation images' own statistics",
    "statistics_of_both": "together",
    "statistics_of_validation": "from the validation images. Which",
    "zeros_left": "divided by zero",
    "constant_becomes_zero": "always becomes 0",
    "one_for_all": "one mean and one standard deviation for all pixels together",
    "one_mean_for_all": "one mean for all pixels together, but",
    "one_std_for_all": "but one standard deviation for all pixels together",
    "overflowing_sum": "added up in uint8",
    "each_image": "each image's own mean",
    "each_row": "of a row",
    "each_column": "of a column",
    "variance": "variance",
    "one_added": "added 1",
    "at_least_one": "below 1",
    "not_subtracted": "not subtracted the mean",
    "not_divided": "not divided by the standard deviation",
    "sign_reversed": "sign",
    "multiplied": "multiplied by",
    "divided_first": "parentheses",
    "to_unit_range": "smallest and the largest",
    "rescaled_first": "by 255 first",
    "whole_mean": "whole number",
    "overflowing_mean": "in uint8",
    "validation_left": "validation images are unchanged",
    "training_left": "training images are unchanged",
    "exchanged": "wrong order",
}


def test_what_is_said_of_a_wrong_standardisation():
    said = {function.__name__: message for function, message in checks._WRONG_STANDARDISATIONS}
    assert said.keys() == {f"_{name}" for name in STANDARDISED}
    for name, words in STANDARDISED.items():
        assert words in said[f"_{name}"]


def _means(x, y):
    return [x[y == digit].mean(axis=0) for digit in range(10)]


def _nearest(centres, new, more=(0,) * 10):
    distances = [((new - centre) ** 2).sum(axis=(1, 2)) for centre in centres]
    return np.argmin(np.array(distances) + np.reshape(more, (10, 1)), axis=0)


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (checks.rescale, lambda x: np.rint(x / 255), "rounded"),
        (checks.rescale, lambda x: (x - 127.5) / 255, "from -0.5 to 0.5"),
        (checks.rescale, lambda x: x / 2.55, "percentages"),
        (checks.rescale, lambda x: x / (28 * 28), "784"),
        (checks.rescale, lambda x: x / 65025, "twice"),
        (checks.rescale, lambda x: x * 255.0, "multiplied"),
        (checks.rescale, lambda x: (255 - x) / 255, "swapped"),
        (
            checks.nearest_mean,
            lambda x, y, new: np.full(len(new), np.argmin([mean.sum() for mean in _means(x, y)])),
            "the least ink",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: [np.argmin([np.abs(i - m).max() for m in _means(x, y)]) for i in new[:100]],
            "largest difference",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: [min(np.linalg.norm(i - m) for m in _means(x, y)) for i in new],
            "distances themselves. Which",
        ),
        (checks.nearest_mean, lambda x, y, new: 1 + _nearest(_means(x, y), new), "too large by 1"),
        (checks.nearest_mean, lambda x, y, new: _nearest(_means(x, y), new) - 1, "too small by 1"),
        (
            checks.nearest_mean,
            lambda x, y, new: np.argmin([[((i - m) ** 2).sum() for m in _means(x, y)] for i in new]),
            "one position in the whole table",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: [np.argmin([((i - m) ** 2).sum() for i in new]) for m in _means(x, y)],
            "over which axis does `argmin` go",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: np.argmin([((new - m) ** 2).sum() for m in _means(x, y)]),
            "squared differences of all images are added up together",
        ),
        (checks.nearest_mean, lambda x, y, new: [0 for _ in new], "Every image gets the digit 0"),
        (
            checks.nearest_mean,
            lambda x, y, new: np.argmin([((new - m) ** 2).sum((1, 2)) for m in _means(x, y)[:9]], axis=0),
            "with nine mean images",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: np.argmin([((new - m) ** 2).sum((1, 2)) for m in _means(x, y)[1:]], axis=0),
            "with nine mean images",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: _nearest(
                _means(x, y), new, [x[y == digit].var(axis=0).sum() for digit in range(10)]
            ),
            "distances to all training images",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: _nearest(
                [mean * np.mean(y == digit) for digit, mean in enumerate(_means(x, y))], new
            ),
            "number of all images",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: _nearest([x[y == digit][0].astype(float) for digit in range(10)], new),
            "the first training image",
        ),
        (
            checks.nearest_mean,
            lambda x, y, new: [np.argmax([(m * i).sum() for m in _means(x, y)]) for i in new],
            "largest sum",
        ),
        (
            checks.shared,
            lambda x, new: [i.tobytes() in {j.tobytes() for j in x} for i in new],
            "True or False",
        ),
        (checks.shared, lambda x, new: len(np.unique(np.concatenate([x, new]), axis=0)), "different images"),
    ],
)
def test_what_is_said_of_a_wrong_function(check, function, words):
    assert words in message_of(check, function)


def test_no_message_contains_the_answer():
    leak = checks._leak()
    rows = [*checks.NUM_BYTES, *checks.NUM_BYTES_FLOAT32, *checks.num_shared_rows()]
    rows += [*checks.accuracy_rows(), *checks.gain_rows(), *checks.CONCLUSION]
    answers = (NUM_BYTES, 4 * NUM_BYTES, leak.num_shared, leak.num_unseen, leak.num_report)
    numbers = {f"{answer:,}" for answer in answers} | {str(answer) for answer in answers}
    for row in rows:
        said = row.message.replace("from 80 % to 85 %", "")  # the example in the text, too
        assert not numbers & set(re.findall(r"\d[\d,.]*\d", said)), row.message
        assert not re.search(r"\b0?\.8[47]|\b3\.[45]", said), row.message
        assert row.message.endswith((".", "?"))


# --- right answers in several styles ---

COUNT = """
def count_shared(x_train, x_new):
    return sum(any((image == other).all() for other in x_train) for image in x_new)
"""
RIGHT = {
    "memory": [
        "num_bytes, num_bytes_float32 = 47040000.0, 188_160_000",
        "num_bytes = np.int64(60_000) * 784\nnum_bytes_float32 = np.array([188_160_000])",
        "num_bytes = 47.04e6\nnum_bytes_float32 = 188e6",
        "num_bytes = np.zeros((60_000, 1), 'uint8').nbytes * 784\n"
        "num_bytes_float32 = x_train[0].astype('float32').nbytes * 60_000",
    ],
    "rescale": [
        "def rescaled(images):\n    return np.float32(images) / 255",
        "def rescaled(images):\n    return (images / 255).astype(np.float32)",
        "def rescaled(images):\n    return images * np.float32(1 / 255)",
        "def rescaled(images):\n    images = images.astype('float32')\n    images /= 255.0\n    return images",
        "rescaled = lambda images: np.divide(images, 255, dtype='float32')",
        "def rescaled(images):\n    out = np.zeros(images.shape, 'float32')\n    for k in range(len(images)):\n"
        "        out[k] = images[k] / 255\n    return out",
        "def rescaled(images):\n    return np.array((images / 255).tolist(), dtype='float32')",
    ],
    "standardise": [
        # the sample standard deviation
        "def standardised(x_train, x_val):\n    std = x_train.std(axis=0, ddof=1)\n    std[std == 0] = 1\n"
        "    return [(x - x_train.mean(axis=0)) / std for x in (x_train, x_val)]",
        # in float32
        "def standardised(x_train, x_val):\n    a, b = x_train.astype('float32'), x_val.astype('float32')\n"
        "    std = np.where(a.std(0) > 0, a.std(0), 1)\n    return (a - a.mean(0)) / std, (b - a.mean(0)) / std",
        # pixel by pixel
        "def standardised(x_train, x_val):\n    a, b = np.zeros(x_train.shape), np.zeros(x_val.shape)\n"
        "    for i in range(28):\n        for j in range(28):\n            std = x_train[:, i, j].std() or 1\n"
        "            a[:, i, j] = (x_train[:, i, j] - x_train[:, i, j].mean()) / std\n"
        "            b[:, i, j] = (x_val[:, i, j] - x_train[:, i, j].mean()) / std\n    return a, b",
        # with a helper of one's own, and the formula
        "def _one(x, mean, var):\n    return (x - mean) / np.where(var == 0, 1, var) ** 0.5\n\n"
        "def standardised(x_train, x_val):\n    mean = sum(x_train.astype(float)) / len(x_train)\n"
        "    var = ((x_train - mean) ** 2).mean(axis=0)\n"
        "    return _one(x_train, mean, var), _one(x_val, mean, var)",
        # with scikit-learn
        "from sklearn.preprocessing import StandardScaler\n\ndef standardised(x_train, x_val):\n"
        "    scaler = StandardScaler().fit(x_train.reshape(-1, 784))\n"
        "    return tuple(scaler.transform(x.reshape(-1, 784)).reshape(x.shape) for x in (x_train, x_val))",
    ],
    "nearest-mean": [
        "def nearest_mean(x_train, y_train, images):\n"
        "    means = [x_train[y_train == d].mean(0) for d in range(10)]\n"
        "    return [min(range(10), key=lambda d: ((image - means[d]) ** 2).sum()) for image in images]",
        "def nearest_mean(x_train, y_train, images):\n"
        "    means = np.stack([x_train[y_train == d].mean(0, dtype='float32') for d in range(10)])\n"
        "    d = [np.linalg.norm((images - mean).reshape(len(images), -1), axis=1) for mean in means]\n"
        "    return np.argmin(d, axis=0).astype('uint8')",
        "def nearest_mean(x_train, y_train, images):\n    found = np.zeros(len(images))\n"
        "    for k, image in enumerate(images):\n        best = None\n        for d in np.unique(y_train):\n"
        "            far = np.sqrt(((image - x_train[y_train == d].mean(axis=0)) ** 2).sum())\n"
        "            if best is None or far < best:\n                best, found[k] = far, d\n    return found",
        "def nearest_mean(a, b, c):\n    m = np.stack([a[b == d].mean(0).ravel() for d in range(10)])\n"
        "    return ((m**2).sum(1) - 2 * (c.reshape(len(c), -1) @ m.T)).argmin(1)",
    ],
    "shared": [
        COUNT + "num_shared, accuracy_unseen, gain, conclusion = 80, 0.841, 3.5, 'c'",
        COUNT + "num_shared, accuracy_unseen, gain, conclusion = 80.0, np.float32(0.8408), 3.4, ' C '",
        "def count_shared(x_train, x_new):\n    return np.isin([i.tobytes() for i in x_new],"
        " [i.tobytes() for i in x_train]).sum()\n\nseen = x_stored.tolist()\n"
        "keep = [k for k in range(len(x_report)) if x_report[k].tolist() not in seen]\n"
        "num_shared = len(x_report) - len(keep)\naccuracy_unseen = accuracy(x_report[keep], y_report[keep])\n"
        "gain = round(100 * accuracy(x_report, y_report), 1) - round(100 * accuracy_unseen, 1)\nconclusion = 'C'",
        "def count_shared(x_train, x_new):\n    rows = x_train.reshape(len(x_train), -1)\n"
        "    return np.array(sum((rows == image.ravel()).all(axis=1).any() for image in x_new))\n\n"
        "num_shared, accuracy_unseen, gain, conclusion = np.array([80]), 243 / 289, 3.4508, 'C'",
    ],
}


@pytest.mark.parametrize(
    ("cell_id", "code"),
    [
        pytest.param(cell_id, code, id=f"{cell_id}-{place}")
        for cell_id in RIGHT
        for place, code in enumerate(RIGHT[cell_id])
    ],
)
def test_right_answers_in_other_styles_have_full_points(cell_id, code):
    outcome = in_process.run_answer(NAME, cell_id, code)
    assert (outcome.points, outcome.messages) == (points_of(cell_id), {})


@pytest.mark.parametrize("cell_id", ["memory", "rescale", "standardise", "nearest-mean", "shared"])
def test_names_that_a_student_rebinds_change_nothing(cell_id):
    code = cell("shared").source if cell_id == "shared" else RIGHT[cell_id][1]
    names = "checks = data = plots = x_train = x_val = y_val = str = list = round = 7"
    outcome = in_process.run_answer(NAME, cell_id, f"{code}\n{names}\n")
    assert outcome.points == points_of(cell_id), outcome.messages


# --- near misses ---


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("num_shared", (80, 80.0, np.int8(80)), (79, 81, 80.5, 20, -80)),
        ("accuracy_unseen", (0.8408, 0.841, 0.84083, 243 / 289), (0.84, 0.843, 0.838, 0.8452, 0.875, 0.16)),
        ("gain", (3.45, 3.4, 3.5, 3.4508, 3.54, 3.36), (3.3, 3.6, 3, 4.1, 345, 3.02)),
        ("conclusion", ("C", "c", " C"), ("A", "B", "D", "E", "unseen", 3, ["C"])),
    ],
)
def test_near_misses_of_observations(name, right, wrong):
    for answer in right:
        checks.shared(checks._count_shared, *(OBSERVED | {name: answer}).values())
    for answer in wrong:
        if (name, answer) == ("accuracy_unseen", 0.84):  # two digits lie on the edge, and may pass
            continue
        message_of(checks.shared, checks._count_shared, *(OBSERVED | {name: answer}).values())


@pytest.mark.parametrize("factor", [0.998, 0.9998, 0.999999, 1.000001, 1.0002, 1.002, 2, -1, 0])
def test_near_misses_of_bytes(factor):
    message_of(checks.memory, factor * NUM_BYTES, 4 * NUM_BYTES)
    message_of(checks.memory, NUM_BYTES, factor * 4 * NUM_BYTES)


@pytest.mark.parametrize(
    ("name", "rounded", "further_off"),
    [
        ("num_bytes", (47_040_000, 47.04e6, 47.0e6), (46.9e6, 47.1e6, 47.03e6, 47.05e6, 47_039_999, 5e7)),
        (
            "num_bytes_float32",
            (188_160_000, 188.16e6, 188.2e6, 188e6),
            (187e6, 188.1e6, 188.3e6, 188.15e6, 188.17e6, 188_160_001, 189e6, 190e6),
        ),
    ],
)
def test_bytes_may_be_rounded_to_three_or_four_digits_and_nothing_further_off(name, rounded, further_off):
    right = {"num_bytes": NUM_BYTES, "num_bytes_float32": 4 * NUM_BYTES}
    for answer in rounded:
        checks.memory(**(right | {name: answer}))
    for answer in further_off:
        said = message_of(checks.memory, **(right | {name: answer}))
        assert (f": {name} is {answer}, which is not exact enough" in said) == (
            abs(answer / right[name] - 1) < 0.015
        ), answer


def test_what_is_not_even_a_function_or_a_number_is_named():
    for check, name in (
        (checks.rescale, "rescaled"),
        (checks.standardise, "standardised"),
        (checks.nearest_mean, "nearest_mean"),
        (checks.shared, "count_shared"),
    ):
        assert f"{name} should be a function" in message_of(check, 3)
        assert f"{name} stops with" in message_of(check, lambda: 3)
        assert f"{name} is still None" in message_of(check, None)
        for odd in ("text", {1}, [[1], [1, 2]], object()):
            assert message_of(check, lambda *_, odd=odd: odd)
    assert "num_bytes should be one number" in message_of(checks.memory, [1, 2], 3)
    assert "should be one of" in message_of(checks.shared, checks._count_shared, 80, 0.8408, 3.45, "E")


@pytest.mark.parametrize("name", OBSERVED)
def test_a_missing_observation_is_named(name):
    with pytest.raises(NotDoneError, match=f"Task 5 is not done yet: {name} is still None"):
        checks.shared(checks._count_shared, *(OBSERVED | {name: None}).values())


def test_further_arguments_are_an_error():
    for check in (checks.rescale, checks.standardise, checks.nearest_mean):
        with pytest.raises(UserError, match="too many positional arguments"):
            check(checks._rescaled, (FAINT,))


def test_general_messages_of_standardisation():
    x_train, x_val = checks._standardise_case()
    train, val = checks._standardised(x_train, x_val)

    def said(*arrays):
        return message_of(checks.standardise, lambda *_: arrays)

    assert "Return two arrays, of the shapes (8, 28, 28) and (5, 28, 28)" in said(train)
    assert "Received: (8, 784) and (5, 784)" in said(train.reshape(8, -1), val.reshape(5, -1))
    assert "divided by zero" in said(train, np.where(val == 0, np.inf, val))
    assert "divided by nearly zero" in said(train, val * 1e5)
    assert "the mean of each pixel should now be 0" in said(train + 1, val)
    assert "Yours go from 3 to 3" in said(3 * train, val)
    assert "but the validation images are not" in said(train, val + 1)


def test_general_messages_of_the_classifier():
    x_val = checks._digits()[1][0][:100]
    right = checks._nearest_mean(*checks._digits()[0], x_val)

    def said(answer):
        return message_of(checks.nearest_mean, lambda *_: answer)

    assert "one digit for each of the 100 images, shape (100,). Received: (100, 10)" in said(
        np.zeros((100, 10))
    )
    assert "Expected: digits from 0 to 9. Received: [" in said(right * 100)
    assert "99% of the answers" in said(np.append(right[:-1], (right[-1] + 1) % 10))


def test_general_messages_of_the_count():
    said = message_of(checks.shared, lambda *_: 7)
    assert (
        "count_shared(an array of the shape (40, 28, 28), an array of the shape (20, 28, 28)) returns 7."
        in said
    )
    assert not re.search(r"\b[34]\b|three|four", said.replace("x_val[3:8]", ""))
    said = message_of(checks.shared, lambda *_: [1, 2, 3])
    assert "returns [1, 2, 3]. Expected: one number." in said


def test_general_messages_of_rescaling():
    assert "A pixel of 0 should not become 7." in message_of(checks.rescale, lambda images: images * 0 + 7)
    assert "Expected: (2, 28, 28). Received: (2, 784)" in message_of(
        checks.rescale, lambda images: images.reshape(2, 784)
    )
    assert "data type is float64" in message_of(checks.rescale, lambda images: images / 255)
    assert "should return a NumPy array" in message_of(checks.rescale, lambda images: (images / 255).tolist())
    checks.rescale(lambda images: images / 255, cases=[(FAINT,)])
