"""The pictures at the head of the lessons: drawn by code, committed in `notebooks/pictures/`.

They need no training and no MNIST: what they show is made from the bundled digits or is a sketch without numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnist_helpers import _files, canvas, data, drawings, plots, results
from mnist_helpers.plots import COLORS, DescribedFigure

FOLDER = "pictures"


def title_pictures() -> dict[str, DescribedFigure]:
    """Draws the picture of each lesson.

    Returns:
        Lesson -> its picture.
    """
    drawn = (_hard_digits(), _digit_through_network(), _overfitting(), _knobs(), _shifted())
    return dict(zip(results.LESSONS, drawn, strict=True))


def write_pictures(notebooks: Path) -> list[Path]:
    """Writes the pictures as PNG files.

    Args:
        notebooks: the folder of the lessons; the pictures are written into its folder `pictures`.

    Returns:
        The paths of the pictures.
    """
    (notebooks / FOLDER).mkdir(exist_ok=True)
    paths = []
    for lesson, picture in title_pictures().items():
        paths.append(notebooks / FOLDER / f"{lesson}.png")
        _files.write(paths[-1], picture.png())
    return paths


def _hard_digits() -> DescribedFigure:
    """Draws six bundled digits that are nearer to the average of another digit than to that of their own."""
    (images, labels), _ = data.load_training("digits", num_train=1000, num_validation=200, seed=1)
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])
    distances = np.sqrt(((images[:, None].astype(float) - means) ** 2).sum(axis=(2, 3)))
    margin = distances[np.arange(len(labels)), labels] - distances.min(axis=1)
    _, first = np.unique(labels[np.argsort(-margin)], return_index=True)  # the hardest of each digit
    hardest = np.argsort(-margin)[np.sort(first)][:6]
    shown = ", ".join(str(label) for label in labels[hardest])
    picture = plots.image_grid(images[hardest], list("ABCDEF"), "Which digits are these?", columns=6)
    return DescribedFigure(
        picture.figure, f"Six handwritten digits that are hard to read. Their labels: {shown}."
    )


def _digit_through_network() -> DescribedFigure:
    (images, labels), _ = data.load_training("digits", num_train=1000, num_validation=200, seed=1)
    sevens = images[labels == 7]
    seven = sevens[((sevens - sevens.mean(axis=0)) ** 2).sum(axis=(1, 2)).argmin()]  # the most typical one
    figure = plots.new_figure(9.5, 3.2)
    image, middle, bars = figure.subplots(1, 3, width_ratios=(1, 2.4, 1))
    image.imshow(seven, cmap="gray_r")
    image.set_title("an image")
    image.axis("off")
    drawings.draw_network(middle, [784, 512, 256, 10], ["pixels", "hidden", "hidden", "output"])
    middle.set(title="a network", aspect="equal")
    middle.axis("off")
    bars.barh(range(10), [0.1] * 10, color=COLORS[7])
    for digit in range(10):
        bars.text(0.12, digit, "?", va="center", fontsize=9)
    bars.set(title="ten probabilities", yticks=range(10), xticks=[], xlim=(0, 1))
    bars.invert_yaxis()
    words = "A handwritten 7 goes into a network of four layers, 784, 512, 256 and 10 values"
    return DescribedFigure(
        figure, f"{words}. Ten probabilities come out, one for each digit; they are not known yet."
    )


def _overfitting() -> DescribedFigure:
    epochs = np.linspace(0, 1, 200)
    figure, axes = plots.single_axes(7.5, 3.2)
    axes.plot(epochs, np.exp(-4 * epochs), color=COLORS[0], label="training images")
    axes.plot(
        epochs, 0.25 + np.exp(-6 * epochs) + 0.3 * epochs**2, "--", color=COLORS[1], label="unseen images"
    )
    axes.annotate("", (0.93, 0.03), (0.93, 0.5), arrowprops={"arrowstyle": "<->"})
    axes.text(0.9, 0.26, "the gap", ha="right", fontsize=11)
    axes.set(xlabel="training time", ylabel="loss", xticks=[], yticks=[], title="Why do the curves separate?")
    axes.legend()
    words = (
        "The loss on training images falls steadily. The loss on unseen images falls, turns and rises again"
    )
    return DescribedFigure(
        figure, f"A sketch of two loss curves during training. {words}; a gap opens between them."
    )


def _knobs() -> DescribedFigure:
    knobs = {
        "units": ["64", "128", "256", "512", "1024"],
        "dropout rate": ["0", "0.1", "0.2", "0.3", "0.4", "0.5"],
        "learning rate": ["0.0001", "0.001", "0.01", "0.1"],
    }
    figure, axes = plots.single_axes(8, 2.9)
    for row, (name, values) in enumerate(knobs.items()):
        places = np.linspace(0, 1, len(values))
        axes.plot((0, 1), (-row, -row), color="#b8c4d0", linewidth=4, solid_capstyle="round", zorder=1)
        axes.scatter(places, [-row] * len(values), color="white", edgecolor="#333333", zorder=2)
        axes.scatter(places[len(values) // 2], -row, s=160, color=COLORS[row], zorder=3)
        for place, value in zip(places, values, strict=True):
            axes.text(place, -row - 0.22, value, ha="center", va="top", fontsize=10)
        axes.text(-0.06, -row, name, ha="right", va="center")
    axes.text(1.12, -1, "validation loss\n?", ha="left", va="center", fontsize=13)
    axes.set(xlim=(-0.3, 1.4), ylim=(-2.7, 0.5), title="Which setting is best?")
    axes.axis("off")
    words = [
        f"{name} with {len(values)} values from {values[0]} to {values[-1]}" for name, values in knobs.items()
    ]
    return DescribedFigure(
        figure, f"Three sliders: {', '.join(words)}. The validation loss that they give is unknown."
    )


def _shifted() -> DescribedFigure:
    digit = data.to_mnist_format(canvas.stored_drawing())
    shifts = (0, 2, 4, 6)
    images = np.stack([np.roll(digit, shift, axis=1) for shift in shifts])
    captions = ["centred", *(f"{shift} pixels right" for shift in shifts[1:])]
    picture = plots.image_grid(images, captions, "The same digit for you. And for a network?", columns=4)
    figure = picture.figure
    figure.set_size_inches(8, 2.6)
    for axes in figure.axes:  # a frame shows where the image ends
        axes.axis("on")
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
    words = "The same handwritten digit four times: centred, and shifted to the right by 2, 4 and 6 pixels."
    return DescribedFigure(figure, words)
