"""What each notebook parameter may be: one table, read by the lessons and by the command line.

A lesson passes its parameters through `of_notebook` in its set-up, so that `papermill -p epochs -3` is
refused with the same sentence as `mnist-course run -p epochs -3`. What a parameter means, and its default, are in
the notebooks' parameters cells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnist_helpers import data
from mnist_helpers._errors import UserError, did_you_mean
from mnist_helpers._files import means_folder

__all__ = ["DATASETS", "PARAMETERS", "Parameter", "ParameterError", "check", "lookup", "of_notebook", "parse"]

DATASETS = ("auto", *data.NAMES)
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME_IN_WORDS = "a plain name (letters, digits, '.', '_', '-'; it starts with a letter or digit; at most 64)"
_RUN_PATH = rf"((\.\./)?{_NAME}(/{_NAME}){{0,3}})?"
_RUN_PATH_IN_WORDS = (
    "RUN or STUDY/RUN, plain names in results_dir ('../' first for the folder above it), or nothing"
)


@dataclass(frozen=True)
class Parameter:
    """The type and the allowed values of one notebook parameter.

    Attributes:
        type: `int`, `float` or `str`.
        low: the least value allowed (numbers).
        high: the greatest value allowed (numbers).
        choices: the values allowed (strings); empty for any.
        pattern: the regular expression that a string must fit; empty for any string.
        in_words: the pattern in words.
        or_folder: what a folder must hold that may be given instead of a choice; empty if no folder may be given.
    """

    type: type
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
        return f"a {'whole ' * (self.type is int)}number from {self.low:g} to {self.high:g}"


PARAMETERS: dict[str, Parameter] = {
    # where and on what
    "run": Parameter(str, pattern=_NAME, in_words=_NAME_IN_WORDS),
    "results_dir": Parameter(str),
    "dataset": Parameter(str, choices=DATASETS, or_folder="the four idx files of another dataset"),
    "data_dir": Parameter(str),
    "profile": Parameter(str, pattern=_NAME, in_words=_NAME_IN_WORDS),
    "seed": Parameter(int, 1, 2**31 - 1),
    "num_train": Parameter(int, 0, 10**7),
    "num_validation": Parameter(int, 0, 10**7),
    # training
    "epochs": Parameter(int, 1, 10_000),
    "batch_size": Parameter(int, 1, 100_000),
    "learning_rate": Parameter(float, 1e-7, 100),
    "falling_rate": Parameter(float, 0, 100),
    "sgd_learning_rate": Parameter(float, 1e-7, 100),
    "units": Parameter(int, 4, 8192),
    "dropout_rate": Parameter(float, 0, 0.95),
    # 02_baseline
    "too_high_learning_rate": Parameter(float, 1e-7, 10_000),
    # faster_training
    "fast_epochs": Parameter(int, 2, 10_000),
    # 03_batchnorm_dropout
    "num_layers": Parameter(int, 1, 100),
    "num_few": Parameter(int, 10, 10**7),
    "few_epochs": Parameter(int, 1, 10_000),
    "deep_epochs": Parameter(int, 1, 10_000),
    "compare_epochs": Parameter(int, 1, 10_000),
    # further/ablation
    "noise_stddev": Parameter(float, 0, 1),
    "ablation_epochs": Parameter(int, 1, 10_000),
    # 04_tuning
    "max_trials": Parameter(int, 2, 10_000),
    "num_search": Parameter(int, 10, 10**7),
    "search_epochs": Parameter(int, 1, 10_000),
    "num_finalists": Parameter(int, 1, 100),
    "num_seeds": Parameter(int, 3, 100),
    "refit_epochs": Parameter(int, 1, 10_000),
    "vat_epsilon": Parameter(float, 0.01, 100),
    "refit_on_all": Parameter(int, 0, 1),
    "search_from": Parameter(str, pattern=_RUN_PATH, in_words=_RUN_PATH_IN_WORDS),
    # further/stronger_networks
    "strong_units": Parameter(int, 4, 8192),
    "strong_epochs": Parameter(int, 1, 10_000),
    "peak_learning_rate": Parameter(float, 1e-7, 100),
    "neighbour_length": Parameter(float, 0, 100),
    "weight_decay": Parameter(float, 0, 100),
    "average_share": Parameter(float, 0, 1),
    "strongest_epochs": Parameter(int, 0, 10_000),
    "train_ablation": Parameter(int, 0, 1),
    # 05_evaluation
    "num_mistakes": Parameter(int, 1, 100),
    "num_distorted": Parameter(int, 10, 10**7),
}


class ParameterError(UserError):
    """A parameter has a value that is not allowed."""


def lookup(name: str) -> Parameter:
    """Returns the table's entry for `name`.

    Raises:
        UserError: no notebook has a parameter of this name.
    """
    if name not in PARAMETERS:
        hint = did_you_mean(name, PARAMETERS)
        raise UserError(f"Unknown parameter {name!r}.{hint} Valid ones: {', '.join(sorted(PARAMETERS))}.")
    return PARAMETERS[name]


def parse(name: str, text: str) -> Any:
    """Reads a value as typed on a command line.

    Args:
        name: a parameter of the table.
        text: its value as typed, such as `"5"` or `"1e-3"`.

    Returns:
        The value in the parameter's type, checked.

    Raises:
        UserError: `name` is unknown, or `text` is not an allowed value.
    """
    parameter = lookup(name)
    try:
        value = parameter.type(text)
    except ValueError:
        value = text  # `check` says what is wrong with it
    return check(name, value)


def check(name: str, value: Any) -> Any:
    """Returns `value` if the parameter `name` may have it; a whole number becomes a float where one is needed.

    Raises:
        UserError: the type or the range is wrong; the error message names the parameter, what was expected and
            what was received.
    """
    parameter = lookup(name)
    value = float(value) if parameter.type is float and type(value) is int and abs(value) < 2**53 else value
    good = type(value) is parameter.type
    if good and parameter.choices:
        good = value in parameter.choices or bool(parameter.or_folder and means_folder(value))
    elif good and parameter.type is str:
        good = re.fullmatch(parameter.pattern or r"[^\0]*", value) is not None
    elif good:
        good = parameter.low <= value <= parameter.high
    if not good:
        hint = did_you_mean(value, parameter.choices) if isinstance(value, str) else ""
        form = f"Expected: {parameter.expected}. Received: {value!r}.{hint}"
        raise ParameterError(f"Parameter {name!r} has a wrong value. {form}")
    return value


def of_notebook(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Checks every parameter of a notebook and returns them as a dict, for the record.

    Args:
        namespace: the notebook's names, `globals()`.

    Returns:
        Each name of `PARAMETERS` that the notebook has, in the table's order, with its checked value.

    Raises:
        UserError: as `check`.
    """
    return {name: check(name, namespace[name]) for name in PARAMETERS if name in namespace}
