"""Checks of exercise 2, "A first network"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from mnist_helpers import data
from mnist_helpers.checks import _models
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
    short,
)

__all__ = ["build", "by_hand", "count", "diagnosis", "exercise", "few_images", "summary", "train"]

exercise = Exercise(
    "exercise_02",
    Task(
        "by_hand",
        "Count by hand",
        1,
        1,
        (
            "Draw the network with two or three neurons in each layer. Which numbers does one neuron need?",
            "A neuron has one weight for each of its inputs, and one bias. Count the parameters of one neuron, "
            "multiply by the number of neurons in its layer, and add up the layers. The neurons of one layer "
            "are the inputs of the next.",
        ),
    ),
    Task(
        "count",
        "Count for any network",
        1,
        1,
        (
            "How many Dense layers does a list of three widths describe? And a list of five?",
            "Each pair of neighbours in the list is a layer: the first number is its inputs, the second its "
            "neurons. Start with a total of 0, let a loop go over the pairs, add what task 1 taught you about "
            "one layer, and return the total after the loop.",
        ),
    ),
    Task(
        "build",
        "Build a network to a specification",
        1,
        2,
        (
            "Compare the specification with the function `build` in lesson 2. Which of its layers stay the same "
            "for every list, and which depend on it?",
            "Begin with what comes before the hidden layers. Then add one Dense layer in each round of a loop "
            "over widths; a Sequential network has the method `add` for this. The output layer comes after the "
            "loop.",
        ),
    ),
    Task(
        "train",
        "Train a network and improve it",
        2,
        0,
        (
            "How far has the training loss of the given network fallen in ten epochs? Section 5 of lesson 2 shows "
            "three learning rates. Which of them does this resemble?",
            "Write a function that gets a learning rate, builds a new small_network(), compiles it and fits it. "
            "Call it with learning rates that differ by a factor of 10, up to 1, and store the last entry of "
            'history["val_accuracy"] for each of them. Train the best one last, or keep its network.',
        ),
    ),
    Task(
        "diagnosis",
        "Diagnose five training runs",
        1,
        1,
        (
            "Ask the same three questions for each network. Is the loss ever far above 2.3? Does the network fit "
            "its training images in the end? If it does, is it about as good on the validation images?",
            "A loss far above 2.3 comes from steps that are too large. If both losses stay high, see whether the "
            "loss fell quickly at first or slowly all the time. If only the validation curve looks strange, "
            "compare the accuracies, too, and ask which values the validation accuracy takes.",
        ),
    ),
    Task(
        "few_images",
        "What can you conclude?",
        1,
        1,
        (
            "Imagine another 30 validation images. Would the first network be ahead again?",
            "All 30 images are 100 %. And the two networks differ by a single image: is this enough to claim a "
            "difference, or to claim that there is none?",
        ),
    ),
    Task("explain", "Explain in a sentence or two", 0, for_teacher=True),
)
summary = exercise.summary


# --- tasks 1 and 2: counting ---

_FIRST = (784, 100, 10)


def _parameters(widths: Sequence[int]) -> int:
    return sum((inputs + 1) * neurons for inputs, neurons in pairwise(widths))


def _weights(widths: Sequence[int]) -> int:
    return sum(inputs * neurons for inputs, neurons in pairwise(widths))


def _biases_of_inputs(widths: Sequence[int]) -> int:
    return sum(inputs * (neurons + 1) for inputs, neurons in pairwise(widths))


def _product(widths: Sequence[int]) -> int:
    return int(np.prod(widths))


SLIPS: tuple[Row, ...] = (
    Row(lambda widths: _parameters(widths) + sum(widths[1:]), "You have counted each bias twice."),
    Row(
        lambda widths: _parameters([widths[0], *widths]),
        "You have given the input as many weights and biases as a Dense layer has. It only passes on the numbers "
        "that come in, and has no parameters.",
    ),
    Row(
        lambda widths: _weights([widths[0], *widths]),
        "You have given weights to the input, and left out all biases. The input only passes on the numbers that "
        "come in, and has no parameters.",
    ),
    Row(
        lambda widths: _parameters(widths) + 2 * widths[0],
        "You have given a weight and a bias to each number that comes in. The input has no parameters.",
    ),
    Row(
        lambda widths: len(widths) - 1,
        "This is the number of Dense layers. How many parameters does each of them have?",
    ),
    Row(
        len,
        "This is the number of layers together with the input. How many parameters does each layer have?",
    ),
    Row(
        lambda widths: 2 * (len(widths) - 1),
        "This is the number of arrays in which the weights and the biases are stored. How many numbers does "
        "each array hold?",
    ),
)
"""Misconceptions of tasks 1 and 2."""

BY_HAND: tuple[Row, ...] = (
    Row(_weights, "These are the weights. Each neuron has a bias, too."),
    Row(
        _biases_of_inputs,
        "You have given a bias to each input. It is the neurons of the layer itself that have one.",
    ),
    Row(
        lambda widths: _parameters(widths[:2]),
        "This is the first layer only. The ten neurons of the output layer have parameters, too.",
    ),
    Row(
        lambda widths: _parameters(widths) - widths[-1],
        "The ten outputs are neurons, too: each has a bias.",
    ),
    Row(
        lambda widths: _parameters(widths) - sum(widths[1:-1]),
        "The hidden neurons have a bias each, too.",
    ),
    Row(
        lambda widths: _parameters(widths) + widths[0],
        "You have given a bias to the 784 pixels. They are numbers, not neurons.",
    ),
    Row(
        lambda widths: _weights(widths) + len(widths) - 1,
        "You have counted one bias for each layer. Each neuron of a layer has its own bias.",
    ),
    Row(
        sum,
        "You have added up the sizes of the layers. The parameters belong to the connections between "
        "them, and to the neurons.",
    ),
    Row(
        lambda widths: sum(widths[1:]),
        "This is the number of neurons. How many parameters does a single one of them have?",
    ),
    Row(_product, "The layers come one after the other: count each, then add. You have multiplied them."),
    *SLIPS,
)
"""Misconceptions: functions from the widths to the wrong number."""

DEEPER: tuple[Row, ...] = (
    Row(
        lambda widths: _parameters(widths) - widths[-2],
        "One hidden layer has no biases in your number. Each hidden neuron has one.",
    ),
    Row(
        lambda widths: _parameters([*widths[:-2], widths[-1]]) + widths[-2],
        "The new layer's neurons are each connected to all neurons of the layer before.",
    ),
    Row(
        lambda widths: _parameters([*widths[:-2], widths[-1]]) + _parameters([widths[0], widths[-2]]),
        "The second hidden layer does not see the pixels: its inputs are the neurons of the first.",
    ),
    Row(
        lambda widths: _parameters([*widths[:-2], widths[-1]]),
        "This is the network of the first question. The new layer has parameters, too.",
    ),
    Row(
        lambda widths: _parameters([widths[0], sum(widths[1:-1]), widths[-1]]),
        "You have put all hidden neurons into one layer. In the new network, one hidden layer follows the other.",
    ),
    Row(
        lambda widths: _parameters(widths[-3:-1]),
        "This is the new layer only. The question is about the whole network.",
    ),
    Row(
        lambda widths: _parameters(widths[:-1]),
        "The output layer is missing in your number.",
    ),
)
"""More misconceptions, about a second hidden layer."""


@exercise.check
def by_hand(num_params: Any, num_params_deeper: Any, *, deeper: Sequence[int] = ()) -> None:
    """Checks the numbers of parameters of two networks.

    Args:
        num_params: the student's number for the first network.
        num_params_deeper: the student's number for the deeper network; without `deeper`, it need only be possible.
        deeper: the widths of the deeper network, if its number is compared, and not that of the first one.
    """
    if deeper:
        _compare_count(num_params_deeper, "num_params_deeper", deeper, (*DEEPER, *BY_HAND))
        return
    given(num_params=num_params, num_params_deeper=num_params_deeper)
    number(num_params, "num_params")
    value = number(num_params_deeper, "num_params_deeper")
    _compare_count(num_params, "num_params", _FIRST, BY_HAND)
    expect(
        value == round(value),
        f"num_params_deeper is {value:,.10g}, but a number of parameters is a whole number.",
    )
    expect(
        value > _parameters(_FIRST),
        f"num_params is correct, but num_params_deeper is {value:,.10g}. The deeper network has one layer more "
        "than the first network: which of the two has more parameters?",
    )


def _compare_count(answer: Any, name: str, widths: Sequence[int], rows: Sequence[Row]) -> None:
    value = number(answer, name)
    compare(
        value,
        _parameters(widths),
        [Row(row.answer(widths), row.message) for row in rows],
        f"{name} is {value:,.10g}, which is not the number of parameters. Which numbers does a single neuron of "
        "a Dense layer need, how many such neurons are there, and how many layers?",
        rtol=0,
    )


COUNT: tuple[Row, ...] = (
    Row(_weights, "These are the weights. Add a bias for each neuron that is no input."),
    Row(
        _biases_of_inputs,
        "You have given each input a bias in each layer. Biases belong to the neurons of the layer.",
    ),
    Row(
        lambda widths: _parameters(widths) + widths[0],
        "You have given a bias to the inputs, too. They are numbers, not neurons.",
    ),
    Row(
        lambda widths: _parameters(widths) - widths[-1],
        "The neurons of the last layer have no bias in your function.",
    ),
    Row(
        lambda widths: _parameters(widths[:-1]),
        "One layer is missing. A list of three widths holds two layers: does your loop reach the last one?",
    ),
    Row(
        lambda widths: _parameters(widths[1:]),
        "One layer is missing: the one that receives the pixels. Where does your loop begin?",
    ),
    Row(
        lambda widths: _parameters(widths[:3]),
        "Your function is right for three widths. Does it work for lists of any length?",
    ),
    Row(
        lambda widths: _parameters(widths[:2]),
        "Your function counts the first layer only. Is its `return` inside the loop?",
    ),
    Row(
        lambda widths: _parameters(widths[-2:]),
        "Your function counts the last layer only. Does each round of the loop add to the total, or replace it?",
    ),
    Row(
        lambda widths: _weights(widths) + len(widths) - 1,
        "You have counted one bias for each layer. Each neuron of a layer has its own bias.",
    ),
    Row(
        lambda widths: [_parameters(pair) for pair in pairwise(widths)],
        "Your function returns one number for each layer. The network's number is their sum.",
    ),
    Row(
        sum,
        "You have added the widths. The parameters belong to the connections between the layers, and to the "
        "neurons.",
    ),
    Row(_product, "The layers come one after the other: count each, then add. You have multiplied them."),
    *SLIPS,
    Row(
        lambda widths: _parameters(_FIRST),
        "Your function returns the same number for every list. Its result should depend on `widths`.",
    ),
)


@exercise.check
def count(count_parameters: Any, *, cases: Sequence[tuple[list[int]]] = ()) -> None:
    """Checks a function that counts the parameters of any network.

    Args:
        count_parameters: the student's function.
        cases: tuples with a list of widths; without them two that the student may know.
    """
    compare_function(
        count_parameters,
        _parameters,
        COUNT,
        cases or (([784, 100, 10],), ([784, 512, 256, 10],)),
        "This is not the number of parameters. Count a small network such as [3, 2, 1] with pencil and paper, "
        "and compare.",
        name="count_parameters",
        rtol=0,
    )


# --- task 3: building ---

Layer = tuple[np.ndarray, np.ndarray]
Function = Callable[[np.ndarray], np.ndarray]


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -500, 500)))


def _softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _forward(
    images: np.ndarray,
    weights: Sequence[Layer],
    *,
    scale: Function = lambda pixels: pixels / 255,
    hidden: Function = _relu,
    output: Function = _softmax,
    plain: int | None = None,
) -> np.ndarray:
    """Computes the output of a network from its weights.

    Args:
        images: pixel values, `(n, 28, 28)`.
        weights: the weights and biases of each Dense layer.
        scale: what is done with the pixel values.
        hidden: the activation of the hidden layers.
        output: the activation of the output layer.
        plain: the hidden layer that has no activation, if any.
    """
    values = scale(images.reshape(len(images), -1).astype(float))
    for place, (matrix, bias) in enumerate(weights[:-1]):
        values = values @ matrix + bias
        values = values if place == plain else hidden(values)
    matrix, bias = weights[-1]
    return output(values @ matrix + bias)


_NO_ACTIVATION = (
    "A hidden layer has no activation. Without a non-linear activation function, two layers can compute nothing "
    "that a single layer cannot."
)
_OTHER_ACTIVATION = "The hidden layers use {}. The specification asks for another activation function."
BUILD: tuple[Row, ...] = (
    Row(
        partial(_forward, scale=_same),
        "The network gets raw pixels up to 255, and nothing scales them to 0-1.",
    ),
    Row(
        partial(_forward, scale=lambda pixels: pixels * 255),
        "The pixel values are multiplied by 255. Rescaling multiplies by the number that it is given.",
    ),
    Row(
        partial(_forward, scale=lambda pixels: pixels / 255**2),
        "The pixel values are divided by 255 twice, so the largest is 1/255.",
    ),
    Row(
        partial(_forward, scale=lambda pixels: pixels / 127.5 - 1),
        "The pixel values are scaled to the range -1 to 1. The specification asks for another range.",
    ),
    Row(
        partial(_forward, scale=lambda pixels: pixels / 256),
        "The pixel values are divided by 256. The largest pixel value is 255.",
    ),
    Row(partial(_forward, hidden=_same), _NO_ACTIVATION),
    Row(partial(_forward, plain=0), _NO_ACTIVATION),
    Row(partial(_forward, plain=1), _NO_ACTIVATION),
    Row(partial(_forward, hidden=_sigmoid), _OTHER_ACTIVATION.format("the sigmoid")),
    Row(partial(_forward, hidden=np.tanh), _OTHER_ACTIVATION.format("tanh")),
    Row(
        partial(_forward, hidden=_softmax),
        "The hidden layers use softmax, which turns logits into probabilities. Which activation function does "
        "the specification ask for in the hidden layers, and which layer gives probabilities?",
    ),
    Row(
        partial(_forward, output=_relu),
        "The output layer uses ReLU, so its outputs are no probabilities: they do not sum to 1, and many are 0.",
    ),
    Row(
        partial(_forward, output=_sigmoid),
        "The output layer uses the sigmoid, which maps each output to a number from 0 to 1 on its own; they do "
        "not add up to 1.",
    ),
    Row(
        partial(_forward, output=_same),
        "The last layer returns logits, which can be any numbers. Which function of lesson 2 turns them into "
        "probabilities?",
    ),
    Row(
        partial(_forward, output=lambda values: _softmax(_softmax(values))),
        "Softmax is applied twice at the output, so all ten probabilities are nearly equal.",
    ),
)
"""Misconceptions: functions from images and weights to what the network returns then."""


@exercise.check
def build(build_network: Any, *, cases: Sequence[list[int]] = ()) -> None:
    """Checks a function that builds a network, in whatever style of Keras.

    Args:
        build_network: the student's function.
        cases: lists of widths; without them one that the task names, and one with a single layer.
    """
    for widths in cases or ([64, 32], [20]):
        _check_built(returned(build_network, widths, name="build_network"), widths)


def _check_built(answer: Any, widths: list[int]) -> None:
    name = f"build_network({widths})"
    expect(
        getattr(answer, "output_shape", None) != (None, 28, 10),
        f"{name} returns ten numbers for each of the 28 rows of an image. A Dense layer needs the whole image as "
        "one row of 784 numbers. Which layer of lesson 2 does this?",
    )
    network = _models.network(answer, name)
    dense = [layer for layer in _models.all_layers(network) if isinstance(layer, keras.layers.Dense)]
    units = [layer.units for layer in dense]
    expect(
        len(units) == len(widths) + 1,
        f"For widths {widths}, the network should have {len(widths)} hidden Dense "
        f"{'layer' if len(widths) == 1 else 'layers'} and the output layer. "
        f"Received: Dense layers of {units} neurons. Loop over widths.",
    )
    expect(
        units == [*widths, 10],
        f"For widths {widths}, the Dense layers have {units} neurons. Loop over widths, and use each number in "
        "its place.",
    )
    difference = network.count_params() - _parameters([784, *widths, 10])
    expect(
        difference <= 0,
        f"For widths {widths}, the network has {difference:,} parameters more than its Dense layers. The "
        "specification names no other layers with parameters.",
    )
    expect(
        difference == 0,
        f"For widths {widths}, the network has {-difference:,} parameters fewer than expected. Does each neuron "
        "have a bias, and does the first Dense layer see all pixels?",
    )
    rng = np.random.default_rng(2)
    images = np.concatenate([rng.integers(0, 256, (4, 28, 28)), rng.integers(0, 2, (4, 28, 28))]).astype(
        "uint8"
    )
    outputs = _called(network, images, training=False)
    expect(
        np.allclose(outputs, _called(network, images, training=True), atol=1e-5),
        f"{name} returns something else during training, as with dropout. The specification names no such layer.",
    )
    weights = [(np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in dense]
    if np.allclose(outputs, _forward(images, weights), rtol=0, atol=2e-5):
        return
    for row in BUILD:
        if np.allclose(outputs, row.answer(images, weights), rtol=1e-3, atol=1e-3):
            raise AnswerError(row.message)
    raise AnswerError(
        f"The outputs of {name} are not those of the specification. Go through it line by line: how the pixel "
        "values are scaled, the activation of each hidden layer, and the activation of the output layer."
    )


def _called(network: keras.Model, images: np.ndarray, *, training: bool) -> np.ndarray:
    try:
        return np.asarray(network(images, training=training))
    except Exception:  # built with a list of one input
        return np.asarray(network([images], training=training)).reshape(len(images), -1)


# --- task 4: training ---

_WIDTHS = [784, 64, 10]
_EPOCHS = 10
_MIN_ACCURACY = 0.88
_CLEARLY = 0.1
_TOLERANCE = 0.03
_REVERSED_GAP = 0.02

TRAIN: tuple[Row, ...] = (
    Row(
        lambda losses: not np.isfinite(losses).all() or max(losses) > 3,
        "The training loss was far above log 10, which is the symptom of a learning rate that is too high.",
    ),
    Row(
        lambda losses: losses[-1] > 0.8 * losses[0],
        "The training loss has hardly fallen in ten epochs. Is each step large enough?",
    ),
    Row(
        lambda losses: True,
        "It learns, but both losses are still higher than with a better learning rate.",
    ),
)
"""What is said about a network that is not accurate enough: functions of its training losses."""


@exercise.check
def train(model: Any, history: Any, accuracies: Any) -> None:
    """Checks a network that a student has trained on the digits, and the learning rates that were tried.

    Args:
        model: the best network.
        history: its learning curves, as `fit` returns them.
        accuracies: learning rate -> validation accuracy.
    """
    given(accuracies=accuracies, model=model, history=history)
    found = _accuracies(accuracies)
    _check_both_sides(found)
    network = _models.network(model, "model")
    curves = _curves(history)
    expect(
        network.count_params() == _parameters(_WIDTHS),
        "model has other layers than small_network(). If more than the learning rate changes, you cannot tell "
        "what caused the improvement.",
    )
    expect(
        len(curves["loss"]) == _EPOCHS,
        f"history has {len(curves['loss'])} epochs. If the number of epochs changes together with the learning "
        "rate, you cannot tell what caused the improvement.",
    )
    (x_train, y_train), (x_val, y_val) = data.load_training("digits", seed=1)
    accuracy = _models.accuracy(network, x_val, y_val)
    expect(
        abs(curves["val_accuracy"][-1] - accuracy) < _TOLERANCE,
        f"model and history do not belong together: history ends with a validation accuracy of "
        f"{curves['val_accuracy'][-1]:.1%}, and model has {accuracy:.1%}. Was one of them overwritten by a later "
        "training, or was a network trained that had been trained already?",
    )
    if accuracy < _MIN_ACCURACY:
        said = next(row.message for row in TRAIN if row.answer(curves["loss"]))
        raise AnswerError(f"model has a validation accuracy of {accuracy:.1%}, which is below 88 %. {said}")
    expect(
        _models.accuracy(network, x_train, y_train) > accuracy - _REVERSED_GAP,
        "model is better on the validation images than on the training images. Was it trained on the "
        "validation images?",
    )
    expect(
        type(getattr(network, "optimizer", None)).__name__ in ("Adam", "NoneType"),
        "model was trained with another optimiser. If more than the learning rate changes, you cannot tell what "
        "caused the improvement.",
    )
    _check_best(found, accuracy, _rate_of(network))


def _curves(history: Any) -> Mapping[str, Any]:
    curves = getattr(history, "history", history)
    usual = isinstance(curves, Mapping) and {"loss", "val_accuracy"} <= curves.keys()
    expect(
        usual and len(curves["loss"]) > 0,
        "history should be what model.fit(...).history gives, with validation images and the metric accuracy. "
        f"Received: {short(history)}.",
    )
    return curves


def _accuracies(answer: Any) -> dict[float, float]:
    expect(
        isinstance(answer, Mapping),
        f"accuracies should be a dictionary, {{learning rate: accuracy}}. Received: {short(answer)}.",
    )
    found = {}
    for key, value in answer.items():
        rate = number(key, "A learning rate in accuracies")
        expect(rate > 0, f"A learning rate should be positive. Received: {short(key)}.")
        found[rate] = number(value, f"accuracies[{short(key)}]")
        expect(
            found[rate] <= 1,
            f"accuracies[{short(key)}] is {found[rate]:g}. Enter the accuracy as a fraction, not in percent.",
        )
        expect(found[rate] >= 0, f"accuracies[{short(key)}] is negative.")
    expect(
        len(found) >= 4,
        f"The number of learning rates in accuracies is {len(found)}. Try at least four, so that you see what "
        "happens on both sides of the best one.",
    )
    return found


def _rate_of(network: keras.Model) -> float | None:
    try:
        return float(network.optimizer.learning_rate)
    except (AttributeError, TypeError, ValueError):  # trained in some other way
        return None


def _check_both_sides(accuracies: dict[float, float]) -> None:
    """Checks that the learning rates that were tried lie on both sides of the best one."""
    best = max(accuracies.values())
    for end, word, direction in (
        (min(accuracies), "smallest", "lower"),
        (max(accuracies), "largest", "higher"),
    ):
        expect(
            accuracies[end] <= best - _CLEARLY,
            f"With the {word} of your learning rates, {end:g}, the validation accuracy is {accuracies[end]:.1%}, "
            f"which is not clearly worse than the best. Try a {direction} learning rate.",
        )


def _check_best(accuracies: dict[float, float], accuracy: float, rate: float | None) -> None:
    """Checks that the network is the best of all trained networks."""
    best = max(accuracies.values())
    expect(
        abs(best - accuracy) < _TOLERANCE,
        f"The best accuracy in accuracies is {best:.1%}, and model has {accuracy:.1%} on the validation images. "
        "model should be the network with the best accuracy.",
    )
    if rate is not None:
        known = [value for tried, value in accuracies.items() if np.isclose(tried, rate, rtol=0.01)]
        expect(known, f"model was trained with the learning rate {rate:g}, which is not in accuracies.")
        expect(
            max(known) > best - _TOLERANCE,
            f"model was trained with the learning rate {rate:g}, which is not the best one in accuracies.",
        )


# --- task 5: diagnosis ---

DIAGNOSES = (
    "rate too high",
    "rate too low",
    "overfitting",
    "network too small",
    "too few validation images",
    "nothing is wrong",
)
DIAGNOSIS: tuple[Row, ...] = (
    Row(
        ("rate too low", "rate too high"),
        "{0}'s loss begins at chance level and never rises above it. A learning rate that is too high shows at "
        "once, as a loss far above 2.3.",
    ),
    Row(
        ("rate too low", "overfitting"),
        "{0} has no gap: training is as bad as validation. A network that overfits is at least good on its "
        "training images.",
    ),
    Row(
        ("rate too low", "network too small"),
        "{0}'s loss was falling slowly all the time, and is still about 2 at the end. A network that is too "
        "small falls fast at first, and then hardly changes.",
    ),
    Row(
        ("rate too low", "too few validation images"),
        "{0}'s validation curve is smooth, and training is as bad: the problem is the learning, not the measuring.",
    ),
    Row(
        ("rate too low", "nothing is wrong"),
        "{0}'s training loss ends at about 2. Compare this with the loss at chance level.",
    ),
    Row(
        ("overfitting", "rate too high"),
        "{0} learns well on its training images: its training loss goes to nearly 0.",
    ),
    Row(
        ("overfitting", "rate too low"),
        "{0}'s training loss is near 0 after a few epochs. It learns fast enough.",
    ),
    Row(
        ("overfitting", "network too small"),
        "{0} classifies all its training images correctly, so it has enough neurons.",
    ),
    Row(
        ("overfitting", "too few validation images"),
        "{0}'s validation accuracy takes many different values, and its curves stay far from those of training "
        "in almost all epochs: it is a real gap, not noise.",
    ),
    Row(
        ("overfitting", "nothing is wrong"),
        "Compare {0}'s training loss at the end with its validation loss, and do the same with the accuracies.",
    ),
    Row(
        ("too few validation images", "rate too high"),
        "{0} learns: its training accuracy is above 90 %, and its training curve is smooth. Only one of the two "
        "curves jumps.",
    ),
    Row(
        ("too few validation images", "rate too low"),
        "{0}'s training loss falls at once, and becomes small. Only one of the two curves looks strange.",
    ),
    Row(
        ("too few validation images", "overfitting"),
        "{0}'s losses alone would look like it, because validation ends at more than twice the training loss. "
        "But the accuracies show no such gap: validation is above training in most epochs. And it jumps between "
        "very few values. What does this say about how it was measured?",
    ),
    Row(
        ("too few validation images", "network too small"),
        "{0} classifies more than 90 % of its training images correctly. Look at the other curve: how far apart "
        "are the accuracies that it takes?",
    ),
    Row(
        ("too few validation images", "nothing is wrong"),
        "{0}'s training curve is smooth, but look at its validation accuracy: how many different values does it "
        "take, and how far apart are they?",
    ),
    Row(
        ("rate too high", "rate too low"),
        "{0}'s first training loss is far above 2.3, the loss at chance level. Small steps cannot do that.",
    ),
    Row(
        ("rate too high", "overfitting"),
        "{0} has not memorised anything: it is as bad on its training images as on unseen ones.",
    ),
    Row(
        ("rate too high", "network too small"),
        "{0}'s first training loss is far above 2.3. A small network learns little, but it does no such harm.",
    ),
    Row(
        ("rate too high", "too few validation images"),
        "{0}'s training is as bad as its validation: the problem is the learning, not the measuring.",
    ),
    Row(
        ("rate too high", "nothing is wrong"),
        "{0}'s losses are close together, but at which value? Compare it with the loss at chance level.",
    ),
    Row(
        ("network too small", "rate too high"),
        "{0}'s loss is below 2.3 from the first epoch on, and it falls without a jump.",
    ),
    Row(
        ("network too small", "rate too low"),
        "{0}'s loss falls to about half of 2.3 within two epochs, so the steps are large enough. Then it hardly "
        "changes, long before the learning rate has become 0.",
    ),
    Row(
        ("network too small", "overfitting"),
        "{0} has no gap: it is no better on its training images than on unseen ones.",
    ),
    Row(
        ("network too small", "too few validation images"),
        "{0}'s validation curve is smooth and close to the training curve, so it can be trusted.",
    ),
    Row(
        ("network too small", "nothing is wrong"),
        "{0} has no gap, but a third of its training images are still misclassified. What does the network "
        "of lesson 2 reach?",
    ),
)
"""Misconceptions: the right diagnosis, the wrong one, and a message with a place for the letter."""


@exercise.check
def diagnosis(diagnosis: Any, *, right: Mapping[str, str] | None = None) -> None:
    """Checks diagnoses of training runs.

    Args:
        diagnosis: letter -> diagnosis, for all letters from A to E.
        right: the right diagnoses of the letters that are checked; without them those of A, B and C.
    """
    given(diagnosis=diagnosis)
    expect(
        isinstance(diagnosis, Mapping),
        f"diagnosis should be a dictionary, {{letter: diagnosis}}. Received: {short(diagnosis)}.",
    )
    said = {}
    for letter in "ABCDE":
        said[letter] = one_of(diagnosis.get(letter), f"diagnosis['{letter}']", DIAGNOSES)
    right = right or {"A": "rate too low", "B": "overfitting", "C": "too few validation images"}
    for letter, true in right.items():
        rows = [Row(row.answer[1], row.message.format(letter)) for row in DIAGNOSIS if row.answer[0] == true]
        compare(said[letter], true, rows, f"{letter} has another problem.")


# --- task 6: conclusions ---

VERDICT: tuple[Row, ...] = (
    Row(
        "the first is better",
        "The scores do not support this claim: the two networks differ by a single image. With other images, or "
        "another seed, it could be the other way round.",
    ),
    Row(
        "both are equally good",
        "The scores do not support this claim, either: on so few images, two networks of which one is clearly "
        "better may well come out one image apart.",
    ),
    Row(
        "the test set must decide",
        "The test set is opened once, when everything has been chosen. If it is used to choose between networks, "
        "its score is no longer a fair one. More validation images could help to decide.",
    ),
)
POINTS: tuple[Row, ...] = (
    Row(
        lambda num_images: 1 / num_images,
        "This is a fraction. One percentage point is the fraction 0.01.",
    ),
    Row(lambda num_images: 1, "One image is one percentage point only if there are 100 images."),
    Row(
        lambda num_images: 100 * (num_images - 1) / num_images,
        "This is the accuracy if one image is misclassified. How far is it from 100 %?",
    ),
    Row(
        lambda num_images: num_images / 100,
        "You have divided the wrong way round. With more images, does a single one count more or less?",
    ),
    Row(
        lambda num_images: num_images,
        "This is the number of images. What share of them is a single one?",
    ),
)
"""Misconceptions: functions from the number of images to the wrong percentage points."""


@exercise.check
def few_images(points_per_image: Any, verdict: Any, *, num_images: int = 0) -> None:
    """Checks a conclusion from few validation images.

    Args:
        points_per_image: percentage points that one image is worth; only possible ones pass in the notebook.
        verdict: the conclusion.
        num_images: the number of images, if the number is compared, and not the conclusion.
    """
    if num_images:
        rows = [Row(row.answer(num_images), row.message) for row in POINTS]
        compare(
            number(points_per_image, "points_per_image"),
            100 / num_images,
            rows,
            f"points_per_image is {short(points_per_image)}. If all images are classified correctly, the "
            "accuracy is 100 %. How much of this comes from a single image?",
            rtol=0.02,
        )
        return
    given(points_per_image=points_per_image, verdict=verdict)
    points = number(points_per_image, "points_per_image")
    expect(
        0 < points < 100,
        f"points_per_image is {points:.4g}. One more image that is classified correctly raises the accuracy, and "
        "by less than 100 percentage points.",
    )
    known = ["the first is better", "both are equally good", "neither is shown to be better"]
    said = one_of(verdict, "verdict", [*known, "the test set must decide"])
    compare(said, "neither is shown to be better", VERDICT, "The scores do not support this claim.")
