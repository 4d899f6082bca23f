# ruff: noqa: E501 - a row is a sentence of a text
"""Which way a text says that something goes: higher or lower, row or column, above or below, more or less.

`test_sums.py` calculates numbers again; here are the sentences without a number, with a small experiment where one
decides. `True` stands where only the definition of a word decides: whoever changes such a sentence reads it twice.
"""

import json
import re

import numpy as np
import pytest
import yaml
from matplotlib import colormaps

from mnist_helpers import metrics, quiz, results

RNG = np.random.default_rng(6)


def texts_of(name):
    cells = json.loads(results.notebook_path(name).read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: " ".join("".join(cell["source"]).split()) for cell in cells}


TEXTS = {name: texts_of(name) for name in results.IN_ORDER}
L1, L2, L3, L4, L5 = results.LESSONS


def counts(predicts_three):
    """Row 3, column 3 of a confusion matrix of 3s and 8s, of a network that says 3 if its evidence is above a limit."""
    labels = np.repeat([3, 8], 500)
    evidence = np.where(labels == 3, 1.0, -1.0) + np.random.default_rng(1).normal(0, 1, 1000)
    matrix = metrics.confusion_matrix(labels, np.where(evidence > predicts_three, 3, 8))
    return matrix[3, 3], matrix[3].sum(), matrix[:, 3].sum()


def precision_and_recall_of_a_network_that_says_three_for_every_unclear_image():
    (found, images, said), (found_fair, images_fair, said_fair) = counts(-1.5), counts(0.0)
    return found / said < found_fair / said_fair and found / images > found_fair / images_fair


def softened(temperature):
    return metrics.apply_temperature(np.array([[0.9, *[0.1 / 9] * 9]]), temperature).max()


def temperature_for(accuracy, confidence):
    labels = np.repeat([0, 1], [round(1000 * accuracy), 1000 - round(1000 * accuracy)])
    answers = np.full((1000, 10), (1 - confidence) / 9)
    answers[:, 0] = confidence
    return metrics.fit_temperature(labels, answers)


def best_of_noisy_scores():
    scores = RNG.normal(size=(2000, 6))
    again = RNG.normal(size=2000)  # the winner, retrained
    return scores.min(axis=1).mean() < again.mean() - 1


def adam_like_step(sign):
    """Gradient descent on a loss with a slope of this sign: the weight moves the other way."""
    return np.sign(0 - 0.1 * sign)


def purple_is_positive():
    red, _, blue = colormaps["PuOr"](0.9)[:3]
    return blue > red


def interval_width(n):
    low, high = metrics.accuracy_interval(round(0.98 * n), n)
    return high - low


A, W, DZ = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=(5, 3))


def slope_of(array, place, step=1e-6):
    """The slope of the sum of dz · (a W) with respect to one number of a or W."""
    ends = []
    for sign in (1, -1):
        array[place] += sign * step
        ends.append((DZ * (A @ W)).sum())
        array[place] -= sign * step
    return (ends[0] - ends[1]) / (2 * step)


def variance(noise):
    pixels = np.random.default_rng(2).random((4000, 9))
    kernel = np.random.default_rng(3).normal(size=(9, 4))
    return ((pixels + noise * np.random.default_rng(4).normal(size=pixels.shape)) @ kernel).var(axis=0).mean()


CLAIMS = [
    (L1, "loss-why", "If the correct digit has a high probability, the loss is close to 0", -np.log(0.99) < 0.02),
    (L1, "leak-why", "the score is perfect on a task where every simple method makes mistakes", True),
    (L2, "untrained-predict", "The smaller this probability, the larger the loss", -np.log(0.1) > -np.log(0.9)),
    (L2, "descent-idea", "A positive slope means that the loss rises with w, so w should become smaller; with a negative slope, it should become larger", adam_like_step(1) < 0 < adam_like_step(-1)),
    (L2, "descent-idea", "multiply the slope by a small number and subtract the product from the weight", adam_like_step(1) < 0),
    (L2, "rates-answer", "With 1.05 each step overshoots the minimum and ends farther away on the other side", 1 - 2 * 1.05 < -1),
    (L2, "curves-answer", "It *overfits* if it keeps improving on the training images but no longer on unseen ones. It *underfits* if it does not even fit the training images well", True),
    (L2, "curves-answer", "| high | high | underfitting | more epochs, more neurons, another learning rate |", True),
    (L2, "curves-answer", "| low | about as low | the network generalises | nothing |", True),
    (L2, "curves-answer", "| low, falling | higher, nearly flat or rising | overfitting | more images, fewer epochs, the methods of lesson 3 |", True),
    (L2, "weights-idea", "Purple is a positive weight, orange a negative one", purple_is_positive()),
    (L2, "weights-answer", "ink on a purple patch increases the output of this neuron, and ink on an orange patch decreases it", purple_is_positive()),
    (L2, "dead-answer", "The first remedy is a learning rate that is ten times lower", True),
    (L2, "key-points", "If both losses are high, the network underfits; if the training loss keeps falling while the validation loss no longer does, it overfits", True),
    (L3, "overfitting", "(1) Which loss was lower at the end of lesson 2", "1. The training loss." in TEXTS[L3]["overfitting"]),
    (L3, "dropout-why", "With dropout the training curves are worse, and the gap between training and validation loss is smaller", True),
    (L3, "decay-why", "If it is too strong, the network underfits", True),
    (L3, "batchnorm", "subtracts their mean and divides by their standard deviation", True),
    (L3, "modes", "new average = momentum · old average + (1 − momentum) · value of this batch", np.isclose(0.9 * 0 + 0.1 * 5, 0.5)),
    (L3, "comparison-why", "the network with batch normalisation alone has the lowest training loss, and with dropout the training loss is higher than without it", True),
    (L4, "grid-why", "random search usually finds better configurations than grid search if only a few hyperparameters matter", True),
    (L4, "finals-text", "A winner that was selected by a noisy score looks better, on average, than it is", best_of_noisy_scores()),
    (L4, "final-text", "the mean of the new losses is usually higher than the loss in the search", best_of_noisy_scores()),
    (L4, "seed-why", "the best of several noisy scores always lies below their mean", best_of_noisy_scores()),
    (L4, "seed-text", "The score of the tuned network is still slightly too optimistic", best_of_noisy_scores()),
    (L4, "random-text", "The *objective* is the number that the search tries to minimise, here the validation loss", True),
    (L5, "interval-text", "four times as many images make the interval half as wide", interval_width(40_000) / interval_width(10_000) == pytest.approx(0.5, abs=0.01)),
    (L5, "scores-read", "Selection bias makes the validation accuracy of a chosen model slightly too high", best_of_noisy_scores()),
    (L5, "confusion-text", "each row is a true digit, each column a predicted digit", metrics.confusion_matrix(np.array([1]), np.array([2]))[1, 2] == 1),
    (L5, "precision-text", "*Precision*: of all images that the network predicted to be a 3, what fraction really are a 3? Divide the number on the diagonal by the sum of its column", True),
    (L5, "precision-text", "*Recall*: of all images that are a 3, what fraction did the network find? Divide the number on the diagonal by the sum of its row", True),
    (L5, "mistakes-text", 'it would find nearly all 3s, and its recall for the 3 would be high. Many of its predictions of "3" would be wrong, and its precision would be low', precision_and_recall_of_a_network_that_says_three_for_every_unclear_image()),
    (L5, "own-text", "Your drawing has a white background (255) and black ink (0)", True),
    (L5, "own-text", "inverted (0 is background, 255 is ink)", True),
    (L5, "wrong-read", "mostly wrong and have a low confidence", True),
    ("ablation", "schedule", "A large learning rate is useful at the beginning", True),
    ("ablation", "averaging", "it keeps 99 % of the old average and adds 1 % of the new weights", "0.99 * average + 0.01 * weight" in TEXTS["ablation"]["averaging-by-hand"]),
    ("faster_training", "huge-answer", "has only 3 steps with at most 4,096 images each, compared with 79 steps with at most 128 images each", (-(-10_000 // 4096), -(-10_000 // 128)) == (3, 79)),
    ("faster_training", "huge-answer", "An epoch takes less time, but the accuracy is much lower", True),
    ("faster_training", "batch-idea", "If we double the batch size, an epoch has half as many steps", True),
    ("faster_training", "huge-answer", "a smaller batch size, more epochs, or a higher learning rate", True),
    ("from_scratch", "forward-text", "z1 = x W1 + b1, a1 = ReLU(z1)", True),
    ("from_scratch", "dense-text", "**dW = aᵀ dz.**", (A.T @ DZ)[1, 2] == pytest.approx(slope_of(W, (1, 2)))),
    ("from_scratch", "dense-text", "**da = dz Wᵀ.**", (DZ @ W.T)[4, 1] == pytest.approx(slope_of(A, (4, 1)))),
    ("from_scratch", "dense-text", "**db = the sum of dz over the images.**", True),
    ("from_scratch", "key-points", "dW = aᵀ dz, db = the sum of dz, and da = dz Wᵀ. ReLU lets a gradient pass only where z is positive", True),
    ("from_scratch", "relu-text", "Its slope is 1 where z is positive and 0 where z is negative", True),
    ("from_scratch", "logits-why", "p − 1 is negative, because p is smaller than 1. If this logit grows, the loss falls", True),
    ("pytorch", "init-why", "The limit of Keras is nearly twice as large here", np.sqrt(6 / 1296) > 1 / np.sqrt(784)),
    ("pytorch", "wrong-why", "the accuracy looks good, but the loss stays above 1.46", np.log(1 + 9 / np.e) > 1.46),
    ("stronger_networks", "reestimate-text", "it is larger than the variance of noise-free ones", variance(0.3) > variance(0.0)),
    ("stronger_networks", "reestimate-text", "divided by a number that is too large", variance(0.3) > variance(0.0)),
    ("stronger_networks", "compare-text", "It is above 1 if the network is *overconfident* (its confidence is higher than its accuracy), and below 1 if it is *underconfident* (its confidence is lower than its accuracy)", temperature_for(0.8, 0.95) > 1 > temperature_for(0.95, 0.8)),
    ("stronger_networks", "wrong-text", "Then the step is 255 times too short", True),
    ("trust", "groups-read", "Below the diagonal the model is *overconfident* (its confidence is higher than its accuracy); above it, the model is *underconfident*", True),
    ("trust", "bootstrap-read", "An ECE above it is evidence of miscalibration. An ECE below it is no evidence", True),
    ("trust", "temperature-text", "A temperature above 1 makes the probabilities less extreme, one below 1 more extreme", softened(2.0) < 0.9 < softened(0.5)),
    ("trust", "after-text", "(0 is best, 2 is worst)", metrics.brier_score(np.array([0]), np.eye(10)[[1]]) == pytest.approx(2)),
    ("trust", "pairs-text", "the smallest is multiplied by m, the next by m − 1 and so on, and no corrected value may be smaller than the one before it", True),
    ("trust", "pairs-read", "The correction can only remove significant differences; it never adds one", True),
    ("trust", "wrong-read", "most points are far below the diagonal: the network is wrong much more often than its confidence says", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cell", "text", "holds"), CLAIMS, ids=[f"{c[0]}: {c[2][:50]}" for c in CLAIMS]
)
def test_a_text_says_the_right_way(name, cell, text, holds):
    assert text in TEXTS[name][cell]
    assert holds


def sentences():
    for name in results.IN_ORDER:
        for text in TEXTS[name].values():
            yield from re.split(r"(?<=[.?!;:])\s+", text)
        for question in yaml.safe_load((quiz.QUIZZES / f"{name}.yaml").read_text(encoding="utf-8")):
            for choice in question["choices"]:
                yield from re.split(r"(?<=[.?!;])\s+", choice["why"])


# A sentence of any text or explanation that matches the first says what matches the second.
ALWAYS = [
    (r"[Pp]recision divides|[Rr]ecall divides", r"^(?=.*[Pp]recision.*column|.*[Rr]ecall)(?!.*[Rr]ecall.*column)(?!.*[Pp]recision [^,]*row)"),
    (r"temperature (?:of .* is )?above 1", r"less extreme|smaller|overconfident"),
    (r"below 1 (?:if it is|more)", r"underconfident|more extreme"),
    (r"\*overconfident\* \(", r"overconfident\* \(its confidence is higher than"),
    (r"\*underconfident\* \(", r"underconfident\* \(its confidence is lower than"),
    (r"(?<!log )log 10 ≈", r"log 10 ≈ 2\.30?\b"),
    (r"[Ss]election bias makes", r"too high|too optimistic"),
    (r"underfitting network has", r"high training loss"),
    (r"network that overfits has", r"low training loss"),
    (r"p-value (?:above|below) 0\.05", r"above 0\.05 does not show|below 0\.05"),
]  # fmt: skip


@pytest.mark.parametrize(("about", "says"), ALWAYS)
def test_all_sentences_about_one_thing_agree(about, says):
    found = [sentence for sentence in sentences() if re.search(about, sentence)]
    assert found
    assert [sentence for sentence in found if not re.search(says, sentence)] == []
