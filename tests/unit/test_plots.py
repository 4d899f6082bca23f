"""Figures: what is drawn is read back from the artists, and the description is made from the data."""

import inspect
import io
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import benchmarks.plots
from mnist_helpers import data, plots
from mnist_helpers._errors import UserError
from tests.unit.drawn import read

HISTORY = {"accuracy": [0.5, 0.9], "val_accuracy": [0.6, 0.8], "loss": [1.5, 0.25], "val_loss": [1.0, 0.5]}
IMAGES = np.arange(4 * 784, dtype=np.uint8).reshape(4, 28, 28)


def test_a_figure_shows_itself_with_its_description():
    figure = plots.image_grid(IMAGES, ["a", "b", "c", "d"], "Four (digits)")
    content, metadata = figure._repr_mimebundle_()
    assert content["image/png"].startswith(b"\x89PNG")
    assert content["text/plain"] == figure.description == repr(figure)
    assert metadata["image/png"]["alt"] == figure.description
    assert f'<img alt="{figure.description}" src="data:image/png;base64,' in content["text/html"]
    with Image.open(io.BytesIO(content["image/png"])) as picture:
        assert picture.text["Description"] == figure.description


def test_a_description_with_quotes_and_brackets_stays_a_description():
    content, _ = plots.DescribedFigure(Figure(figsize=(2, 2)), 'a "b" <c> & d')._repr_mimebundle_()
    assert content["text/html"].startswith('<img alt="a &quot;b&quot; &lt;c&gt; &amp; d" src=')


def test_saved_pictures_are_the_same_each_time(tmp_path):
    figures = [plots.confusion_matrix(np.eye(10, dtype=int), "One (digits)") for _ in range(2)]
    (tmp_path / "figure.png").write_bytes(figures[0].png())
    assert (tmp_path / "figure.png").read_bytes() == figures[1].png()


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (
            lambda: plots.image_grid(IMAGES, list("abcd"), "Four (x)"),
            ["Four (x): 4 images", "captioned a, b, c, d"],
        ),
        (
            lambda: plots.image_grid(IMAGES[:0], [], "The mistakes (x)"),
            ["The mistakes (x): no image to show."],
        ),
        (
            lambda: plots.class_balance(
                {"training": np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])}, "Counts (x)"
            ),
            ["Counts (x)", "training: 11 images", "fewest 1 (digit 1)", "most 2 (digit 0)"],
        ),
        (
            lambda: plots.pixel_intensity(np.tile(np.uint8([0, 255]), (3, 28, 14)), "Ink"),
            ["50.0% of the pixels are 0"],
        ),
        (
            lambda: plots.learning_curves({"a": HISTORY, "b": HISTORY}, "Curves (x)"),
            [
                "a after 2 epochs: accuracy 0.9000 in training and 0.8000 in validation",
                "loss 0.2500 in training and 0.5000 in validation; b after",
            ],
        ),
        (
            lambda: plots.metric_by_model(dict.fromkeys("abcd", HISTORY), "loss", "Losses (x)"),
            ["a 0.2500 in training and 0.5000 in validation", "d 0.2500 in training"],
        ),
        (
            lambda: plots.accuracies(["a"], [0.98], [0.97], [0.99], "Scores (x)"),
            ["a 98.00 % (97.00 to 99.00)"],
        ),
    ],
)
def test_descriptions_are_made_from_the_data(draw, words):
    figure = draw()
    assert len(figure.png()) > 1000
    for word in words:
        assert word in figure.description


def test_a_training_without_validation_images_is_drawn_without_a_dashed_line():
    history = {name: values for name, values in HISTORY.items() if not name.startswith("val_")}
    curves = plots.learning_curves({"a": history}, "Curves (x)")
    panel = plots.metric_by_model({"a": HISTORY, "b": history}, "loss", "Losses (x)")
    for axes in (curves.figure.axes[1], panel.figure.axes[1]):
        assert [line.get_ydata().tolist() for line in axes.lines] == [HISTORY["loss"]]
    assert "validation" not in curves.description
    assert panel.description.endswith("b 0.2500 in training.")


def test_a_loss_that_overflowed_is_drawn_as_a_gap():
    failed = HISTORY | {"loss": [500.0, None], "val_loss": [float("inf"), float("nan")]}
    figure = plots.learning_curves({"good": HISTORY, "failed": failed}, "Curves (x)")
    assert "loss not a number in training and not a number in validation" in figure.description
    assert figure.figure.axes[1].get_yscale() == "log"
    assert len(figure.png()) > 1000


def test_images_share_one_scale_where_it_is_given():
    figure = plots.image_grid(IMAGES, list("abcd"), "Four (x)", darkest=255)
    assert {axes.images[0].get_clim() for axes in figure.figure.axes} == {(0.0, 255.0)}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.image_grid(IMAGES, ["a"], "Four"),
        lambda: plots.accuracies(["a", "b"], [1], [1], [1], "Scores"),
    ],
)
def test_lengths_must_agree(draw):
    with pytest.raises(ValueError, match="of the same length"):
        draw()


@pytest.mark.mnist
def test_descriptions_of_mnist(mnist):
    figure = plots.class_balance({"all": mnist["y_train"]}, "Images per digit (mnist)")
    assert "fewest 5421 (digit 5), most 6742 (digit 1)" in figure.description
    assert data.NUM_CLASSES == 10


# --- what is drawn: a row for each function ---

GREY = "#555555"
OTHER = {"accuracy": [0.1, 0.3], "val_accuracy": [0.2, 0.4], "loss": [2.5, 2.25], "val_loss": [2.0, 1.75]}
TWO = {"A": HISTORY, "B": OTHER}


def _loss_panel(name, history, sds=None, **labels):
    """A panel of `metric_by_model`: epochs start at 1, training is solid, validation dashed."""
    bands = [
        (
            color,
            [
                [1 + i, value - sd, value + sd]
                for i, (value, sd) in enumerate(zip(history[key], sds, strict=True))
            ],
        )
        for color, key in ((0, "loss"), (1, "val_loss"))
        if sds
    ]
    lines = [(0, "-", "o", [1, 2], history["loss"]), (1, "--", "s", [1, 2], history["val_loss"])]
    return {"title": name, **labels, "lines": lines} | ({"bands": bands} if bands else {})


def _trials(scores):
    return pd.DataFrame({"trial": range(1, len(scores) + 1), "score": scores})


def _time(median, low, high, reached=True):
    return {"median_seconds": median, "low": low, "high": high, "reached": reached}


def _confused():
    matrix = np.diag(np.arange(1, 11))
    matrix[4, 9], matrix[2, 7] = 7, 3
    return matrix


MISTAKES = np.zeros((10, 10))
MISTAKES[4, 9], MISTAKES[2, 7] = 7, 3
RED_IS_DARKER = True  # than blue, a little; so red is the upper end
DIGITS = {str(digit): digit + 0.5 for digit in range(10)}

ROWS = {
    "image_grid": (
        lambda: plots.image_grid(np.arange(12).reshape(3, 2, 2), ["a", "b", "c"], "T", columns=2, darkest=15),
        {
            "title": "T",
            "panels": [
                {"title": "a", "images": [([[0, 1], [2, 3]], True, [0, 15])]},
                {"title": "b", "images": [([[4, 5], [6, 7]], True, [0, 15])]},
                {"title": "c", "images": [([[8, 9], [10, 11]], True, [0, 15])]},
            ],
        },
    ),
    "class_balance": (
        lambda: plots.class_balance(
            {
                "training": np.repeat(np.arange(10), np.arange(1, 11)),
                "test": np.repeat(np.arange(10), np.arange(11, 1, -1)),
            },
            "T",
        ),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "digit",
                    "y": "images",
                    "named_x": {str(digit): digit for digit in range(10)},
                    "bars": [
                        *((0, "", round(digit - 0.4, 6), 0, digit, digit + 1) for digit in range(10)),
                        *((1, "//", digit, 0, round(digit + 0.4, 6), 11 - digit) for digit in range(10)),
                    ],
                }
            ],
            "legend": {"training": list(range(1, 11)), "test": list(range(11, 1, -1))},
        },
    ),
    "pixel_intensity": (
        lambda: plots.pixel_intensity(np.uint8([[[0, 0], [9, 255]], [[0, 0], [1, 255]]]), "T"),
        {
            "title": "T",
            "panels": [
                {
                    "x": "pixel value (0 background, 255 ink)",
                    "y": "pixels (log scale)",
                    "log": "y",
                    "steps": [{(0, 8): 5, (8, 16): 1, (248, 256): 2}],
                },
                {"title": "average image", "images": [([[0, 0], [5, 255]], True, [0, 255])]},
            ],
        },
    ),
    "learning_curves": (
        lambda: plots.learning_curves(TWO, "T"),
        {
            "title": "T",
            "panels": [
                {
                    "x": "epoch",
                    "y": metric,
                    "lines": [
                        (0, "-", "o", [1, 2], HISTORY[metric]),
                        (0, "--", "o", [1, 2], HISTORY[f"val_{metric}"]),
                        (1, "-", "s", [1, 2], OTHER[metric]),
                        (1, "--", "s", [1, 2], OTHER[f"val_{metric}"]),
                    ],
                }
                for metric in ("accuracy", "loss")
            ],
            "legend": {
                "A, training": [0.5, 0.9],
                "A, validation": [0.6, 0.8],
                "B, training": [0.1, 0.3],
                "B, validation": [0.2, 0.4],
            },
        },
    ),
    "metric_by_model": (
        lambda: plots.metric_by_model(
            {**TWO, "C": OTHER, "D": HISTORY},
            "loss",
            "T",
            bands={name: {"loss": [0.5, 0.25], "val_loss": [0.5, 0.25]} for name in "ABCD"},
        ),
        {
            "title": "T",
            "panels": [
                _loss_panel("A", HISTORY, [0.5, 0.25], y="loss"),
                _loss_panel("B", OTHER, [0.5, 0.25], x="epoch"),
                _loss_panel("C", OTHER, [0.5, 0.25], x="epoch"),
                _loss_panel("D", HISTORY, [0.5, 0.25], x="epoch", y="loss"),
            ],
            "legend": {"training": HISTORY["loss"], "validation": HISTORY["val_loss"]},
        },
    ),
    "search_progress": (
        lambda: plots.search_progress(
            {"Bayesian": _trials([0.3, 0.1, 0.2]), "random": _trials([0.4, 0.45])}, 0.15, "T"
        ),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "trial",
                    "y": "validation loss (log scale)",
                    "log": "y",
                    "lines": [
                        (0, "None", "o", [1, 2, 3], [0.3, 0.1, 0.2]),
                        (0, "-", "None", "steps-post", [1, 2, 3], [0.3, 0.1, 0.1]),
                        (1, "None", "s", [1, 2], [0.4, 0.45]),
                        (1, "--", "None", "steps-post", [1, 2], [0.4, 0.4]),
                        (GREY, ":", "None", [0, 1], [0.15, 0.15]),
                    ],
                }
            ],
            "legend": {
                "Bayesian: best so far": [0.3, 0.1, 0.1],
                "random: best so far": [0.4, 0.4],
                "the default configuration": [0.15, 0.15],
            },
        },
    ),
    "hyperparameter_effects": (
        lambda: plots.hyperparameter_effects(
            pd.DataFrame({"units": [128, 256, 64], "width": [0.5, 0.25, 0.75], "score": [0.3, 0.1, 0.2]}),
            ["units", "width"],
            "T",
        ),
        {
            "title": "T",
            "panels": [
                {
                    "x": "units",
                    "y": "validation loss (log)",
                    "log": "y",
                    "named_x": {"64": 64, "128": 128, "256": 256},
                    "points": [(0, [[128, 0.3], [256, 0.1], [64, 0.2]]), (3, "*", [[256, 0.1]])],
                },
                {
                    "x": "width",
                    "log": "y",
                    "named_x": {"0.25": 0.25, "0.50": 0.5, "0.75": 0.75},
                    "points": [(0, [[0.5, 0.3], [0.25, 0.1], [0.75, 0.2]]), (3, "*", [[0.25, 0.1]])],
                },
            ],
        },
    ),
    "confusion_matrix": (
        lambda: plots.confusion_matrix(_confused(), "T"),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "predicted digit",
                    "y": "true digit",
                    "named_x": DIGITS,
                    "named_y": DIGITS,
                    "top_down": True,
                    "texts": [
                        (predicted + 0.5, true + 0.5, str(_confused()[true, predicted]))
                        for true in range(10)
                        for predicted in range(10)
                    ],
                    "cells": [(MISTAKES.tolist(), True)],
                }
            ]
        },
    ),
    "accuracies": (
        lambda: plots.accuracies(["a", "b"], [0.98, 0.9], [0.97, 0.85], [0.99, 0.93], "T"),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "test accuracy in %, with 95 % interval",
                    "named_y": {"a": 0, "b": 1},
                    "top_down": True,
                    "lines": [(0, "None", "o", [98, 90], [0, 1])],
                    "texts": [(99, 0, "98.00"), (93, 1, "90.00")],
                    "segments": [(0, [[97, 0], [99, 0]]), (0, [[85, 1], [93, 1]])],
                }
            ]
        },
    ),
    "reliability": (
        lambda: plots.reliability(
            {
                name: pd.DataFrame({"confidence": [0.5, sure], "accuracy": [0.25, 1.0], "images": [1, 3]})
                for name, sure in (("a", 0.9), ("b", 0.8))
            },
            "T",
        ),
        {
            "title": "T",
            "panels": [
                {
                    "title": "a",
                    "x": "confidence",
                    "y": "share that is right",
                    "lines": [(GREY, ":", "None", [0, 1], [0, 1])],
                    "points": [(0, [65, 165], [[0.5, 0.25], [0.9, 1]])],
                },
                {
                    "title": "b",
                    "x": "confidence",
                    "lines": [(GREY, ":", "None", [0, 1], [0, 1])],
                    "points": [(1, [65, 165], [[0.5, 0.25], [0.8, 1]])],
                },
            ],
        },
    ),
    "robustness": (
        lambda: plots.robustness(
            {
                "shift": {"levels": [0, 1], "accuracy": {"a": [0.9, 0.5], "b": [0.8, 0.7], "c": [0, 0]}},
                "blur": {
                    "levels": [0, 2, 4],
                    "accuracy": {"a": [0.9, 0.6, 0.1], "b": [1, 1, 1], "c": [0, 0, 0]},
                },
            },
            ["a", "b"],
            "T",
        ),
        {
            "title": "T",
            "panels": [
                {
                    "x": "shift",
                    "y": "accuracy",
                    "lines": [(0, "-", "o", [0, 1], [0.9, 0.5]), (1, "--", "s", [0, 1], [0.8, 0.7])],
                },
                {
                    "x": "blur",
                    "lines": [
                        (0, "-", "o", [0, 2, 4], [0.9, 0.6, 0.1]),
                        (1, "--", "s", [0, 2, 4], [1, 1, 1]),
                    ],
                },
            ],
            "legend": {"a": [0.9, 0.5], "b": [0.8, 0.7]},
        },
    ),
    "seed_strip": (
        lambda: plots.seed_strip(
            {"a": [98.0, 99.0], "b": [97.0]}, "T", "accuracy in %", intervals={"a": (97.5, 99.5)}
        ),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "accuracy in % (point: seed, bar: mean, shade: 95 % interval)",
                    "named_y": {"a": 0, "b": 1},
                    "top_down": True,
                    "lines": [
                        (0, "None", "o", [98, 99], [0, 0]),
                        (3, "-", "None", [98.5, 98.5], [-0.3, 0.3]),
                        (0, "None", "o", [97], [1]),
                        (3, "-", "None", [97, 97], [0.7, 1.3]),
                    ],
                    "texts": [(99.5, 0, "98.50"), (97, 1, "97.00")],
                    "segments": [(3, [[97.5, 0], [99.5, 0]])],
                }
            ]
        },
    ),
    "bar_times": (
        lambda: plots.bar_times({"slow": _time(8.0, 7.0, 8.5, False), "fast": _time(2.0, 1.0, 4.0)}, "T"),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "seconds, median and range",
                    "named_y": {"fast": 0, "slow (not reached)": 1},
                    "top_down": True,
                    "bars": [(0, "", 0, -0.4, 2, 0.4), (0, "", 0, 0.6, 8, 1.4)],
                    "texts": [(4, 0, "2.0"), (8.5, 1, "8.0")],
                    "segments": [("#000000", [[1, 0], [4, 0]]), ("#000000", [[7, 1], [8.5, 1]])],
                }
            ]
        },
    ),
    "schedules": (
        lambda: plots.schedules({"constant": [0.5, 0.5, 0.5], "peak": [0.1, 0.9, 0.2]}, "T"),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "training step",
                    "y": "learning rate",
                    "lines": [
                        (0, "-", "None", [1, 2, 3], [0.5, 0.5, 0.5]),
                        (1, "--", "None", [1, 2, 3], [0.1, 0.9, 0.2]),
                    ],
                }
            ],
            "legend": {"constant": [0.5, 0.5, 0.5], "peak": [0.1, 0.9, 0.2]},
        },
    ),
    "moved_images": (
        lambda: plots.moved_images(
            np.array([[[0, 255], [7, 8]], [[1, 2], [3, 4]]]),
            np.array([[[0, -0.5], [0, 0]], [[0, 0], [0.25, 0]]]),
            np.array([[[0, 200], [7, 8]], [[1, 2], [30, 4]]]),
            {"before": ["7 (99%)", "1 (98%)"], "after": ["9 (51%)", "1 (80%)"]},
            "T",
        ),
        {
            "title": "T",
            "panels": [
                {
                    "title": "7 (99%)",
                    "y": "image",
                    "top_down": True,
                    "images": [([[0, 255], [7, 8]], True, [0, 255])],
                },
                {"title": "1 (98%)", "top_down": True, "images": [([[1, 2], [3, 4]], True, [0, 255])]},
                {
                    "y": "direction",
                    "top_down": True,
                    "images": [([[0, -0.5], [0, 0]], RED_IS_DARKER, [-0.5, 0.5])],
                },
                {"top_down": True, "images": [([[0, 0], [0.25, 0]], RED_IS_DARKER, [-0.5, 0.5])]},
                {
                    "title": "9 (51%)",
                    "y": "moved image",
                    "top_down": True,
                    "images": [([[0, 200], [7, 8]], True, [0, 255])],
                },
                {"title": "1 (80%)", "top_down": True, "images": [([[1, 2], [30, 4]], True, [0, 255])]},
            ],
        },
    ),
    "values_along": (
        lambda: plots.values_along(
            [0, 1], {"A": {"up": [0, 0.5], "flat": [0, 0.1]}, "B": {"up": [0, 0.8]}}, "T", "step", "share"
        ),
        {
            "title": "T",
            "panels": [
                {
                    "title": "A",
                    "x": "step",
                    "y": "share",
                    "lines": [(0, "-", "o", [0, 1], [0, 0.5]), (1, "--", "s", [0, 1], [0, 0.1])],
                },
                {"title": "B", "x": "step", "lines": [(0, "-", "o", [0, 1], [0, 0.8])]},
            ],
            "legend": {"up": [0, 0.5], "flat": [0, 0.1]},
        },
    ),
    "curves_with_spread": (
        lambda: plots.curves_with_spread(
            {"A": [[0.5, 0.75], [0.25, 0.75]], "B": [[0.5, 1.0]]}, "T", "accuracy"
        ),
        {
            "panels": [
                {
                    "title": "T",
                    "x": "epoch",
                    "y": "accuracy",
                    "lines": [
                        (0, "-", "o", [1, 2], [0.375, 0.75]),
                        (1, "--", "s", [1, 2], [0.5, 1.0]),
                    ],
                    "bands": [
                        (0, [[1, 0.25, 0.5], [2, 0.75, 0.75]]),
                        (1, [[1, 0.5, 0.5], [2, 1.0, 1.0]]),
                    ],
                }
            ],
            "legend": {"A, mean of 2 seeds": [0.375, 0.75], "B, mean of 1 seeds": [0.5, 1.0]},
        },
    ),
    "frontier": (
        lambda: benchmarks.plots.frontier(
            {"ours": [(2.0, 0.975), (10.0, 0.99)], "peer": [(4.0, 0.96)]}, [0.98], "T"
        ),
        {
            "title": "T",
            "panels": [
                {
                    "x": "seconds of training, median",
                    "y": "test accuracy in %, mean",
                    "log": "x",
                    "lines": [
                        (0, "-", "o", [2.0, 10.0], [97.5, 99.0]),
                        (1, "-", "s", [4.0], [96.0]),
                        (7, ":", "None", [0.0, 1.0], [98.0, 98.0]),
                    ],
                    "texts": [(0.01, 98.0, "98.00%")],
                }
            ],
            "legend": {"ours": [97.5, 99.0], "peer": [96.0]},
        },
    ),
    "scaling": (
        lambda: benchmarks.plots.scaling(
            {
                "epochs": {
                    "points": [{"value": 1, "seconds": 2.0}, {"value": 4, "seconds": 8.0}],
                    "r_squared": 0.5,
                }
            },
            "T",
        ),
        {
            "title": "T",
            "panels": [{"x": "epochs", "y": "seconds", "lines": [(0, "-", "o", [1, 4], [2, 8])]}],
        },
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_artists_show_the_data(name):
    draw, expected = ROWS[name]
    figure = draw()
    assert read(figure.figure) == expected
    with Image.open(io.BytesIO(figure.png())) as picture:
        assert picture.text["Description"] == figure.description == repr(figure)
    assert figure.description.startswith("T")


def test_each_function_that_draws_has_a_row():
    drawing = {
        name
        for module in (plots, benchmarks.plots)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if "DescribedFigure" in str(inspect.signature(function).return_annotation) and name[0] != "_"
    } - {"described"}
    assert set(ROWS) == drawing
    assert set(plots.__all__) >= drawing - {"frontier", "scaling"}


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (
            ROWS["search_progress"][0],
            "Bayesian: 3 trials, best 0.1000; random: 2 trials, best 0.4000; default",
        ),
        (ROWS["reliability"][0], "a: on average 80.00% sure and 81.25% right; b: on average 72.50% sure"),
        (ROWS["robustness"][0], "shift 1: a 50.0%, b 70.0%; blur 4: a 10.0%, b 100.0%"),
        (ROWS["bar_times"][0], "T. Medians: fast 2.0 s; slow (not reached) 8.0 s."),
        (ROWS["schedules"][0], "peak begins at 0.1, highest 0.9 at step 2, ends at 0.2."),
        (
            ROWS["frontier"][0],
            "T. On the frontier: ours. ours 97.50 % in 2.0 s, 99.00 % in 10.0 s; peer 96.00 % in 4.0 s.",
        ),
        (ROWS["scaling"][0], "T. epochs 1 to 4: 2.0 to 8.0 s, R squared 0.500."),
        (
            ROWS["confusion_matrix"][0],
            "T. 55 of 65 right. The most frequent mistake: 4 taken for 9, 7 times.",
        ),
        (
            ROWS["seed_strip"][0],
            "a 98.50 (98.00 to 99.00, n=2, 95 % interval 97.50 to 99.50); b 97.00 (97.00 to 97.00, n=1).",
        ),
        (
            ROWS["hyperparameter_effects"][0],
            "T. 3 trials; the star is the best, 0.1000: units 256, width 0.25.",
        ),
    ],
)
def test_a_description_quotes_the_numbers(draw, sentence):
    assert sentence in draw().description


# --- hyperparameters of any kind (R5) ---

NAN = math.nan


@pytest.mark.parametrize(
    ("values", "x", "ticks", "chosen"),
    [
        # conditional: trials that did not use it have no point
        ([256, NAN, 512], [256, 512], {"256": 256, "512": 512}, None),
        ([NAN, 3, NAN], [3], {"3": 3}, "h 3"),
        ([NAN, NAN, NAN], [], {}, None),
        ([None, None, None], [], {}, None),
        # booleans and strings, complete and conditional
        ([True, False, True], [1, 0, 1], {"no": 0, "yes": 1}, "h no"),
        ([True, None, False], [1, 0], {"no": 0, "yes": 1}, None),
        ([True, NAN, True], [0, 0], {"yes": 0}, None),
        (["relu", "tanh", "elu"], [1, 2, 0], {"elu": 0, "relu": 1, "tanh": 2}, "h tanh"),
        (["relu", NAN, None], [0], {"relu": 0}, None),
        # constant
        ([7, 7, 7], [7, 7, 7], {"7": 7}, "h 7"),
        ([0.0, 0.0, 0.0], [0, 0, 0], {"0": 0}, "h 0"),
        (["same"] * 3, [0, 0, 0], {"same": 0}, "h same"),
        # numbers of pandas' own types
        (pd.array([1, None, 3], "Int64"), [1, 3], {"1": 1, "3": 3}, None),
        (pd.Categorical(["a", "b", "a"]), [0, 1, 0], {"a": 0, "b": 1}, "h b"),
    ],
)
def test_a_hyperparameter_of_any_kind_is_drawn_where_it_exists(values, x, ticks, chosen):
    table = pd.DataFrame({"units": [1, 2, 3], "h": values, "score": [0.3, 0.1, 0.2]}, index=[5, 5, 9])
    figure = plots.hyperparameter_effects(table, ["units", "h"], "T")
    shown = read(figure.figure)["panels"][1]
    ticks_shown = {
        float(name) if name[0].isdigit() else name: at for name, at in shown.get("named_x", {}).items()
    }
    assert ticks_shown == {float(name) if name[0].isdigit() else name: at for name, at in ticks.items()}
    assert [point[0] for point in shown["points"][0][-1]] == x
    assert figure.description.endswith(f"units 2, {chosen}." if chosen else "units 2.")


@pytest.mark.parametrize("names", [["a"], ["a", "absent"], ["a", "b"]])
def test_one_trial_one_hyperparameter_and_one_that_no_trial_had(names):
    table = pd.DataFrame({"a": [1], "b": ["x"], "score": [0.5]})
    shown = read(plots.hyperparameter_effects(table, names, "T").figure)["panels"]
    assert [panel["x"] for panel in shown] == names
    assert shown[0]["points"] == [(0, [[1, 0.5]]), (3, "*", [[1, 0.5]])]


@pytest.mark.parametrize(
    ("name", "values", "is_log"),
    [
        ("learning_rate", [0.0012, 0.0025], True),  # by its name, however near they are
        ("learning_rate", [0.001, 0.001], True),
        ("step_size", [1e-4, 1e-2, 1e-3], True),
        ("lr", [1e-5, 2e-4, 7e-4, 3e-3, 8e-2], True),
        ("l2", [1e-6, NAN, 1e-4, 1e-5], True),
        ("units", [32, 64, 128, 256, 512], True),
        ("dropout", [0.05, 0.2, 0.3, 0.4, 0.5], False),
        ("dropout", [0.0, 0.1, 0.2, 0.3], False),
        ("offset", [-1.0, 0.0, 100.0], False),
        ("width", [2, 20, 30, 41, 60], False),
    ],
)
def test_what_was_sampled_on_a_logarithmic_scale_is_drawn_on_one(name, values, is_log):
    table = pd.DataFrame({name: values, "score": np.linspace(0.1, 0.2, len(values))})
    shown = read(plots.hyperparameter_effects(table, [name], "T").figure)["panels"][0]
    assert shown["log"] == ("xy" if is_log else "y")


@pytest.mark.parametrize(
    ("rates", "ticks"),
    [
        ([0.0012, 0.0025], ["0.0012", "0.0025"]),
        ([0.0005, 0.02], ["0.001", "0.003", "0.01"]),
        ([1e-6, 1e-5], ["1e-06", "3e-06", "1e-05"]),
        ([0.001, 0.001], ["0.001"]),
        ([0.5, 30.0], ["1", "3", "10", "30"]),
    ],
)
def test_the_axis_of_the_learning_rates_has_numbers(rates, ticks):
    table = pd.DataFrame({"learning_rate": rates, "units": [256, 512], "score": [0.2, 0.1]})
    panel = read(plots.hyperparameter_effects(table, ["learning_rate", "units"], "T").figure)["panels"][0]
    assert list(panel["named_x"]) == ticks
    assert [f"{position:.2g}" for position in panel["named_x"].values()] == ticks


def test_panels_are_at_most_three_side_by_side():
    figure, all_axes = plots.panels(4, "T", ylabel="y", height=2)
    assert len(all_axes) == 4
    shown = read(figure)
    assert (shown["title"], len(shown["panels"])) == ("T", 4)
    assert [panel.get("y", "") for panel in shown["panels"]] == ["y", "", "", "y"]


@pytest.mark.parametrize(
    "draw", [plots.learning_curves, lambda curves, title: plots.metric_by_model(curves, "loss", title)]
)
def test_a_training_that_has_not_ended_is_named(draw):
    ended = {"loss": [1.0], "accuracy": [0.5]}
    with pytest.raises(
        UserError, match=r"The training of plain has not ended\. Run the cell that trains it again"
    ):
        draw({"baseline": ended, "plain": None}, "curves")


def test_figures_have_the_look_of_the_course_whatever_an_account_has_set(monkeypatch):  # R8
    before = plots.class_balance({"training": np.arange(10)}, "balance").png()
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "figure.dpi": 300}):
        assert plots.class_balance({"training": np.arange(10)}, "balance").png() == before
    axes = plots.class_balance({"training": np.arange(10)}, "balance").figure.axes[0]
    assert not axes.spines["top"].get_visible()
    assert axes.title.get_fontsize() == 12
    assert axes.get_axisbelow() is True
