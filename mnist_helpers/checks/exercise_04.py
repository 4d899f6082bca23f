"""Checks of exercise 4: search spaces, a random search, leaks, selection bias, winners among noisy losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from mnist_helpers import data, metrics
from mnist_helpers.checks import _core, _models
from mnist_helpers.checks._core import Exercise, NotDoneError, Row, Task, expect

__all__ = ["leaks", "luck", "search", "size", "space", "summary", "winner"]

Losses = Mapping[str, Sequence[float]]

exercise = Exercise(
    "exercise_04",
    Task(
        "size",
        "The size and the cost of a search",
        1,
        hints=(
            "List the values of each hyperparameter first. Each value of one can be combined with each "
            "value of the others.",
            "The share is the number of trials divided by the number of configurations. For the cost, "
            "count how many training runs there are altogether, then how many images pass through the "
            "network in one run, and use the speed last.",
        ),
    ),
    Task(
        "space",
        "Design a search space",
        1,
        2,
        hints=(
            "Section 4 of the lesson shows a function with the argument hp. The function of this task has "
            "the same calls of hp, but it returns a dict instead of a network.",
            "Each value of the dict is a call of hp, and the first argument of the call is the name of "
            "the hyperparameter. For the size of the space, count the values of the first three and "
            "multiply by ten.",
        ),
    ),
    Task(
        "search",
        "Run a random search and train",
        3,
        hints=(
            "Section 5 of the lesson creates a RandomSearch and calls its method `search`. The function "
            "that you pass to RandomSearch gets hp and returns a compiled network.",
            "build_model calls network with the values that space(hp) returns; `**` passes a dict by its "
            "names. For the final training, call network with the best values and weights_seed=2, and "
            "call fit without LastEpoch.",
        ),
    ),
    Task(
        "leaks",
        "Find the leaks",
        1,
        2,
        hints=(
            "Follow the test images through the script: in which lines are they used before the last "
            "line, and does the use influence what is trained or chosen?",
            "One leak computes numbers from all images before they are split. The other one decides which "
            "model is kept. In prepared, the mean and the standard deviation come from one of the three "
            "arrays; in chosen, one of the two lists is not needed.",
        ),
    ),
    Task(
        "luck",
        "An experiment with luck",
        2,
        hints=(
            "Run the cell once as it is. Then change one argument in the call and run it again. The bias "
            "is the distance of the printed number from the true loss, which is 0.1.",
            "For the second number, set num_configurations back to 12 before you change num_seeds. Then "
            "compare both numbers with the bias of the unchanged call.",
        ),
    ),
    Task(
        "winner",
        "A winner among noisy losses",
        2,
        1,
        hints=(
            "Write the three steps one after the other: the candidate, the noise, the decision. `min` "
            "with a `key` finds the name in a dict with the smallest value of a function.",
            "np.mean and np.std work on a list; np.std needs ddof=1 here. For the verdict, apply the same "
            "rule to rank 3 and rank 1, with rank 1 in the place of the default.",
        ),
    ),
    Task("explain", "Explain in a sentence or two", 0, for_teacher=True),
)
summary = exercise.summary


# --- task 1 ---

COUNT: tuple[Row, ...] = (
    Row(
        4 + 3 + 5 + 6,
        "You have added. Each depth can be combined with each width, and so on. How do the numbers of "
        "values combine then?",
    ),
    Row(
        4 * 3 * 4 * 6,
        "One of the ranges has one value too few: count the dropout rates again, from 0.0 in steps of 0.125.",
    ),
    Row(
        3 * 3 * 5 * 6,
        "num_hidden goes from 1 to 4, and both ends belong to it. (Python's range would leave out the last.)",
    ),
    Row(3 * 3 * 4 * 6, "Both ends of a range belong to it: count the depths and the dropout rates again."),
    Row(4 * 3 * 5, "The learning rate is a hyperparameter, too."),
    Row(4 * 5 * 6, "The number of units is a hyperparameter, too."),
    Row(3 * 5 * 6, "The number of hidden layers is a hyperparameter, too."),
    Row(4 * 3 * 6, "The dropout rate is a hyperparameter, too."),
    Row(4, "This is the number of hyperparameters. How many values does each of them have?"),
    Row(12, "This is the number of trials. The question is how many configurations the space contains."),
)

SHARE: tuple[Row, ...] = (
    Row(0.03, "share_seen is rounded too much. Give at least three significant digits, or a division."),
    Row(100 * 12 / 360, "This is in percent. A fraction is asked for: 5 % would be 0.05."),
    Row(360 / 12, "You have divided the other way round: the share of a part is never larger than 1."),
    Row(1 / 360, "This is the share of one trial. The search has more."),
    Row(12, "This is the number of trials. Which share of all configurations is it?"),
    Row(12 / 18, "The space does not contain the sum of the numbers of values: see num_configurations."),
    Row(1 - 12 / 360, "This is the share of the configurations that the search does NOT try."),
)

SECONDS: tuple[Row, ...] = (
    Row(
        12 * 3 * 10_000 / 50_000,
        "The finalists are trained, too, each with every seed. You have left them out.",
    ),
    Row(
        10 * 3 * 10_000 / 50_000,
        "This is the cost of the finalists alone. The trials have to be trained, too.",
    ),
    Row(22 * 10_000 / 50_000, "Each image passes once per EPOCH, and a training run has several of them."),
    Row(
        22 * 3 * 10_000, "This is the number of images, not of seconds. How many of them pass in one second?"
    ),
    Row(22 * 3 * 10_000 * 50_000, "A faster machine needs less time: divide by the images per second."),
    Row(22 * 50_000 / 30_000, "You have divided the speed by the images. A faster machine needs less time."),
    Row(
        120 * 3 * 10_000 / 50_000,
        "You have multiplied the trials by the finalists and the seeds. Only the finalists are trained "
        "again: ADD their training runs.",
    ),
    Row(
        19 * 3 * 10_000 / 50_000,
        "5 finalists with 2 seeds each are not 5 + 2 training runs: every finalist is trained with every seed.",
    ),
    Row(17 * 3 * 10_000 / 50_000, "Each finalist is trained once per seed, so more than once."),
    Row(14 * 3 * 10_000 / 50_000, "Not only one of the finalists is trained again, but each of them."),
    Row(
        34 * 3 * 10_000 / 50_000, "Only the finalists are trained with two seeds; each trial is trained once."
    ),
    Row(22, "This is the number of training runs. How many seconds do they take?"),
    Row(22 * 3 * 10_000 / 50_000 / 60, "This is in minutes. The number of seconds is asked for."),
    Row(
        360 * 3 * 10_000 / 50_000, "This is the cost of a grid search. The random search has 12 trials only."
    ),
    Row(
        370 * 3 * 10_000 / 50_000,
        "A grid search would try all configurations. The random search has 12 trials only.",
    ),
)


@exercise.check
def size(num_configurations: Any, share_seen: Any, search_seconds: Any) -> None:
    """Checks the number of configurations, the share that 12 trials see, and the seconds that the search takes.

    Args:
        num_configurations: the number of configurations of the space.
        share_seen: the share of them that is tried.
        search_seconds: the duration of the search and of the finalists' training runs.
    """
    _core.given(num_configurations=num_configurations, share_seen=share_seen, search_seconds=search_seconds)
    count = _core.number(num_configurations, "num_configurations")
    _core.compare(
        count,
        360,
        COUNT,
        f"{count:g} is not the number of configurations. Count the values of each of the four "
        "hyperparameters; then think about how many combinations there are.",
        rtol=1e-6,
    )
    share = _core.number(share_seen, "share_seen")
    _core.compare(
        share,
        12 / 360,
        SHARE,
        f"{share:g} is not the share. Which part of all configurations do the 12 trials of the search try?",
        rtol=0.011,
    )
    seconds = _core.number(search_seconds, "search_seconds")
    _core.compare(
        seconds,
        13.2,
        SECONDS,
        f"{seconds:g} seconds is not correct. Count the training runs of the trials and of the finalists, then "
        "the images that pass in one training.",
    )


# --- task 2 ---

NAMES = ("num_hidden", "units", "dropout_rate", "learning_rate")
DEFAULT = {"num_hidden": 2, "units": 512, "dropout_rate": 0.2, "learning_rate": 0.001}
_MOST = 400
_DRAWS = (1, 2)


@exercise.check
def space(function: Any, *, seeds: Sequence[int] = ()) -> None:
    """Checks a search space and that the function returns the values that it is given.

    Args:
        function: the student's `space`.
        seeds: seeds with which values are drawn for the function to return. If there are any, the space itself is
            not looked at.
    """
    asked = keras_tuner.HyperParameters()
    _core.returned(function, asked, name="space")
    declared = {hp.name: hp for hp in asked.space}
    if not seeds:
        _check_names(declared)
        _check_learning_rate(declared["learning_rate"])
        _check_size(declared)
    for seed in seeds or _DRAWS:
        drawn = {hp.name: hp.random_sample(seed + place) for place, hp in enumerate(asked.space)}
        asked.values.update(drawn)
        _check_values(_core.returned(function, asked, name="space"), drawn)


def _check_names(declared: Mapping[str, Any]) -> None:
    seed = next((name for name in declared if "seed" in name.lower()), None)
    expect(
        seed is None,
        f"{seed!r} is among the hyperparameters, but the best seed is chance: it does not carry over to "
        "other training runs. The seed is the noise that a gain is compared with. It is nothing to search "
        "for.",
    )
    missing = [name for name in NAMES if name not in declared]
    expect(
        not missing,
        f"hp was not asked for {', '.join(missing)}. A fixed value in the code is not a hyperparameter of "
        "the search, and the names have to be those of the task.",
    )
    extra = [name for name in declared if name not in NAMES]
    expect(not extra, f"The space has four hyperparameters. Yours also declares {', '.join(extra)}.")


def _check_learning_rate(rate: Any) -> None:
    expect(
        isinstance(rate, keras_tuner.engine.hyperparameters.Float),
        "The learning rate should be an hp.Float, which may take any value of a range.",
    )
    expect(
        rate.sampling == "log",
        "The learning rate is drawn on a linear scale, so a search would hardly try small values. On "
        "which scale are all intervals with the same ratio of their ends equally likely?",
    )
    expect(
        rate.step is None,
        "The learning rate has a step. Leave it out: then any value of the range may be drawn.",
    )
    ends = f"between {rate.min_value:g} and {rate.max_value:g}"
    expect(
        rate.min_value <= DEFAULT["learning_rate"] <= rate.max_value,
        f"The default's learning rate, {DEFAULT['learning_rate']:g}, does not lie {ends}.",
    )
    expect(rate.max_value <= 1, f"With learning rates up to {rate.max_value:g} hardly any network learns.")
    expect(
        rate.max_value >= 5 * rate.min_value,
        f"The range {ends} is narrow: its ends differ by less than a factor of five. A search can find "
        "little there that is new.",
    )


_IN_RANGE: dict[str, Callable[[float], bool]] = {
    "num_hidden": lambda value: value >= 0 and value % 1 == 0,
    "units": lambda value: value >= 1 and value % 1 == 0,
    "dropout_rate": lambda value: 0 <= value < 1,
}


def _check_size(declared: Mapping[str, Any]) -> None:
    counts = []
    for name in NAMES[:3]:
        expect(
            getattr(declared[name], "step", 1) is not None,
            f"{name} has no step, so any number of the range may be drawn. Give it a step, so that its "
            "values can be counted.",
        )
        values = list(declared[name].values)
        expect(
            all(isinstance(value, int | float) for value in values),
            f"The values of {name} should be numbers. Received: {_core.short(values)}.",
        )
        expect(
            np.isclose(values, DEFAULT[name]).any(),
            f"{name}: the default, {DEFAULT[name]}, is not among {_core.short(values)}. The task "
            "asks for a space that contains the default configuration.",
        )
        expect(
            all(_IN_RANGE[name](value) for value in values),
            f"With some of the values of {name}, {_core.short(values)}, no network can be built.",
        )
        expect(
            len(set(values)) > 1,
            f"{name} has only one value, so there is nothing that a search could choose.",
        )
        counts.append(len(values))
    total = 10 * int(np.prod(counts))
    expect(
        total <= _MOST,
        f"Your space has {' · '.join(map(str, counts))} · 10 = {total} configurations, more than {_MOST}: "
        f"40 trials would try {40 / total:.1%} of them. Take larger steps, or fewer values.",
    )


def _check_values(answer: Any, drawn: Mapping[str, Any]) -> None:
    expect(
        isinstance(answer, Mapping),
        f"space should return a dict of four values. Received: {_core.short(answer)}.",
    )
    expect(
        answer.keys() == set(NAMES),
        f"The dict that space returns should have the keys {', '.join(NAMES)}. "
        f"Received: {', '.join(map(str, answer))}.",
    )
    other = [name for name in NAMES if not _core.same(answer[name], drawn.get(name), rtol=1e-6)]
    expect(
        not other,
        f"For {', '.join(other)} space does not return the value that hp has drawn. Return what hp says "
        "and no numbers of your own. Otherwise each trial trains the same network.",
    )


# --- task 3 ---

MIN_TRIALS = 5
EPOCHS = 10
ENOUGH = 0.85
NUM_TRAIN, NUM_VALIDATION, SPLIT_SEED = 1000, 400, 1

OBJECTIVES: tuple[Row, ...] = (
    Row(
        "loss",
        "The objective is the loss on the training images. It favours a network that overfits. Which "
        "images are meant for choosing?",
    ),
    Row(
        "accuracy",
        "The objective is the accuracy on the training images. It favours a network that overfits. The "
        "task asks for a loss on images that no network has been trained on.",
    ),
    Row(
        "val_accuracy",
        "The objective is an accuracy, which only counts right and wrong. The task asks for the number "
        "that changes smoothly with the predicted probabilities.",
    ),
)


@exercise.check
def search(tuner: Any, best: Any, model: Any, history: Any) -> None:
    """Checks a finished search, its best configuration, and the network that was trained with it.

    Args:
        tuner: the Keras Tuner after its search.
        best: the hyperparameters of its best trial.
        model: the network that was trained with them.
        history: the history of that training.
    """
    _core.given(tuner=tuner, best=best, model=model, history=history)
    trials = _trials(tuner)
    _check_best(best, trials)
    _models.network(model, "model")
    epochs = _epochs(history)
    wanted = [best["units"]] * int(best["num_hidden"]) + [10]
    widths = [layer.units for layer in _models.all_layers(model) if isinstance(layer, keras.layers.Dense)]
    expect(
        widths == wanted,
        f"The Dense layers of model have {widths} neurons. With the values in best they would have "
        f"{wanted}: train the best configuration.",
    )
    expect(
        not np.isclose(epochs[-1], trials[0].score, rtol=0, atol=1e-9),
        "The final training ends with exactly the loss of the search, so it has used the same seed. Use "
        "another weights_seed, which took no part in the selection.",
    )
    training, (images, labels) = data.load_training(
        "digits", num_train=NUM_TRAIN, num_validation=NUM_VALIDATION, seed=SPLIT_SEED
    )
    reached = _models.accuracy(model, images, labels)
    expect(
        reached >= ENOUGH,
        f"On the validation images, model reaches an accuracy of {reached:.1%}; the task asks for "
        f"{ENOUGH:.0%}. Was it trained for all epochs? If it was, look at the learning rates of the trials "
        "and at the ends of the range in your space.",
    )

    loss = metrics.negative_log_likelihood(labels, _models.probabilities(model, images))
    expect(
        np.isclose(epochs, loss, rtol=0.02).any(),
        f"The validation loss of model is {loss:.4f}, and no epoch of history has this loss. Assign "
        "`model.fit(...).history` to history, in the same cell in which model is trained.",
    )
    expect(
        _models.accuracy(model, *training) >= reached - 0.02,
        "The accuracy of model is higher on the validation images than on the training images. Was it trained on "
        "the validation images? They are for the choice only.",
    )


def _trials(tuner: Any) -> list[Any]:
    """Returns the completed trials of a tuner, the best first."""
    expect(
        isinstance(tuner, keras_tuner.engine.base_tuner.BaseTuner),
        f"tuner should be a keras_tuner.RandomSearch. Received: {_core.short(tuner)}.",
    )
    objective = tuner.oracle.objective.name
    _core.compare(
        objective,
        "val_loss",
        OBJECTIVES,
        f"The task asks for another objective than {objective!r}.",
    )
    trials = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
    if not trials:
        raise NotDoneError("The tuner has no completed trial. Has `tuner.search` run to its end?")
    expect(
        len(trials) >= MIN_TRIALS,
        f"The search has {len(trials)} completed trials. The task asks for at least {MIN_TRIALS}: see max_trials.",
    )
    names = {name for trial in trials for name in trial.hyperparameters.values}
    expect(
        names == set(NAMES),
        f"The trials have the hyperparameters {', '.join(sorted(names)) or 'of no name'}, and your space "
        f"of task 2 has {', '.join(NAMES)}. Does build_model call space(hp)? If it does, the search may be "
        "an old one that was loaded again: overwrite=True begins a new one.",
    )
    expect(
        all(trial.best_step == 0 for trial in trials),
        "The trials are scored by their best epoch, and the lowest of several noisy losses is too low on "
        "average. Which callback of the lesson makes the last epoch count?",
    )
    trials.sort(key=lambda trial: trial.score)
    expect(
        len({trial.score for trial in trials}) > 1,
        "All trials have the same score. Does each trial train the same network?",
    )
    return trials


def _check_best(best: Any, trials: Sequence[Any]) -> None:
    expect(
        isinstance(best, Mapping) and set(NAMES) <= best.keys(),
        f"best should be a dict with the four hyperparameters of one trial. Received: {_core.short(best)}.",
    )
    fitting = [
        place
        for place, trial in enumerate(trials)
        if all(_core.same(best[name], trial.hyperparameters.values[name]) for name in NAMES)
    ]
    expect(fitting, "The values in best are not those of a trial of your search.")
    expect(
        fitting[0] != len(trials) - 1,
        "best is the configuration with the highest loss of all. A lower loss is better.",
    )
    expect(trials[fitting[0]].score == trials[0].score, "Another trial of your search has a lower loss.")


def _epochs(history: Any) -> Sequence[float]:
    """Returns the validation losses of a training."""
    found = history.history if isinstance(history, keras.callbacks.History) else history
    expect(
        isinstance(found, Mapping) and {"loss", "val_loss"} <= found.keys(),
        "history should be the history of the final training with its losses on training and validation "
        f"images: `model.fit(...).history`. Received: {_core.short(history)}.",
    )
    expect(
        len(found["val_loss"]) != 1,
        "history has only one epoch, so there is no curve. LastEpoch removes the others; it is meant for "
        "the trials, and not for the final training.",
    )
    expect(
        len(found["val_loss"]) >= EPOCHS,
        f"history has {len(found['val_loss'])} epochs. The final training should have at least as many as "
        f"a trial, which is {EPOCHS}.",
    )
    return found["val_loss"]


# --- task 4 ---

_SPLIT = "splits the images. No image gets into two parts, so nothing leaks here."
_IMPORT = "imports something and touches no image."
LINES: tuple[Row, ...] = (
    Row(1, f"Line 1 {_IMPORT}"),
    Row(2, f"Line 2 {_IMPORT}"),
    Row(3, f"Line 3 {_IMPORT}"),
    Row(4, "Line 4 is empty."),
    Row(5, "Line 5 loads all images together. That is no leak by itself: they are split later."),
    Row(
        6,
        "Line 6 divides every pixel by the same constant. Each image is treated on its own, so no "
        "information gets from one image into another.",
    ),
    Row(8, "Line 8 draws a random order. It depends on the number of images and not on their pixels."),
    Row(9, "Line 9 shuffles images and labels together. The images themselves do not change."),
    Row(10, f"Line 10 {_SPLIT}"),
    Row(11, f"Line 11 {_SPLIT}"),
    Row(12, f"Line 12 {_SPLIT}"),
    Row(13, "Line 13 is empty."),
    Row(14, "Line 14 only sets two starting values."),
    Row(15, "Line 15 lists three learning rates. They were written down before any image was seen."),
    Row(16, "Line 16 builds a new network with random weights. It touches no image."),
    Row(
        17,
        "Line 17 trains on the training images only. The validation images are used to measure, which is "
        "what they are for.",
    ),
    Row(
        19,
        "Line 19 compares scores, and that is fine. The leak is in the line that determines what is compared.",
    ),
    Row(
        20,
        "Line 20 keeps the best model, and that is fine. The leak is in the line that determines what is compared.",
    ),
    Row(
        21,
        "Line 21 is what the test set is for: one score, at the very end. The problem is what has happened before.",
    ),
)


def _with(center: float, spread: float, *parts: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple((part - center) / spread for part in parts)


def _prepared(x_train: np.ndarray, x_val: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, ...]:
    return _with(x_train.mean(), x_train.std(), x_train, x_val, x_test)


def _by_all_of(*parts: np.ndarray, used: slice) -> tuple[np.ndarray, ...]:
    known = np.concatenate(parts[used])
    return _with(known.mean(), known.std(), *parts)


PREPARED: tuple[Row, ...] = (
    Row(
        lambda *parts: _by_all_of(*parts, used=slice(0, 3)),
        "prepared: the mean and the standard deviation are still those of all images, and the test images "
        "take part in them. That is the leak again.",
    ),
    Row(
        lambda *parts: _by_all_of(*parts, used=slice(0, 2)),
        "prepared: the validation images represent new images, too. They may not take part in the mean "
        "and the standard deviation either.",
    ),
    Row(
        lambda *parts: tuple((part - part.mean()) / part.std() for part in parts),
        "prepared: each part has got its own mean and standard deviation, so the network meets another "
        "scale in each part. All three have to be treated in the same way.",
    ),
    Row(
        lambda *parts: tuple((part - part.mean(axis=0)) / part.std(axis=0) for part in parts),
        "prepared: each pixel position of each part has got its own mean and standard deviation. The task "
        "asks for one mean and one standard deviation.",
    ),
    Row(
        lambda *parts: _with(parts[0].mean(axis=0), parts[0].std(axis=0), *parts),
        "prepared: each pixel position has got its own mean and standard deviation. The task asks for one "
        "mean and one standard deviation of all pixels.",
    ),
    Row(
        lambda *parts: (*_with(parts[0].mean(), parts[0].std(), parts[0]), *parts[1:]),
        "prepared: only the training images are standardised. The network will meet the other images on "
        "another scale.",
    ),
    Row(
        lambda *parts: _with(parts[0].mean(), 1, *parts),
        "prepared: the mean is subtracted, but nothing is divided by the standard deviation.",
    ),
    Row(
        lambda *parts: _with(0, parts[0].std(), *parts),
        "prepared: the images are divided by the standard deviation, but the mean is not subtracted.",
    ),
    Row(
        lambda *parts: _with(parts[0].mean(), parts[0].var(), *parts),
        "prepared: the images are divided by the variance. Which number has the same unit as the pixels?",
    ),
    Row(
        lambda *parts: tuple(part - parts[0].mean() / parts[0].std() for part in parts),
        "prepared: brackets are missing. The subtraction comes first, then the division.",
    ),
    Row(
        lambda *parts: _with(parts[2].mean(), parts[2].std(), *parts),
        "prepared: the mean and the standard deviation come from the test images. They have to come from "
        "images that may influence the training.",
    ),
    Row(lambda *parts: parts, "prepared: the three arrays are returned as they came."),
)


def _chosen(val_scores: Sequence[float], test_scores: Sequence[float]) -> int:
    return int(np.argmax(val_scores))


CHOSEN: tuple[Row, ...] = (
    Row(
        lambda val, test: int(np.argmax(test)),
        "chosen: this is the model with the best TEST score. To choose by it is the leak.",
    ),
    Row(
        lambda val, test: int(np.argmax(np.add(val, test))),
        "chosen: the test scores still take part in the choice.",
    ),
    Row(
        lambda val, test: max(val),
        "chosen: this is the best validation score. The place of the model is asked for.",
    ),
    Row(
        lambda val, test: max(test),
        "chosen: this is a test score. The place of a model is asked for, and the test scores may not decide.",
    ),
    Row(
        lambda val, test: int(np.argmin(val)),
        "chosen: this is the model with the lowest accuracy. A higher one is better.",
    ),
    Row(lambda val, test: int(np.argmax(val)) + 1, "chosen: indices are counted from 0, as in a list."),
    Row(lambda val, test: 0, "chosen: this is always the first model, whatever the scores are."),
    Row(
        lambda val, test: test[int(np.argmax(val))],
        "chosen: this is the test score of the chosen model. Its place is asked for.",
    ),
)


def _parts(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    about = ((12, 100, 20), (7, 120, 30), (8, 160, 10))
    return tuple(rng.normal(center, spread, (count, 28, 28)) for count, center, spread in about)


@exercise.check
def leaks(
    leaking_lines: Any,
    prepared: Any,
    chosen: Any,
    *,
    images: Sequence[tuple] = (),
    scores: Sequence[tuple] = (),
) -> None:
    """Checks which lines of a script leak, and two functions that do without the leaks.

    Args:
        leaking_lines: the numbers of two lines.
        prepared: the student's function that standardises the images.
        chosen: the student's function that chooses a model.
        images: arguments for `prepared`. With these, or with `scores`, the lines are not looked at.
        scores: arguments for `chosen`.
    """
    _core.given(leaking_lines=leaking_lines, prepared=prepared, chosen=chosen)
    if not images and not scores:
        _check_lines(leaking_lines)
    _core.compare_function(
        prepared,
        _prepared,
        PREPARED,
        images or [_parts(1), _parts(2)],
        lambda case, expected, received: (
            "prepared should return three arrays: x_train, x_val and x_test, each minus one mean and "
            f"divided by one standard deviation. Received: {_core.short(received)}."
        ),
        name="prepared",
    )
    _core.compare_function(
        chosen,
        _chosen,
        CHOSEN,
        scores or [([0.91, 0.93, 0.95], [0.97, 0.92, 0.94]), ([0.5, 0.7, 0.6, 0.4], [0.3, 0.3, 0.9, 0.35])],
        lambda case, expected, received: (
            f"chosen({case[0]}, {case[1]}) returns {_core.short(received)}, and this is not the index of "
            "the model that should be chosen. Which of the two lists may decide, and is a high or a low "
            "accuracy better?"
        ),
        name="chosen",
    )


def _check_lines(answer: Any) -> None:
    lines = answer.tolist() if isinstance(answer, np.ndarray) else answer
    expect(
        isinstance(lines, set | frozenset | list | tuple),
        f"leaking_lines should be the numbers of two lines, such as {{1, 2}}. Received: {_core.short(answer)}.",
    )
    found = {_core.number(line, "a line in leaking_lines") for line in lines}
    for row in LINES:
        expect(row.answer not in found, row.message)
    expect(found <= {7, 18}, "The script has the lines 1 to 21.")
    expect(
        7 in found,
        "One leak is missing: a line where test images take part in a calculation, before they are set apart.",
    )
    expect(
        18 in found,
        "One leak is missing: on which images is the best model chosen? A model that was chosen on some "
        "images looks better on them than it is.",
    )


# --- task 5 ---


# What the simulation in the notebook shows: 12 configurations and one seed, 100 and one, 12 and four, 100 and four.
_UNCHANGED, _MORE_CONFIGURATIONS, _MORE_SEEDS, _BOTH = 0.00811, 0.01252, 0.00405, 0.00627

MORE_CONFIGURATIONS: tuple[Row, ...] = (
    *(Row(number, "This is rounded too much. Give at least three digits.") for number in (0.013, 0.01)),
    Row(
        0.1 - _MORE_CONFIGURATIONS,
        "This is the mean of the best scores. By how much does it lie below the true loss?",
    ),
    Row(
        -_MORE_CONFIGURATIONS, "The bias is a positive number here: true loss minus mean of the best scores."
    ),
    Row(_UNCHANGED, "This is the bias of the unchanged call, with 12 configurations."),
    Row(0.1 - _UNCHANGED, "This is what the unchanged call prints, with 12 configurations."),
    Row(_MORE_SEEDS, "This is the bias with more seeds. Here the number of configurations changes."),
    Row(_BOTH, "You have changed both arguments. Here only the number of configurations changes."),
    Row(100 * _MORE_CONFIGURATIONS, "Do not convert the bias to percent: it is a difference of two losses."),
)

MORE_SEEDS: tuple[Row, ...] = (
    Row(
        0.1 - _MORE_SEEDS, "This is the mean of the best scores. By how much does it lie below the true loss?"
    ),
    Row(-_MORE_SEEDS, "The bias is a positive number here: true loss minus mean of the best scores."),
    Row(_UNCHANGED, "This is the bias of the unchanged call, with one seed."),
    Row(0.1 - _UNCHANGED, "This is what the unchanged call prints, with one seed."),
    Row(_MORE_CONFIGURATIONS, "This is the bias with more configurations. Here the number of seeds changes."),
    Row(
        _BOTH,
        "You have changed both arguments: set the number of configurations back, and change only the seeds.",
    ),
    Row(100 * _MORE_SEEDS, "Do not convert the bias to percent: it is a difference of two losses."),
)

REMEDIES = ("more configurations", "more seeds", "neither")
REMEDY: tuple[Row, ...] = (
    Row(
        "more configurations",
        "Compare your first number with the bias of the unchanged call: is the best score closer to the true loss?",
    ),
    Row(
        "neither",
        "One of your two numbers differs from the bias of the unchanged call in the direction that you want.",
    ),
)


@exercise.check
def luck(bias_more_configurations: Any, bias_more_seeds: Any, remedy: Any) -> None:
    """Checks what a student has observed in a simulation of selection bias.

    Args:
        bias_more_configurations: the bias with 100 configurations and one seed.
        bias_more_seeds: the bias with 12 configurations and four seeds.
        remedy: what reduces the bias.
    """
    _core.given(
        bias_more_configurations=bias_more_configurations, bias_more_seeds=bias_more_seeds, remedy=remedy
    )
    for answer, name, right, rows in (
        (bias_more_configurations, "bias_more_configurations", _MORE_CONFIGURATIONS, MORE_CONFIGURATIONS),
        (bias_more_seeds, "bias_more_seeds", _MORE_SEEDS, MORE_SEEDS),
    ):
        bias = _core.number(answer, name)
        _core.compare(
            bias,
            right,
            [Row(row.answer, f"{name}: {row.message}") for row in rows],
            f"{name}: {bias:g} is not the bias. Run the experiment with the arguments that the task names, "
            "and subtract the result from the true loss.",
            rtol=0.02,
        )
    _core.compare(_core.one_of(remedy, "remedy", REMEDIES), "more seeds", REMEDY, "This is another choice.")


# --- task 6 ---

LOSSES: Losses = {
    "default": (0.2454, 0.2489, 0.2507),
    "rank 1": (0.1800, 0.1991, 0.1647),
    "rank 2": (0.1877, 0.1803, 0.1833),
    "rank 3": (0.1693, 0.1788, 0.1707),
}
IN_SEARCH = {"rank 1": 0.1765, "rank 2": 0.1866, "rank 3": 0.1892}


def _std(losses: Sequence[float]) -> float:
    return float(np.std(losses, ddof=1))


def _lowest(losses: Losses, score: Any = np.mean) -> str:
    return min(losses, key=lambda name: score(losses[name]))


def _decision(losses: Losses, candidate: str, noise: float) -> str:
    gain = np.mean(losses["default"]) - np.mean(losses[candidate])
    return candidate if gain > noise else "default"


def _noises(losses: Losses, std: Any = _std) -> tuple[float, float]:
    return std(losses[_lowest(losses)]), std(losses["default"])


def _winner(losses: Losses) -> str:
    return _decision(losses, _lowest(losses), 2 * max(_noises(losses)))


WINNER: tuple[Row, ...] = (
    Row(
        lambda losses: _lowest(losses, min),
        "winner returns the name with the lowest single loss, which may be one lucky seed. Compare the "
        "means over the seeds.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses, min), 2 * max(_noises(losses))),
        "The candidate is the name with the lowest single loss, which may be one lucky seed. Compare the "
        "means over the seeds.",
    ),
    Row(
        lambda losses: _lowest(losses),
        "winner returns the lowest mean, however small the gain is. If the mean is lower by less than "
        "twice the noise, it is a tie, and the default is kept.",
    ),
    Row(
        lambda losses: _lowest(losses, lambda values: -np.mean(values)),
        "winner returns the name with the HIGHEST mean. A lower loss is better.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses, np.median), 2 * max(_noises(losses))),
        "The candidate is the name with the lowest median. The rule asks for the mean.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), max(_noises(losses))),
        "The gain is compared with the noise. The rule asks for more than TWICE the noise.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), 2 * _noises(losses)[1]),
        "The noise is that of the default only. The candidate's losses vary, too. The noise is the LARGER "
        "of the two standard deviations.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), 2 * _noises(losses)[0]),
        "The noise is that of the candidate only. The default's losses vary, too. The noise is the LARGER "
        "of the two standard deviations.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), 2 * min(_noises(losses))),
        "The noise is the smaller of the two standard deviations. The rule asks for the LARGER one.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), sum(_noises(losses))),
        "The noise is the mean of the two standard deviations. The rule asks for the LARGER one.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), 2 * np.hypot(*_noises(losses)) / np.sqrt(2)),
        "The noise is the root mean square of the two standard deviations, as in the lesson. The rule of "
        "this task asks for the LARGER one.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), 2 * sum(_noises(losses))),
        "The noise is the sum of the two standard deviations. The rule asks for the LARGER one.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), 2 * max(map(_std, losses.values()))),
        "The noise is the largest standard deviation of all names. Only the candidate and the default take part.",
    ),
    Row(
        lambda losses: _decision(losses, _lowest(losses), 2 * max(_noises(losses, np.std))),
        "The standard deviation is that of a population. The rule asks for that of a sample, with ddof=1.",
    ),
    Row(
        lambda losses: _decision(
            losses, _lowest(losses), 2 * max(_noises(losses)) / np.sqrt(len(losses["default"]))
        ),
        "The noise is divided by the square root of the number of seeds. The rule asks for the standard "
        "deviation itself.",
    ),
    Row(
        lambda losses: _decision(
            losses, _lowest(losses), 2 * max(_noises(losses, lambda values: np.var(values, ddof=1)))
        ),
        "The noise is a variance. The rule asks for a standard deviation.",
    ),
    Row(lambda losses: "default", "winner always returns 'default'. In one of the cases a candidate wins."),
    Row(
        lambda losses: np.mean(losses[_winner(losses)]),
        "winner returns a mean loss. The name of the configuration is asked for.",
    ),
    Row(
        lambda losses: np.mean(losses[_lowest(losses)]),
        "winner returns the lowest mean loss. The name of a configuration is asked for, and the noise has to take "
        "part.",
    ),
    Row(
        lambda losses: list(losses).index(_winner(losses)),
        "winner returns the index of the configuration. Its name is asked for.",
    ),
    Row(
        lambda losses: list(losses).index(_lowest(losses)),
        "winner returns the index of the lowest mean. A name is asked for, and the noise has to take part.",
    ),
)

WINNER_CASES: tuple[tuple[Losses], ...] = (
    (
        {
            "default": [0.100, 0.104, 0.102],
            "wide": [0.080, 0.082, 0.081],
            "deep": [0.070, 0.120, 0.101],
            "slow": [0.150, 0.300, 0.210],
        },
    ),
    ({"default": [0.100, 0.110, 0.120], "wide": [0.090, 0.099, 0.108]},),
    ({"default": [0.100, 0.101, 0.102], "wide": [0.070, 0.090, 0.110]},),
    ({"wide": [0.070, 0.071, 0.072], "default": [0.080, 0.100, 0.120]},),
    ({"wide": [0.074, 0.075, 0.076], "default": [0.080, 0.100, 0.120]},),
    ({"wide": [0.084, 0.085, 0.086], "default": [0.080, 0.100, 0.120]},),
    ({"default": [10, 14, 12], "wide": [5, 7, 6]},),
    ({"default": [0.100, 0.120], "wide": [0.075, 0.095]},),
    ({"default": [0.100, 0.101, 0.102], "deep": [0.050, 0.051, 0.149], "wide": [0.060, 0.061, 0.062]},),
    ({"default": [0.100, 0.110, 0.105], "wide": [0.087, 0.094, 0.092]},),
    ({"wide": [0.200, 0.210], "default": [0.100, 0.110]},),
)


def _mean(name: str) -> float:
    return float(np.mean(LOSSES[name]))


GAIN: tuple[Row, ...] = (
    Row(0.08, "gain is rounded too much. Give four decimals."),
    Row(
        _mean("default") - IN_SEARCH["rank 1"],
        "You have used the loss of rank 1 in the search. It is the best of many trials, so it is partly "
        "luck. Use the mean of its new losses.",
    ),
    Row(
        _mean("default") - IN_SEARCH["rank 3"],
        "You have used the loss of rank 3 in the search. Use the mean of its new losses.",
    ),
    Row(
        _mean("default") - _mean("rank 1"),
        "This is the gain of rank 1, the winner of the search. Which configuration does the rule select?",
    ),
    Row(
        _mean("default") - _mean("rank 2"),
        "This is the gain of rank 2. Which configuration does the rule select?",
    ),
    Row(
        _mean("rank 3") - _mean("default"),
        "A lower loss is better. The gain is the loss of the default minus the other one, a positive number.",
    ),
    Row(
        _mean("rank 1") - IN_SEARCH["rank 1"],
        "This is what rank 1 loses when it is trained again: its selection bias. The gain is measured "
        "against the default.",
    ),
    Row(
        min(LOSSES["default"]) - min(LOSSES["rank 3"]),
        "These are the lowest single losses, each of one lucky seed. Compare the means over the seeds.",
    ),
    Row(
        _mean("default") - min(LOSSES["rank 1"]),
        "You have used the lowest single loss, which is one lucky seed. Compare the means over the seeds.",
    ),
    Row(
        _mean("default") - min(LOSSES["rank 3"]),
        "You have used the lowest single loss, which is one lucky seed. Compare the means over the seeds.",
    ),
    Row(
        1 - _mean("rank 3") / _mean("default"),
        "This is a gain relative to the default's loss. The difference of the two means is asked for.",
    ),
    Row(_mean("rank 3"), "This is a mean loss. By how much is it lower than the default's?"),
    Row(
        2 * _std(LOSSES["rank 3"]),
        "This is twice the noise, with which the gain is compared. The gain itself is asked for.",
    ),
)

VERDICTS = ("better", "worse", "tie")
VERDICT: tuple[Row, ...] = (
    Row(
        "better",
        "The mean of rank 3 is lower. But how large is the noise, and is the difference more than twice as large?",
    ),
    Row(
        "worse",
        "Compare the means of the new losses: which one is lower? Then compare the difference with the noise.",
    ),
)


@exercise.check
def winner(function: Any, gain: Any, verdict: Any, *, cases: Sequence[tuple[Losses]] = ()) -> None:
    """Checks a function that selects a configuration, and a conclusion from the losses of three seeds.

    Args:
        function: the student's `winner`.
        gain: by how much the selected configuration is better than the default.
        verdict: rank 3 compared with rank 1.
        cases: arguments for the function. If there are any, the conclusion is not looked at.
    """
    _core.compare_function(function, _winner, WINNER, cases or WINNER_CASES, _about_the_winner, name="winner")
    if cases:
        return
    number = _core.number(gain, "gain")
    _core.compare(
        number,
        _mean("default") - _mean("rank 3"),
        GAIN,
        f"{number:g} is not the gain. Which two means of new losses have to be compared?",
        rtol=0.008,
    )
    _core.compare(_core.one_of(verdict, "verdict", VERDICTS), "tie", VERDICT, "This is another choice.")


def _about_the_winner(case: tuple[Losses], expected: str, received: Any) -> str:
    (losses,) = case
    if not isinstance(received, str) or received not in losses:
        return (
            f"winner should return one of the names, {', '.join(losses)}. Received: {_core.short(received)}."
        )
    return (
        f"For the losses {_core.short(losses, 200)}, winner returns {received!r}. Which name has the lowest mean, "
        "and is this mean lower than that of 'default' by more than twice the noise?"
    )
