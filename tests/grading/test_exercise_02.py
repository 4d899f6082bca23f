"""Exercise 2: its checks, answers in several styles, and every known misconception."""

from __future__ import annotations

import functools
import json
import re

import keras
import nbformat
import numpy as np
import pytest
from keras import layers

from mnist_helpers import checks, results
from mnist_helpers.checks import _core
from mnist_helpers.checks import exercise_02 as module
from mnist_helpers.checks._core import AnswerError, NotDoneError
from tests.grading import in_process

pytestmark = [
    pytest.mark.long,  # its solution trains; test_checks.py tries the wrong answers
    pytest.mark.usefixtures("unwatched"),
]
EXERCISE = "exercise_02"
CELLS = {cell.id: cell for cell in in_process.solution(EXERCISE).cells}
STUDENTS = {cell.id: cell for cell in in_process.students(EXERCISE).cells}
POINTS = {
    "by-hand-tests": 1,
    "by-hand-hidden": 1,
    "count-tests": 1,
    "count-hidden": 1,
    "build-tests": 1,
    "build-hidden": 2,
    "train-tests": 2,
    "diagnosis-tests": 1,
    "diagnosis-hidden": 1,
    "few-images-tests": 1,
    "few-images-hidden": 1,
}
RIGHT = {
    "A": "rate too low",
    "B": "overfitting",
    "C": "too few validation images",
    "D": "rate too high",
    "E": "network too small",
}


run_answer = functools.partial(in_process.run_answer, EXERCISE)


def points(task: str) -> dict[str, int]:
    return {cell: most for cell, most in POINTS.items() if cell.rsplit("-", 1)[0] == task}


def all_right(task: str, code: str) -> None:
    outcome = run_answer(task, code)
    assert outcome.messages == {}
    assert outcome.points == points(task)


def message(check, *answers, **options) -> str:
    with pytest.raises(AnswerError) as error:
        check(*answers, **options)
    return str(error.value)


@pytest.fixture(autouse=True)
def _without_compiling(request, monkeypatch):
    """Networks are called directly except in the tests of styles, because `predict` compiles each network."""
    if "style" not in request.node.name:
        monkeypatch.setattr(module._models, "outputs", lambda model, images: np.asarray(model(images)))


# --- the notebook ---


def test_the_solution_has_all_points():
    """Its cells with code were run by `solved`; here follow the checks."""
    notebook = in_process.solution(EXERCISE)
    notebook.cells = [cell for cell in notebook.cells if cell.id in POINTS or cell.id == "summary"]
    outcome = in_process.run(notebook, dict(in_process.solved(EXERCISE)[0]))
    assert outcome.messages == {}
    assert outcome.points == POINTS
    for cell, said in outcome.printed.items():
        assert said.startswith("Task "), cell
    summary = outcome.printed["summary"]
    assert re.findall(r"(\d) of (\d)  correct", summary) == [
        ("1", "1"), ("1", "1"), ("1", "1"), ("2", "2"), ("1", "1"), ("1", "1"),
    ]  # fmt: skip
    assert "7 of 7 points so far. 6 more points are checked when the exercise is graded." in summary


def test_the_points_and_titles_are_those_of_the_notebook():
    tasks = {task.name: task for task in module.exercise.tasks}
    headings = re.findall(
        r"^### Task (\d): (.+)$", "\n".join(cell.source for cell in CELLS.values()), re.MULTILINE
    )
    titles = [re.sub(r" \(an experiment\)", "", title) for _, title in headings]
    assert titles == [task.title for task in tasks.values()]
    assert [int(number) for number, _ in headings] == list(range(1, len(tasks) + 1))
    found = {cell.id: cell.metadata.nbgrader.points for cell in CELLS.values() if graded(cell)}
    assert found == POINTS | {"explain": 0}
    for name, task in tasks.items():
        own = (
            found.get(f"{name.replace('_', '-')}-tests", 0),
            found.get(f"{name.replace('_', '-')}-hidden", 0),
        )
        assert own == (task.points, task.when_graded)
        assert task.for_teacher or len(task.hints) >= 2
    assert [name for name, task in tasks.items() if task.for_teacher] == ["explain"]
    assert CELLS["explain"].cell_type == "markdown"


def graded(cell) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade", False)


@pytest.mark.parametrize("cell", POINTS)
def test_a_check_cell_holds_nothing_but_the_check(cell):
    task = cell.rsplit("-", 1)[0].replace("-", "_")
    hidden = re.search(r"### BEGIN HIDDEN TESTS\n(.*)\n### END HIDDEN TESTS", CELLS[cell].source, re.DOTALL)
    assert hidden[1].startswith("from mnist_helpers import checks")
    rest = CELLS[cell].source.replace(hidden[0], "").strip()
    assert STUDENTS[cell].source.strip() == rest
    if cell.endswith("-tests"):
        assert re.fullmatch(rf"checks\.exercise_02\.{task}\([a-z_, ]+\)", rest)
    else:
        assert rest == "# When your work is graded, this cell checks more."
        assert f"checks.exercise_02.{task}(" in hidden[1]


def test_the_students_version_has_no_solution_and_little_test_code():
    code = [cell.source for cell in STUDENTS.values() if cell.cell_type == "code"]
    text = "\n".join(code)
    assert text.count("# write your code here") == 6
    for secret in (
        "SOLUTION",
        "HIDDEN",
        "785",
        "784 +",
        "535",
        "num_images",
        "Adam(learning_rate)",
        '"rate too low"',
    ):
        assert secret not in text
    assert "30" not in re.findall(r"\d+", text)
    assert "seed could" not in STUDENTS["explain"].source
    lines = [line.strip() for cell in code for line in cell.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    tests = [line for line in lines if "checks.exercise_02" in line]
    assert len(tests) < 0.15 * len(lines)
    for answer in ("num_params = None", "points_per_image = None", "model = None", '"E": None'):
        assert answer in text


def test_the_students_version_gets_nothing_and_each_check_says_not_done_yet():
    notebook = in_process.students(EXERCISE)
    notebook.cells = [
        cell for cell in notebook.cells if cell.id != "start" and "curves" not in cell.id
    ]  # slow
    outcome = in_process.run(notebook)
    checked = [cell for cell in POINTS if cell.endswith("-tests")]
    assert outcome.messages.keys() == set(checked)
    for number, cell in enumerate(checked, 1):
        assert outcome.messages[cell].startswith(f"Task {number} is not done yet: "), cell
    assert "Still open: tasks 1, 2, 3, 4, 5, 6." in outcome.printed["summary"]


def test_the_hidden_checks_of_an_untouched_exercise_say_not_done_yet():
    names = {
        "num_params": None,
        "num_params_deeper": None,
        "verdict": None,
        "count_parameters": lambda widths: None,
        "points_per_image": None,
    }
    names |= {"build_network": lambda widths: None, "diagnosis": dict.fromkeys("ABCDE")}
    notebook = in_process.solution(EXERCISE)
    notebook.cells = [cell for cell in notebook.cells if cell.id.endswith("-hidden")]
    outcome = in_process.run(notebook, names)
    assert set(outcome.points.values()) == {0}
    assert all(re.match(r"Task \d is not done yet", said) for said in outcome.messages.values())


HINTS = (
    ("Draw the network", "one weight for each of its inputs"),
    ("three widths describe", "Each pair of neighbours"),
    ("the function `build`", "the method `add`"),
    ("Section 5 of lesson 2", "a new small_network()"),
    ("the same three questions", "far above 2.3 comes from"),
    ("another 30 validation images", "All 30 images are 100 %"),
)


@pytest.mark.parametrize("number", range(1, 7))
def test_hints_print_without_an_answer(number, capsys):
    task = module.exercise.tasks[number - 1]
    for hint, words in enumerate(HINTS[number - 1], 1):
        getattr(checks.exercise_02, task.name)(None, hint=hint)
        said = capsys.readouterr().out
        assert said.startswith(f"Task {number}, hint {hint} of 2: ") and words in said


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (
            "task-1",
            ("784 pixels", "hidden layer of 100 neurons", "ten neurons", "second hidden layer of 100"),
        ),
        (
            "task-2",
            ("`[784, 100, 10]`", "Write the calculation yourself; the course's helpers may not be used."),
        ),
        ("task-3", ("0 to 1", "activation ReLU", "ten probabilities", "build_network([64, 32])")),
        (
            "text-train",
            ("only the learning rate", "ten epochs", "at least four", "at least 0.1", "at least 88 %"),
        ),
        ("text-diagnosis", ("D and E are checked when",)),
        ("task-6", ("same 30 validation images", "percentage points", "accuracy on 30 images")),
        ("task-7", ("Your teacher reads this answer; no check looks at it.",)),
    ],
)
def test_the_text_asks_for_what_is_checked(cell, words):
    assert [phrase for phrase in words if phrase not in CELLS[cell].source] == []
    assert (module._EPOCHS, module._MIN_ACCURACY, module._CLEARLY) == (10, 0.88, 0.1)
    assert "epochs=10" in CELLS["start"].source and "Dense(64" in CELLS["start"].source


def test_the_summary_has_a_heading_and_says_what_it_counts():
    heading, text = CELLS["text-summary"].source.split("\n\n")
    assert heading == "### Summary"
    assert text.endswith(
        "After a restart of the kernel, run all cells again: the summary counts only what has been checked since "
        "then."
    )


def test_shadowed_names_change_nothing():
    shadow = "str = list = round = sum = len = data = layers = metrics = keras = np = plots = checks = None\n"
    for task in ("by-hand", "few-images"):
        own = CELLS[task].source
        all_right(task, own + "\n" + shadow)
    code = "def count_parameters(widths):\n    return sum((n + 1) * m for n, m in zip(widths, widths[1:]))\n"
    all_right("count", code + "str = list = data = np = checks = print = None\n")
    all_right("diagnosis", CELLS["diagnosis"].source + "\n" + shadow)
    all_right("train", "keras = np = layers = data = checks = x_train = x_val = small_network = None\n")


# --- tasks 1 and 2 ---


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("79_510", "89_610"),
        ("79510.0", "89610.0"),
        ("np.int64(79510)", "np.array([89610])"),
        ("784 * 100 + 100 + 100 * 10 + 10", "num_params + 100 * 101"),
    ],
)
def test_numbers_of_any_kind_are_right(first, second):
    all_right("by-hand", f"num_params = {first}\nnum_params_deeper = {second}")


DEEPER = [784, 100, 100, 10]


@pytest.mark.parametrize("place", range(len(module.BY_HAND)))
def test_a_misconception_of_task_1_gets_its_message(place):
    row = module.BY_HAND[place]
    assert row.message in message(module.by_hand, row.answer([784, 100, 10]), 89_610)
    rows = [*module.DEEPER, *module.BY_HAND]
    said = message(module.by_hand, 79_510, row.answer(DEEPER), deeper=DEEPER)
    assert any(other.message in said for other in rows)


@pytest.mark.parametrize("place", range(len(module.DEEPER)))
def test_a_misconception_about_the_deeper_network_gets_its_message(place):
    row = module.DEEPER[place]
    assert row.message in message(module.by_hand, 79_510, row.answer(DEEPER), deeper=DEEPER)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (79_510, "which of the two has more parameters"),
        (0, "which of the two has more parameters"),
        (89_610.5, "is a whole number"),
        ([79_510, 10_100], "num_params_deeper should be one number"),
    ],
)
def test_an_impossible_number_of_the_deeper_network_is_told_at_once(answer, words):
    said = message(module.by_hand, 79_510, answer)
    assert words in said
    assert not re.search("89[,_]?610", said.replace("89,610.5", ""))


def test_a_possible_number_of_the_deeper_network_waits_for_grading(capsys):
    module.by_hand(79_510, 79_511)
    assert "Task 1: correct (1 of 2 points; the rest is checked when graded)" in capsys.readouterr().out
    message(module.by_hand, 79_510, 79_511, deeper=DEEPER)
    module.by_hand(None, 89_610, deeper=DEEPER)


@pytest.mark.parametrize("answer", [79_509, 79_511, 79_500, 79_510.5, 89_610, 0])
def test_a_number_of_parameters_is_exact(answer):
    said = message(module.by_hand, answer, 89_610)
    assert "79,510," not in said and "79510" not in said
    assert "Task 1 is not correct yet" in said and "For a hint: checks.exercise_02.by_hand" in said


@pytest.mark.parametrize(
    "code",
    [
        "return sum((n + 1) * m for n, m in zip(widths, widths[1:]))",
        "w = np.array(widths)\n    return ((w[:-1] + 1) * w[1:]).sum()",
        "if len(widths) < 2:\n        return 0\n"
        "    return (widths[0] + 1) * widths[1] + count_parameters(widths[1:])",
        "total = 0\n    while len(widths) > 1:\n        inputs = widths.pop(0)\n"
        "        total += (inputs + 1) * widths[0]\n    return total",
        "weights = np.dot(widths[:-1], widths[1:])\n    return float(weights + sum(widths[1:]))",
    ],
)
def test_functions_in_several_styles_count(code):
    all_right("count", f"def count_parameters(widths):\n    {code}")


@pytest.mark.parametrize("place", range(len(module.COUNT)))
def test_a_misconception_of_task_2_gets_its_message(place):
    row = module.COUNT[place]
    said = message(module.count, row.answer)
    assert row.message in said
    assert "79510" not in said and "535818" not in said.replace(",", "")
    message(module.count, row.answer, cases=[([784, 10],), ([5, 4, 3, 2, 1],), ([64, 128],)])


def test_another_wrong_count_names_the_case_and_no_right_number():
    said = message(module.count, lambda widths: 7)
    assert "count_parameters([784, 100, 10]) returns 7. This is not the number of parameters." in said
    assert "79" not in said
    said = message(module.count, lambda widths: 79_510 if len(widths) == 3 else 8)
    assert "count_parameters([784, 512, 256, 10]) returns 8" in said
    assert "returns 'many'. Expected: one number." in message(module.count, lambda widths: "many")


def test_a_count_close_to_the_right_one_is_wrong():
    message(module.count, lambda widths: module._parameters(widths) + 1)


# --- task 3 ---

STYLES = {
    "sequential": """
    parts = [keras.Input(shape=(28, 28)), layers.Rescaling(1 / 255), layers.Flatten()]
    parts += [layers.Dense(width, activation="relu") for width in widths]
    return keras.Sequential([*parts, layers.Dense(10, activation="softmax")])""",
    "functional": """
    inputs = keras.Input(shape=(28, 28))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))""",
    "activations as layers, division by hand, compiled": """
    inputs = keras.Input(shape=(28, 28))
    x = layers.Reshape((784,))(inputs) / 255
    for width in widths:
        x = layers.ReLU()(layers.Dense(width)(x))
    model = keras.Model(inputs, layers.Softmax()(layers.Dense(10)(x)))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    return model""",
    "operations": """
    inputs = keras.Input(shape=(28, 28))
    x = keras.ops.reshape(inputs * (1.0 / 255), (-1, 784))
    for width in widths:
        x = keras.ops.relu(layers.Dense(width)(x))
    return keras.Model(inputs, keras.ops.softmax(layers.Dense(10)(x)))""",
    "scaled after flatten, no input": """
    model = keras.Sequential([layers.Flatten(), layers.Rescaling(scale=1.0 / 255)])
    for width in widths:
        model.add(layers.Dense(width))
        model.add(layers.Activation("relu"))
    model.add(layers.Dense(10))
    model.add(layers.Activation("softmax"))
    return model""",
    "a list of inputs": """
    inputs = keras.Input(shape=(28, 28))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model([inputs], [layers.Dense(10, activation="softmax")(x)])""",
    "a network in a network": """
    hidden = keras.Sequential([keras.Input(shape=(784,)), layers.Rescaling(1 / 255)])
    for width in widths:
        hidden.add(layers.Dense(width, activation=keras.activations.relu))
    inputs = keras.Input(shape=(28, 28), dtype="uint8")
    output = layers.Dense(10, activation=keras.activations.softmax)
    return keras.Model(inputs, output(hidden(layers.Flatten()(inputs))))""",
    "a class": """
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = [layers.Dense(width, activation="relu") for width in widths]
            self.last = layers.Dense(10, activation="softmax")

        def call(self, images):
            x = keras.ops.reshape(keras.ops.cast(images, "float32") / 255, (-1, 784))
            for layer in self.hidden:
                x = layer(x)
            return self.last(x)

    return Network()""",
}


@pytest.mark.parametrize("style", STYLES)
def test_any_style_of_keras_is_right(style):
    all_right("build", f"def build_network(widths):{STYLES[style]}")


def built(scale=lambda x: x / 255, hidden=("relu", "relu"), output="softmax", widths=(64, 32)):
    inputs = keras.Input(shape=(28, 28))
    x = layers.Flatten()(scale(inputs))
    for width, activation in zip(widths, hidden, strict=True):
        x = layers.Dense(width, activation=activation)(x)
    return keras.Model(inputs, layers.Dense(10, activation=output)(x))


WRONG = (
    {"scale": lambda x: x},
    {"scale": lambda x: x * 255},
    {"scale": lambda x: x / 255 / 255},
    {"scale": lambda x: x / 127.5 - 1},
    {"scale": lambda x: x / 256},
    {"hidden": ("linear", "linear")},
    {"hidden": ("linear", "relu")},
    {"hidden": ("relu", "linear")},
    {"hidden": ("sigmoid", "sigmoid")},
    {"hidden": ("tanh", "tanh")},
    {"hidden": ("softmax", "softmax")},
    {"output": "relu"},
    {"output": "sigmoid"},
    {"output": "linear"},
    {"output": lambda x: keras.ops.softmax(keras.ops.softmax(x))},
)


@pytest.mark.parametrize(("row", "options"), list(zip(module.BUILD, WRONG, strict=True)))
def test_a_misconception_of_task_3_gets_its_message(row, options):
    assert row.message in message(module.build, lambda widths: built(**options))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: built(hidden=("gelu", "gelu")), "are not those of the specification"),
        (lambda: built(scale=layers.Dropout(0.5)), "something else during training"),
        (lambda: built(widths=(32, 64)), "use each number in its place"),
        (lambda: built(widths=(64,), hidden=("relu",)), "should have 2 hidden Dense layers"),
        (lambda: built(scale=layers.LayerNormalization()), "parameters more than"),
        (lambda: built(scale=lambda x: x[:, ::2]), "parameters fewer than expected"),
        (lambda: "network", "should be a Keras network"),
    ],
)
def test_another_wrong_network_is_described(network, words):
    said = message(module.build, lambda widths: network())
    assert words in said
    assert "Task 3 is not correct yet" in said


def test_lists_of_other_lengths_are_tried_at_once():
    said = message(module.build, lambda widths: built())
    assert "For widths [20], the network should have 1 hidden Dense layer and the output layer." in said
    said = message(module.build, lambda widths: built(widths=(widths[0], 32)))
    assert "For widths [20]" in said
    module.build(lambda widths: built(widths=widths, hidden=["relu"] * len(widths)))


# --- task 4 ---

ALL = {0.00001: 0.2, 0.001: 0.96, 1.0: 0.1, 0.1: 0.8}


@pytest.fixture(scope="module")
def trained():
    solved = in_process.solved(EXERCISE)[0]
    return solved["model"], solved["history"], dict(solved["accuracies"])


def test_the_start_is_bad_and_the_solution_is_good(trained):
    solved = in_process.solved(EXERCISE)[0]
    assert solved["start_history"]["val_accuracy"][-1] < module._MIN_ACCURACY - 0.3
    assert solved["history"]["val_accuracy"][-1] > module._MIN_ACCURACY + 0.05


def test_trainings_in_several_forms_are_right(trained):
    model, history, accuracies = trained
    whole = type("History", (), {"history": history})()
    last = history["val_accuracy"][-1]
    for answer in (
        (model, whole, accuracies),
        (model, history, {np.float32(rate): np.float64(value) for rate, value in accuracies.items()}),
        (model, history, {rate: round(value, 3) for rate, value in accuracies.items()}),
        (model, history, accuracies | {0.003: last - 0.01, 0.03: last - 0.2}),
        (keras.Model(model.inputs[0], model.outputs[0]), history, accuracies),  # without an optimiser
    ):
        module.train(*answer)


def test_another_optimiser_is_another_change(trained):
    model, history, accuracies = trained
    other = keras.Model(model.inputs[0], model.outputs[0])
    other.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(AnswerError, match="another optimiser"):
        module.train(other, history, accuracies)


def test_a_tie_of_two_learning_rates_is_no_mistake(trained):
    model, history, accuracies = trained
    module.train(model, history, accuracies | {0.002: max(accuracies.values())})
    module.train(model, history, accuracies | {0.002: max(accuracies.values()) + 0.004})


@pytest.mark.parametrize(
    ("losses", "place"),
    [([43.0, 2.4, 2.3], 0), ([2.2, float("nan")], 0), ([2.3, 2.2, 2.1], 1), ([2.0, 1.5, 1.2], 2)],
)
def test_a_network_that_is_not_accurate_enough_is_described(trained, losses, place):
    start = in_process.solved(EXERCISE)[0]["start"]
    value = in_process.solved(EXERCISE)[0]["start_history"]["val_accuracy"][-1]
    history = {
        "loss": losses[:1] + losses[1:2] * (11 - len(losses)) + losses[2:],
        "val_accuracy": [value] * 10,
    }
    assert len(history["loss"]) == 10
    said = message(module.train, start, history, ALL)
    assert module.TRAIN[place].message in said and "below 88 %" in said


@pytest.mark.parametrize("accuracy", [0.879, 0.881])
def test_the_threshold(trained, monkeypatch, accuracy):
    model, history, accuracies = trained
    monkeypatch.setattr(module._models, "accuracy", lambda *_: accuracy)
    history = history | {"val_accuracy": [accuracy]}
    accuracies = {0.00001: 0.2, 0.0001: 0.7, best_rate(accuracies): accuracy, 1.0: 0.1}
    if accuracy > 0.88:
        module.train(model, history, accuracies)
    else:
        assert "below 88 %" in message(module.train, model, history, accuracies)


def best_rate(accuracies) -> float:
    return [rate for rate, value in accuracies.items() if value == max(accuracies.values())][-1]


def changed(trained, model=None, history=None, accuracies=None) -> str:
    old = trained
    return message(
        module.train,
        old[0] if model is None else model,
        old[1] if history is None else history,
        old[2] if accuracies is None else accuracies,
    )


def test_wrong_trainings_are_described(trained):
    _, history, accuracies = trained
    start = in_process.solved(EXERCISE)[0]["start"]
    best = max(accuracies.values())
    inner = {rate: value for rate, value in accuracies.items() if 0.00005 < rate < 0.5}
    for options, words in (
        ({"model": 3}, "model should be a Keras network"),
        ({"model": built()}, "model has other layers than small_network()"),
        ({"model": start}, "model and history do not belong together"),
        ({"history": [1, 2]}, "history should be what model.fit(...).history gives"),
        ({"history": {"loss": history["loss"]}}, "with validation images"),
        ({"history": {"loss": [], "val_accuracy": []}}, "history should be what"),
        ({"history": {k: v[:9] for k, v in history.items()}}, "history has 9 epochs"),
        ({"accuracies": [0.1, 0.2]}, "accuracies should be a dictionary"),
        ({"accuracies": {"0.001": 0.9}}, "A learning rate in accuracies should be one number"),
        ({"accuracies": {-1: 0.9}}, "should be positive"),
        ({"accuracies": {0.1: [0.9, 0.8]}}, "accuracies[0.1] should be one number"),
        ({"accuracies": {0.1: 95.4}}, "as a fraction, not in percent"),
        ({"accuracies": {0.1: -0.4}}, "is negative"),
        ({"accuracies": {0.00001: 0.2, 0.001: best, 1.0: 0.2}}, "accuracies is 3. Try at least four"),
        ({"accuracies": accuracies | {0.002: best + 0.04}}, "model should be the network with the best"),
        ({"accuracies": {0.00001: 0.2, 0.002: best, 1.0: 0.2, 2.0: 0.1}}, "which is not in accuracies"),
        (
            {"accuracies": accuracies | {best_rate(accuracies): best - 0.05, 0.002: best}},
            "is not the best one",
        ),
        ({"accuracies": inner | {0.00001: best - 0.09, 1.0: 0.1}}, "Try a lower learning rate"),
        ({"accuracies": inner | {0.00001: 0.2, 1.0: best - 0.09}}, "Try a higher learning rate"),
    ):
        said = changed(trained, **options)
        assert words in said, said
        assert "Task 4 is not correct yet" in said
    for missing in ("model", "history", "accuracies"):
        answers = dict(zip(("model", "history", "accuracies"), trained, strict=True)) | {missing: None}
        with pytest.raises(NotDoneError, match=f"{missing} is still None"):
            module.train(**answers)


@pytest.mark.parametrize("on_training", [0.93, 0.95])
def test_a_network_trained_on_the_validation_images_is_noticed(trained, monkeypatch, on_training):
    """As measured: 0.90 to 0.94 on the training images, and 0.94 to 0.98 on the validation images."""
    model, history, accuracies = trained
    found = {239: 0.96, 1198: on_training}
    monkeypatch.setattr(module._models, "accuracy", lambda _, images, labels: found[len(images)])
    history = history | {"val_accuracy": [0.96] * 10}
    accuracies = {0.00001: 0.2, 0.0001: 0.7, best_rate(accuracies): 0.96, 1.0: 0.1}
    if on_training > 0.94:
        module.train(model, history, accuracies)
    else:
        said = message(module.train, model, history, accuracies)
        assert "Was it trained on the validation images?" in said


# --- task 5 ---


def test_the_diagnoses_of_the_records():
    """The right diagnoses follow from the parameters and curves of the records."""
    records = results.reference_records("curves", "02_baseline")
    curves = [record["models"]["baseline"]["history"] for record in records]
    params = [record["params"] for record in records]
    a, b, c, d, e = curves
    assert params[0]["learning_rate"] == 1e-6 and max(a["loss"]) < 2.31 and a["loss"][-1] > 2
    assert params[1]["num_train"] == 1000 and b["loss"][-1] < 0.01 and b["val_loss"][-1] > 0.3
    assert params[2]["num_validation"] == 30 and c["accuracy"][-1] > 0.9
    assert len(np.unique(np.round(c["val_accuracy"], 4))) == 3
    assert sum(np.array(c["val_accuracy"]) > c["accuracy"]) > 6
    assert params[3]["learning_rate"] == 0.3 and d["loss"][0] > 10
    assert params[4]["units"] == 4 and e["loss"][1] < 2.3 / 2 + 0.2 and 0.6 < e["accuracy"][-1] < 0.7


def test_case_and_spaces_of_a_diagnosis_do_not_matter():
    said = {letter: f" {words.upper()} " for letter, words in RIGHT.items()}
    all_right("diagnosis", f"diagnosis = {said}")
    all_right("diagnosis", "".join(f"diagnosis[{k!r}] = {v!r}\n" for k, v in RIGHT.items()))


SAID = {
    "A": (
        "never rises above it",
        "is at least good on",
        "slowly all the time",
        "is smooth, and training",
        "about 2.",
    ),
    "B": (
        "goes to nearly 0",
        "fast enough",
        "so it has enough neurons",
        "it is a real gap",
        "with its validation loss",
    ),
    "C": (
        "one of the two curves jumps",
        "falls at once",
        "losses alone",
        "Look at the other curve",
        "how far apart are they",
    ),
    "D": (
        "Small steps cannot",
        "not memorised anything",
        "no such harm",
        "not the measuring",
        "at which value",
    ),
    "E": (
        "without a jump",
        "about half of 2.3",
        "it is no better",
        "so it can be trusted",
        "still misclassified",
    ),
}


@pytest.mark.parametrize("letter", "ABCDE")
def test_a_wrong_diagnosis_is_answered_by_what_the_curves_show(letter):
    for words, phrase in zip([d for d in module.DIAGNOSES if d != RIGHT[letter]], SAID[letter], strict=True):
        said = message(module.diagnosis, RIGHT | {letter: words}, right={letter: RIGHT[letter]})
        assert phrase in said, words


@pytest.mark.parametrize("letter", "ABCDE")
def test_each_wrong_diagnosis_gets_a_message_of_its_own(letter):
    wrong = [words for words in module.DIAGNOSES if words != RIGHT[letter]]
    said = {}
    for words in wrong:
        said[words] = message(module.diagnosis, RIGHT | {letter: words}, right={letter: RIGHT[letter]})
        (row,) = [row for row in module.DIAGNOSIS if row.answer == (RIGHT[letter], words)]
        assert row.message.format(letter) in said[words]
        assert RIGHT[letter] not in said[words]
    assert len(set(said.values())) == len(wrong)
    assert len(module.DIAGNOSIS) == 25


def test_the_notebook_offers_the_diagnoses_of_the_check():
    assert (
        tuple(re.findall(r'^- `"(.+?)"`', CELLS["text-diagnosis"].source, re.MULTILINE)) == module.DIAGNOSES
    )


def test_diagnoses_that_cannot_be_read():
    assert "should be a dictionary" in message(module.diagnosis, list(RIGHT.values()))
    assert "diagnosis['C'] should be one of" in message(module.diagnosis, RIGHT | {"C": 3})
    for missing in (None, {}, {"A": "overfitting"}, RIGHT | {"B": ""}):
        with pytest.raises(NotDoneError):
            module.diagnosis(missing)


# --- task 6 ---


@pytest.mark.parametrize("value", ["100 / 30", "3.33", "3.3", "np.float32(3.3333)", "10 / 3"])
def test_points_may_be_rounded(value):
    all_right("few-images", f'points_per_image = {value}\nverdict = " Neither is shown to be better"')


@pytest.mark.parametrize("value", [3, 3.2, 3.5, 3.45, 4, 0.033, -3.33])
def test_points_near_the_right_ones_are_wrong(value):
    assert "100 / 30" not in message(module.few_images, value, None, num_images=30)


@pytest.mark.parametrize("row", module.POINTS)
def test_a_misconception_about_points_gets_its_message(row):
    assert row.message in message(module.few_images, row.answer(30), None, num_images=30)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "raises the accuracy"),
        (-3.3, "raises the accuracy"),
        (100, "by less than 100"),
        ("3", "points_per_image should be one number"),
        (None, "Task 6 is not done yet: points_per_image is still None"),
    ],
)
def test_impossible_points_are_told_at_once(value, words):
    assert words in message(module.few_images, value, "neither is shown to be better")


@pytest.mark.parametrize("row", module.VERDICT)
def test_each_wrong_verdict_gets_its_message(row):
    said = message(module.few_images, 100 / 30, row.answer)
    assert row.message in said and "neither" not in said


def test_the_notebook_offers_the_verdicts_of_the_check():
    offered = re.findall(r'^ +- `"(.+?)"`', CELLS["task-6"].source, re.MULTILINE)
    assert {row.answer for row in module.VERDICT} | {"neither is shown to be better"} == set(offered)
    assert len(offered) == 4


def test_messages_are_sentences():
    rows = [row.message for name in vars(module) for row in rows_of(getattr(module, name))]
    assert len(rows) > 70
    for said in rows:
        assert re.match(r"[A-Z{]", said) and said[-1] in ".?!", said
        assert not re.search(r"  |\bpts\b|!", said), said


def rows_of(table) -> list:
    return list(table) if isinstance(table, tuple) and table and isinstance(table[0], _core.Row) else []


def test_the_release_is_valid():
    nbformat.validate(in_process.solution(EXERCISE))
    nbformat.validate(in_process.students(EXERCISE))
    assert json.dumps(in_process.students(EXERCISE))
