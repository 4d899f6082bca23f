"""Functions that draw an idea: a neuron, a network, gradient descent, dropout.

`plots` draws measured data; the drawings here explain a concept, most of them without any data. Each returns a
`DescribedFigure`, whose description says in words what the drawing shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from mnist_helpers._errors import check_same_length
from mnist_helpers.plots import COLORS, MARKERS, DescribedFigure, described, new_figure, single_axes

__all__ = [
    "activations",
    "cross_entropy_curve",
    "data_split",
    "draw_network",
    "dropout",
    "forward_and_backward",
    "gradient_descent",
    "gradient_sizes",
    "grid_and_random",
    "network",
    "neuron",
    "projections",
    "softmax_bars",
    "training_step",
    "weight_images",
]

_DARK, _PALE = "#333333", "#e8eef4"


def _canvas(width: float, height: float, title: str) -> tuple:
    """Makes a figure with one axes without ticks, on which one unit has the same length in both directions."""
    figure, axes = single_axes(width, height)
    axes.set(title=title, aspect="equal")
    axes.axis("off")
    return figure, axes


def _box(axes: Axes, x: float, y: float, text: str, *, width: float = 2.2, color: str = _PALE) -> None:
    """Draws a box with its text, centred at a point."""
    corner = (x - width / 2, y - 0.45)
    axes.add_patch(FancyBboxPatch(corner, width, 0.9, "round,pad=0.05", facecolor=color, edgecolor=_DARK))
    axes.text(x, y, text, ha="center", va="center", fontsize=10)


def _arrow(
    axes: Axes, start: tuple, end: tuple, *, text: str = "", curve: float = 0, color: str = _DARK
) -> None:
    """Draws an arrow between two points, with text above its middle."""
    style = f"arc3,rad={curve}"
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=14, color=color, connectionstyle=style
    )
    axes.add_patch(arrow)
    if text:
        middle = (np.array(start) + end) / 2
        axes.text(middle[0], middle[1] + 0.15, text, ha="center", va="bottom", fontsize=10, color=color)


def data_split(sizes: Mapping[str, int], title: str) -> DescribedFigure:
    """Draws how the images are divided, as one bar with a segment for each part.

    Args:
        sizes: name of a part, such as `"training"` -> number of images, in order.
        title: the figure's title.
    """
    figure, axes = single_axes(9, 1.9)
    left, total = 0, sum(sizes.values())
    for number, (name, size) in enumerate(sizes.items()):
        axes.barh(
            0, size, left=left, color=COLORS[number], edgecolor="white", hatch=("", "//", "..")[number % 3]
        )
        axes.text(
            left + size / 2,
            0.48,
            f"{name}\n{size:,} ({size / total:.0%})",
            ha="center",
            va="bottom",
            fontsize=10,
        )
        left += size
    axes.set(title=title, xlim=(0, total), ylim=(-0.45, 1.15))
    axes.axis("off")
    words = [f"{name} {size:,} images ({size / total:.0%})" for name, size in sizes.items()]
    return described(figure, f"{title}. One bar of {total:,} images in {len(sizes)} parts:", words)


def neuron(inputs: Sequence[float], weights: Sequence[float], bias: float, title: str) -> DescribedFigure:
    """Draws one neuron: inputs times weights, plus a bias, through ReLU.

    Args:
        inputs: the numbers that come in, about three.
        weights: as many weights.
        bias: the neuron's bias.
        title: the figure's title.
    """
    check_same_length(inputs=np.asarray(inputs), weights=np.asarray(weights))
    weighted = float(np.dot(inputs, weights)) + bias
    sign = "−" if bias < 0 else "+"
    output = max(0.0, weighted)
    figure, axes = _canvas(9, 3.6, title)
    heights = np.linspace(1.6, -1.6, len(inputs))
    for height, value, weight in zip(heights, inputs, weights, strict=True):
        axes.add_patch(Circle((0, height), 0.42, facecolor=_PALE, edgecolor=_DARK))
        axes.text(0, height, f"{value:g}", ha="center", va="center")
        _arrow(axes, (0.45, height), (3.5, height / 3))
        axes.text(1.7, height * 0.66 + 0.12, f"× {weight:g}", ha="center", va="bottom", fontsize=10)
    _box(axes, 4.7, 0, f"sum + bias\n{weighted - bias:g} {sign} {abs(bias):g} = {weighted:g}", width=2.4)
    _arrow(axes, (6.0, 0), (6.9, 0))
    _box(axes, 8.0, 0, f"ReLU\nmax(0, {weighted:g})", width=2.0)
    _arrow(axes, (9.1, 0), (10.0, 0))
    axes.text(10.5, 0, f"{output:g}", ha="center", va="center", fontsize=13, fontweight="bold")
    axes.text(0, 2.3, "inputs", ha="center")
    axes.text(1.7, 2.3, "weights", ha="center")
    axes.text(10.5, 0.6, "output", ha="center")
    axes.set(xlim=(-0.8, 11.3), ylim=(-2.3, 2.8))
    products = ", ".join(f"{value:g} times {weight:g}" for value, weight in zip(inputs, weights, strict=True))
    words = [f"inputs times weights are {products}", f"with the bias {bias:g} the sum is {weighted:g}"]
    return described(
        figure, f"{title}. From left to right:", [*words, f"ReLU makes it {output:g}, the output"]
    )


def activations(title: str) -> DescribedFigure:
    """Draws sigmoid and ReLU, and the slope of each.

    Args:
        title: the figure's title.
    """
    x = np.linspace(-6, 6, 241)
    sigmoid = 1 / (1 + np.exp(-x))
    curves = {
        "sigmoid": (sigmoid, sigmoid * (1 - sigmoid)),
        "ReLU": (np.maximum(x, 0), np.where(x > 0, 1.0, 0.0)),
    }
    figure = new_figure(9, 3.4, title)
    for number, (axes, what) in enumerate(
        zip(figure.subplots(1, 2), ("output of the neuron", "slope"), strict=True)
    ):
        for style, (name, values) in enumerate(curves.items()):
            axes.plot(x, values[number], ("-", "--")[style], color=COLORS[style], label=name)
        axes.set(xlabel="weighted sum of the inputs", ylabel=what, ylim=((-0.2, 3), (-0.05, 1.1))[number])
        axes.legend()
    words = [
        "sigmoid rises from 0 to 1; its slope is largest in the middle, 0.25, and almost 0 far from the middle",
        "ReLU is 0 for negative sums and equal to the sum for positive ones; its slope is 0 or 1",
    ]
    return described(figure, f"{title}.", words)


def softmax_bars(logits: Sequence[float], title: str) -> DescribedFigure:
    """Draws ten logits and, beside them, the probabilities that softmax makes of them.

    Args:
        logits: the outputs of the last layer before softmax, one for each digit.
        title: the figure's title.
    """
    values = np.asarray(logits, float)
    powers = np.exp(values - values.max())
    probabilities = powers / powers.sum()
    figure = new_figure(9, 3.2, title)
    panels = zip(figure.subplots(1, 2), ((values, "logit"), (probabilities, "probability")), strict=True)
    for number, (axes, (heights, name)) in enumerate(panels):
        axes.bar(range(len(values)), heights, color=COLORS[number])
        axes.axhline(0, color=_DARK, linewidth=1)
        axes.set(xlabel="digit", ylabel=name, xticks=range(len(values)))
        axes.grid(axis="x", visible=False)
    first = int(values.argmax())
    words = [
        f"the logits lie between {values.min():.2g} and {values.max():.2g}",
        f"the probabilities add up to 1, and digit {first} has the largest, {probabilities[first]:.2f}",
    ]
    return described(figure, f"{title}.", words)


def cross_entropy_curve(title: str) -> DescribedFigure:
    """Draws the loss of one image against the probability of its correct class.

    Args:
        title: the figure's title.
    """
    probability = np.linspace(0.005, 1, 400)
    figure, axes = single_axes(7, 3.4)
    axes.plot(probability, -np.log(probability), color=COLORS[0])
    marked = np.array([0.01, 0.1, 0.5, 0.9])
    axes.plot(marked, -np.log(marked), "o", color=COLORS[1])
    for value in marked:
        text = f"p = {value:g}: loss {-np.log(value):.2f}"
        axes.annotate(text, (value, -np.log(value)), xytext=(8, 4), textcoords="offset points", fontsize=10)
    axes.set(title=title, xlabel="probability of the correct digit", ylabel="loss of this image")
    axes.set(xlim=(0, 1.12), ylim=(0, 5.4))
    words = [f"at probability {value:g} the loss is {-np.log(value):.2f}" for value in marked]
    return described(figure, f"{title}. The curve falls from very large values to 0 at probability 1:", words)


def draw_network(axes: Axes, sizes: Sequence[int], labels: Sequence[str]) -> None:
    """Draws the network of `network` into axes without ticks."""
    shown = [min(8, size) for size in sizes]
    columns = [np.linspace(2.4, -2.4, count) if count > 1 else np.zeros(1) for count in shown]
    for number, heights in enumerate(columns):
        x = 3 * number
        for height in heights:
            for other in columns[number + 1] if number + 1 < len(columns) else ():
                axes.plot((x, x + 3), (height, other), color="#b8c4d0", linewidth=0.5, zorder=1)
        for height in heights:
            axes.add_patch(
                Circle((x, height), 0.22, facecolor=COLORS[number % 4], edgecolor=_DARK, alpha=0.85, zorder=2)
            )
        if sizes[number] > shown[number]:
            axes.text(x, 0, "⋮", ha="center", va="center", fontsize=20, zorder=3)
        axes.text(x, -2.95, f"{sizes[number]:,}\n{labels[number]}", ha="center", va="top", fontsize=10)
    axes.set(xlim=(-1.2, 3 * (len(sizes) - 1) + 1.2), ylim=(-4.3, 2.9))


def network(sizes: Sequence[int], labels: Sequence[str], title: str) -> DescribedFigure:
    """Draws a fully connected network, with at most eight neurons of each layer.

    Args:
        sizes: the number of values in each layer, the input first.
        labels: what is written below each layer.
        title: the figure's title.
    """
    check_same_length(sizes=np.asarray(sizes), labels=np.asarray(labels))
    figure, axes = _canvas(9, 4.2, title)
    draw_network(axes, sizes, labels)
    words = [f"{size:,} {label.replace(chr(10), ' ')}" for size, label in zip(sizes, labels, strict=True)]
    end = "every value of a layer is connected to every neuron of the next"
    return described(figure, f"{title}. Layers from left to right:", [*words, end])


def gradient_descent(
    learning_rates: Sequence[float], title: str, steps: int = 8, start: float = -1.6
) -> DescribedFigure:
    """Draws gradient descent on the curve loss = w², once for each learning rate.

    Args:
        learning_rates: one for each panel; the slope at w is 2w, so that 0.5 reaches the minimum in one step.
        title: the figure's title.
        steps: the number of steps.
        start: the first weight.
    """
    curve = np.linspace(-2.2, 2.2, 200)
    figure = new_figure(3.2 * len(learning_rates), 3.4, title)
    words = []
    for axes, rate in zip(
        figure.subplots(1, len(learning_rates), squeeze=False)[0], learning_rates, strict=True
    ):
        weights = start * (1 - 2 * rate) ** np.arange(steps + 1)
        axes.plot(curve, curve**2, color=_DARK, linewidth=1)
        axes.plot(weights, weights**2, "-o", color=COLORS[1], linewidth=1)
        axes.plot(weights[0], weights[0] ** 2, "s", color=COLORS[0], markersize=8)
        axes.set(title=f"learning rate {rate:g}", xlabel="weight w", xlim=(-2.2, 2.2), ylim=(-0.2, 5))
        away = abs(weights[-1]) > abs(start)
        end = "moves away from the minimum" if away else f"ends at loss {weights[-1] ** 2:.2g}"
        words.append(f"learning rate {rate:g} {end}")
    figure.axes[0].set_ylabel("loss")
    return described(figure, f"{title}. The square is the start, loss {start**2:.2f}; {steps} steps:", words)


def training_step(title: str) -> DescribedFigure:
    """Draws the loop of one training step: forward pass, loss, backward pass, update of the weights.

    Args:
        title: the figure's title.
    """
    figure, axes = _canvas(9, 3.6, title)
    _box(axes, 0, 0, "mini-batch\nof images")
    _box(axes, 4.4, 0, "network\nwith its weights")
    _box(axes, 8.8, 0, "loss")
    _arrow(axes, (1.2, 0.2), (3.2, 0.2), text="1. input")
    _arrow(axes, (5.6, 0.2), (7.6, 0.2), text="2. prediction", color=COLORS[0])
    _arrow(axes, (7.6, -0.25), (5.6, -0.25), color=COLORS[3])
    axes.text(6.6, -0.45, "3. gradient", ha="center", va="top", fontsize=10, color=COLORS[3])
    _arrow(axes, (5.1, -0.6), (3.7, -0.6), curve=-0.9, color=COLORS[2])
    axes.text(4.4, -1.75, "4. update: weight − learning rate × gradient", ha="center", fontsize=10)
    axes.text(8.8, 0.75, "labels", ha="center", fontsize=10)
    axes.set(xlim=(-1.4, 10.2), ylim=(-2.1, 1.3))
    words = [
        "a mini-batch of images goes into the network",
        "the forward pass gives a prediction, and the loss compares it with the labels",
        "the backward pass carries the gradient from the loss back through the network",
        "the weights are updated, and the next mini-batch follows",
    ]
    return described(figure, f"{title}. In four steps:", words)


def weight_images(weights: Mapping[str, np.ndarray], title: str) -> DescribedFigure:
    """Draws the weights of the first neurons of a layer as images: purple positive, orange negative.

    Args:
        weights: name, such as `"before training"` -> weights, `(784, n)`; at most 16 neurons are drawn.
        title: the figure's title.
    """
    figure = new_figure(4.5 * len(weights), 4.9, title)
    words = []
    for part, (name, values) in zip(
        figure.subfigures(1, len(weights), squeeze=False)[0], weights.items(), strict=True
    ):
        part.suptitle(name, fontsize=11)
        shown = values[:, :16]
        limit = float(np.abs(shown).max())
        places = part.subplots(4, 4).ravel()
        for axes in places:
            axes.axis("off")
        for axes, column in zip(places, shown.T, strict=False):  # a small layer leaves places empty
            axes.imshow(column.reshape(28, 28), cmap="PuOr", vmin=-limit, vmax=limit)
        images = values.T.reshape(-1, 28, 28)
        steps = np.abs(np.diff(images, axis=2)).mean() / np.abs(images).mean()
        words.append(
            f"{name}, weights up to {limit:.2f} in size, neighbouring pixels differ by {steps:.2f} of the mean size"
        )
    return described(figure, f"{title}. {shown.shape[1]} neurons each:", words)


def projections(points: Mapping[str, np.ndarray], labels: np.ndarray, title: str) -> DescribedFigure:
    """Draws several projections of the same images side by side, each image as a point with its digit.

    Args:
        points: name, such as `"pixels"` -> float `(n, 2)`.
        labels: the digits, `(n,)`.
        title: the figure's title.
    """
    figure = new_figure(5 * len(points), 4.6, title)
    words = []
    for axes, (name, values) in zip(
        figure.subplots(1, len(points), squeeze=False)[0], points.items(), strict=True
    ):
        check_same_length(points=values, labels=labels)
        for digit in range(10):
            x, y = values[labels == digit].T
            axes.scatter(x, y, s=40, marker=f"${digit}$", color=COLORS[digit], linewidths=0.3)
        axes.set(title=name, xlabel="first principal component", ylabel="second principal component")
        centers = np.array([values[labels == digit].mean(axis=0) for digit in np.unique(labels)])
        own = centers[np.searchsorted(np.unique(labels), labels)]
        within, all_points = ((values - own) ** 2).sum(), ((values - values.mean(axis=0)) ** 2).sum()
        words.append(f"{name}, {1 - within / all_points:.0%} of the variation is between digits")
    return described(figure, f"{title}. {len(labels)} images as points:", words)


def gradient_sizes(sizes: Mapping[str, Sequence[float]], title: str) -> DescribedFigure:
    """Draws the size of the gradient in each layer, on a logarithmic scale.

    Args:
        sizes: name of a network -> mean absolute gradient of each layer's weights, the first layer first.
        title: the figure's title.
    """
    figure, axes = single_axes(8, 3.8)
    words = []
    for number, (name, values) in enumerate(sizes.items()):
        axes.plot(
            range(1, len(values) + 1), values, "-", marker=MARKERS[number], color=COLORS[number], label=name
        )
        words.append(f"{name}, {values[0]:.1e} in the first layer and {values[-1]:.1e} in the last")
    axes.set(
        title=title, xlabel="layer (1 is next to the input)", ylabel="mean size of the gradient", yscale="log"
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return described(figure, f"{title}. Logarithmic scale:", words)


def dropout(rate: float, title: str) -> DescribedFigure:
    """Draws a layer for three training images, each with other neurons set to zero, and at prediction time.

    Args:
        rate: the dropout rate, 0 to 1.
        title: the figure's title.
    """
    figure, axes = _canvas(9, 3.6, title)
    rng = np.random.default_rng(5)
    count = 10
    dropped = round(rate * count)
    names = ["training, image 1", "training, image 2", "training, image 3", "prediction"]
    for row, name in enumerate(names):
        off = set() if row == 3 else set(rng.permutation(count)[:dropped].tolist())
        axes.text(-0.6, -row, name, ha="right", va="center", fontsize=10)
        for place in range(count):
            color = "white" if place in off else COLORS[0]
            axes.add_patch(Circle((0.8 * place, -row), 0.3, facecolor=color, edgecolor=_DARK))
            if place in off:
                axes.text(0.8 * place, -row, "0", ha="center", va="center", fontsize=10)
    axes.text(3.6, 0.65, "activations of one hidden layer", ha="center", fontsize=10)
    axes.text(7.7, -1, f"the others × {1 / (1 - rate):.3g}", va="center", fontsize=10)
    axes.text(7.7, -3, "unchanged", va="center", fontsize=10)
    axes.set(xlim=(-3.6, 10), ylim=(-3.6, 1))
    words = [
        f"for each training image a different {dropped} of {count} activations are set to 0",
        f"the others are multiplied by {1 / (1 - rate):.3g}",
        "at prediction time no activation is changed",
    ]
    return described(figure, f"{title}.", words)


def grid_and_random(title: str) -> DescribedFigure:
    """Draws nine trials of a grid search beside nine of a random search, where only one hyperparameter matters.

    Args:
        title: the figure's title.
    """
    rng = np.random.default_rng(7)
    side = np.array([1, 3, 5]) / 6
    trials = {
        "grid search": np.array([(x, y) for x in side for y in side]),
        "random search": rng.uniform(0.05, 0.95, (9, 2)),
    }
    figure = new_figure(8, 4.3, title)
    words = []
    for axes, (name, points) in zip(figure.subplots(1, 2), trials.items(), strict=True):
        line = np.linspace(0, 1, 200)
        axes.fill_between(
            line, 1.05, 1.05 + 0.3 * np.exp(-(((line - 0.68) / 0.09) ** 2)), color=COLORS[2], alpha=0.5
        )
        axes.plot(points[:, 0], points[:, 1], "o", color=COLORS[0], markersize=8)
        axes.vlines(points[:, 0], 0, 1.05, color=COLORS[0], linewidth=0.7, linestyles=":")
        different = len(np.unique(points[:, 0]))
        axes.set(title=f"{name}: 9 trials, {different} values", xlim=(0, 1), ylim=(0, 1.4))
        axes.set(xlabel="hyperparameter that matters", ylabel="hyperparameter that does not")
        axes.set(xticks=[], yticks=[])
        words.append(f"{name} tries {different} values of the hyperparameter that matters")
    return described(figure, f"{title}. Nine trials each; the curve at the top is the quality:", words)


def forward_and_backward(sizes: Sequence[int], num_images: int, title: str) -> DescribedFigure:
    """Draws the arrays of a forward and a backward pass, each with its shape.

    Args:
        sizes: the number of values in each layer, the input first.
        num_images: images in the mini-batch.
        title: the figure's title.
    """
    names = ["x"]
    for layer in range(1, len(sizes)):
        names += [f"z{layer}", f"a{layer}"]
    names[-1] = "p"
    columns = {name: 2.0 * number for number, name in enumerate([*names, "loss"])}
    widths = dict(zip(names, [sizes[0], *np.repeat(sizes[1:], 2).tolist()], strict=True))
    figure, axes = _canvas(11.5, 4.6, title)
    for name in names:
        _box(axes, columns[name], 2.2, f"{name}\n({num_images}, {widths[name]})", width=1.5)
    _box(axes, columns["loss"], 2.2, "loss", width=1.1)
    last = len(sizes) - 1
    steps = [step for layer in range(1, last + 1) for step in (f"W{layer}, b{layer}", "ReLU")]
    for name, after, step in zip(names, [*names[1:], "loss"], [*steps[:-1], "softmax", "−log"], strict=True):
        _arrow(axes, (columns[name] + 0.8, 2.2), (columns[after] - 0.8, 2.2), color=COLORS[0])
        middle = (columns[name] + columns[after]) / 2
        axes.text(middle, 2.85, step, ha="center", va="bottom", fontsize=9, color=COLORS[0])
    behind = names[1:-1]  # the gradients, from z1 to the last z
    for name in behind:
        text = f"d{name}\n({num_images}, {widths[name]})"
        _box(axes, columns[name], 0, text, width=1.5, color="#fbe9dc")
    for before, name in pairwise(behind):
        _arrow(axes, (columns[name] - 0.8, 0), (columns[before] + 0.8, 0), color=COLORS[3])
        step = f"W{name[1:]}" if name.startswith("z") else "ReLU"
        middle = (columns[name] + columns[before]) / 2
        axes.text(middle, 0.6, step, ha="center", va="bottom", fontsize=9, color=COLORS[3])
    top = columns[behind[-1]]
    _arrow(axes, (columns["loss"], 1.65), (top + 0.85, 0), curve=-0.35, color=COLORS[3])
    for layer in range(1, last + 1):
        x = columns[f"z{layer}"]
        _arrow(axes, (x, -0.6), (x, -1.55), color=COLORS[3])
        text = f"dW{layer} ({sizes[layer - 1]}, {sizes[layer]})\ndb{layer} ({sizes[layer]},)"
        _box(axes, x, -2.1, text, width=2.4, color="#fbe9dc")
    axes.set(xlim=(-1, columns["loss"] + 0.8), ylim=(-2.8, 3.4))
    forward = f"the forward pass computes {', '.join(names)} and the loss from left to right"
    backward = f"the backward pass computes {', '.join(f'd{name}' for name in reversed(behind))}"
    shapes = ", ".join(
        f"dW{layer} of shape ({sizes[layer - 1]}, {sizes[layer]})" for layer in range(1, last + 1)
    )
    rest = "each gradient has the shape of the array whose gradient it is"
    return described(figure, f"{title}. {num_images} images:", [forward, backward, f"{rest}: {shapes}"])
