"""Exercise 3: each known wrong answer gets its message, and correct answers in several styles get full points."""

from __future__ import annotations

import gc
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mnist_course.grading import class_report
from mnist_helpers import metrics
from mnist_helpers.checks import exercise_03
from mnist_helpers.checks._core import AnswerError, NotDoneError, Row
from tests.grading import in_process

pytestmark = [
    pytest.mark.long,  # its solution trains; test_checks.py tries the wrong answers
    pytest.mark.usefixtures("unwatched"),
]
EXERCISE = "exercise_03"
FULL = {
    "count-tests": 1,
    "dropout-tests": 1,
    "dropout-hidden": 1,
    "batchnorm-tests": 2,
    "batchnorm-hidden": 2,
    "improve-tests": 3,
    "improve-hidden": 1,
    "diagnosis-tests": 2,
    "conclusion-tests": 1,
    "conclusion-hidden": 1,
}


@pytest.fixture
def outcome() -> in_process.Outcome:
    return in_process.solved(EXERCISE)[1]


@pytest.fixture
def solved() -> dict:
    return dict(in_process.solved(EXERCISE)[0])


def refused(check, *answers, **options) -> str:
    with pytest.raises(AnswerError) as error:
        check(*answers, **options)
    return str(error.value)


def full(task: str) -> dict[str, int]:
    return {cell: points for cell, points in FULL.items() if cell.startswith(f"{task}-")}


def cell_of(name: str):
    return next(cell for cell in in_process.solution(EXERCISE).cells if cell.id == name)


# --- the notebook ---


def test_the_solution_gets_all_points(outcome):
    assert outcome.messages == {}
    assert outcome.points == FULL
    assert "10 of 10 points so far. 5 more points are checked when" in outcome.printed["summary"]
    assert "All checks are passed." in outcome.printed["summary"]


def test_points_and_titles_of_checks_and_cells_agree():
    tasks = class_report.tasks_of(in_process.solution(EXERCISE))
    assert [task.name for task in tasks] == [task.name for task in exercise_03.exercise.tasks]
    for number, (cell, task) in enumerate(zip(tasks, exercise_03.exercise.tasks, strict=True), 1):
        assert cell.title == f"Task {number}: {task.title}"
        points = {f"{task.name}-tests": task.points, f"{task.name}-hidden": task.when_graded}
        assert cell.tests == {name: value for name, value in points.items() if value}
        assert len(task.hints) == (0 if task.for_teacher else 2)


CURVE = {name: [2.0, 1.0] for name in ("loss", "val_loss", "accuracy", "val_accuracy")}


def test_the_students_version_says_not_done_and_shows_no_answer(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **options: types.SimpleNamespace(history=CURVE))
    notebook = in_process.students(EXERCISE)
    text = "\n".join(cell.source for cell in notebook.cells)
    for cell in notebook.cells:
        if cell.id in FULL:  # as in grading
            cell.source = cell_of(cell.id).source
    outcome = in_process.run(notebook)
    assert outcome.points == dict.fromkeys(FULL, 0)
    assert outcome.messages.keys() == FULL.keys()
    for name, message in outcome.messages.items():
        number = 1 + [task.name for task in exercise_03.exercise.tasks].index(name.split("-")[0])
        assert message.startswith(f"Task {number} is not done yet"), message
    secrets = (
        "SOLUTION",
        "HIDDEN",
        "2 * 300",
        "axis=0",
        "layers.Dropout",
        "sizes[-1] / sizes[0]",
        "0.31, 0.22",
    )
    for secret in (*secrets, "0.99", "(0.9, 14)", "[300:]", "high < 0"):
        assert secret not in text
    assert text.count("# write your code here") == 1 + 7  # the title names it, too
    assert "too few" not in next(cell.source for cell in notebook.cells if cell.id == "explain")


def test_students_see_little_test_code():
    cells = [cell for cell in in_process.students(EXERCISE).cells if cell.cell_type == "code"]
    lines = {cell.id: [line for line in cell.source.splitlines() if line.strip()] for cell in cells}
    tests = sum(len(lines[name]) for name in FULL)
    assert tests / sum(map(len, lines.values())) < 0.15
    for cell in in_process.solution(EXERCISE).cells:
        if cell.cell_type == "code":
            assert all(len(line) <= 88 for line in cell.source.splitlines()), cell.id


TABLES = {
    name: table
    for name, table in vars(exercise_03).items()
    if isinstance(table, tuple) and table and isinstance(table[0], Row)
}


def test_no_message_or_hint_gives_an_answer_away():
    rows = [row for table in TABLES.values() for row in table]
    texts = [row.message for row in rows]
    assert len(texts) == len(rows) > 100
    texts += [hint for task in exercise_03.exercise.tasks for hint in task.hints]
    for text in texts:
        assert re.search(r"[.?]$", text), text
        assert "  " not in text, text
        assert not re.search(r"\b(= )?(600|2000) is (right|it)|\b1\.25\b|\b1e8\b|He init", text), text
    for row in exercise_03.PROBLEM:
        assert not any(problem in row.message for problem in exercise_03.PROBLEMS.values()), row.message


HINTS = {  # task -> words of its first and of its second hint
    "count": ("which does the layer compute", "Per neuron, gamma and beta"),
    "dropout": ("an activation of 1", "use np.where with keep"),
    "batchnorm": ("Only one thing differs", "First choose mean and variance"),
    "improve": ("Look at the curves", "Copy the code"),
    "diagnosis": ("look at three things", "divide the gradient"),
    "conclusion": (".mean, and the ends", "If both ends are below zero"),
}


@pytest.mark.parametrize("task", HINTS)
def test_the_second_hint_says_more_than_the_first(task, capsys):
    for hint in (1, 2):
        getattr(exercise_03, task)(hint=hint)
        assert HINTS[task][hint - 1] in capsys.readouterr().out


@pytest.mark.parametrize("task", HINTS)
def test_names_of_a_student_change_nothing(task):
    shadows = "list = dict = str = number = data = images = labels = rng = Row = 3\n"
    shadows += "name = 'x'; round = abs = sum = None\n"
    code = shadows if task == "improve" else shadows + cell_of(task).source  # trained already
    assert in_process.run_answer(EXERCISE, task, code).messages == {}


def text_of(task: str) -> str:
    """The text of a task: its Markdown cells before its check."""
    cells = in_process.solution(EXERCISE).cells
    end = next(place for place, cell in enumerate(cells) if cell.id == f"{task}-tests")
    texts: list[str] = []
    for cell in cells[:end]:
        if cell.cell_type == "markdown":
            texts = [cell.source] if cell.source.startswith("### Task") else [*texts, cell.source]
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("count", "`Dense(300)` and `Dense(200)`, and ten outputs"),
        ("count", "how many numbers of the first `BatchNormalization` layer are *learned*"),
        ("count", "how many of its numbers are *moving averages*"),
        ("count", "grow? Keras counts both kinds"),
        ("dropout", "the mean of the activations should stay about the same"),
        ("batchnorm", "gamma · (input − mean) / √(variance + epsilon) + beta"),
        ("batchnorm", "momentum · old average + (1 − momentum) · value of this batch"),
        ("batchnorm", "`ddof=0`"),
        ("improve", f"must be at most {exercise_03.MAX_VAL_LOSS}"),
        ("improve", f"only {exercise_03.NUM_FEW} images"),
        ("improve", "dropout, early stopping with `keras.callbacks.EarlyStopping`, or weight decay"),
        ("diagnosis", "how many times larger is the gradient of the last layer than that of the first"),
        ("diagnosis", "what should be tried first for network B"),
        *(("diagnosis", f'`"{choice}"`') for choice in exercise_03.CURES),
        *(("diagnosis", f'`"{choice}"`') for choice in exercise_03.PROBLEMS.values()),
        ("conclusion", "the mean of the differences, other minus plain"),
        ("conclusion", '`"lower"` if the 95 % confidence interval of this mean lies below zero'),
        ("conclusion", '`"higher"` if it lies above zero, and `"not shown"` if it contains zero'),
    ],
)
def test_the_texts_ask_for_what_is_checked(task, words):
    assert words in text_of(task)


# --- task 1: numbers ---

COUNT = (600, 600, 2000)


@pytest.mark.parametrize(("place", "table"), list(enumerate(("LEARNED", "MOVING", "ADDED"))))
def test_each_wrong_number_gets_its_message(place, table):
    for row in getattr(exercise_03, table):
        answers = [*COUNT[:place], row.answer, *COUNT[place + 1 :]]
        assert row.message in refused(exercise_03.count, *answers)
        assert re.match(rf"{('learned', 'moving', 'added')[place]} = {row.answer} ", row.message)


@pytest.mark.parametrize(
    "answers",
    [COUNT, (600.0, np.int64(600), np.array(2000)), ([600], np.float32(600), np.array([2000]))],
)
def test_correct_numbers_in_other_types(answers, capsys):
    exercise_03.count(*answers)
    assert capsys.readouterr().out == "Task 1: correct (1 of 1 point)\n"


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("wrong", [601, 599, 2003, 1997, -600])
def test_other_numbers_are_wrong(place, wrong):
    answers = [*COUNT[:place], wrong, *COUNT[place + 1 :]]
    assert f"= {wrong} is not right" in refused(exercise_03.count, *answers)


def test_keras_counts_the_same():
    network = keras.Sequential([keras.Input(shape=(784,))])
    for width in (300, 200):
        network.add(layers.Dense(width))
        network.add(layers.BatchNormalization())
    first, second = network.layers[1], network.layers[3]
    learned = sum(int(np.prod(weight.shape)) for weight in first.trainable_weights)
    moving = sum(int(np.prod(weight.shape)) for weight in first.non_trainable_weights)
    exercise_03.count(learned, moving, first.count_params() + second.count_params())


# --- task 2: dropout ---


def by_drop(inputs, rate, training, rng):
    if not training:
        return inputs
    out = inputs.copy()
    out[rng.random(inputs.shape) < rate] = 0
    return out / (1 - rate)


def by_product(inputs, rate, training, rng):
    keep = rng.random(inputs.shape) >= rate
    return inputs * keep / (1 - rate) if training is True else 1.0 * inputs


def by_choice(inputs, rate, training, rng):
    return inputs * rng.binomial(1, 1 - rate, inputs.shape) / (1 - rate) if training else inputs


def by_loop(inputs, rate, training, rng):
    keep = rng.random(inputs.shape) >= rate
    if not training:
        return inputs.tolist()
    return [
        [a / (1 - rate) if k else 0 for a, k in zip(x, y, strict=True)]
        for x, y in zip(inputs, keep, strict=True)
    ]


@pytest.mark.parametrize("function", [by_drop, by_product, by_choice, by_loop])
def test_dropout_in_other_styles(function):
    exercise_03.dropout(function)
    exercise_03.dropout(function, cases=((0.0, 11), (0.1, 12), (0.5, 13), (0.9, 14)))


@pytest.mark.parametrize("row", exercise_03.DROPOUT, ids=lambda row: row.message[:40])
def test_each_misconception_of_dropout_gets_its_message(row):
    assert row.message in refused(exercise_03.dropout, row.answer)


def test_dropout_agrees_with_keras():
    ones = np.ones((300, 100), "float32")
    for training in (True, False):
        expected = np.unique(layers.Dropout(0.2, seed=1)(ones, training=training))
        found = np.unique(exercise_03._dropout(ones, 0.2, training, np.random.default_rng(1)))
        assert np.allclose(found, expected)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda inputs, rate, training, rng: inputs[0], "The shape has changed from (200, 500) to (500,)"),
        (lambda inputs, rate, training, rng: "x", "should return a NumPy array"),
        (
            lambda inputs, rate, training, rng: exercise_03._dropout(inputs, rate, training, rng),
            "calls _dropout",
        ),
        (
            lambda inputs, rate, training, rng: by_drop(inputs, rate**2, training, rng),
            "activations are 0 in training",
        ),
        (
            lambda inputs, rate, training, rng: (
                by_drop(inputs, rate, training, rng) * (1.01 if training else 1)
            ),
            "have a wrong size",
        ),
        (
            lambda inputs, rate, training, rng: by_drop(inputs, rate, True, rng) if training else inputs + 1,
            "as they",
        ),
        (7, "dropout should be a function"),
    ],
)
def test_other_wrong_dropout(watched, function, message):
    assert message in refused(exercise_03.dropout, function)


def by_layer(inputs, rate, training, rng):
    return np.array(layers.Dropout(rate)(inputs, training=training))


def by_given_layer(inputs, rate, training, rng):
    return np.array(LAYER(inputs, training=training)) if training else inputs


def by_random(inputs, rate, training, rng):
    return np.array(keras.random.dropout(inputs, rate)) if training else inputs


def by_tensorflow(inputs, rate, training, rng):
    return tf.nn.dropout(inputs, rate).numpy() if training else inputs


def by_ops(inputs, rate, training, rng):
    keep = rng.random(inputs.shape) >= rate
    return np.array(keras.ops.where(keep, inputs / (1 - rate), 0.0)) if training else inputs


def by_failing_layer(inputs, rate, training, rng):
    return layers.Dropout(2 + rate)(inputs, training=training)


LAYER = layers.Dropout(0.2)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (by_layer, "Keras"),
        (by_given_layer, "Keras"),
        (by_random, "Keras"),
        (by_tensorflow, "TensorFlow"),
        (by_ops, "Keras"),
        (by_failing_layer, "Keras"),
    ],
)
def test_keras_may_not_do_the_work(watched, function, name):
    said = refused(exercise_03.dropout, function)
    assert f"dropout calls {name}. In this task you write the calculation yourself." in said


def test_what_the_interpreter_deletes_in_the_meantime_is_not_refused(watched):
    class Old:
        def __del__(self):
            keras.ops.zeros(1)

    gc.set_threshold(1)
    try:
        circle = [Old()]
        circle.append(circle)
        del circle
        exercise_03.dropout(by_drop)
        assert gc.isenabled()
    finally:
        gc.set_threshold(700, 10, 10)
        gc.collect()


# --- task 3: batch normalisation ---


def normalise(inputs, gamma, beta, moving_mean, moving_variance, epsilon, training):
    if training:
        moving_mean = inputs.sum(axis=0) / len(inputs)
        moving_variance = ((inputs - moving_mean) ** 2).mean(axis=0)
    return gamma * ((inputs - moving_mean) / (moving_variance + epsilon) ** 0.5) + beta


def by_neuron(inputs, gamma, beta, moving_mean, moving_variance, epsilon, training):
    out = np.zeros(inputs.shape, "float32")
    for k in range(inputs.shape[1]):
        column = inputs[:, k]
        mean = np.mean(column) if training else moving_mean[k]
        deviation = np.sqrt((np.std(column) ** 2 if training else moving_variance[k]) + epsilon)
        out[:, k] = (column - mean) * gamma[k] / deviation + beta[k]
    return out


def updated(moving, of_batch, momentum):
    return moving - (1 - momentum) * (moving - of_batch)


MORE = {
    "updates": ((0.0, 3.0, 0.99),),
    "batches": ((5, 5, 1e-3, 21), (64, 10, 1e-3, 22), (3, 40, 2.0, 23)),
}


@pytest.mark.parametrize("function", [normalise, by_neuron])
def test_batch_normalisation_in_other_styles(function):
    exercise_03.batchnorm(updated, function)
    exercise_03.batchnorm(updated, function, **MORE)


@pytest.mark.parametrize("row", exercise_03.NORMALISE, ids=lambda row: row.message[:40])
def test_each_misconception_of_batch_normalisation_gets_its_message(row):
    assert row.message in refused(exercise_03.batchnorm, updated, row.answer)
    assert row.message in refused(exercise_03.batchnorm, updated, row.answer, **MORE)


@pytest.mark.parametrize("row", exercise_03.UPDATED, ids=lambda row: row.message[:40])
def test_each_misconception_of_the_average_gets_its_message(row):
    assert row.message in refused(exercise_03.batchnorm, row.answer, normalise)


def test_batch_normalisation_agrees_with_keras():
    layer = layers.BatchNormalization(momentum=0.75, epsilon=0.01)
    layer.build((None, 4))
    rng = np.random.default_rng(9)
    gamma, beta = rng.uniform(0.5, 2, 4), rng.normal(0, 2, 4)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    mean, variance = np.zeros(4), np.ones(4)  # where Keras begins
    for _ in range(3):
        batch = rng.normal([5, 0, -3, 1], [1, 2, 0.2, 4], size=(32, 4))
        found = exercise_03._normalise(batch, gamma, beta, mean, variance, 0.01, True)
        assert np.allclose(found, layer(batch.astype("float32"), training=True), atol=1e-3)
        mean = exercise_03._updated(mean, batch.mean(axis=0), 0.75)
        variance = exercise_03._updated(variance, batch.var(axis=0), 0.75)
    found = exercise_03._normalise(batch[:1], gamma, beta, mean, variance, 0.01, False)
    assert np.allclose(found, layer(batch[:1].astype("float32"), training=False), atol=1e-3)


@pytest.mark.parametrize(
    ("average", "function", "message"),
    [
        (updated, lambda *case: normalise(*case)[0], "should return the shape of the inputs, (8, 3)"),
        (updated, lambda *case: normalise(*case) * [1, 1, 2], "some neurons are right"),
        (
            updated,
            lambda *case: normalise(*case) + 1,
            "With training=True and 8 images, the numbers are wrong",
        ),
        (
            updated,
            lambda *case: normalise(*case) + (len(case[0]) == 1),
            "With training=False and one image, the num",
        ),
        (updated, lambda *case: None, "not done yet: normalise returns None"),
        (
            updated,
            lambda *case: np.array(keras.ops.add(normalise(*case), 0)),
            "not correct yet: normalise calls Keras.",
        ),
        (updated, lambda *case: exercise_03._normalise(*case), "normalise calls _normalise"),
        (updated, lambda *case: "x", "should return the shape"),
        (
            lambda *case: updated(*case) + 1,
            normalise,
            "For an old average of 10.0, a batch with 20.0 and momentum 0.9",
        ),
        (lambda moving, of_batch, momentum: 11.0, normalise, "For an old average of [1.0, -2.0]"),
    ],
)
def test_other_wrong_batch_normalisation(watched, average, function, message):
    assert message in refused(exercise_03.batchnorm, average, function)


# --- task 4: a network that overfits less ---


def test_the_notebook_makes_the_images_that_the_check_uses(solved):
    (x_few, y_few), (x_val, y_val) = exercise_03.few_digits()
    for name, images in {"x_few": x_few, "y_few": y_few, "x_val": x_val, "y_val": y_val}.items():
        assert np.array_equal(solved[name], images), name
    assert 0.2 < np.mean(y_few != solved["y_train"][:300]) < 0.3


def functional(network, last="softmax", drop=0.5):
    inputs = keras.Input(shape=(28, 28))
    x = layers.Flatten()(inputs) / 255.0
    for width in (256, 128):
        x = layers.ReLU()(layers.Dense(width)(x))
        x = layers.Dropout(drop)(x)
    model = keras.Model(inputs, layers.Dense(10, activation=last)(x))
    model.set_weights(network.get_weights())
    return model


class Own(keras.Model):
    """A network as a class of one's own."""

    def __init__(self, weights):
        super().__init__()
        self.flat, self.drop = layers.Flatten(), layers.Dropout(0.3)
        self.hidden = [layers.Dense(256, "relu"), layers.Dense(128, "relu")]
        self.last = layers.Dense(10)
        self(np.zeros((1, 28, 28)))
        self.set_weights(weights)

    def call(self, inputs, training=False):
        x = self.flat(inputs) / 255
        for layer in self.hidden:
            x = self.drop(layer(x), training=training)
        return self.last(x)


@pytest.mark.parametrize("style", ["functional", "logits", "class", "nested", "history"])
def test_networks_in_other_styles(solved, style):
    trained, history = solved["model"], solved["history"]
    networks = {
        "functional": lambda: functional(trained),
        "logits": lambda: functional(trained, None),
        "class": lambda: Own(trained.get_weights()),
        "nested": lambda: keras.Sequential([keras.Input(shape=(28, 28)), functional(trained)]),
        "history": lambda: trained,
    }
    exercise_03.improve(networks[style](), history.history if style == "history" else history)


@pytest.mark.parametrize("method", ["AdamW", "Adam", "l2", "stopped", "best weights"])
def test_each_method_is_recognised(solved, method):
    """The weights of the solution, in networks without dropout."""
    model = functional(solved["model"], drop=0)
    history = keras.callbacks.History()
    history.history, history.params = dict(solved["history"].history), {"epochs": 60}
    assert "none was found" in refused(exercise_03.improve, model, history)
    last = history.history["val_loss"][-1]
    if method == "AdamW":
        model.compile(keras.optimizers.AdamW(weight_decay=1.0))
    elif method == "Adam":
        model.compile(keras.optimizers.Adam(weight_decay=0.1))
    elif method == "l2":
        model.layers[-1].kernel_regularizer = keras.regularizers.L2(0.005)
        model.layers[-1].kernel.regularizer = model.layers[-1].kernel_regularizer
        last += float(sum(model.losses))
        assert last > history.history["val_loss"][-1]
    elif method == "stopped":
        model.history = history
        history.history = {name: [*values[:39], values[-1]] for name, values in history.history.items()}
    else:
        loss, _ = solved["model"].evaluate(solved["x_val"], solved["y_val"], verbose=0)
        history.history["val_loss"] = [2.0, loss, 1.1, 1.3]
    if method in ("AdamW", "Adam", "l2"):
        history.history["val_loss"] = [2.0, last]
    exercise_03.improve(model, history)


def seen_as(monkeypatch, val_loss, train_loss):
    """Lets all networks have these losses."""

    def probabilities(model, images):
        labels = next(labels for x, labels in exercise_03.few_digits() if len(x) == len(images))
        right = np.exp(-(train_loss if len(images) == 300 else val_loss))
        values = np.full((len(images), 10), (1 - right) / 9)
        values[np.arange(len(images)), labels] = right
        return values

    monkeypatch.setattr(exercise_03, "probabilities", probabilities)
    monkeypatch.setattr(exercise_03, "network", lambda model, name: model)
    monkeypatch.setattr(exercise_03, "_loss_in_training", lambda model, images, labels: train_loss)


@pytest.mark.parametrize(
    ("number", "val_loss", "train_loss", "drop", "lowest"),
    [
        (0, 2.5, 2.4, 0.5, 2.0),
        (1, 1.2, 1.1, 0.5, 1.1),
        (2, 1.2, 0.2, None, 0.7),
        (3, 1.2, 0.2, 0, 0.7),
        (4, 1.001, 0.2, 0.5, 0.7),
        (5, 0.9, 0.2, 0, 0.7),
    ],
)
def test_each_kind_of_failed_improvement_gets_its_message(
    monkeypatch, number, val_loss, train_loss, drop, lowest
):
    seen_as(monkeypatch, val_loss, train_loss)
    model = keras.Sequential([keras.Input(shape=(28, 28)), layers.Dropout(drop or 0)])
    curves = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.0, lowest, val_loss]}
    if drop is None:  # stopped early, without the best weights
        model.history = types.SimpleNamespace(params={"epochs": 60})
    message = refused(exercise_03.improve, model, curves)
    assert exercise_03.IMPROVE[number].message in message
    assert f"(Loss {val_loss:.3f}; at most 1.0 is asked for" in message


def test_the_limit_itself_is_enough(monkeypatch):
    seen_as(monkeypatch, 0.9999, 1.5)
    model = keras.Sequential([keras.Input(shape=(28, 28)), layers.Dropout(0.2)])
    exercise_03.improve(model, {"loss": [1.4], "val_loss": [0.9999]})


@pytest.mark.parametrize(("loss", "message"), [(1.09, ""), (1.11, "at most 1.1 is asked for")])
def test_what_passes_in_the_notebook_passes_when_it_is_graded(monkeypatch, loss, message):
    """The limit on other images is more generous."""
    few, (x_val, y_val) = exercise_03.few_digits()
    others = {"images": x_val[:200], "labels": y_val[:200]}
    monkeypatch.setattr(exercise_03, "few_digits", lambda: (few, tuple(others.values())))
    seen_as(monkeypatch, loss, loss)
    model = keras.Sequential([keras.Input(shape=(28, 28)), layers.Dropout(0.2)])
    curves = {"loss": [loss], "val_loss": [loss]}
    assert "at most 1.0 is asked for" in refused(exercise_03.improve, model, curves)
    if message:
        assert message in refused(exercise_03.improve, model, curves, **others)
    else:
        exercise_03.improve(model, curves, **others)


@pytest.mark.parametrize(
    ("in_history", "in_training", "message"),
    [
        ((0.5, 0.7), 0.9, ""),  # averages over an epoch, dropout
        ((1.2, 0.7), 0.4, ""),
        ((0.5, 0.7005), 0.9, ""),
        ((0.5, 0.702), 0.9, "no epoch of history has this loss"),
        ((0.5, 0.7), 1.1, "Was model trained with other images, or with other labels?"),
        (
            (0.01, 0.7),
            0.4,
            "In history the training loss is 0.010, but the loss of model on x_few and y_few is 0.4",
        ),
    ],
)
def test_the_history_is_that_of_the_training_with_the_given_images(
    monkeypatch, in_history, in_training, message
):
    seen_as(monkeypatch, 0.7, in_training)
    model = keras.Sequential([keras.Input(shape=(28, 28)), layers.Dropout(0.2)])
    curves = {"loss": [2.0, in_history[0]], "val_loss": [2.0, in_history[1]]}
    if message:
        assert message in refused(exercise_03.improve, model, curves)
    else:
        exercise_03.improve(model, curves)


def test_the_check_changes_no_moving_average():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input(shape=(28, 28)), layers.Flatten(), layers.BatchNormalization()])
    model.add(layers.Dense(10))
    (x_few, y_few), _ = exercise_03.few_digits()
    before = model.get_weights()
    in_training = exercise_03._loss_in_training(model, x_few, y_few)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert in_training != metrics.negative_log_likelihood(y_few, exercise_03.probabilities(model, x_few))


def test_the_given_network_fails_by_far_and_the_solution_passes_by_far(solved):
    losses = {}
    for name in ("start", "model"):
        probabilities = solved[name].predict(solved["x_val"], verbose=0)
        losses[name] = metrics.negative_log_likelihood(solved["y_val"], probabilities)
    assert losses["start"] > 1.05 * exercise_03.MAX_VAL_LOSS
    assert losses["model"] < 0.85 * exercise_03.MAX_VAL_LOSS


@pytest.mark.parametrize("missing", ["model", "history"])
def test_a_missing_training_is_not_done(solved, missing):
    answers = {"model": solved["model"], "history": solved["history"], missing: None}
    with pytest.raises(NotDoneError, match=f"{missing} is still None"):
        exercise_03.improve(*answers.values())


# --- task 5: a diagnosis ---

CURE = "ReLU with He initialisation"
RATIOS = exercise_03.SIGMOID, exercise_03.RELU


def test_the_ratios_are_those_that_the_notebook_measures(solved):
    for name, initializer, given in (
        ("sigmoid", "glorot_uniform", exercise_03.SIGMOID),
        ("relu", "he_normal", exercise_03.RELU),
    ):
        sizes = solved["gradient_sizes"](solved["deep_network"](name, initializer))
        assert 0.8 < sizes[-1] / sizes[0] / given < 1.25


@pytest.mark.parametrize("factor", [0.6, 0.9, 1, 1.1, 1.7])
def test_ratios_may_differ_a_little(factor):
    exercise_03.diagnosis(exercise_03.PROBLEMS, CURE, RATIOS[0] * factor, RATIOS[1] * factor)
    right = {letter: f" {problem.upper()} " for letter, problem in exercise_03.PROBLEMS.items()}
    exercise_03.diagnosis(right, CURE.lower(), *map(np.float32, RATIOS))


@pytest.mark.parametrize("factor", [0.4, 2.5, -1, 100, 0])
@pytest.mark.parametrize("place", [0, 1])
def test_other_ratios_are_wrong(factor, place):
    ratios = list(RATIOS)
    ratios[place] *= factor
    message = refused(exercise_03.diagnosis, exercise_03.PROBLEMS, CURE, *ratios)
    assert re.search(f"{('ratio_sigmoid', 'ratio_relu')[place]} (=|is) ", message)


@pytest.mark.parametrize(("place", "table"), list(enumerate(("RATIO_SIGMOID", "RATIO_RELU"))))
def test_each_wrong_ratio_gets_its_message(place, table):
    for row in getattr(exercise_03, table):
        ratios = list(RATIOS)
        ratios[place] = row.answer
        assert row.message in refused(exercise_03.diagnosis, exercise_03.PROBLEMS, CURE, *ratios)


def test_each_wrong_diagnosis_gets_its_message():
    problems = exercise_03.PROBLEMS
    wrong = {(letter, problem) for letter in problems for problem in problems.values()} - set(
        problems.items()
    )
    assert {row.answer for row in exercise_03.PROBLEM} == wrong
    for row in exercise_03.PROBLEM:
        letter, problem = row.answer
        assert row.message in refused(exercise_03.diagnosis, {**problems, letter: problem}, CURE, *RATIOS)
        assert row.message.startswith(letter) or letter == "B"
    assert {row.answer for row in exercise_03.CURE} == set(exercise_03.CURES) - {CURE}
    for row in exercise_03.CURE:
        assert row.message in refused(exercise_03.diagnosis, problems, row.answer, *RATIOS)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (("overfitting", CURE, *RATIOS), "problem should be a dictionary"),
        (({"A": "overfitting"}, CURE, *RATIOS), "with the letters A to D"),
        (({**exercise_03.PROBLEMS, "C": "none"}, CURE, *RATIOS), 'problem["C"] should be one of'),
        ((exercise_03.PROBLEMS, "batch normalisation", *RATIOS), "first_cure should be one of"),
        ((exercise_03.PROBLEMS, CURE, "5e7", RATIOS[1]), "ratio_sigmoid should be one number"),
    ],
)
def test_other_answers_of_the_diagnosis_are_refused(answers, message):
    assert message in refused(exercise_03.diagnosis, *answers)


@pytest.mark.parametrize("missing", ["A", "D", "cure", "sigmoid", "relu"])
def test_a_missing_diagnosis_is_not_done(missing):
    problem = {letter: None if letter == missing else right for letter, right in exercise_03.PROBLEMS.items()}
    answers = {"cure": CURE, "sigmoid": RATIOS[0], "relu": RATIOS[1]}
    if missing in answers:
        answers[missing] = None
    with pytest.raises(NotDoneError):
        exercise_03.diagnosis(problem, *answers.values())


def test_the_curves_fit_their_diagnosis(solved):
    """The numbers that the messages name."""
    a, b, c, d = (solved["curves"][letter] for letter in "ABCD")
    chance = np.log(10)
    assert a["loss"][0] < chance and a["loss"][-1] < 0.02 and min(a["val_loss"]) < 0.9 * a["val_loss"][-1]
    assert all(abs(loss - chance) < 0.02 for loss in [*b["loss"], *b["val_loss"]])
    assert c["val_loss"][-1] <= c["loss"][-1]
    assert all(np.diff(c["loss"]) < 0) and all(np.diff(c["val_loss"]) < 0) and c["loss"][0] < chance
    assert d["loss"][0] > 10 and abs(d["loss"][-1] - chance) < 0.02


# --- task 6: a conclusion ---

HIDDEN = (
    ([0.21, 0.25, 0.19, 0.22], [0.25, 0.31, 0.22, 0.27]),
    ([0.25, 0.31, 0.22, 0.27], [0.21, 0.25, 0.19, 0.22]),
    ([0.11, 0.16, 0.09, 0.14, 0.20, 0.13], [0.10, 0.17, 0.10, 0.12, 0.21, 0.12]),
)


def by_hand(plain, other):
    differences = [b - a for a, b in zip(plain, other, strict=True)]
    n, mean = len(differences), sum(differences) / len(differences)
    error = (sum((d - mean) ** 2 for d in differences) / (n - 1) / n) ** 0.5
    t = {4: 3.182, 5: 2.776, 6: 2.571}[n]
    if abs(mean) <= t * error:
        return [round(mean, 6), " Not shown"]
    return np.float32(mean), "lower" if mean < 0 else "higher"


@pytest.mark.parametrize("cases", [(), HIDDEN])
def test_conclusions_in_other_styles(cases):
    exercise_03.conclusion(by_hand, cases=cases)


def test_further_cases_are_given_by_name_only():
    for check, answers in (
        (exercise_03.dropout, [by_drop]),
        (exercise_03.batchnorm, [updated, normalise]),
        (exercise_03.conclusion, [by_hand]),
        (exercise_03.improve, ["model", "history"]),
    ):
        with pytest.raises(TypeError, match="positional argument"):
            check(*answers, ())


@pytest.mark.parametrize("row", exercise_03.CONCLUSION, ids=lambda row: row.message[:40])
def test_each_misconception_of_the_conclusion_gets_its_message(row):
    assert row.message in refused(exercise_03.conclusion, row.answer)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda plain, other: 0.3, "conclude should return two things"),
        (lambda plain, other: (0.3, "better"), "The verdict should be one of"),
        (lambda plain, other: ("a", "lower"), "The mean difference should be one number"),
        (lambda plain, other: (0.3, None), "The verdict is still None"),
        (lambda plain, other: None, "conclude returns None"),
        (lambda plain, other: (0.3, "lower"), "This is not the mean of the differences"),
        (lambda plain, other: (by_hand(plain, other)[0], "lower"), "the verdict is not"),
        (lambda plain, other: metrics.nothing(plain), "conclude stops with AttributeError"),
    ],
)
def test_other_conclusions_are_refused(function, message):
    assert message in refused(exercise_03.conclusion, function)


def test_the_sentence_for_the_teacher_follows_from_the_data(outcome):
    lines = outcome.printed["verdicts"].splitlines()
    assert [re.search("not shown|lower|higher", line)[0] for line in lines] == ["not shown", "lower"]
    assert "batchnorm" in lines[0]
