"""The library that the lessons of the MNIST course import.

- `canvas`: a canvas to draw a digit on
- `data`: datasets by name, with checksums; training and test images have separate functions
- `drawings`: figures that explain an idea
- `metrics`: numbers from labels and probabilities
- `parameters`: the range of each notebook parameter
- `plots`: arrays in, a figure with a description out
- `quiz`: predictions and quizzes
- `results`: records, models and arrays of a run
- `tuning`: workarounds for Keras Tuner's pitfalls

A module is imported when it is used for the first time, so that a lesson that does not train never waits for
TensorFlow. The package `mnist_course`, which runs the lessons, is never imported.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["canvas", "data", "drawings", "metrics", "parameters", "plots", "quiz", "results", "tuning"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "__version__":
        from importlib import metadata

        return metadata.version("mnist-course")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
