"""What each notebook parameter may be: one table, read by the lessons and by the command line.

A lesson passes its parameters through `checked` in its first cells, so that `papermill -p epochs -3` is
refused with the same sentence as `mnist-course run -p epochs -3`. The help texts stand again as comments
in the notebooks' parameters cells; a test holds the two together.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

from mnist_helpers import data
from mnist_helpers._errors import UserError

DATASETS = ("auto", *data.NAMES)
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME_IN_WORDS = "a plain name (letters, digits, '.', '_', '-'; it starts with a letter or digit; at most 64)"


@dataclass(frozen=True)
class Parameter:
    """One notebook parameter.

    Attributes:
        type: `int`, `float` or `str`.
        help: what it means, as in the notebook's comment.
        low: the least value allowed (numbers).
        high: the greatest value allowed (numbers).
        choices: the values allowed (strings); empty for any.
        pattern: the regular expression that a string must fit; empty for any string.
        in_words: the pattern in words.
        or_folder: what a folder may hold that is given in place of a choice; empty if none may be given.
    """

    type: type
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    pattern: str = ""
    in_words: str = ""
    or_folder: str = ""

    @property
    def expected(self) -> str:
        """The allowed values in words."""
        if self.choices:
            folder = f", or a folder with {self.or_folder}" if self.or_folder else ""
            return f"one of {', '.join(self.choices)}{folder}"
        if self.type is str:
            return self.in_words or "a path"
        kind = "a whole number" if self.type is int else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"


PARAMETERS: dict[str, Parameter] = {
    # where and on what
    "run": Parameter(
        str, "folder in results_dir that this run writes to", pattern=_NAME, in_words=_NAME_IN_WORDS
    ),
    "results_dir": Parameter(str, "folder that holds the runs; empty: the course's own results folder"),
    "dataset": Parameter(
        str,
        "auto (mnist if it can be had, else digits), mnist, fashion_mnist, digits or a folder",
        choices=DATASETS,
        or_folder="the four idx files of another dataset",
    ),
    "data_dir": Parameter(str, "folder with the data files; empty: MNIST_DATA_DIR, the caches, a download"),
    "profile": Parameter(
        str, "name of this set of parameters, for the record", pattern=_NAME, in_words=_NAME_IN_WORDS
    ),
    "seed": Parameter(int, "makes the split, the first weights and the shuffling repeatable", 1, 2**31 - 1),
    "num_train": Parameter(int, "images to train on; 0 for all that validation leaves", 0, 10**7),
    "num_validation": Parameter(int, "images to validate on; 0 for one in six", 0, 10**7),
    # training
    "epochs": Parameter(int, "passes over the training images", 1, 10_000),
    "batch_size": Parameter(int, "images per update of the weights", 1, 100_000),
    "learning_rate": Parameter(float, "how far Adam's first updates go", 1e-7, 100),
    "units": Parameter(int, "neurons in the first hidden layer; the second has half", 2, 8192),
    "dropout_rate": Parameter(float, "share of activations that Dropout sets to zero", 0, 0.95),
    # 02_baseline
    "too_high_learning_rate": Parameter(float, "a learning rate that fails on purpose", 1e-7, 10_000),
    "fast_epochs": Parameter(int, "passes of the fast training", 1, 10_000),
    # 03_batchnorm_dropout
    "num_layers": Parameter(int, "hidden layers of the deep network", 1, 100),
    "num_few": Parameter(int, "images of the small training set that gets overfitted", 10, 10**7),
    "few_epochs": Parameter(int, "passes over the small training set", 1, 10_000),
    "noise_stddev": Parameter(
        float, "standard deviation of the noise that GaussianNoise adds in training", 0, 10
    ),
    "ablation_epochs": Parameter(int, "passes over the training images for each ingredient", 1, 10_000),
    # 04_tuning
    "max_trials": Parameter(
        int, "configurations that the Bayesian search tries; random search tries twice as many", 2, 10_000
    ),
    "num_search": Parameter(int, "training images of each trial, at most half of them", 10, 10**7),
    "search_epochs": Parameter(int, "passes over these images in each trial", 1, 10_000),
    "num_finalists": Parameter(int, "best configurations that are trained again with other seeds", 1, 100),
    "num_seeds": Parameter(int, "other seeds for each finalist", 2, 100),
    "refit_epochs": Parameter(int, "passes when the best configuration is trained for good", 1, 10_000),
    "refit_dropout_rate": Parameter(
        float, "dropout rate of the final training; negative: the winner's", -1, 0.95
    ),
    "vat_epochs": Parameter(int, "passes of virtual adversarial training", 1, 10_000),
    "vat_epsilon": Parameter(float, "length of the adversarial step, in units of full ink", 0.01, 100),
    "refit_on_all": Parameter(
        int, "1: the validation images join the final trainings, and score them no more", 0, 1
    ),
    "search_from": Parameter(
        str,
        "run, or study/run, whose search is used again; empty: search anew",
        pattern=rf"((\.\./)?{_NAME}(/{_NAME}){{0,3}})?",
        in_words="RUN or STUDY/RUN, plain names in results_dir ('../' first for the folder above it), or nothing",
    ),
    # 05_evaluation
    "num_mistakes": Parameter(int, "mistakes shown as pictures", 1, 100),
    "num_distorted": Parameter(
        int, "test images that are distorted, to see what the models stand", 10, 10**7
    ),
}


class ParameterError(UserError):
    """A parameter has a value that it may not have."""


def did_you_mean(name: str, names: Any) -> str:
    """Returns `" Did you mean 'epochs'?"` for the nearest of `names`, or an empty string."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def lookup(name: str) -> Parameter:
    """Returns the table's entry for `name`.

    Raises:
        UserError: no notebook has a parameter of this name.
    """
    if name not in PARAMETERS:
        raise UserError(
            f"Unknown parameter {name!r}.{did_you_mean(name, PARAMETERS)} "
            f"Valid ones: {', '.join(sorted(PARAMETERS))}."
        )
    return PARAMETERS[name]


def parse(name: str, text: str) -> Any:
    """Reads a value as typed on a command line.

    Args:
        name: a parameter of the table.
        text: its value as typed, such as `"5"` or `"1e-3"`.

    Returns:
        The value in the parameter's type, checked.

    Raises:
        UserError: `name` is unknown, or `text` is no allowed value.
    """
    parameter = lookup(name)
    try:
        value = parameter.type(text)
    except ValueError:
        value = text  # `check` says what is wrong with it
    return check(name, value)


def check(name: str, value: Any) -> Any:
    """Returns `value` if the parameter `name` may have it (a whole number is taken for a float).

    Raises:
        UserError: the type or the range is wrong; the message names the parameter, what was expected and
            what was received.
    """
    parameter = lookup(name)
    if parameter.type is float and type(value) is int:
        value = float(value)
    good = type(value) is parameter.type
    if good and parameter.type is str:
        if parameter.choices:
            good = value in parameter.choices or bool(parameter.or_folder and data.is_folder(value))
        else:
            good = re.fullmatch(parameter.pattern or r"[^\0]*", value) is not None
    elif good:
        good = parameter.low <= value <= parameter.high
    if not good:
        hint = did_you_mean(value, parameter.choices) if isinstance(value, str) else ""
        raise ParameterError(
            f"Parameter {name!r} has a wrong value. Expected: {parameter.expected}. Received: {value!r}.{hint}"
        )
    return value


def checked(**values: Any) -> dict[str, Any]:
    """Checks every parameter of a lesson and returns them as a dict, for the record.

    Args:
        **values: the parameters by name.

    Returns:
        The same names with their checked values.

    Raises:
        UserError: as `check`.
    """
    return {name: check(name, value) for name, value in values.items()}
