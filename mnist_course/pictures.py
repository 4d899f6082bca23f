"""The pictures at the head of the lessons: drawn by code, committed in `notebooks/pictures/`.

They need no training and no MNIST: what they show is made from the bundled digits or is a sketch without numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.patches import Circle

from mnist_helpers import _files, canvas, data, drawings, plots, results
from mnist_helpers.plots import COLORS, DescribedFigure

FOLDER = "pictures"


def title_pictures() -> dict[str, DescribedFigure]:
    """Draws the picture of each lesson and of each optional notebook.

    Returns:
        The notebook's name -> its picture.
    """
    drawn = [_hard_digits(), _digit_through_network(), _overfitting(), _knobs(), _shifted()]
    drawn += [_backward_pass(), _schedules(), _components(), _noise(), _two_libraries(), _calibration()]
    return dict(zip((*results.LESSONS, *results.FURTHER), drawn, strict=True))


def quiz_figures() -> dict[str, DescribedFigure]:
    """Draws the figures to which questions of the quizzes refer.

    Returns:
        A question's `figure` -> the figure.
    """
    return {"curves": _two_trainings(), "gradients": _two_networks()}


def write_pictures(notebooks: Path) -> None:
    """Writes the pictures as PNG files.

    Args:
        notebooks: the folder of the lessons; the pictures are written into its folder `pictures`.
    """
    (notebooks / FOLDER).mkdir(exist_ok=True)
    figures = {f"quiz_{name}": figure for name, figure in quiz_figures().items()}
    for name, picture in (title_pictures() | figures).items():
        _files.write(notebooks / FOLDER / f"{name}.png", picture.png())


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
        "units": ["256", "512", "1024"],
        "dropout rate": ["0", "0.1", "0.2", "0.3", "0.4"],
        "learning rate": ["0.0001", "0.0003", "0.001", "0.003", "0.01"],
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


def _backward_pass() -> DescribedFigure:
    return drawings.training_step("One training step, and what step 3 calculates")


def _schedules() -> DescribedFigure:
    steps = np.linspace(0, 1, 200)
    cosine = np.where(steps < 0.2, 0.1 + 4.5 * steps, 0.5 * (1 + np.cos(np.pi * (steps - 0.2) / 0.8)))
    figure, axes = plots.single_axes(7.5, 2.9)
    axes.plot(steps, np.full_like(steps, 0.25), color=COLORS[0], label="constant")
    axes.plot(steps, cosine, "--", color=COLORS[1], label="warm-up, then cosine decay")
    axes.set(xlabel="training step", ylabel="learning rate", xticks=[], yticks=[], ylim=(0, 1.2))
    axes.set_title("Which one is faster?")
    axes.legend()
    words = "one is constant, the other rises quickly to a peak and then falls slowly to zero"
    return DescribedFigure(figure, f"A sketch of two learning rates during training: {words}.")


def _components() -> DescribedFigure:
    names = ["batch normalisation", "dropout", "noise", "schedule", "averaged weights"]
    figure, axes = plots.single_axes(8, 3.1)
    for column in range(len(names) + 2):
        for row in range(len(names)):
            on = column == row + 1 or column == len(names) + 1
            axes.add_patch(
                Circle((column, -row), 0.3, facecolor=COLORS[0] if on else "white", edgecolor="#333333")
            )
    for row, name in enumerate(names):
        axes.text(-0.6, -row, name, ha="right", va="center")
    for column, name in enumerate(["plain", "1", "2", "3", "4", "5", "all"]):
        axes.text(column, 0.6, name, ha="center")
    axes.set(xlim=(-3.6, 7), ylim=(-4.6, 1), aspect="equal", title="Which component helps?")
    axes.axis("off")
    words = "one without any of them, five with one component each, and one with all"
    return DescribedFigure(
        figure, f"A table of five components, {', '.join(names)}, and seven networks: {words}."
    )


def _noise() -> DescribedFigure:
    digit = data.to_mnist_format(canvas.stored_drawing())
    noise = np.random.default_rng(1).normal(0, 0.4 * 255, (28, 28))
    images = np.stack([digit, noise - noise.min(), np.clip(digit + noise, 0, 255)])
    picture = plots.image_grid(
        images, ["a digit", "noise", "still the same digit"], "What should not change", 3
    )
    picture.figure.set_size_inches(7, 2.8)
    words = "a handwritten digit, random noise, and their sum, in which the digit can still be read"
    return DescribedFigure(picture.figure, f"Three images: {words}.")


def _two_libraries() -> DescribedFigure:
    keras = "model.compile(Adam(), loss)\nmodel.fit(x, y, epochs=5)"
    torch = "for images, labels in batches:\n    loss = loss_fn(model(images), labels)\n"
    torch += "    loss.backward()\n    optimizer.step()"
    figure = plots.new_figure(9, 2.4, "The same training twice")
    for axes, (name, text) in zip(
        figure.subplots(1, 2), {"Keras": keras, "PyTorch": torch}.items(), strict=True
    ):
        axes.set(title=name, xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.text(0.04, 0.5, text, va="center", family="monospace", fontsize=9)
    words = "two lines with compile and fit in Keras; a loop over mini-batches in PyTorch"
    return DescribedFigure(figure, f"The code of the same training in two libraries: {words}.")


def _calibration() -> DescribedFigure:
    confidence = np.linspace(0.5, 1, 100)
    figure, axes = plots.single_axes(6, 3.4)
    axes.plot(confidence, confidence, ":", color="#333333", label="calibrated")
    axes.plot(confidence, confidence**1.6, "-", color=COLORS[1], label="overconfident")
    axes.set(
        xlabel="confidence: what the network says", ylabel="accuracy: what is true", xticks=[], yticks=[]
    )
    axes.set_title("Can you trust its confidence?")
    axes.legend()
    words = (
        "a straight line where accuracy equals confidence, and a curve below it, where confidence is too high"
    )
    return DescribedFigure(figure, f"A sketch of accuracy against confidence: {words}.")


def _two_trainings() -> DescribedFigure:
    epochs = np.linspace(0, 1, 100)
    losses = {
        "A": (np.exp(-5 * epochs), 0.25 + 0.9 * np.exp(-8 * epochs) + 0.35 * epochs**2),
        "B": (0.75 + 0.25 * np.exp(-4 * epochs), 0.78 + 0.24 * np.exp(-4 * epochs)),
    }
    figure = plots.new_figure(7.5, 2.8)
    for axes, (name, curves) in zip(figure.subplots(1, 2), losses.items(), strict=True):
        for number, (values, label) in enumerate(zip(curves, ("training", "validation"), strict=True)):
            axes.plot(epochs, values, ("-", "--")[number], color=COLORS[number], label=label)
        axes.set(
            title=f"Training {name}", xlabel="epoch", ylabel="loss", xticks=[], yticks=[], ylim=(0, 1.25)
        )
        axes.legend()
    first = "In A, the training loss falls to almost zero, and the validation loss falls, turns and rises"
    return DescribedFigure(
        figure, f"Loss curves of two training runs. {first}. In B, both losses stay high and close together."
    )


def _two_networks() -> DescribedFigure:
    sizes = {"network A": [*(10.0 ** np.linspace(-9, -2, 13))], "network B": [3e-3] * 13}
    figure = drawings.gradient_sizes(sizes, "Gradients before training").figure
    words = "in network A it grows from a billionth in layer 1 to a hundredth in layer 13"
    return DescribedFigure(
        figure,
        f"Size of the gradient in each of 13 layers: {words}; in network B it has the same size in all layers.",
    )
