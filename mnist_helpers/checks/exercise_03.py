"""Checks of exercise 3, "Batch normalisation and dropout"."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from scipy import stats

from mnist_helpers import data, metrics, results
from mnist_helpers.checks._core import (
    AnswerError,
    Exercise,
    Row,
    Task,
    compare,
    compare_function,
    expect,
    given,
    number,
    one_of,
    returned,
    same,
    short,
)
from mnist_helpers.checks._models import all_layers, as_probabilities, network, probabilities

__all__ = [
    "batchnorm",
    "conclusion",
    "count",
    "diagnosis",
    "dropout",
    "exercise",
    "four_training_runs",
    "improve",
    "summary",
]

exercise = Exercise(
    "exercise_03",
    Task(
        "count",
        "What batch normalisation adds",
        1,
        hints=(
            "The layer keeps the same number of values for each of its neurons. Read section 5 of the "
            "lesson: which values does the optimiser change, and which does the layer compute from the "
            "batches?",
            "Per neuron, gamma and beta are learned; a mean and a variance are kept as moving averages. "
            "Multiply by the number of neurons, and for the third question add up both layers and both "
            "kinds.",
        ),
    ),
    Task(
        "dropout",
        "Dropout in NumPy",
        1,
        1,
        (
            "Write down what should happen to an activation of 1 in each mode. In training, the mean over "
            "many activations should still be 1.",
            "If training is False, return the inputs. Otherwise use np.where with keep: the activations "
            "that are kept are divided by the share that is kept, and the others are 0.",
        ),
    ),
    Task(
        "batchnorm",
        "Batch normalisation in NumPy",
        2,
        2,
        (
            "Only one thing differs between the two modes: which mean and which variance the formula uses.",
            "First choose mean and variance with an if: of the batch, along axis 0, if training is True; "
            "the moving averages otherwise. Then write the formula once. The function updated is its "
            "formula in one line.",
        ),
    ),
    Task(
        "improve",
        "Reduce overfitting",
        3,
        1,
        (
            "Look at the curves of the given training: in which epoch is the validation loss lowest, and "
            "what happens afterwards? Each of the three methods is enough on its own.",
            "Copy the code of the given network. Then add a Dropout layer with rate 0.5 after each hidden "
            "layer, or pass an EarlyStopping callback with restore_best_weights=True to fit, or compile "
            "with AdamW and a weight decay of about 2.",
        ),
    ),
    Task(
        "diagnosis",
        "Diagnose four training runs",
        2,
        hints=(
            "For each network, look at three things: the loss in the first epoch, compared with log 10; "
            "the gap between the two losses at the end; and whether the losses are still falling.",
            "One loss begins far above log 10, and another stays at log 10 from the beginning. One network "
            "has a small training loss and a growing gap. In one, both losses are still falling together. "
            "For the two numbers, divide the gradient of the last layer by that of the first.",
        ),
    ),
    Task(
        "conclusion",
        "A conclusion from several seeds",
        1,
        1,
        (
            "metrics.paired_difference(plain, other) returns the mean of the differences, .mean, and the "
            "ends of its 95 % interval, .low and .high. What do the ends tell you about zero?",
            "If both ends are below zero, the loss is lower; if both are above zero, it is higher; if zero "
            "lies between them, a difference is not shown. Compare .high and .low with 0, not with the "
            "mean.",
        ),
    ),
    Task("explain", "Explain in a sentence or two", 0, for_teacher=True),
)
summary = exercise.summary

# --- task 1 ---

LEARNED: tuple[Row, ...] = (
    Row(300, "learned = 300 is one number per neuron. There are two of each kind."),
    Row(1200, "learned = 1200 is all that the layer keeps. How many of these does the optimiser change?"),
    Row(2, "learned = 2 is right for one neuron. Each of the 300 has its own."),
    Row(4, "learned = 4 is what the layer keeps for one neuron, learned or not. Each of the 300 has its "
        "own."),
    Row(0, "learned = 0 is not right. After mean 0 and standard deviation 1, what may the network choose?"),
    Row(784 * 300, "learned = 235200 are the weights of the Dense layer. Batch normalisation "
        "comes after it, and gets its 300 outputs."),
    Row(784 * 300 + 300, "learned = 235500 are the weights of the Dense layer and its biases. "
        "Batch normalisation comes after it, and gets its 300 outputs."),
    Row(300 * 300, "learned = 90000 would connect each neuron with each other one. Batch normalisation treats each "
        "neuron by itself."),
)  # fmt: skip

MOVING: tuple[Row, ...] = (
    Row(300, "moving = 300 is one number per neuron. There are two of each kind."),
    Row(1200, "moving = 1200 is all that the layer keeps. How many of these are computed from the batches?"),
    Row(2, "moving = 2 is right for one neuron. Each of the 300 has its own."),
    Row(4, "moving = 4 is what the layer keeps for one neuron, learned or not. Each of the 300 has its own."),
    Row(0, "moving = 0 is not right. What does the layer need when it predicts the digit of a single image?"),
)

ADDED: tuple[Row, ...] = (
    Row(
        2 * 500,
        "added = 1000 counts one kind only. Keras' count holds the moving averages as well as the learned numbers.",
    ),
    Row(500, "added = 500 is the number of neurons. Each adds more than one number."),
    Row(4 * 300, "added = 1200 belongs to the first of the two layers. Add the other one."),
    Row(2 * 300, "added = 600 is one kind of numbers of the first of the two layers."),
    Row(4 * 200, "added = 800 belongs to the second of the two layers. Add the first one."),
    Row(4 * 510, "added = 2040 includes the ten outputs. No batch normalisation follows the output layer."),
    Row(2 * 510, "added = 1020 includes the ten outputs, and it counts one kind only."),
    Row(8, "added = 8 is the number for one neuron in each of the two layers. Count all neurons."),
    Row(4 * 300 * 200, "added = 240000 multiplies the two layers. Count each layer, then add."),
    Row(4 * (512 + 256), "added = 3072 is right for lesson 3's network. The layers are smaller here."),
)


@exercise.check
def count(learned: Any, moving: Any, added: Any) -> None:
    """Checks the numbers that batch normalisation adds.

    Args:
        learned: how many numbers are learned after 300 neurons.
        moving: how many are moving averages.
        added: how many both layers, of 300 and 200 neurons, have together.
    """
    given(learned=learned, moving=moving, added=added)
    compare(
        number(learned, "learned"),
        600,
        LEARNED,
        f"learned = {short(learned)} is not right. What may the network choose for each neuron, after its "
        "mean was made 0 and its standard deviation 1?",
    )
    compare(
        number(moving, "moving"),
        600,
        MOVING,
        f"moving = {short(moving)} is not right. What must the layer know about each neuron at prediction "
        "time?",
    )
    compare(
        number(added, "added"),
        2000,
        ADDED,
        f"added = {short(added)} is not right. Count the learned numbers and the moving averages of each "
        "layer, then add.",
    )


# --- task 2 ---

_NUMPY_ONLY = ("keras", "tensorflow")  # packages that may not do the work of tasks 2 and 3


class Dropped(NamedTuple):
    """What a function for dropout does to its inputs.

    Attributes:
        zeros: share of the activations that are 0 in training.
        factor: by what the others were multiplied in training; NaN if they differ.
        zeros_later: share of the activations that are 0 at prediction time.
        factor_later: by what the others were multiplied at prediction time; NaN if they differ.
        by_image: whether different activations are 0 for different images.
    """

    zeros: float
    factor: float
    zeros_later: float
    factor_later: float
    by_image: bool


def _keep(inputs: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    return rng.random(inputs.shape) >= rate


def _dropout(inputs: np.ndarray, rate: float, training: bool, rng: np.random.Generator) -> np.ndarray:
    return np.where(_keep(inputs, rate, rng), inputs / (1 - rate), 0) if training else inputs


def _same_for_all_images(inputs, rate, training, rng):  # type: ignore[no-untyped-def]
    return np.where(_keep(inputs[:1], rate, rng), inputs / (1 - rate), 0) if training else inputs


DROPOUT: tuple[Row, ...] = (
    Row(
        lambda inputs, rate, training, rng: inputs,
        "In training nothing was set to zero. keep says which activations are kept.",
    ),
    Row(
        lambda inputs, rate, training, rng: inputs if training else _dropout(inputs, rate, True, rng),
        "The two modes are exchanged: dropout is active in training, and does nothing at prediction time.",
    ),
    Row(
        lambda inputs, rate, training, rng: np.where(_keep(inputs, rate, rng), inputs, 0) if training else inputs,
        "The activations that are kept have not changed, so the mean falls. The next layer would get "
        "smaller inputs in training than at prediction time. By what must you divide?",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), inputs, 0) if training else inputs * (1 - rate)
        ),
        "You scale at prediction time. That is the method of the first paper on dropout; here, as in "
        "Keras, the scaling belongs to the training, and at prediction time the inputs are returned as "
        "they are.",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), inputs * (1 - rate), 0) if training else inputs
        ),
        "The activations that are kept have become smaller. They must make up for the missing ones.",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), inputs * rate, 0) if training else inputs
        ),
        "The activations that are kept have become smaller: you have multiplied by the rate. They must "
        "make up for the missing ones.",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), inputs / rate, 0) if training else inputs
        ),
        "You have divided by the share that is dropped. The mean is kept by the activations that are kept: "
        "what is their share?",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), inputs * (1 + rate), 0) if training else inputs
        ),
        "Multiplying by 1 + rate is close for a small rate, but the mean is not kept. Which factor brings "
        "the share that is kept back to 1?",
    ),
    Row(
        lambda inputs, rate, training, rng: _dropout(inputs, rate, True, rng),
        "At prediction time nothing may be dropped or scaled: the same image must get the same answer each "
        "time. Is training used?",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), 0, inputs / (1 - rate)) if training else inputs
        ),
        "keep is used the wrong way round: the activations that should be kept are 0.",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), 0, inputs / rate) if training else inputs
        ),
        "keep is used the wrong way round: the activations that should be kept are 0. The scale is that of "
        "the wrong ones, too.",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), 0, inputs) if training else inputs
        ),
        "keep is used the wrong way round: the activations that should be kept are 0. And the others have "
        "not changed, so the mean is not kept.",
    ),
    Row(
        lambda inputs, rate, training, rng: (
            np.where(_keep(inputs, rate, rng), 1 / (1 - rate), 0) if training else inputs
        ),
        "The activations that are kept all have the same value. Scale the inputs, not the constant 1.",
    ),
    Row(
        _same_for_all_images,
        "All images lose the same activations. The choice should be made for each image and each activation.",
    ),
)  # fmt: skip


@exercise.check
def dropout(function: Any, *, cases: Sequence[tuple[float, int]] = ((0.2, 3), (0.4, 4))) -> None:
    """Checks dropout in training and at prediction time.

    Args:
        function: the student's function of inputs, rate, training and a random generator.
        cases: rate and the seed of the inputs.
    """
    done = [_dropped(function, *case) for case in cases]
    wanted = [_dropped(_dropout, *case, helpers=True) for case in cases]
    if all(map(_alike, done, wanted)):
        return
    for row in DROPOUT:
        if all(map(_alike, done, [_dropped(row.answer, *case, helpers=True) for case in cases])):
            raise AnswerError(row.message)
    for (rate, _), found in zip(cases, done, strict=True):
        expect(
            found.zeros_later == 0 and np.isclose(found.factor_later, 1),
            "At prediction time, when training is False, the inputs should be returned as they are.",
        )
        expect(
            abs(found.zeros - rate) < 0.02,
            f"With rate {rate}, {found.zeros:.0%} of the activations are 0 in training. The rate is the "
            "probability with which an activation is set to 0.",
        )
        expect(
            np.isclose(found.factor, 1 / (1 - rate), rtol=1e-3),
            f"With rate {rate}, the activations that are kept have a wrong size in training. The mean "
            "should be kept.",
        )
    raise AnswerError("In training, the choice should be made for each image and each activation.")


def _dropped(function: Callable[..., Any], rate: float, seed: int, *, helpers: bool = False) -> Dropped:
    inputs = np.random.default_rng(seed).normal(2, 0.3, size=(200, 500))
    found: list[Any] = []
    for training in (True, False):
        rng = np.random.default_rng(seed + 100)
        out = returned(
            function, inputs, rate, training, rng, name="dropout", helpers=helpers, refused=_NUMPY_ONLY
        )
        expect(
            isinstance(out, np.ndarray | list),
            f"dropout should return a NumPy array. Received: an object of the type {type(out).__name__}.",
        )
        values = np.asarray(out)
        expect(
            values.shape == inputs.shape,
            f"The shape has changed from {inputs.shape} to {values.shape}.",
        )
        kept = values != 0
        factors = (values / inputs)[kept]
        constant = len(factors) > 0 and np.allclose(factors, factors[0], rtol=1e-3)
        found += [float(np.mean(~kept)), float(factors[0]) if constant else np.nan]
        if training:
            by_image = bool((kept != kept[0]).any())
    zeros, factor, zeros_later, factor_later = found
    return Dropped(zeros, factor, zeros_later, factor_later, by_image)


def _alike(first: Dropped, second: Dropped) -> bool:
    return (
        abs(first.zeros - second.zeros) < 0.02
        and abs(first.zeros_later - second.zeros_later) < 0.02
        and same([first.factor, first.factor_later], [second.factor, second.factor_later])
        and first.by_image == second.by_image
    )


# --- task 3 ---

UPDATED: tuple[Row, ...] = (
    Row(
        lambda moving, of_batch, momentum: (1 - momentum) * moving + momentum * of_batch,
        "momentum is the wrong way round in updated. With 0.9, nine tenths of the OLD average are kept.",
    ),
    Row(
        lambda moving, of_batch, momentum: (moving + of_batch) / 2,
        "updated returns the plain mean of old and new. momentum says how much of the old average is kept.",
    ),
    Row(
        lambda moving, of_batch, momentum: momentum * moving + of_batch,
        "updated adds the whole value of the batch. The two factors must add up to 1, or the average would "
        "grow.",
    ),
    Row(
        lambda moving, of_batch, momentum: moving + (1 - momentum) * of_batch,
        "updated keeps the whole old average. The two factors must add up to 1, or the average would grow.",
    ),
    Row(
        lambda moving, of_batch, momentum: momentum * (moving + of_batch),
        "updated multiplies both numbers by momentum. The two factors must add up to 1.",
    ),
    Row(
        lambda moving, of_batch, momentum: of_batch,
        "updated forgets the old average.",
    ),
    Row(
        lambda moving, of_batch, momentum: moving,
        "updated returns the old average: the batch has no influence.",
    ),
)  # fmt: skip


def _updated(moving: Any, of_batch: Any, momentum: float) -> Any:
    return momentum * moving + (1 - momentum) * of_batch


def _normalise(inputs, gamma, beta, moving_mean, moving_variance, epsilon, training):  # type: ignore[no-untyped-def]
    mean, variance = moving_mean, moving_variance
    if training:
        mean, variance = inputs.mean(axis=0), inputs.var(axis=0)
    return gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta


def _with(
    formula: Callable[..., Any], mean_and_variance: Callable[[np.ndarray], tuple] | None = None
) -> Callable[..., Any]:
    """Returns a wrong `normalise`: with another formula, or with another mean and variance of a batch."""

    def normalise(inputs, gamma, beta, moving_mean, moving_variance, epsilon, training):  # type: ignore[no-untyped-def]
        mean, variance = moving_mean, moving_variance
        if training:
            mean, variance = (mean_and_variance or _of_batch)(inputs)
        return formula(inputs, gamma, beta, mean, variance, epsilon)

    return normalise


def _of_batch(inputs: np.ndarray) -> tuple[Any, Any]:
    return inputs.mean(axis=0), inputs.var(axis=0)


def _formula(inputs, gamma, beta, mean, variance, epsilon):  # type: ignore[no-untyped-def]
    return gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta


NORMALISE: tuple[Row, ...] = (
    Row(
        lambda inputs, gamma, beta, mean, variance, epsilon, training: _formula(
            inputs, gamma, beta, *_of_batch(inputs), epsilon
        ),
        "At prediction time you use the mean and the variance of the images that came in. Of one image the "
        "mean is the image itself, so nothing is left but beta. Use the moving averages.",
    ),
    Row(
        lambda inputs, gamma, beta, mean, variance, epsilon, training: _formula(
            inputs, gamma, beta, mean, variance, epsilon
        ),
        "You use the moving averages in training, too. There the mean and the variance of the batch are "
        "used.",
    ),
    Row(
        lambda inputs, gamma, beta, mean, variance, epsilon, training: _normalise(
            inputs, gamma, beta, mean, variance, epsilon, not training
        ),
        "The two modes are exchanged: the statistics of the batch belong to training=True.",
    ),
    Row(
        _with(
            _formula,
            lambda inputs: (inputs.mean(axis=1, keepdims=True), inputs.var(axis=1, keepdims=True)),
        ),
        "Each image (row) now has mean 0 in training. Batch normalisation looks at one neuron (column) "
        "over all images of the batch: along which axis?",
    ),
    Row(
        _with(_formula, lambda inputs: (inputs.mean(), inputs.var())),
        "All numbers together have mean 0 in training, but each neuron should have it by itself. Give mean "
        "and variance an axis.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * (x - mean) / (var + eps) + beta),
        "You have divided by the variance. Which number of the same batch has the unit of the inputs?",
    ),
    Row(
        lambda x, gamma, beta, mean, var, eps, training: (
            _normalise(x, gamma, beta, mean, var, eps, True)
            if training
            else gamma * (x - mean) / (var + eps) + beta
        ),
        "You have divided by the moving variance at prediction time. Read the formula again.",
    ),
    Row(
        lambda x, gamma, beta, mean, var, eps, training: (
            _normalise(x, gamma, beta, mean, var, eps, True) if training else gamma * (x - mean) / var + beta
        ),
        "You have divided by the moving variance at prediction time, and epsilon is missing.",
    ),
    Row(
        lambda x, gamma, beta, mean, var, eps, training: (
            _normalise(x, gamma, beta, mean, var, eps, True) if training else (x - mean) / np.sqrt(var + eps)
        ),
        "gamma and beta are missing at prediction time. They belong to the layer in both modes.",
    ),
    Row(
        lambda x, gamma, beta, mean, var, eps, training: (
            _normalise(x, gamma, beta, mean, var, eps, True) if training else x
        ),
        "At prediction time you return the inputs. That is right for dropout; batch normalisation uses the "
        "moving averages.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * (x - mean) / var + beta),
        "You have divided by the variance, and epsilon is missing. Read the formula again.",
    ),
    Row(
        _with(_formula, lambda inputs: (inputs.mean(axis=0), inputs.var(axis=0, ddof=1))),
        "This is the variance divided by n - 1 (ddof=1). Batch normalisation divides by n, the number of "
        "images.",
    ),
    Row(
        _with(_formula, lambda inputs: (inputs.mean(axis=0), inputs.std(axis=0))),
        "You have taken the root twice: in training, variance is already a standard deviation.",
    ),
    Row(
        _with(
            lambda x, gamma, beta, mean, var, eps: gamma * ((x - mean) / np.sqrt(var + eps) + beta)
        ),
        "This is right only if gamma is 1 or beta is 0: multiply by gamma AFTER the division, then add "
        "beta.",
    ),
    Row(
        _with(
            lambda x, gamma, beta, mean, var, eps: gamma * (x - mean) / (np.sqrt(var) + eps) + beta
        ),
        "This is nearly right as long as epsilon is tiny. Add epsilon to the variance, INSIDE the root.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * (x - mean) / np.sqrt(var) + beta),
        "epsilon is missing. A neuron with the same value for all images would give 0/0.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: (x - mean) / np.sqrt(var + eps)),
        "gamma and beta are missing: the network should be able to choose another standard deviation and "
        "mean.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * (x - mean) / np.sqrt(var + eps)),
        "beta is missing: the network should be able to choose another mean.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: (x - mean) / np.sqrt(var + eps) + beta),
        "gamma is missing: the network should be able to choose another standard deviation.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: beta * (x - mean) / np.sqrt(var + eps) + gamma),
        "gamma and beta are exchanged: gamma multiplies, beta is added.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * (mean - x) / np.sqrt(var + eps) + beta),
        "The sign is wrong: subtract the mean from the input.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * x / np.sqrt(var + eps) + beta),
        "The mean is not subtracted.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * x - mean / np.sqrt(var + eps) + beta),
        "Brackets are missing: the whole difference of input and mean is divided.",
    ),
    Row(
        _with(lambda x, gamma, beta, mean, var, eps: gamma * (x - mean) * np.sqrt(var + eps) + beta),
        "You have multiplied by the standard deviation. What makes a wide distribution narrower?",
    ),
)  # fmt: skip


@exercise.check
def batchnorm(
    updated: Any,
    normalise: Any,
    *,
    updates: Sequence[tuple] = ((10.0, 20.0, 0.9), (np.array([1.0, -2.0]), np.array([3.0, 0.5]), 0.75)),
    batches: Sequence[tuple[int, int, float, int]] = ((8, 3, 0.001, 4), (6, 4, 0.5, 5)),
) -> None:
    """Checks batch normalisation in both modes, and the update of a moving average.

    Args:
        updated: the student's function for the moving average after a batch.
        normalise: the student's function for the output of the layer.
        updates: cases for `updated`.
        batches: cases for `normalise`: number of images, number of neurons, epsilon and a seed for the numbers.
    """
    given(updated=updated, normalise=normalise)
    compare_function(
        _without_keras(updated, "updated"),
        _updated,
        UPDATED,
        updates,
        lambda case, expected, received: (
            f"For an old average of {_text(case[0])}, a batch with {_text(case[1])} and momentum {case[2]}, "
            f"updated returns {short(received)}. Use the formula of the moving average."
        ),
        name="updated",
        helpers=True,
    )
    cases = [case for batch in batches for case in _batch_cases(*batch)]
    with np.errstate(all="ignore"):  # without epsilon, a neuron with the same value for all images gives 0/0
        compare_function(
            _without_keras(normalise, "normalise"),
            _normalise,
            NORMALISE,
            cases,
            _wrong_numbers,
            name="normalise",
            helpers=True,
        )


def _without_keras(function: Any, name: str) -> Callable[..., Any]:
    """Returns a function that calls the student's, and refuses Keras and the course's helpers in it."""
    return lambda *case: returned(function, *case, name=name, refused=_NUMPY_ONLY)


def _batch_cases(num_images: int, num_neurons: int, epsilon: float, seed: int) -> list[tuple]:
    """The same layer in training, and at prediction time with several images and with one."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(
        rng.normal(0, 5, num_neurons), rng.uniform(0.5, 9, num_neurons), (num_images, num_neurons)
    )
    inputs[:, -1] = 1.5  # a neuron with the same value for all images
    gamma, beta = rng.uniform(0.5, 2, num_neurons), rng.normal(0, 2, num_neurons)
    averages = rng.normal(0, 5, num_neurons), rng.uniform(2, 9, num_neurons)
    return [
        (images, gamma, beta, *averages, epsilon, training)
        for images, training in ((inputs, True), (inputs, False), (inputs[:1], False))
    ]


def _text(value: Any) -> str:
    return str(np.asarray(value).round(3).tolist())


def _wrong_numbers(case: tuple, expected: np.ndarray, received: Any) -> str:
    inputs, training = case[0], case[-1]
    found = np.asarray(received)
    if found.shape != expected.shape:
        return f"normalise should return the shape of the inputs, {expected.shape}. Received: {found.shape}."
    num_images = "one image" if len(inputs) == 1 else f"{len(inputs)} images"
    where = "in training" if training else "at prediction time"
    right = [place for place in range(expected.shape[1]) if same(found[:, place], expected[:, place])]
    if right == [expected.shape[1] - 1] or len(right) == expected.shape[1] - 1:
        return (
            f"With training={training} and {num_images}, some neurons are right and others are not. Does "
            "the function treat each neuron with its own mean, variance, gamma and beta?"
        )
    return f"With training={training} and {num_images}, the numbers are wrong. Which mean is used {where}?"


# --- task 4 ---

NUM_FEW = 300
MAX_VAL_LOSS = 1.0
MAX_OTHER_LOSS = 1.1  # on other images, so that what passes in the notebook passes when it is graded
SAME_LOSS = 1e-3  # relative difference; another training may come close to a loss in some epoch
MAX_RATIO, MAX_MORE = 1.5, 0.3  # of the loss on the given training images, compared with that in the history


class Trained(NamedTuple):
    """What is known about a student's network.

    Attributes:
        loss: its cross-entropy on the validation images.
        train_loss: its cross-entropy on the training images, in inference mode.
        accuracy: its accuracy on the validation images.
        lowest: the lowest validation loss of all epochs of its training.
        methods: which methods against overfitting were found.
        limit: what the loss may be.
    """

    loss: float
    train_loss: float
    accuracy: float
    lowest: float
    methods: tuple[str, ...]
    limit: float


IMPROVE: tuple[Row, ...] = (
    Row(
        lambda seen: seen.loss > seen.limit and seen.accuracy < 0.3,
        "Your network classifies validation images hardly better than chance. Has it been trained with "
        "fit, and is it still learning with your changes?",
    ),
    Row(
        lambda seen: seen.loss > seen.limit and seen.train_loss > seen.limit,
        "Your network no longer fits even its training images: it underfits. Is the method too strong, or "
        "are there too few epochs?",
    ),
    Row(
        lambda seen: (
            seen.loss > seen.limit and "early stopping" in seen.methods and seen.lowest <= MAX_VAL_LOSS
        ),
        "The best epoch of your training was good enough, but model does not have its weights. What does "
        "EarlyStopping do with the best weights?",
    ),
    Row(
        lambda seen: seen.loss > seen.limit and not seen.methods,
        "Your network still overfits, and no method against overfitting was found in it or in its training.",
    ),
    Row(
        lambda seen: seen.loss > seen.limit,
        "Your network still overfits. Make your method stronger, or combine it with another one.",
    ),
    Row(
        lambda seen: not seen.methods,
        "The loss is low enough, but the task asks for one of three methods, and none was found: no "
        "Dropout layer, no weight decay, and no EarlyStopping that had an effect.",
    ),
)


@exercise.check
def improve(model: Any, history: Any, *, images: Any = None, labels: Any = None) -> None:
    """Checks a network whose overfitting was reduced; nothing is trained here.

    Args:
        model: the student's trained network.
        history: what its `fit` returned, or the `history` of this.
        images: other images than the validation images of the task, for which the limit is more generous.
        labels: their labels.
    """
    given(model=model, history=history)
    network(model, "model")
    curves = _curves(history)
    (x_few, y_few), (x_val, y_val) = few_digits()
    limit = MAX_VAL_LOSS if images is None else MAX_OTHER_LOSS
    if images is None:
        images, labels = x_val, y_val
    answers = probabilities(model, images)
    seen = Trained(
        metrics.negative_log_likelihood(labels, answers),
        metrics.negative_log_likelihood(y_few, probabilities(model, x_few)),
        float(np.mean(answers.argmax(axis=1) == labels)),
        float(np.nanmin(curves["val_loss"])),
        _methods(model, curves),
        limit,
    )
    for row in IMPROVE:
        if row.answer(seen):
            raise AnswerError(
                f"{row.message} (Loss {seen.loss:.3f}; at most {limit} is asked for. Accuracy "
                f"{seen.accuracy:.1%}.)"
            )
    _check_history(model, curves)


def _check_history(model: keras.Model, curves: Mapping[str, Sequence[float]]) -> None:
    """Checks that a training has made a network, and that it was a training with the images of the task."""
    (x_few, y_few), (x_val, y_val) = few_digits()
    penalty = float(sum(map(float, model.losses)))  # of kernel_regularizer; Keras adds it to all losses
    loss = metrics.negative_log_likelihood(y_val, probabilities(model, x_val)) + penalty
    losses = np.asarray(curves["val_loss"], dtype=float)
    fitting = np.flatnonzero(np.isclose(losses, loss, rtol=SAME_LOSS, atol=0))
    expect(
        len(fitting),
        f"The loss of model on the validation images is {loss:.3f}, and no epoch of history has this loss. Assign "
        "to history what fit has returned when it trained model, with the validation images of the task.",
    )
    as_in_training = _loss_in_training(model, x_few, y_few) + penalty
    in_history = max(curves["loss"][int(epoch)] for epoch in fitting)
    expect(
        as_in_training <= MAX_RATIO * in_history + MAX_MORE,
        f"In history the training loss is {in_history:.3f}, but the loss of model on x_few and y_few is "
        f"{as_in_training:.3f}. Was model trained with other images, or with other labels?",
    )


def _loss_in_training(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the cross-entropy of a network in training mode, in batches of 32; its averages stay as they are."""
    weights = model.get_weights()
    batches = [images[start : start + 32].astype("float32") for start in range(0, len(images), 32)]
    values = np.concatenate([np.asarray(model(batch, training=True)) for batch in batches])
    model.set_weights(weights)
    return metrics.negative_log_likelihood(labels, as_probabilities(values))


@functools.cache
def few_digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Returns the training images of task 4 with their partly wrong labels, and the validation images.

    The notebook makes them with the same lines.
    """
    (x_train, y_train), validation = data.load_training("digits", seed=1)
    rng = np.random.default_rng(1)
    labels = y_train[:NUM_FEW].copy()
    changed = rng.random(NUM_FEW) < 0.3
    labels[changed] = rng.integers(0, 10, changed.sum())
    return (x_train[:NUM_FEW], labels), validation


def _curves(history: Any) -> Mapping[str, Sequence[float]]:
    curves = getattr(history, "history", history)
    expect(
        isinstance(curves, Mapping) and len(curves.get("loss", ())) > 0,
        f"history should be what fit returns, or its .history. Received: {short(history)}.",
    )
    expect(
        len(curves.get("val_loss", ())) > 0,
        "history has no val_loss: give fit the validation images, as in the given training, so that both "
        "curves can be drawn.",
    )
    return curves


def _methods(model: keras.Model, curves: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Returns the methods against overfitting that a network or its training shows."""
    found = []
    for layer in all_layers(model):
        if "Dropout" in type(layer).__name__ and getattr(layer, "rate", None):
            found.append("dropout")
        if getattr(layer, "kernel_regularizer", None) is not None:
            found.append("weight decay")
    if getattr(getattr(model, "optimizer", None), "weight_decay", None):
        found.append("weight decay")
    if _stopped_early(model, curves):
        found.append("early stopping")
    return tuple(dict.fromkeys(found))


def _stopped_early(model: keras.Model, curves: Mapping[str, Sequence[float]]) -> bool:
    """Whether a training ended before its last epoch, or the weights are not those of the last epoch."""
    last = getattr(model, "history", None)
    planned = (getattr(last, "params", None) or {}).get("epochs", 0)
    if len(curves["loss"]) < planned:
        return True
    _, (x_val, y_val) = few_digits()
    loss = metrics.negative_log_likelihood(y_val, probabilities(model, x_val))
    losses = np.asarray(curves["val_loss"])
    return bool(losses.argmin() < len(losses) - 1 and abs(loss - losses.min()) < 0.2 * abs(loss - losses[-1]))


# --- task 5 ---

PROBLEMS = {
    "A": "overfitting",
    "B": "vanishing gradients",
    "C": "stopped too soon",
    "D": "learning rate too high",
}


def four_training_runs() -> dict[str, dict[str, list[float]]]:
    """Returns the histories of the four training runs of task 5, by their letters."""
    records = results.reference_records(".", "03_batchnorm_dropout")
    experiments = next(record["experiments"] for record in records if record["params"]["seed"] == 7)
    too_high = results.reference_records("curves", "02_baseline")[3]
    return {
        "A": experiments["wide"]["no dropout"],
        "B": experiments["deep"]["plain"],
        "C": {name: values[:4] for name, values in experiments["wide"]["dropout 0.5"].items()},
        "D": too_high["models"]["baseline"]["history"],
    }


PROBLEM: tuple[Row, ...] = (
    Row(
        ("A", "vanishing gradients"),
        "A learns its training images very well, so its gradients are large enough.",
    ),
    Row(
        ("A", "learning rate too high"),
        "A's training loss begins below log 10 and goes nearly to 0. Steps that are too large would "
        "prevent this.",
    ),
    Row(
        ("A", "stopped too soon"),
        "A's validation loss no longer falls in the last epochs. What would more epochs change, and for "
        "which of the two losses?",
    ),
    Row(
        ("B", "overfitting"),
        "B has not even learned its training images: both losses are equally high. A network that overfits "
        "is good at least on the training images.",
    ),
    Row(
        ("B", "learning rate too high"),
        "B's loss is flat at log 10, which alone does not tell the cause. But B has the learning rate of A "
        "and C, and these two learn. Which measurement of yours belongs to B?",
    ),
    Row(
        ("B", "stopped too soon"),
        "B's loss has not fallen in any epoch, so it is not on its way. Which measurement of yours belongs "
        "to B?",
    ),
    Row(
        ("C", "overfitting"),
        "C has no gap: its validation loss is as low as its training loss.",
    ),
    Row(
        ("C", "vanishing gradients"),
        "C's loss falls from the first epoch on, so its weights do change.",
    ),
    Row(
        ("C", "learning rate too high"),
        "C's loss begins below log 10 and falls smoothly. Steps that are too large show as a loss that "
        "jumps.",
    ),
    Row(
        ("D", "overfitting"),
        "D has not learned its training images: both losses are high at the end.",
    ),
    Row(
        ("D", "vanishing gradients"),
        "D ends at log 10, but look at its first epoch: the loss was far above. Tiny gradients hardly "
        "change the weights, so they cannot make a network worse than chance.",
    ),
    Row(
        ("D", "stopped too soon"),
        "D's loss is flat for many epochs, so it is not on its way. Look at its first epoch.",
    ),
)

CURES = (
    "dropout",
    "ReLU with He initialisation",
    "more epochs",
    "a lower learning rate",
    "more layers",
)

CURE: tuple[Row, ...] = (
    Row(
        "dropout",
        "Dropout reduces overfitting. B has not even learned its training images.",
    ),
    Row(
        "more epochs",
        "In more epochs B would make more of the same tiny steps. What did you measure?",
    ),
    Row(
        "a lower learning rate",
        "A lower learning rate makes the steps even smaller, and with B's learning rate A and C do learn.",
    ),
    Row(
        "more layers",
        "Each further layer multiplies the gradient by another small slope.",
    ),
)

SIGMOID = 1.5e8  # from 1.2e8 to 2.1e8 for five seeds
RELU = 3.5  # from 1.9 to 5.3

RATIO_SIGMOID: tuple[Row, ...] = (
    Row(
        1 / SIGMOID,
        "ratio_sigmoid is less than 1: you have divided the first by the last. The last layer has the "
        "larger gradient.",
    ),
    Row(
        np.log10(SIGMOID),
        "ratio_sigmoid is an exponent only. Enter the number itself, such as 3.1e4 for 31,000.",
    ),
    Row(
        4.0**12,
        "ratio_sigmoid is what twelve slopes of at most 0.25 give at least. Enter what you have measured.",
    ),
)

RATIO_RELU: tuple[Row, ...] = (
    Row(
        1 / RELU,
        "ratio_relu is less than 1: you have divided the gradient of the first layer by that of the last.",
    ),
    Row(
        SIGMOID,
        "ratio_relu is the number of the sigmoid network. Change activation and initializer, and run the "
        "cell again.",
    ),
)


@exercise.check
def diagnosis(problem: Any, first_cure: Any, ratio_sigmoid: Any, ratio_relu: Any) -> None:
    """Checks the diagnosis of four training runs and two measurements.

    Args:
        problem: letter of the network -> its problem.
        first_cure: what should be tried first for network B.
        ratio_sigmoid: gradient of the last layer divided by that of the first, for the sigmoid network.
        ratio_relu: the same for ReLU with He initialisation.
    """
    expect(
        isinstance(problem, Mapping) and set(PROBLEMS) <= set(problem),
        f"problem should be a dictionary with the letters A to D. Received: {short(problem)}.",
    )
    given(
        ratio_sigmoid=ratio_sigmoid,
        ratio_relu=ratio_relu,
        **{f'problem["{letter}"]': problem[letter] for letter in PROBLEMS},
        first_cure=first_cure,
    )
    _compare_size(ratio_sigmoid, "ratio_sigmoid", SIGMOID, RATIO_SIGMOID)
    _compare_size(ratio_relu, "ratio_relu", RELU, RATIO_RELU)
    for letter, right in PROBLEMS.items():
        chosen = one_of(problem[letter], f'problem["{letter}"]', sorted(PROBLEMS.values()))
        compare((letter, chosen), (letter, right), PROBLEM, "")
    compare(one_of(first_cure, "first_cure", CURES), CURES[1], CURE, "")


def _compare_size(answer: Any, name: str, right: float, rows: Sequence[Row]) -> None:
    """Compares a measured ratio, which depends a little on the machine, with others by its size."""
    value = number(answer, name)
    if _near(value, right):
        return
    for row in rows:
        if _near(value, row.answer):
            raise AnswerError(row.message)
    raise AnswerError(
        f"{name} = {short(answer)} is not what the experiment gives. Enter the gradient of the last layer "
        "divided by that of the first."
    )


def _near(value: float, right: float) -> bool:
    return value * right > 0 and 1 / 2 < value / right < 2


# --- task 6 ---


# Differences that are positive for all seeds but not shown; that are shown but not for all seeds; that are shown
# although the seeds themselves change more; and whose mean is nearly as large as their standard deviation.
_MORE_CASES: tuple[tuple[Sequence[float], Sequence[float]], ...] = (
    ([0.20, 0.22, 0.19, 0.21], [0.21, 0.27, 0.21, 0.27]),
    ([0.130, 0.120, 0.098, 0.130, 0.125, 0.120], [0.100, 0.101, 0.100, 0.099, 0.100, 0.100]),
    ([0.200, 0.310, 0.250, 0.360], [0.212, 0.320, 0.261, 0.373]),
    ([0.140, 0.180, 0.150, 0.170, 0.160, 0.190], [0.146, 0.177, 0.160, 0.174, 0.161, 0.203]),
)
VERDICTS = ("lower", "higher", "not shown")


def _conclude(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, _, _, low, high = metrics.paired_difference(plain, other)
    return mean, _verdict(low, high)


def _verdict(low: float, high: float) -> str:
    if high < 0:
        return "lower"
    return "higher" if low > 0 else "not shown"


def _by_sign(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean = float(np.mean(other) - np.mean(plain))
    return mean, "lower" if mean < 0 else "higher"


def _other_way_round(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    return _conclude(other, plain)


def _sign_of_verdict_only(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, verdict = _conclude(plain, other)
    return mean, {"lower": "higher", "higher": "lower"}.get(verdict, verdict)


def _sign_of_mean_only(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, verdict = _conclude(plain, other)
    return -mean, verdict


def _unpaired(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    first, second = metrics.mean_interval(plain), metrics.mean_interval(other)
    return second.mean - first.mean, _verdict(second.low - first.high, second.high - first.low)


def _as_two_samples(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    low, high = stats.ttest_ind(other, plain).confidence_interval()
    return float(np.mean(other) - np.mean(plain)), _verdict(low, high)


def _by_z(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, sd, *_ = metrics.paired_difference(plain, other)
    half = 1.96 * sd / len(plain) ** 0.5
    return mean, _verdict(mean - half, mean + half)


def _by_sd(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, sd, *_ = metrics.paired_difference(plain, other)
    return mean, _verdict(mean - sd, mean + sd)


def _best_seed(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    return float(np.min(other) - np.min(plain)), _conclude(plain, other)[1]


def _mean_of_other(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    return float(np.mean(other)), _conclude(plain, other)[1]


def _lower_forgotten(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, verdict = _conclude(plain, other)
    return mean, verdict if verdict == "higher" else "not shown"


def _higher_forgotten(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, verdict = _conclude(plain, other)
    return mean, verdict if verdict == "lower" else "not shown"


def _one_end(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, _, _, low, high = metrics.paired_difference(plain, other)
    return mean, "lower" if low < 0 else "higher" if high > 0 else "not shown"


def _one_end_first_higher(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    mean, _, _, low, high = metrics.paired_difference(plain, other)
    return mean, "higher" if high > 0 else "lower" if low < 0 else "not shown"


def _never_shown(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    return _conclude(plain, other)[0], "not shown"


def _median(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    return float(np.median(np.subtract(other, plain))), _conclude(plain, other)[1]


def _all_seeds(plain: Sequence[float], other: Sequence[float]) -> tuple[float, str]:
    differences = np.subtract(other, plain)
    return float(differences.mean()), _verdict(float(differences.min()), float(differences.max()))


CONCLUSION: tuple[Row, ...] = (
    Row(_by_sign, "You claim more than the numbers show: you decide by the sign of the mean. Other seeds "
        "could "
        "give another sign. What does the interval say?"),
    Row(_other_way_round, "You have exchanged the two networks: the difference is other minus plain."),
    Row(_sign_of_mean_only, "The mean has the wrong sign: the difference is other minus plain."),
    Row(_sign_of_verdict_only, "The verdicts \"lower\" and \"higher\" are exchanged. On which side of "
        "zero is the "
        "whole interval?"),
    Row(_one_end, "You compare the wrong end of the interval with zero. The whole interval should be on "
        "one side."),
    Row(_one_end_first_higher, "You compare the wrong end of the interval with zero. The whole interval "
        "should be on "
        "one side."),
    Row(_unpaired, "You compare the intervals of the two networks. Both were trained with the same seeds, "
        "so take the "
        "difference for each seed first."),
    Row(_as_two_samples, "You compare the two networks as if they had been trained with different seeds. Take "
        "the difference for each seed first."),
    Row(_by_z, "Your interval is too narrow: 1.96 standard errors are right for many seeds. For so few, the "
        "t distribution gives a larger factor; metrics.paired_difference uses it."),
    Row(_by_sd, "You use the standard deviation of the differences. It says how far single seeds are "
        "apart, and not "
        "how well the mean is known."),
    Row(_all_seeds, "You ask whether all seeds agree. Use the interval of the mean."),
    Row(_best_seed, "You report the difference of the best seeds. The best of several is partly luck; the "
        "mean is "
        "not."),
    Row(_mean_of_other, "You return the mean loss of the network itself. The mean of the differences from "
        "plain was "
        "asked for."),
    Row(_median, "You return the median of the differences. The mean was asked for."),
    Row(_lower_forgotten, "Your function never returns \"lower\", even if the whole interval is below zero."),
    Row(_higher_forgotten, "Your function never returns \"higher\", even if the whole interval is above "
        "zero."),
    Row(_never_shown, "Your verdict is always the same. When is a difference shown?"),
)  # fmt: skip


@exercise.check
def conclusion(function: Any, *, cases: Sequence[tuple[Sequence[float], Sequence[float]]] = ()) -> None:
    """Checks the mean difference of two networks and the verdict; the course's helpers may be used.

    Args:
        function: the student's function of the losses of two networks.
        cases: the losses of plain and of another network, one for each seed; empty for those of the exercise.
    """
    cases = cases or tuple(_visible_cases())
    answers = iter([_pair(returned(function, *case, name="conclude", helpers=True)) for case in cases])
    compare_function(
        lambda *case: next(answers),
        _rounded(_conclude),
        [Row(_rounded(row.answer), row.message) for row in CONCLUSION],
        cases,
        lambda case, expected, received: (
            f'For {len(case[0])} seeds, conclude returns {received[0]:.4f} and "{received[1]}". '
            + (
                "The mean of the differences is right, but the verdict is not."
                if same(expected[0], received[0])
                else "This is not the mean of the differences, other minus plain."
            )
        ),
        name="conclude",
        helpers=True,
    )


def _rounded(function: Callable[..., tuple[float, str]]) -> Callable[..., tuple[float, str]]:
    """Returns a function with the mean rounded to four decimals, as a student may write it down."""

    def rounded(*case: Any) -> tuple[float, str]:
        mean, verdict = function(*case)
        return round(float(mean), 4), verdict

    return rounded


def _pair(answer: Any) -> tuple[float, str]:
    expect(
        isinstance(answer, tuple | list) and len(answer) == 2,
        f"conclude should return two things, the mean difference and the verdict. Received: {short(answer)}.",
    )
    return round(number(answer[0], "The mean difference"), 4), one_of(answer[1], "The verdict", VERDICTS)


def _visible_cases() -> list[tuple[Sequence[float], Sequence[float]]]:
    losses: dict[str, list[float]] = {"plain": [], "batchnorm": [], "dropout": [], "all": []}
    for record in results.reference_records("ablation", "03_batchnorm_dropout"):
        for name, values in losses.items():
            values.append(record["ablation"][name]["val_loss"])
    pairs = [("plain", "batchnorm"), ("plain", "dropout"), ("batchnorm", "plain"), ("dropout", "plain")]
    pairs += [("plain", "all"), ("all", "plain")]
    return [*((losses[first], losses[second]) for first, second in pairs), *_MORE_CASES]
