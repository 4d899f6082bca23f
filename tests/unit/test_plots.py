import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mnist_helpers import data, plots

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
    content, _ = plots.DescribedFigure(plots._figure((2, 2)), 'a "b" <c> & d')._repr_mimebundle_()
    assert content["text/html"].startswith('<img alt="a &quot;b&quot; &lt;c&gt; &amp; d" src=')


def test_saved_pictures_are_the_same_each_time(tmp_path):
    figures = [plots.confusion_matrix(np.eye(10, dtype=int), "One (digits)") for _ in range(2)]
    figures[0].save(tmp_path / "figure.png")
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


def test_a_projection_names_the_ends_of_its_axis():
    labels = np.repeat(np.arange(10), 3)
    points = np.stack([np.where(labels == 4, 50, labels), labels], axis=1).astype(float)
    assert "digit 0 lies at one end on average and digit 4 at the other" in repr(
        plots.projection(points, labels, "Map (x)")
    )


def test_a_confusion_matrix_tells_truth_from_prediction():
    matrix = np.diag(np.full(10, 90))
    matrix[4, 9] = 7
    figure = plots.confusion_matrix(matrix, "Confusions (x)")
    assert "900 of 907 right. The commonest mistake: 4 taken for 9, 7 times." in figure.description
    axes = figure.figure.axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts[(9.5, 4.5)] == "7"  # column 9, row 4
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted digit", "true digit")


def test_curves_draw_training_solid_and_validation_dashed():
    axes = plots.learning_curves({"a": HISTORY}, "Curves (x)").figure.axes[1]
    drawn = {line.get_linestyle(): line.get_ydata().tolist() for line in axes.lines}
    assert drawn == {"-": HISTORY["loss"], "--": HISTORY["val_loss"]}


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


def test_repeated_searches_are_drawn_with_the_mean_of_their_best_so_far():
    figure = plots.compare_searches(
        {"Bayesian": [[0.3, 0.1], [0.2, 0.4]], "random": [[0.5, 0.3]]}, 8, "Searches (x)"
    )
    lines = figure.figure.axes[0].lines
    assert [line.get_ydata().round(3).tolist() for line in lines] == [
        [0.3, 0.1],
        [0.2, 0.2],
        [0.25, 0.15],
        [0.5, 0.3],
        [0.5, 0.3],
    ]
    assert lines[0].get_xdata().tolist() == [8, 16]
    assert "Bayesian, mean of 2: 0.1500 after 16 epochs" in figure.description


def test_a_reliability_diagram_has_a_point_per_group_on_the_diagonal_of_its_panel():
    table = pd.DataFrame({"confidence": [0.5, 0.9], "accuracy": [0.25, 1.0], "images": [1, 3]})
    figure = plots.reliability({"a": table, "b": table}, "Sure (x)")
    points = figure.figure.axes[1].collections[0]
    assert points.get_offsets().tolist() == [[0.5, 0.25], [0.9, 1.0]]
    assert points.get_sizes()[1] > points.get_sizes()[0]
    assert "a: on average 80.00% sure and 81.25% right" in figure.description


def test_robustness_has_a_panel_per_distortion_and_a_line_per_model():
    measured = {
        "shift": {"levels": [0, 1], "accuracy": {"a": [0.9, 0.5], "b": [0.8, 0.7], "c": [0, 0]}},
        "blur": {"levels": [0, 2, 4], "accuracy": {"a": [0.9, 0.6, 0.1], "b": [1, 1, 1], "c": [0, 0, 0]}},
    }
    figure = plots.robustness(measured, ["a", "b"], "Bad light (x)")
    shift, blur = figure.figure.axes[:2]
    assert [line.get_ydata().tolist() for line in blur.lines] == [[0.9, 0.6, 0.1], [1, 1, 1]]
    assert len({line.get_linestyle() for line in shift.lines}) == 2
    assert "shift 1: a 50.0%, b 70.0%; blur 4: a 10.0%, b 100.0%" in figure.description


def test_durations_are_bars_with_their_range():
    def time(median, low, high, reached=True):
        return {"median_seconds": median, "low": low, "high": high, "reached": reached}

    figure = plots.bar_times(
        {"keras_default": time(8.0, 8.0, 8.0, False), "fast_recipe": time(2.0, 1.0, 4.0)}, "Seconds"
    )
    axes = figure.figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [2.0, 8.0]
    assert "fast_recipe 2.0 s; keras_default (not reached) 8.0 s" in figure.description


def test_growth_has_a_panel_each():
    points = [{"value": 1, "seconds": 2.0}, {"value": 4, "seconds": 8.0}]
    figure = plots.scaling({"epochs": {"points": points, "r_squared": 0.5}}, "Time (x)")
    assert figure.figure.axes[0].lines[0].get_ydata().tolist() == [2.0, 8.0]
    assert "epochs 1 to 4: 2.0 to 8.0 s, R squared 0.500" in figure.description


def test_images_share_one_scale_where_it_is_given():
    figure = plots.image_grid(IMAGES, list("abcd"), "Four (x)", darkest=255)
    assert {axes.images[0].get_clim() for axes in figure.figure.axes} == {(0.0, 255.0)}


def test_every_seed_is_drawn_with_the_mean():
    figure = plots.seed_strip({"a": [98.0, 99.0], "b": [97.0]}, "Scores (x)", "accuracy in %")
    lines = figure.figure.axes[0].lines
    assert [list(line.get_xdata()) for line in lines] == [
        [98.0, 99.0],
        [98.5, 98.5],
        [97.0],
        [97.0, 97.0],
    ]
    assert "a 98.50 (98.00 to 99.00, n=2); b 97.00" in figure.description


def test_an_interval_of_the_mean_is_shaded_where_there_is_one():
    values = {"a": [98.0, 99.0], "b": [97.0]}
    figure = plots.seed_strip(values, "Scores (x)", "accuracy in %", intervals={"a": (97.5, 99.5)})
    (shaded,) = figure.figure.axes[0].collections
    assert shaded.get_segments()[0].tolist() == [[97.5, 0.0], [99.5, 0.0]]
    assert "n=2, 95 % interval 97.50 to 99.50); b 97.00 (97.00 to 97.00, n=1)" in figure.description


def test_a_band_lies_about_its_curve():
    means = {"a": {"loss": [3.0, 2.0], "val_loss": [4.0, 3.0]}}
    sds = {"a": {"loss": [0.5, 0.25], "val_loss": [0.0, 0.0]}}
    axes = plots.metric_by_model(means, "loss", "Losses (x)", bands=sds).figure.axes[0]
    training, validation = (band.get_paths()[0].get_extents() for band in axes.collections)
    assert (training.ymin, training.ymax) == (1.75, 3.5)
    assert (validation.ymin, validation.ymax) == (3.0, 4.0)


def test_searches_are_drawn_with_their_best_so_far():
    tables = {
        "Bayesian": pd.DataFrame({"trial": [1, 2, 3], "score": [0.3, 0.1, 0.2]}),
        "random": pd.DataFrame({"trial": [1, 2, 3], "score": [0.3, 0.4, 0.25]}),
    }
    figure = plots.search_progress(tables, 0.15, "Search (x)")
    assert (
        "Bayesian: 3 trials, best 0.1000; random: 3 trials, best 0.2500; default configuration 0.1500"
        in repr(figure)
    )
    steps = [
        line.get_ydata().tolist() for line in figure.figure.axes[0].lines if line.get_drawstyle() != "default"
    ]
    assert steps == [[0.3, 0.1, 0.1], [0.3, 0.3, 0.25]]


def test_the_best_trial_is_starred():
    table = pd.DataFrame(
        {"units": [128, 256], "batchnorm": [True, False], "learning_rate": [1e-3, 1e-2], "score": [0.2, 0.1]}
    )
    figure = plots.hyperparameter_effects(table, ["units", "batchnorm", "learning_rate"], "What (x)")
    assert "the star is the best, 0.1000: units 256, batchnorm 0, learning_rate 0.01" in figure.description
    assert len(figure.figure.axes) == 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.image_grid(IMAGES, ["a"], "Four"),
        lambda: plots.projection(np.zeros((3, 2)), np.zeros(4), "Map"),
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


@pytest.mark.parametrize(
    ("rates", "ticks"),
    [([0.0012, 0.0025], ["0.0012", "0.0025"]), ([0.0005, 0.02], ["0.001", "0.003", "0.01"])],
)
def test_the_axis_of_the_learning_rates_has_numbers(rates, ticks):
    table = pd.DataFrame({"learning_rate": rates, "units": [256, 512], "score": [0.2, 0.1]})
    figure = plots.hyperparameter_effects(table, ["learning_rate", "units"], "Trials (x)").figure
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ticks
