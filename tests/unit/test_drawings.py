"""What a drawing shows, read back from its artists, and what its description says."""

import io

import numpy as np
import pytest
from matplotlib.patches import Circle, FancyArrowPatch
from PIL import Image

from mnist_course import lessons, pictures
from mnist_helpers import drawings, quiz, results

RNG = np.random.default_rng(1)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def circles(axes):
    return [patch for patch in axes.patches if isinstance(patch, Circle)]


def test_the_data_split_has_a_segment_for_each_part_in_order():
    drawn = drawings.data_split({"training": 600, "validation": 300, "test": 100}, "Split")
    (axes,) = drawn.figure.axes
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 600), (600, 300), (900, 100)]
    assert texts(drawn.figure) == ["training\n600 (60%)", "validation\n300 (30%)", "test\n100 (10%)"]
    assert (
        "training 600 images (60%); validation 300 images (30%); test 100 images (10%)" in drawn.description
    )
    centers = [text.get_position()[0] for text in axes.texts]
    assert centers == [300, 750, 950]


@pytest.mark.parametrize(
    ("bias", "weighted", "output"), [(0.1, "0.4 + 0.1 = 0.5", "0.5"), (-1, "0.4 − 1 = -0.6", "0")]
)
def test_a_neuron_multiplies_adds_and_applies_relu(bias, weighted, output):
    drawn = drawings.neuron([0.5, 1, 0.2], [0.8, -0.3, 1.5], bias, "Neuron")
    shown = texts(drawn.figure)
    assert shown[:6] == ["0.5", "× 0.8", "1", "× -0.3", "0.2", "× 1.5"]
    assert any(weighted in text for text in shown)
    assert output in shown
    assert "0.5 times 0.8, 1 times -0.3, 0.2 times 1.5" in drawn.description
    assert f"ReLU makes it {output}" in drawn.description


def test_a_neuron_needs_a_weight_for_each_input():
    with pytest.raises(ValueError, match="weights"):
        drawings.neuron([1, 2], [1], 0, "Neuron")


def test_activations_and_their_slopes():
    drawn = drawings.activations("Activations")
    outputs, slopes = drawn.figure.axes
    for axes in (outputs, slopes):
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sigmoid", "ReLU"]
    for line, slope in zip(outputs.lines, slopes.lines, strict=True):
        x, y = line.get_data()
        smooth = np.abs(x) > 0.1  # ReLU has no slope at 0
        assert np.allclose(np.gradient(y, x)[smooth], slope.get_ydata()[smooth], atol=0.01)
    sigmoid, relu = (line.get_ydata() for line in outputs.lines)
    assert (sigmoid[0] < 0.01, sigmoid[-1] > 0.99, relu[0], relu[-1]) == (True, True, 0, 6)
    assert slopes.lines[0].get_ydata().max() == pytest.approx(0.25)
    assert slopes.lines[0].get_label() == "sigmoid"


def test_softmax_turns_logits_into_probabilities():
    logits = [1, 0, -1, 2, 0.5, 3, -2, 0, 1, 0.2]
    drawn = drawings.softmax_bars(logits, "Softmax")
    left, right = ([bar.get_height() for bar in axes.patches] for axes in drawn.figure.axes)
    assert left == pytest.approx(logits)
    assert right == pytest.approx(np.exp(logits) / np.exp(logits).sum())
    assert [axes.get_ylabel() for axes in drawn.figure.axes] == ["logit", "probability"]
    assert "digit 5 has the largest, 0.52" in drawn.description


def test_the_cross_entropy_is_minus_the_natural_logarithm():
    drawn = drawings.cross_entropy_curve("Loss")
    curve, marks = drawn.figure.axes[0].lines
    for line in (curve, marks):
        assert np.allclose(line.get_ydata(), -np.log(line.get_xdata()))
    for text, x in zip(texts(drawn.figure), marks.get_xdata(), strict=True):
        assert text == f"p = {x:g}: loss {-np.log(x):.2f}"
    assert "at probability 0.1 the loss is 2.30" in drawn.description


def test_a_network_is_drawn_layer_by_layer_and_fully_connected():
    drawn = drawings.network([5, 3, 20], ["pixels", "hidden\nlayer", "output"], "Network")
    (axes,) = drawn.figure.axes
    columns = [round(circle.center[0]) for circle in circles(axes)]
    assert [columns.count(x) for x in (0, 3, 6)] == [5, 3, 8]
    assert len(axes.lines) == 5 * 3 + 3 * 8
    labels = [text for text in texts(drawn.figure) if text != "⋮"]
    assert labels == ["5\npixels", "3\nhidden\nlayer", "20\noutput"]
    assert texts(drawn.figure).count("⋮") == 1
    assert "5 pixels; 3 hidden layer; 20 output" in drawn.description


def test_gradient_descent_takes_the_steps_of_its_learning_rate():
    rates = [0.05, 0.3, 1.05]
    drawn = drawings.gradient_descent(rates, "Descent", steps=4, start=-1.5)
    for axes, rate in zip(drawn.figure.axes, rates, strict=True):
        assert axes.get_title() == f"learning rate {rate:g}"
        _, path, first = axes.lines
        weight = -1.5
        for x, y in zip(*path.get_data(), strict=True):
            assert (x, y) == pytest.approx((weight, weight**2))
            weight -= rate * 2 * weight
        assert len(path.get_xdata()) == 5
        assert first.get_xdata() == [-1.5]
    assert "learning rate 1.05 moves away from the minimum" in drawn.description
    assert "learning rate 0.3 ends at loss" in drawn.description


def test_a_training_step_has_its_four_parts_in_order():
    drawn = drawings.training_step("Step")
    numbered = sorted(text for text in texts(drawn.figure) if text[0].isdigit())
    expected = ["1. input", "2. prediction", "3. gradient", "4. update: weight − learning rate × gradient"]
    assert numbered == expected
    places = [drawn.description.index(word) for word in ("mini-batch", "forward", "backward", "updated")]
    assert places == sorted(places)


def test_weights_are_drawn_as_images_of_the_same_scale():
    before, after = (
        RNG.normal(size=(784, 20)),
        np.repeat(RNG.normal(size=(28, 1, 20)), 28, axis=1).reshape(784, 20),
    )
    drawn = drawings.weight_images({"before training": before, "after training": after}, "Weights")
    images = [axes.images[0] for axes in drawn.figure.axes]
    assert len(images) == 32
    for number, image in enumerate(images):
        values = (before, after)[number // 16]
        assert np.array_equal(image.get_array(), values[:, number % 16].reshape(28, 28))
        assert image.get_clim() == pytest.approx(
            (-np.abs(values[:, :16]).max(), np.abs(values[:, :16]).max())
        )
    assert "Weights. 16 neurons each: before training" in drawn.description
    assert "after training" in drawn.description.split("before training")[1]
    assert "differ by 0.00" in drawn.description.split("after training")[1]


@pytest.mark.parametrize("neurons", [1, 4, 15])
def test_a_layer_of_few_neurons_leaves_places_empty(neurons):
    drawn = drawings.weight_images({"w": RNG.normal(size=(784, neurons))}, "Weights")
    assert [len(axes.images) for axes in drawn.figure.axes] == [1] * neurons + [0] * (16 - neurons)
    assert not any(axes.axison for axes in drawn.figure.axes)
    assert f"Weights. {neurons} neurons each" in drawn.description


def test_projections_show_each_image_in_each_panel():
    labels = np.arange(200) % 10
    separated = np.stack([labels, labels], axis=1) + RNG.normal(0, 0.01, (200, 2))
    drawn = drawings.projections({"pixels": RNG.normal(size=(200, 2)), "hidden": separated}, labels, "PCA")
    for axes, name in zip(drawn.figure.axes, ("pixels", "hidden"), strict=True):
        assert axes.get_title() == name
        assert [len(points.get_offsets()) for points in axes.collections] == [20] * 10
    for digit, points in enumerate(drawn.figure.axes[1].collections):
        assert np.allclose(points.get_offsets(), separated[labels == digit])
    assert "hidden, 100% of the variation is between digits" in drawn.description


def test_gradient_sizes_are_drawn_per_layer_on_a_logarithmic_scale():
    sizes = {"sigmoid": [1e-6, 1e-4, 1e-2], "ReLU": [1e-3, 2e-3, 3e-3]}
    drawn = drawings.gradient_sizes(sizes, "Gradients")
    (axes,) = drawn.figure.axes
    assert axes.get_yscale() == "log"
    assert {line.get_label(): list(line.get_ydata()) for line in axes.lines} == sizes
    assert all(list(line.get_xdata()) == [1, 2, 3] for line in axes.lines)
    assert "sigmoid, 1.0e-06 in the first layer and 1.0e-02 in the last" in drawn.description


@pytest.mark.parametrize(("rate", "dropped", "factor"), [(0.5, 5, "2"), (0.2, 2, "1.25")])
def test_dropout_drops_other_neurons_for_each_image_and_none_at_prediction(rate, dropped, factor):
    drawn = drawings.dropout(rate, "Dropout")
    (axes,) = drawn.figure.axes
    off = [
        tuple(
            circle.center[0]
            for circle in circles(axes)
            if circle.center[1] == -row and min(circle.get_fc()) == 1
        )
        for row in range(4)
    ]
    assert [len(row) for row in off] == [dropped, dropped, dropped, 0]
    assert len(set(off[:3])) == 3
    assert f"the others × {factor}" in texts(drawn.figure)
    assert f"a different {dropped} of 10 activations" in drawn.description


def test_random_search_tries_more_values_of_the_one_that_matters():
    drawn = drawings.grid_and_random("Search")
    different = [len(set(axes.lines[0].get_xdata())) for axes in drawn.figure.axes]
    assert different == [3, 9]
    for axes, count, name in zip(drawn.figure.axes, different, ("grid search", "random search"), strict=True):
        assert axes.get_title() == f"{name}: 9 trials, {count} values"
        assert f"{name} tries {count} values" in drawn.description
        assert len(axes.lines[0].get_xdata()) == 9


# --- the pictures at the head of the lessons ---


@pytest.fixture(scope="module")
def title_pictures():
    return pictures.title_pictures()


@pytest.mark.parametrize("lesson", results.IN_ORDER)
def test_the_committed_picture_is_the_one_that_the_code_draws(lesson, title_pictures):
    """After a change: `mnist-course notebooks` writes the pictures again."""
    committed = lessons.NOTEBOOKS / pictures.FOLDER / f"{lesson}.png"
    with Image.open(committed) as picture, Image.open(io.BytesIO(title_pictures[lesson].png())) as drawn:
        assert picture.text["Description"] == title_pictures[lesson].description
        assert picture.size == pytest.approx(drawn.size, abs=2)
        same = np.asarray(picture.convert("L").resize(drawn.size), float) - np.asarray(
            drawn.convert("L"), float
        )
    assert np.abs(same).mean() < 4  # fonts and versions of matplotlib differ a little


@pytest.mark.parametrize("lesson", results.IN_ORDER)
def test_the_lesson_shows_its_picture_with_its_description(lesson, title_pictures):
    title = "".join(lessons.read_lesson(lesson)["cells"][0]["source"])
    folder = f"../{pictures.FOLDER}" if lesson in results.FURTHER else pictures.FOLDER
    assert f"![{title_pictures[lesson].description}]({folder}/{lesson}.png)" in title


def test_the_forward_and_the_backward_pass_show_each_array_with_its_shape():
    drawn = drawings.forward_and_backward([784, 6, 3, 10], 5, "Passes")
    shown = texts(drawn.figure)
    forward = [
        "x\n(5, 784)",
        "z1\n(5, 6)",
        "a1\n(5, 6)",
        "z2\n(5, 3)",
        "a2\n(5, 3)",
        "z3\n(5, 10)",
        "p\n(5, 10)",
    ]
    backward = ["dz1\n(5, 6)", "da1\n(5, 6)", "dz2\n(5, 3)", "da2\n(5, 3)", "dz3\n(5, 10)"]
    weights = ["dW1 (784, 6)\ndb1 (6,)", "dW2 (6, 3)\ndb2 (3,)", "dW3 (3, 10)\ndb3 (10,)"]
    assert [text for text in shown if "(" in text] == forward + backward + weights
    steps = ["W1, b1", "ReLU", "W2, b2", "ReLU", "W3, b3", "softmax", "−log"]
    assert [text for text in shown if "(" not in text] == ["loss", *steps, "ReLU", "W2", "ReLU", "W3"]
    arrows = [patch for patch in drawn.figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 7 + 4 + 1 + 3
    assert "the backward pass computes dz3, da2, dz2, da1, dz1" in drawn.description


@pytest.mark.parametrize(
    ("name", "lesson"), [("curves", "02_baseline"), ("gradients", "03_batchnorm_dropout")]
)
def test_the_figure_of_a_question_is_the_one_that_the_code_draws(name, lesson):
    figure = pictures.quiz_figures()[name]
    with Image.open(lessons.NOTEBOOKS / pictures.FOLDER / f"quiz_{name}.png") as committed:
        assert committed.text["Description"] == figure.description
    (question,) = [q for q in quiz.show(lesson).questions if q.get("figure") == name]
    assert question["description"] == figure.description
    assert question["picture"].startswith("data:image/png;base64,")


def test_the_trainings_of_the_question_overfit_and_underfit():
    overfits, underfits = pictures.quiz_figures()["curves"].figure.axes
    training, validation = (line.get_ydata() for line in overfits.lines)
    assert [line.get_label() for line in overfits.lines] == ["training", "validation"]
    assert training[-1] < 0.05 and validation[-1] > validation.min() + 0.1
    assert min(line.get_ydata().min() for line in underfits.lines) > 0.7


# --- names of axes, colours, directions ---

TWO_LAYERS = {"a": [1e-3, 1e-2]}
POINTS = RNG.normal(size=(20, 2))
LABELS = {
    "activations": (
        lambda: drawings.activations("T"),
        [("weighted sum of the inputs", "output of the neuron"), ("weighted sum of the inputs", "slope")],
    ),
    "softmax_bars": (
        lambda: drawings.softmax_bars([0, 1, 2], "T"),
        [("digit", "logit"), ("digit", "probability")],
    ),
    "cross_entropy_curve": (
        lambda: drawings.cross_entropy_curve("T"),
        [("probability of the correct digit", "loss of this image")],
    ),
    "gradient_descent": (lambda: drawings.gradient_descent([0.1], "T"), [("weight w", "loss")]),
    "projections": (
        lambda: drawings.projections({"p": POINTS}, np.arange(20) % 10, "T"),
        [("first principal component", "second principal component")],
    ),
    "gradient_sizes": (
        lambda: drawings.gradient_sizes(TWO_LAYERS, "T"),
        [("layer (1 is next to the input)", "mean size of the gradient")],
    ),
    "grid_and_random": (
        lambda: drawings.grid_and_random("T"),
        [("hyperparameter that matters", "hyperparameter that does not")] * 2,
    ),
    "03_batchnorm_dropout": (
        lambda: pictures.title_pictures()["03_batchnorm_dropout"],
        [("training time", "loss")],
    ),
    "faster_training": (
        lambda: pictures.title_pictures()["faster_training"],
        [("training step", "learning rate")],
    ),
    "trust": (
        lambda: pictures.title_pictures()["trust"],
        [("confidence: what the network says", "accuracy: what is true")],
    ),
    "quiz curves": (lambda: pictures.quiz_figures()["curves"], [("epoch", "loss")] * 2),
    "quiz gradients": (
        lambda: pictures.quiz_figures()["gradients"],
        [("layer (1 is next to the input)", "mean size of the gradient")],
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_each_axis_is_named_after_what_it_shows(name):
    draw, expected = LABELS[name]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in draw().figure.axes] == expected


def test_the_axis_of_what_matters_is_the_one_whose_quality_is_drawn():
    """The hill at the top varies along x, and the dotted lines carry the trials' x to it."""
    for axes in drawings.grid_and_random("T").figure.axes:
        hill = next(iter(axes.collections)).get_paths()[0].vertices
        assert hill[hill[:, 1].argmax(), 0] == pytest.approx(0.68, abs=0.01)
        assert axes.get_xlabel().endswith("that matters")


def curves_of(figure, panel=0):
    return {line.get_label(): line.get_ydata() for line in figure.figure.axes[panel].lines}


def test_each_legend_names_the_curve_that_behaves_like_it(title_pictures):
    """What the description says of a name is true of the curve that has this name in the legend."""
    losses = curves_of(title_pictures["03_batchnorm_dropout"])
    seen, unseen = losses["training images"], losses["unseen images"]
    assert (np.diff(seen) < 0).all()
    assert unseen.min() + 0.05 < unseen[-1] < unseen[0]
    assert unseen[-1] > seen[-1]
    rates = curves_of(title_pictures["faster_training"])
    assert np.ptp(rates["constant"]) == 0
    changing = rates["warm-up, then cosine decay"]
    assert 0 < changing.argmax() < len(changing) / 3 and changing[-1] == pytest.approx(0, abs=0.01)
    trusted = curves_of(title_pictures["trust"])
    assert (trusted["overconfident"][:-1] < trusted["calibrated"][:-1]).all()
    for panel in (0, 1):
        pair = curves_of(pictures.quiz_figures()["curves"], panel)
        assert (pair["training"][1:] < pair["validation"][1:]).all()
    gradients = curves_of(pictures.quiz_figures()["gradients"])
    assert np.ptp(gradients["network B"]) == 0
    assert (gradients["network A"][0], gradients["network A"][-1]) == pytest.approx((1e-9, 1e-2))
    outputs = curves_of(drawings.activations("T"))
    assert outputs["ReLU"].max() > 1 > outputs["sigmoid"].max()


def arrows_of(figure):
    return [
        (*patch.get_path().vertices[0], *patch.get_path().vertices[-1])
        if patch._posA_posB is None
        else (*patch._posA_posB[0], *patch._posA_posB[1])
        for patch in figure.figure.axes[0].patches
        if isinstance(patch, FancyArrowPatch)
    ]


def test_arrows_point_forward_to_the_loss_and_backward_from_it():
    """Each arrow of the forward pass goes to the right, each of the backward pass to the left or down."""
    step = [(round(x0, 1), round(x1, 1)) for x0, _, x1, _ in arrows_of(drawings.training_step("T"))]
    assert step == [(1.2, 3.2), (5.6, 7.6), (7.6, 5.6), (5.1, 3.7)]  # input, prediction, gradient, update
    neuron = arrows_of(drawings.neuron([1, 2], [1, 2], 0, "T"))
    assert all(x1 > x0 for x0, _, x1, _ in neuron)
    for x0, y0, x1, y1 in arrows_of(drawings.forward_and_backward([4, 3, 2], 5, "T")):
        forward = y0 == y1 == 2.2
        assert x1 > x0 if forward else (x1 < x0 or y1 < y0)


def test_positive_weights_are_purple_and_negative_ones_orange():
    drawn = drawings.weight_images({"w": np.linspace(-1, 1, 784 * 16).reshape(16, 784).T}, "T")
    image = drawn.figure.axes[0].images[0]
    low, high = image.get_clim()
    (red, _, blue), (red_low, _, blue_low) = (
        image.cmap(image.norm(high / 2))[:3],
        image.cmap(image.norm(low / 2))[:3],
    )
    assert blue > red and red_low > blue_low
