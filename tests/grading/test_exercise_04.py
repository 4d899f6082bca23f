"""Exercise 4: each known wrong answer gets its message, and correct answers in several styles get full points."""

from __future__ import annotations

import re
import types

import keras
import keras_tuner
import numpy as np
import pytest

from mnist_course.grading import class_report
from mnist_helpers.checks import exercise_04
from mnist_helpers.checks._core import AnswerError, NotDoneError, Row
from tests.grading import in_process

EXERCISE = "exercise_04"
pytestmark = [
    pytest.mark.long,  # its solution trains; test_checks.py tries the wrong answers
    pytest.mark.usefixtures("unwatched"),
]
FULL = {
    "size-tests": 1,
    "space-tests": 1,
    "space-hidden": 2,
    "search-tests": 3,
    "leaks-tests": 1,
    "leaks-hidden": 2,
    "luck-tests": 2,
    "winner-tests": 2,
    "winner-hidden": 1,
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


# --- the notebook ---


def test_the_solution_gets_all_points(outcome, capsys):
    assert outcome.messages == {}
    assert outcome.points == FULL
    assert "10 of 10 points so far. 5 more points are checked when" in outcome.printed["summary"]
    assert "All checks are passed." in outcome.printed["summary"]


def test_points_and_titles_of_checks_and_cells_agree():
    tasks = class_report.tasks_of(in_process.solution(EXERCISE))
    assert [task.name for task in tasks] == [task.name for task in exercise_04.exercise.tasks]
    for number, (cell, task) in enumerate(zip(tasks, exercise_04.exercise.tasks, strict=True), 1):
        assert cell.title == f"Task {number}: {task.title}"
        points = {f"{task.name}-tests": task.points, f"{task.name}-hidden": task.when_graded}
        assert cell.tests == {name: value for name, value in points.items() if value}
        assert len(task.hints) >= 2 or task.for_teacher


CURVE = {name: [2.0, 1.0] for name in ("loss", "val_loss", "accuracy", "val_accuracy")}


def test_the_students_version_says_not_done_and_shows_no_answer(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **options: types.SimpleNamespace(history=CURVE))
    notebook = in_process.untouched(EXERCISE)
    outcome = in_process.run(notebook)
    assert outcome.points == dict.fromkeys(FULL, 0)
    assert outcome.messages.keys() == FULL.keys()
    for name, message in outcome.messages.items():
        number = 1 + [task.name for task in exercise_04.exercise.tasks].index(name.split("-")[0])
        assert message.startswith(f"Task {number} is not done yet"), message
    notebook = in_process.students(EXERCISE)
    text = "\n".join(cell.source for cell in notebook.cells)
    for secret in ("SOLUTION", "HIDDEN", "{7, 18}", "argmax", "13.2", "0.0754", "0.42, 0.41", "rng.normal("):
        assert secret not in text
    assert text.count("# write your code here") == 1 + 9  # the title names it, too
    assert "lucky" not in next(cell.source for cell in notebook.cells if cell.id == "explain")


def test_students_see_little_test_code():
    cells = [cell for cell in in_process.students(EXERCISE).cells if cell.cell_type == "code"]
    lines = {cell.id: [line for line in cell.source.splitlines() if line.strip()] for cell in cells}
    tests = sum(len(lines[name]) for name in FULL)
    assert tests / sum(map(len, lines.values())) < 0.15
    assert all(len(line) <= 88 for cell in in_process.solution(EXERCISE).cells for line in _code(cell))


def _code(cell) -> list[str]:
    return cell.source.splitlines() if cell.cell_type == "code" else []


def test_no_message_or_hint_gives_an_answer_away():
    tables = [value for value in vars(exercise_04).values() if isinstance(value, tuple) and value]
    rows = [row for table in tables for row in table if isinstance(row, Row)]
    texts = [row.message for row in rows]
    texts += [hint for task in exercise_04.exercise.tasks for hint in task.hints]
    assert len(rows) > 90
    for text in texts:
        assert re.search(r"[.?)]$", text), text
        assert not re.search(
            r"\b360\b|13\.2|0\.0333|0\.0125|0\.0040|0\.0754|\b(line )?18\b|it is a tie$", text
        ), text


HINTS = {  # task -> a word of its first and of its second hint
    "size": ("List the values", "The share is"),
    "space": ("Section 4", "For the size of the space"),
    "search": ("Section 5", "build_model calls network"),
    "leaks": ("Follow the test images", "One leak computes"),
    "luck": ("Run the cell once", "set num_configurations back"),
    "winner": ("Write the three steps", "ddof=1"),
}


@pytest.mark.parametrize("task", HINTS)
def test_the_second_hint_says_more_than_the_first(task, capsys):
    for hint in (1, 2):
        getattr(exercise_04, task)(hint=hint)
        assert HINTS[task][hint - 1] in capsys.readouterr().out


def text_of(task: str) -> str:
    """The text of a task: its Markdown cells before its check."""
    cells = in_process.solution(EXERCISE).cells
    end = next(place for place, cell in enumerate(cells) if cell.id == f"{task}-tests")
    texts: list[str] = []
    for cell in cells[:end]:
        if cell.cell_type == "markdown":
            texts = [cell.source] if cell.source.startswith("### Task") else [*texts, cell.source]
    return "\n".join(texts)


def test_the_text_of_task_1_leads_to_the_numbers_of_its_check():
    text = text_of("size")
    found = re.search(
        r"has (\d+) trials.*for (\d+) epochs on ([\d,]+) images.*best (\d+) conf.* with (\d+) new seeds, the same "
        r"images and the same number of epochs.* on ([\d,]+) images per second",
        text,
    )
    numbers = [int(number.replace(",", "")) for number in found.groups()]
    trials, epochs, images, finalists, seeds, speed = numbers
    hp = keras_tuner.HyperParameters()
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], {"hp": hp})
    count = int(np.prod([len(list(one.values)) for one in hp.space]))
    exercise_04.size(count, trials / count, (trials + finalists * seeds) * epochs * images / speed)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("space", f"**at most {exercise_04._MOST} configurations**"),
        ("space", "at least five times the lower end"),
        ("space", "2 hidden layers, 512 units, dropout rate 0.2, learning rate 0.001"),
        ("space", "count it as **ten** values"),
        ("search", '`"val_loss"`'),
        ("search", f"at least {exercise_04.MIN_TRIALS} trials"),
        ("search", f"an accuracy of at least {exercise_04.ENOUGH:.0%}".replace("%", " %")),
        (
            "leaks",
            "the same mean and the same standard deviation, two numbers, for all pixels of all three arrays",
        ),
        ("luck", "bias with 100 configurations and one seed?"),
        ("luck", "bias with 12 configurations and four seeds each?"),
        ("luck", ", ".join(f'`"{choice}"`' for choice in exercise_04.REMEDIES[:2])),
        ("winner", "larger of two standard deviations: the candidate's and the default's"),
        ("winner", "more than **twice** the noise"),
        ("winner", "compare rank 3 with rank 1 by the same rule, with rank 1 in the place of the default"),
        ("winner", "lower than that of the default? Do not use the losses of the search."),
        *(("winner", f'`"{choice}"`') for choice in exercise_04.VERDICTS),
    ],
)
def test_the_texts_ask_for_what_is_checked(task, words):
    assert words in text_of(task)


# --- tasks 1 and 5: numbers and choices ---

SIZE = (360, 12 / 360, 13.2)
LUCK = (0.01252, 0.00405, "more seeds")


@pytest.mark.parametrize(
    ("check", "right", "place", "table"),
    [
        ("size", SIZE, 0, "COUNT"),
        ("size", SIZE, 1, "SHARE"),
        ("size", SIZE, 2, "SECONDS"),
        ("luck", LUCK, 0, "MORE_CONFIGURATIONS"),
        ("luck", LUCK, 1, "MORE_SEEDS"),
        ("luck", LUCK, 2, "REMEDY"),
    ],
)
def test_each_wrong_number_gets_its_message(check, right, place, table):
    for row in getattr(exercise_04, table):
        answers = [*right[:place], row.answer, *right[place + 1 :]]
        assert row.message in refused(getattr(exercise_04, check), *answers)


@pytest.mark.parametrize(
    "answers",
    [
        SIZE,
        (360.0, 0.0333, 13.2),
        (np.int64(360), np.float32(1 / 30), np.array(13.2)),
        (360, 0.033, 22 * 0.6),
    ],
)
def test_correct_numbers_in_other_types(answers, capsys):
    exercise_04.size(*answers)
    assert capsys.readouterr().out == "Task 1: correct (1 of 1 point)\n"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((359, 12 / 360, 13.2), "359 is not the number of configurations"),
        ((360, 0.032, 13.2), "0.032 is not the share"),
        ((360, 0.0345, 13.2), "0.0345 is not the share"),
        ((360, 12 / 360, 13.3), "13.3 seconds is not correct"),
        ((360, [12, 360], 13.2), "share_seen should be one number"),
    ],
)
def test_other_numbers_are_wrong(answers, message):
    assert message in refused(exercise_04.size, *answers)


@pytest.mark.parametrize(
    "answers",
    [
        LUCK,
        (0.0125, 0.00405, " More Seeds "),
        (np.float64(0.012522), 0.0041, "more seeds"),
        (0.01252, 0.004, "more seeds"),
    ],
)
def test_the_observed_bias_may_be_rounded(answers):
    exercise_04.luck(*answers)


def test_the_numbers_of_the_experiment_are_those_that_the_notebook_gives(solved):
    best = solved["mean_best_score"]
    for given, configurations, seeds in (
        (exercise_04._UNCHANGED, 12, 1),
        (exercise_04._MORE_CONFIGURATIONS, 100, 1),
        (exercise_04._MORE_SEEDS, 12, 4),
        (exercise_04._BOTH, 100, 4),
    ):
        assert given == pytest.approx(0.1 - best(configurations, seeds), abs=1e-5)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((0.0116, 0.00405, "more seeds"), "bias_more_configurations: 0.0116 is not the bias"),
        ((0.01252, 0.0044, "more seeds"), "bias_more_seeds: 0.0044 is not the bias"),
        ((0.01252, 0.00405, "seeds"), "remedy should be one of"),
    ],
)
def test_other_observations_are_wrong(answers, message):
    assert message in refused(exercise_04.luck, *answers)


@pytest.mark.parametrize("check", ["size", "luck"])
@pytest.mark.parametrize("place", range(3))
def test_a_missing_number_is_not_done(check, place):
    answers = list(SIZE if check == "size" else LUCK)
    answers[place] = None
    with pytest.raises(NotDoneError):
        getattr(exercise_04, check)(*answers)


# --- task 2: a search space ---


def space_of(hidden=(1, 3), units=(256, 512), drop=(0.0, 0.4, 0.2), rate=(5e-4, 8e-3), **more):
    def space(hp):
        values = {
            "num_hidden": hp.Int("num_hidden", *hidden),
            "units": hp.Choice("units", list(units)),
            "dropout_rate": hp.Float("dropout_rate", drop[0], drop[1], step=drop[2]),
            "learning_rate": hp.Float("learning_rate", *rate, **{"sampling": "log", **more}),
        }
        return values

    return space


def other_styles():
    def by_steps(hp):
        values = {}
        values["learning_rate"] = hp.Float("learning_rate", 1e-3, 5e-3, sampling="log")
        values["dropout_rate"] = hp.Choice("dropout_rate", [0.2, 0.5])
        values["units"] = hp.Int("units", 256, 768, step=256)
        values["num_hidden"] = hp.Choice("num_hidden", [2, 4])
        return values

    def by_keywords(hp):
        num_hidden = hp.Int("num_hidden", min_value=1, max_value=2)
        units = hp.Int(name="units", min_value=128, max_value=512, step=128)
        dropout_rate = hp.Float("dropout_rate", min_value=0.1, max_value=0.5, step=0.1)
        learning_rate = hp.Float("learning_rate", 2e-4, 1e-3, sampling="log", default=1e-3)
        return {
            "num_hidden": num_hidden,
            "units": units,
            "dropout_rate": dropout_rate,
            "learning_rate": learning_rate,
        }

    def by_names(hp):
        hp.Int("num_hidden", 1, 2)
        hp.Int("units", 64, 512, step=2, sampling="log")
        hp.Choice("dropout_rate", [0.0, 0.2])
        hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
        return {name: hp.get(name) for name in ("num_hidden", "units", "dropout_rate", "learning_rate")}

    return by_steps, by_keywords, by_names, space_of()


@pytest.mark.parametrize("place", range(4))
def test_spaces_in_several_styles_are_correct(place):
    space = other_styles()[place]
    exercise_04.space(space)
    exercise_04.space(space, seeds=(7, 8))


def test_a_space_of_just_400_configurations_is_correct_and_one_of_more_is_not():
    exercise_04.space(space_of(hidden=(1, 4), units=(64, 128, 256, 512, 1024), drop=(0.2, 0.4, 0.2)))
    wrong = space_of(hidden=(1, 3), units=range(64, 513, 64), drop=(0.2, 0.4, 0.2))
    assert "3 · 8 · 2 · 10 = 480 configurations" in refused(exercise_04.space, wrong)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (space_of(sampling="linear"), "drawn on a linear scale"),
        (space_of(sampling="reverse_log"), "drawn on a linear scale"),
        (space_of(step=2), "The learning rate has a step"),
        (space_of(rate=(2e-3, 8e-2)), "0.001, does not lie between 0.002 and 0.08"),
        (space_of(rate=(1e-4, 9e-4)), "does not lie between"),
        (space_of(rate=(5e-4, 2.4e-3)), "less than a factor of five"),
        (space_of(units=(64, 128)), "units: the default, 512, is not among"),
        (space_of(hidden=(3, 5)), "num_hidden: the default, 2"),
        (space_of(drop=(0.0, 0.5, 0.25)), "dropout_rate: the default, 0.2"),
        (space_of(hidden=(2, 2)), "num_hidden has only one value"),
        (space_of(drop=(0.0, 0.4, None)), "dropout_rate has no step"),
        (space_of(units=("256", "512")), "The values of units should be numbers"),
        (lambda hp: {**space_of()(hp), "seed": hp.Int("seed", 1, 3)}, "'seed' is among the hyperparameters"),
        (lambda hp: {**space_of()(hp), "epochs": hp.Int("epochs", 1, 3)}, "Yours also declares epochs"),
        (lambda hp: {"units": hp.Choice("width", [1, 512])}, "hp was not asked for num_hidden, units"),
        (lambda hp: list(space_of()(hp).values()), "should return a dict of four values"),
        (lambda hp: {"rate": space_of()(hp)}, "should have the keys num_hidden, units"),
        (lambda hp: {**space_of()(hp), "units": 512}, "For units space does not return the value"),
        (
            lambda hp: {name: str(value) for name, value in space_of()(hp).items()},
            "does not return the value",
        ),
        (lambda hp: hp.Nothing("units"), "space stops with AttributeError"),
        ({"units": 512}, "space should be a function"),
    ],
)
def test_a_space_that_breaks_a_rule_is_told_which(space, message):
    assert message in refused(exercise_04.space, space)


def test_a_space_without_return_is_not_done():
    with pytest.raises(NotDoneError, match="space returns None"):
        exercise_04.space(lambda hp: None)


# --- task 3: a search ---


@pytest.fixture
def search(solved, tmp_path):
    """Makes the answers of task 3 without a training: the trials are made up, the network is the solution's."""

    def made(scores=(0.5, 0.2, 0.3, 0.6, 0.4), objective="val_loss", step=0, values=None, **changed):
        tuner = keras_tuner.RandomSearch(
            lambda hp: solved["network"](**solved["space"](hp)),
            objective=keras_tuner.Objective(objective, "max" if "acc" in objective else "min"),
            directory=tmp_path,
            overwrite=True,
        )
        for place, score in enumerate(scores):
            parameters = keras_tuner.HyperParameters()
            other = {**solved["best"], "learning_rate": 0.001 * (place + 1)}
            drawn = values or (dict(solved["best"]) if score == min(scores) else other)
            for name, value in drawn.items():
                parameters.Fixed(name, value)
            trial = keras_tuner.engine.trial.Trial(parameters, str(place), "COMPLETED")
            trial.score, trial.best_step = score, step
            tuner.oracle.trials[str(place)] = trial
        answers = {
            "tuner": tuner,
            "best": dict(solved["best"]),
            "model": solved["model"],
            "history": solved["history"],
        }
        return tuple({**answers, **changed}.values())

    return made


def test_the_made_up_search_is_correct_in_several_styles(solved, search, capsys):
    exercise_04.search(*search())
    history = keras.callbacks.History()
    history.history = dict(solved["history"])
    row = {"trial": 2, "score": 0.2, **{name: np.float64(value) for name, value in solved["best"].items()}}
    exercise_04.search(*search(history=history, best=row))
    longer = {name: [*values, values[-1]] for name, values in solved["history"].items()}
    exercise_04.search(*search(history=longer, scores=(0.5, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8)))
    assert capsys.readouterr().out == "Task 3: correct (3 of 3 points)\n" * 3


def test_any_network_with_the_best_values_is_correct(solved, search):
    """The functional API, activations as layers, pixels divided by hand and logits."""
    source = [layer for layer in solved["model"].layers if isinstance(layer, keras.layers.Dense)]
    inputs = keras.Input((28, 28))
    x = keras.layers.Flatten()(inputs / 255)
    for place, layer in enumerate(source):
        x = keras.layers.Dense(layer.units)(x)
        if place < len(source) - 1:
            x = keras.layers.Activation("relu")(x)
    model = keras.Model(inputs, x)
    new = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    for layer, old in zip(new, source, strict=True):
        layer.set_weights(old.get_weights())
    exercise_04.search(*search(model=model))
    exercise_04.search(*search(model=keras.Sequential([keras.Input((28, 28)), model])))


def test_each_other_objective_gets_its_message(search):
    words = {"loss": "loss on the training images", "accuracy": "accuracy on the training images"}
    for row in exercise_04.OBJECTIVES:
        assert words.get(row.answer, "an accuracy, which only counts right and wrong") in row.message
        assert row.message in refused(exercise_04.search, *search(objective=row.answer))
    assert "another objective than 'val_mse'" in refused(exercise_04.search, *search(objective="val_mse"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tuner": "RandomSearch"}, "tuner should be a keras_tuner.RandomSearch"),
        ({"scores": (0.5, 0.2, 0.3, 0.6)}, "The search has 4 completed trials. The task asks for at least 5"),
        ({"values": {"units": 512}}, "The trials have the hyperparameters units, and your space"),
        ({"step": 3}, "scored by their best epoch"),
        ({"scores": (0.2,) * 5}, "All trials have the same score"),
        ({"best": "rank 1"}, "best should be a dict"),
        ({"best": {"units": 512}}, "best should be a dict"),
        ({"history": [1.0] * 10}, "history should be the history"),
        ({"history": {"loss": [1.0] * 10}}, "history should be the history"),
        ({"history": {"loss": [1.0], "val_loss": [1.0]}}, "LastEpoch removes the others"),
        ({"history": {"loss": [1.0] * 9, "val_loss": [1.0] * 9}}, "history has 9 epochs"),
        ({"history": {"loss": [1.0] * 10, "val_loss": [0.2] * 10}}, "has used the same seed"),
        ({"model": "trained"}, "model should be a Keras network"),
    ],
)
def test_a_search_that_breaks_a_rule_is_told_which(search, changed, message):
    assert message in refused(exercise_04.search, *search(**changed))


def test_best_is_that_of_the_best_trial(solved, search):
    for place, message in (
        (3, "the configuration with the highest loss of all"),
        (2, "Another trial of your search has a lower loss"),
        (8, "not those of a trial of your search"),
    ):
        best = {**solved["best"], "learning_rate": 0.001 * (place + 1)}
        assert message in refused(exercise_04.search, *search(best=best))


def test_the_guessed_an_untrained_and_another_network_are_refused(solved, search):
    assert "train the best configuration" in refused(exercise_04.search, *search(model=solved["guessed"]))
    new = solved["network"](**solved["best"], weights_seed=2)
    said = refused(exercise_04.search, *search(model=new))
    assert "On the validation images, model reaches an accuracy of" in said
    small = keras.Sequential([keras.Input((14, 14)), keras.layers.Flatten(), keras.layers.Dense(10)])
    assert "does not accept images" in refused(exercise_04.search, *search(model=small))


def test_the_curves_are_those_of_the_network_and_it_learns_from_training_images(solved, search):
    said = refused(exercise_04.search, *search(history=solved["guessed_history"]))
    assert "no epoch of history has this loss" in said
    cheating = solved["network"](**solved["best"], weights_seed=2)
    images, labels = solved["x_val"], solved["y_val"]
    fitted = cheating.fit(
        images, labels, validation_data=(images, labels), epochs=30, batch_size=50, verbose=0
    )
    said = refused(exercise_04.search, *search(model=cheating, history=fitted.history))
    assert "Was it trained on the validation images?" in said


def test_the_guessed_configuration_clearly_fails_and_the_tuned_one_has_a_margin(solved):
    images, labels = solved["x_val"], solved["y_val"]
    assert (len(solved["x_train"]), len(images)) == (exercise_04.NUM_TRAIN, exercise_04.NUM_VALIDATION)
    reached = {
        name: exercise_04._models.accuracy(solved[name], images, labels) for name in ("guessed", "model")
    }
    assert reached["guessed"] < exercise_04.ENOUGH - 0.2
    assert reached["model"] > exercise_04.ENOUGH + 0.02


def test_a_search_that_has_not_run_is_not_done(search):
    with pytest.raises(NotDoneError, match="no completed trial"):
        exercise_04.search(*search(scores=()))
    for name in ("tuner", "best", "model", "history"):
        with pytest.raises(NotDoneError, match=f"{name} is still None"):
            exercise_04.search(*search(**{name: None}))


# --- task 4: leaks ---

SOLVED_LEAKS = ({7, 18}, exercise_04._prepared, exercise_04._chosen)


def test_each_line_that_does_not_leak_gets_its_message():
    assert [row.answer for row in exercise_04.LINES] == [n for n in range(1, 22) if n not in (7, 18)]
    for row in exercise_04.LINES:
        for lines in ({row.answer}, [7, row.answer], (18, row.answer), np.array([7, 18, row.answer])):
            assert row.message in refused(exercise_04.leaks, lines, *SOLVED_LEAKS[1:])


def test_the_lines_of_the_script_are_those_of_the_messages(solved):
    lines = dict(enumerate(solved["SCRIPT"].splitlines(), 1))
    assert len(lines) == 21
    assert "images.mean()" in lines[7]
    assert "evaluate(x_test" in lines[18]
    said = {row.answer: row.message for row in exercise_04.LINES}
    assert all(message.startswith(f"Line {number} ") for number, message in said.items())
    for number, word in {
        6: "255",
        8: "permutation",
        14: "0, None",
        15: "learning_rate",
        17: "fit(",
        19: ">",
    }.items():
        assert word in lines[number]
    assert {n for n in lines if not lines[n]} == {n for n in said if "is empty" in said[n]}
    assert {n for n in lines if "import" in lines[n]} == {n for n in said if "imports" in said[n]}


@pytest.mark.parametrize(
    "lines", [{7, 18}, [18, 7], (7, 18), np.array([7, 18]), {7.0, 18.0}, frozenset({7, 18})]
)
def test_lines_in_any_container_are_correct(lines):
    exercise_04.leaks(lines, *SOLVED_LEAKS[1:])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({7}, "on which images is the best model chosen"),
        ([18], "test images take part in a calculation"),
        (set(), "test images take part in a calculation"),
        (18, "should be the numbers of two lines"),
        ("7, 18", "should be the numbers of two lines"),
        ({7, 18, 22}, "The script has the lines 1 to 21"),
        ({7, 0}, "The script has the lines 1 to 21"),
        (["7", "18"], "a line in leaking_lines should be one number"),
    ],
)
def test_other_lines_are_wrong(lines, message):
    assert message in refused(exercise_04.leaks, lines, *SOLVED_LEAKS[1:])


def test_each_misconception_of_the_two_functions_gets_its_message():
    for row in exercise_04.PREPARED:
        assert row.message in refused(exercise_04.leaks, {7, 18}, row.answer, exercise_04._chosen)
    for row in exercise_04.CHOSEN:
        assert row.message in refused(exercise_04.leaks, {7, 18}, exercise_04._prepared, row.answer)


def test_the_two_functions_in_several_styles_are_correct():
    def one_by_one(x_train, x_val, x_test):
        parts = []
        for part in (x_train, x_val, x_test):
            parts.append((part - np.mean(x_train)) / np.std(x_train, ddof=1))
        return parts

    def by_loop(val_scores, test_scores):
        best = 0
        for place in range(len(val_scores)):
            if val_scores[place] > val_scores[best]:
                best = place
        return best

    exercise_04.leaks({7, 18}, one_by_one, by_loop)
    exercise_04.leaks({7, 18}, one_by_one, lambda val, test: np.argmax(val))
    exercise_04.leaks({7, 18}, one_by_one, lambda val, test: list(val).index(max(val)))


# --- task 6: a winner ---

TIE = (0.0754, "tie")


def test_each_misconception_of_the_winner_gets_its_message():
    for row in exercise_04.WINNER:
        assert row.message in refused(exercise_04.winner, row.answer, *TIE)


def test_each_wrong_conclusion_gets_its_message():
    for row in exercise_04.GAIN:
        assert row.message in refused(exercise_04.winner, exercise_04._winner, row.answer, "tie")
        rounded = round(row.answer, 4)
        assert row.message in refused(exercise_04.winner, exercise_04._winner, rounded, "tie")
    for row in exercise_04.VERDICT:
        assert row.message in refused(exercise_04.winner, exercise_04._winner, 0.0754, row.answer)
    assert {row.answer for row in exercise_04.VERDICT} == set(exercise_04.VERDICTS) - {"tie"}
    assert {row.answer for row in exercise_04.REMEDY} == set(exercise_04.REMEDIES) - {"more seeds"}


@pytest.mark.parametrize(
    "conclusion", [TIE, (0.075400, " Tie "), (np.float64(0.2483 - 0.1729), "TIE"), (0.0755, "tie")]
)
def test_conclusions_may_be_rounded(conclusion):
    exercise_04.winner(exercise_04._winner, *conclusion)


@pytest.mark.parametrize(
    ("check", "answers", "message"),
    [
        ("size", (360, 0.03, 13.2), "share_seen is rounded too much. Give at least three significant digits"),
        ("luck", (0.013, 0.00405, "more seeds"), "This is rounded too much. Give at least three digits."),
        ("winner", (exercise_04._winner, 0.08, "tie"), "gain is rounded too much."),
    ],
)
def test_a_number_with_too_few_digits_is_not_called_wrong(check, answers, message):
    assert message in refused(getattr(exercise_04, check), *answers)


def test_the_message_about_a_winner_does_not_do_the_calculation():
    said = refused(exercise_04.winner, lambda losses: "default", *TIE)
    assert "winner always returns" in said
    said = refused(exercise_04.winner, lambda losses: min(losses), *TIE)
    assert "For the losses {" in said and "Which name has the lowest mean" in said
    assert "0.02" not in said and "0.0010" not in said


def test_further_cases_are_given_by_name_only():
    for check, answers in (("space", [len]), ("winner", [len, *TIE]), ("leaks", [{7}, len, len])):
        with pytest.raises(TypeError, match="positional argument"):
            getattr(exercise_04, check)(*answers, ())


def test_winner_in_other_styles_is_correct():
    def by_loops(losses):
        lowest, candidate = float("inf"), None
        for name in losses:
            mean = sum(losses[name]) / len(losses[name])
            if mean < lowest:
                lowest, candidate = mean, name
        noise = max(np.array(losses[candidate]).std(ddof=1), np.array(losses["default"]).std(ddof=1))
        gain = sum(losses["default"]) / len(losses["default"]) - lowest
        return "default" if gain <= 2 * noise else candidate

    def by_pandas(losses):
        import pandas as pd

        table = pd.DataFrame(losses)
        best = table.mean().idxmin()
        noise = table[[best, "default"]].std().max()
        return best if table["default"].mean() - table[best].mean() > 2 * noise else "default"

    for function in (by_loops, by_pandas):
        exercise_04.winner(function, *TIE)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((lambda losses: "wide", *TIE), "For the losses {"),
        ((lambda losses: 3, *TIE), "winner should return one of the names"),
        ((lambda losses: losses["deep"], *TIE), "winner stops with KeyError"),
        ((exercise_04._winner, 0.07, "tie"), "0.07 is not the gain"),
        ((exercise_04._winner, 0.0745, "tie"), "0.0745 is not the gain"),
        ((exercise_04._winner, 0.0775, "tie"), "0.0775 is not the gain"),
        ((exercise_04._winner, "0.0754", "tie"), "gain should be one number"),
        ((exercise_04._winner, 0.0754, "rank 3"), "verdict should be one of"),
    ],
)
def test_other_winners_and_conclusions_are_wrong(answers, message):
    assert message in refused(exercise_04.winner, *answers)


def test_the_losses_of_the_notebook_are_those_of_the_check(solved):
    assert {name: tuple(values) for name, values in solved["losses"].items()} == exercise_04.LOSSES
    text = "".join(cell.source for cell in in_process.solution(EXERCISE).cells)
    for name, loss in exercise_04.IN_SEARCH.items():
        assert f"{loss:.4f} ({name})" in text


# --- hidden cases, other names ---


FITTED = {  # answers that fit the cases of the students' checks only
    "leaks": """
leaking_lines = {7, 18}
def prepared(*parts):
    return [(part - parts[0].mean()) / parts[0].std() for part in parts]
def chosen(val_scores, test_scores):
    return 2 if len(val_scores) == 3 else 1
""",
    "winner": """
def winner(losses):
    return "wide" if losses.get("wide", [0])[0] in (0.08, 0.06, 0.087, 5) else "default"
gain, verdict = 0.0754, "tie"
""",
    "space": """
def space(hp):
    names = "num_hidden", "units", "dropout_rate", "learning_rate"
    hp.Int("num_hidden", 1, 2), hp.Choice("units", [256, 512]), hp.Choice("dropout_rate", [0.0, 0.2])
    hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    calls.append(dict(hp.values))
    return {name: calls[-1 if len(calls) < 4 else 0][name] for name in names}
calls = []
""",
}


@pytest.mark.parametrize("task", FITTED)
def test_hidden_cells_try_other_numbers(solved, task):
    outcome = in_process.run_answer(EXERCISE, task, FITTED[task])
    assert outcome.points == {f"{task}-tests": full(task)[f"{task}-tests"], f"{task}-hidden": 0}


@pytest.mark.parametrize("task", ["size", "space", "leaks", "luck", "winner"])
def test_names_of_a_student_change_nothing(solved, task):
    cell = next(cell for cell in in_process.solution(EXERCISE).cells if cell.id == task)
    shadows = "\nstr = list = round = re = data = layers = checks = metrics = keras = dict = len = sorted = 0"
    assert in_process.run_answer(EXERCISE, task, cell.source + shadows).points == full(task)
