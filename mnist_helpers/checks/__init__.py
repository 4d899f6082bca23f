"""The checks of the exercises: one module for each exercise, one function for each task.

A check prints that an answer is correct, or raises an error that says what is wrong; `hint=1`, `hint=2` and so on
print hints. `summary()` of each module lists all tasks::

    from mnist_helpers import checks

    checks.exercise_02.count(num_params)
    checks.exercise_02.count(num_params, hint=1)
    checks.exercise_02.summary()
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["exercise_01", "exercise_02", "exercise_03", "exercise_04", "exercise_05"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
