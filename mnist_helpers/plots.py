"""Arrays in, a described figure out.

Every function returns a `DescribedFigure`. As the last line of a notebook cell it shows itself: the picture,
and under it a description made from the data, for a screen reader and for whoever compares two runs. The
colours are seaborn's colour-blind palette; lines differ by style and marker too.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

COLORS = (
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
)
_MARKERS = "osD^vPX*<>"
_MAX_COLUMNS = 3  # of panels side by side
_LINES = ("-", "--", "-.", ":")


class DescribedFigure:
    """A figure together with what it says, in words.

    Attributes:
        figure: the matplotlib figure.
        description: one or a few sentences, made from the data that was drawn.
    """

    def __init__(self, figure: Figure, description: str):
        self.figure, self.description = figure, description

    def png(self) -> bytes:
        """Returns the picture as PNG, of at most 64 colours: a lesson holds many."""
        buffer, drawn = io.BytesIO(), io.BytesIO()
        self.figure.savefig(drawn, format="png")
        said = PngInfo()
        said.add_itxt("Description", self.description)
        with Image.open(drawn) as picture:
            picture.convert("RGB").quantize(64).save(
                buffer, format="png", pnginfo=said, optimize=True, dpi=(self.figure.dpi, self.figure.dpi)
            )
        return buffer.getvalue()

    def save(self, path: Path) -> None:
        """Writes the picture as PNG."""
        path.write_bytes(self.png())

    def __repr__(self) -> str:
        return self.description

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        png = self.png()
        encoded = base64.b64encode(png).decode()
        # JupyterLab and nbconvert show the HTML, which keeps the description; of a PNG they drop it.
        image = f'<img alt="{html.escape(self.description)}" src="data:image/png;base64,{encoded}">'
        data = {"text/html": image, "image/png": png, "text/plain": self.description}
        return data, {"image/png": {"alt": self.description}}


def image_grid(
    images: np.ndarray, captions: Sequence[str], title: str, columns: int = 10, darkest: float | None = None
) -> DescribedFigure:
    """Draws images side by side, each with its caption above it.

    Args:
        images: `(n, 28, 28)`, any dtype; n may be 0: a model without mistakes has none to show.
        captions: n short strings.
        title: the figure's title; it names the dataset.
        columns: images in a row.
        darkest: the value that is drawn black; `None` for each image's largest.
    """
    _same_length(images=images, captions=captions)
    if not len(images):
        figure = _figure((5.0, 0.6))
        figure.suptitle(f"{title}: none")
        return DescribedFigure(figure, f"{title}: no image to show.")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    extra_lines = max((caption.count("\n") for caption in captions), default=0)
    longest = max(len(line) for caption in captions for line in caption.split("\n"))
    width = max(0.95, 0.095 * longest)
    figure = _figure((max(5.0, width * columns), (1.15 + 0.18 * extra_lines) * rows + 0.4))
    figure.suptitle(title)
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if number < len(images):
            axes.imshow(images[number], cmap="gray_r", vmin=None if darkest is None else 0, vmax=darkest)
            axes.set_title(captions[number], fontsize=10)
    ink = [float(np.mean(image)) for image in images]
    inked = f"average ink {min(ink):.1f} to {max(ink):.1f}"
    words = ", ".join(caption.replace("\n", " ") for caption in captions)
    return DescribedFigure(figure, f"{title}: {len(images)} images ({inked}), captioned {words}.")


def class_balance(labels: Mapping[str, np.ndarray], title: str) -> DescribedFigure:
    """Draws how many images each digit has, as bars.

    Args:
        labels: name of a part (such as `"training"`) -> labels, `(n,)`.
        title: the figure's title.
    """
    figure = _figure((7.5, 3.2))
    axes = figure.subplots()
    width = 0.8 / len(labels)
    words = []
    for number, (part, values) in enumerate(labels.items()):
        counts = np.bincount(values, minlength=10)
        offset = (number - (len(labels) - 1) / 2) * width
        axes.bar(
            np.arange(10) + offset,
            counts,
            width,
            label=part,
            color=COLORS[number],
            hatch=("", "//")[number % 2],
        )
        words.append(
            f"{part}: {counts.sum()} images, fewest {counts.min()} (digit {counts.argmin()}), "
            f"most {counts.max()} (digit {counts.argmax()})"
        )
    axes.set(title=title, xlabel="digit", ylabel="images", xticks=range(10))
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def pixel_intensity(images: np.ndarray, title: str) -> DescribedFigure:
    """Draws the distribution of pixel values (logarithmic) and the average image.

    Args:
        images: uint8 `(n, 28, 28)`.
        title: the figure's title.
    """
    figure = _figure((8, 3.2))
    figure.suptitle(title)
    histogram, average = figure.subplots(1, 2, width_ratios=(2, 1))
    counts, edges = np.histogram(images, bins=32, range=(0, 256))
    histogram.stairs(counts, edges, fill=True, color=COLORS[0])
    histogram.set(yscale="log", xlabel="pixel value (0 background, 255 ink)", ylabel="pixels (log scale)")
    mean_image = images.mean(axis=0)
    average.imshow(mean_image, cmap="gray_r")
    average.set_title("average image")
    average.axis("off")
    description = (
        f"{title}. {np.mean(images == 0):.1%} of the pixels are 0, {np.mean(images >= 250):.1%} are 250 or more; "
        f"mean {images.mean():.1f}. The average image is darkest at {mean_image.max():.0f}."
    )
    return DescribedFigure(figure, description)


def projection(points: np.ndarray, labels: np.ndarray, title: str) -> DescribedFigure:
    """Draws images as points in the plane, each as the digit that it is.

    Args:
        points: float `(n, 2)`.
        labels: `(n,)`.
        title: the figure's title.
    """
    _same_length(points=points, labels=labels)
    figure = _figure((7.5, 5.5))
    axes = figure.subplots()
    for digit in range(10):
        x, y = points[labels == digit].T
        axes.scatter(x, y, s=60, marker=f"${digit}$", color=COLORS[digit], linewidths=0.3, label=str(digit))
    axes.set(title=title, xlabel="first principal component", ylabel="second principal component")
    centers = np.array([points[labels == digit].mean(axis=0) for digit in range(10)])
    left, right = centers[:, 0].argmin(), centers[:, 0].argmax()
    description = (
        f"{title}. {len(points)} images as points; along the first axis digit {left} lies at one end on average "
        f"and digit {right} at the other."
    )
    return DescribedFigure(figure, description)


def learning_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> DescribedFigure:
    """Draws accuracy and loss against epochs: training solid, validation dashed.

    Args:
        histories: model name -> Keras' `history` (`accuracy`, `loss`, and `val_accuracy`, `val_loss` where
            images were left for validation).
        title: the figure's title.
    """
    figure = _figure((9.5, 3.8))
    figure.suptitle(title)
    panels = figure.subplots(1, 2)
    words = []
    for number, (name, history) in enumerate(histories.items()):
        style = {"color": COLORS[number], "marker": _MARKERS[number]}
        epochs = range(1, len(history["loss"]) + 1)
        for axes, metric in zip(panels, ("accuracy", "loss"), strict=True):
            axes.plot(epochs, _finite(history[metric]), linestyle="-", label=f"{name}, training", **style)
            if f"val_{metric}" in history:
                axes.plot(
                    epochs,
                    _finite(history[f"val_{metric}"]),
                    linestyle="--",
                    markerfacecolor="white",
                    label=f"{name}, validation",
                    **style,
                )
        words.append(
            f"{name} after {len(epochs)} epochs: accuracy {_last_of(history, 'accuracy')}, "
            f"loss {_last_of(history, 'loss')}"
        )
    for axes, metric in zip(panels, ("accuracy", "loss"), strict=True):
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
    losses = np.concatenate([_finite(history["loss"]) for history in histories.values()])
    if np.nanmax(losses, initial=0) > 10:  # a run that failed would press the others flat
        panels[1].set(yscale="log", ylabel="loss (log scale)")
    else:
        panels[1].set_ylim(bottom=0)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=2 if len(histories) > 1 else 1, fontsize=10
    )
    if len(histories) > 1:
        figure.set_figheight(3.8 + 0.22 * len(histories))
    return DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def metric_by_model(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    metric: str,
    title: str,
    bands: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> DescribedFigure:
    """Draws one metric against epochs, a panel per model: training solid, validation dashed.

    Args:
        histories: model name -> Keras' `history`.
        metric: `"accuracy"` or `"loss"`.
        title: the figure's title.
        bands: as `histories`: how far a band reaches above and below each value; `None` for no bands.
    """
    figure, panels = _panels(len(histories), title, ylabel=metric, height=2.6)
    words = []
    for axes, (name, history) in zip(panels, histories.items(), strict=True):
        epochs = range(1, len(history[metric]) + 1)
        axes.plot(epochs, _finite(history[metric]), "-o", color=COLORS[0], label="training")
        if f"val_{metric}" in history:
            validation = _finite(history[f"val_{metric}"])
            axes.plot(epochs, validation, "--s", color=COLORS[1], markerfacecolor="white", label="validation")
        for key, color in ((metric, COLORS[0]), (f"val_{metric}", COLORS[1])) if bands else ():
            if key in history:
                low, high = np.add(history[key], np.outer([-1, 1], bands[name][key]))
                axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
        axes.set_title(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        words.append(f"{name} {_last_of(history, metric)}")
    for axes in panels[-_MAX_COLUMNS:]:
        axes.set_xlabel("epoch")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return DescribedFigure(figure, f"{title}; in the last epoch: {'; '.join(words)}.")


def search_progress(tables: Mapping[str, object], default_score: float, title: str) -> DescribedFigure:
    """Draws a search: every trial's score, and the best so far, for each way of searching.

    Args:
        tables: way of searching -> table with the columns `trial` and `score` (lower is better).
        default_score: the score of the configuration that nobody tuned.
        title: the figure's title.
    """
    figure = _figure((7.5, 3.8))
    axes = figure.subplots()
    words = []
    for number, (name, table) in enumerate(tables.items()):
        best = np.minimum.accumulate(table["score"].to_numpy())
        style = {"color": COLORS[number], "marker": _MARKERS[number]}
        axes.plot(table["trial"], table["score"], linestyle="none", alpha=0.6, **style)
        axes.plot(
            table["trial"],
            best,
            drawstyle="steps-post",
            linestyle=("-", "--")[number % 2],
            label=f"{name}: best so far",
            color=COLORS[number],
        )
        words.append(f"{name}: {len(table)} trials, best {best[-1]:.4f}")
    axes.axhline(default_score, color="#555555", linestyle=":", label="the default configuration")
    axes.set(title=title, xlabel="trial", ylabel="validation loss (log scale)", yscale="log")
    _plain_log_ticks(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    words.append(f"default configuration {default_score:.4f}")
    return DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def compare_searches(
    scores: Mapping[str, Sequence[Sequence[float]]], epochs_per_trial: int, title: str
) -> DescribedFigure:
    """Draws the best score so far against the epochs spent, for ways of searching that were repeated.

    Args:
        scores: way of searching -> a list per repetition: the score of each trial in the order tried (lower is
            better). All repetitions of one way have the same number of trials.
        epochs_per_trial: epochs that one trial costs.
        title: the figure's title.
    """
    figure = _figure((7.5, 3.8))
    axes = figure.subplots()
    words = []
    for number, (name, repetitions) in enumerate(scores.items()):
        best = np.minimum.accumulate(np.asarray(repetitions, float), axis=1)
        spent = epochs_per_trial * np.arange(1, best.shape[1] + 1)
        style = {"color": COLORS[number], "linestyle": ("-", "--")[number % 2], "drawstyle": "steps-post"}
        for line in best:
            axes.plot(spent, line, linewidth=0.8, alpha=0.5, **style)
        label = f"{name}: mean of {len(best)} searches"
        axes.plot(spent, best.mean(axis=0), linewidth=2.5, marker="o", markersize=5, label=label, **style)
        words.append(f"{name}, mean of {len(best)}: {best.mean(axis=0)[-1]:.4f} after {spent[-1]} epochs")
    axes.set(title=title, xlabel="epochs spent", ylabel="best validation loss so far")
    axes.legend()
    return DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def hyperparameter_effects(table, names: Sequence[str], title: str) -> DescribedFigure:
    """Draws the score against each hyperparameter, one panel each.

    Args:
        table: the trials, with a column per hyperparameter and `score` (lower is better).
        names: the hyperparameters to show.
        title: the figure's title.
    """
    figure = _figure((1.9 * len(names) + 0.6, 3.0))
    figure.suptitle(title)
    best = table.loc[table["score"].idxmin()]
    panels = figure.subplots(1, len(names), sharey=True)
    for axes, name in zip(panels, names, strict=True):
        values = table[name]
        if values.dtype == bool:
            axes.set_xticks([0, 1], ["no", "yes"])
            axes.set_xlim(-0.5, 1.5)
        elif name == "learning_rate":
            axes.set_xscale("log")
            axes.minorticks_off()
            ticks = [
                tick for tick in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2) if values.min() <= tick <= values.max()
            ]
            ticks = ticks or sorted({values.min(), values.max()})  # a few trials may lie between two ticks
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        elif values.nunique() <= 4:
            axes.set_xticks(sorted(values.unique()))
        axes.scatter(values.astype(float), table["score"], color=COLORS[0], alpha=0.7)
        axes.scatter([float(best[name])], [best["score"]], color=COLORS[3], marker="*", s=150)
        axes.set(xlabel=name, yscale="log")
    panels[0].set_ylabel("validation loss (log)")
    _plain_log_ticks(panels[0])
    chosen = ", ".join(f"{name} {best[name]:.4g}" for name in names)
    return DescribedFigure(
        figure, f"{title}. {len(table)} trials; the star is the best, {best['score']:.4f}: {chosen}."
    )


def confusion_matrix(matrix: np.ndarray, title: str) -> DescribedFigure:
    """Draws a confusion matrix with its counts; colour shows the mistakes only.

    Args:
        matrix: int `(10, 10)`; row = true digit, column = predicted digit.
        title: the figure's title.
    """
    import seaborn

    matrix = np.asarray(matrix)
    mistakes = matrix - np.diag(np.diag(matrix))
    figure = _figure((7, 5.6))
    axes = figure.subplots()
    seaborn.heatmap(
        mistakes,
        ax=axes,
        annot=matrix,
        fmt="d",
        cmap="Oranges",
        square=True,
        linewidths=0.5,
        annot_kws={"fontsize": 9},
        cbar_kws={"label": "mistakes"},
        vmin=0,
        vmax=max(1, mistakes.max()),
    )
    axes.set(title=title, xlabel="predicted digit", ylabel="true digit")
    axes.tick_params(axis="y", rotation=0)
    axes.grid(visible=False)
    row, column = np.unravel_index(mistakes.argmax(), mistakes.shape)
    description = f"{title}. {np.trace(matrix)} of {matrix.sum()} right."
    if mistakes.sum():
        description += f" The commonest mistake: {row} taken for {column}, {mistakes.max()} times."
    return DescribedFigure(figure, description)


def accuracies(
    names: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    title: str,
) -> DescribedFigure:
    """Draws test accuracies as points with their intervals, one model a line.

    Args:
        names: the models.
        values: their accuracies, fractions.
        lows: lower ends of the intervals.
        highs: upper ends.
        title: the figure's title.
    """
    _same_length(names=names, values=values, lows=lows, highs=highs)
    values, lows, highs = (100 * np.asarray(numbers, float) for numbers in (values, lows, highs))
    figure = _figure((7.5, 0.42 * len(names) + 1.3))
    axes = figure.subplots()
    positions = np.arange(len(names))[::-1]
    axes.errorbar(
        values, positions, xerr=[values - lows, highs - values], fmt="o", color=COLORS[0], capsize=4
    )
    for position, value, high in zip(positions, values, highs, strict=True):
        axes.annotate(
            f"{value:.2f}",
            (high, position),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
        )
    axes.set_yticks(positions, names)
    axes.margins(x=0.12, y=0.12)
    axes.set(title=title, xlabel="test accuracy in %, with 95 % interval")
    words = [
        f"{name} {value:.2f} % ({low:.2f} to {high:.2f})"
        for name, value, low, high in zip(names, values, lows, highs, strict=True)
    ]
    return DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def reliability(tables: Mapping[str, object], title: str) -> DescribedFigure:
    """Draws how often classifiers are right against how sure they are (a reliability diagram).

    Args:
        tables: name -> table with the columns `confidence`, `accuracy` (fractions) and `images`.
        title: the figure's title.
    """
    figure = _figure((3.2 * len(tables) + 0.4, 3.8))
    figure.suptitle(title)
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    words = []
    for number, (axes, (name, table)) in enumerate(zip(panels, tables.items(), strict=True)):
        axes.plot([0, 1], [0, 1], color="#555555", linestyle=":")
        sizes = 15 + 150 * table["images"] / table["images"].max()
        axes.scatter(table["confidence"], table["accuracy"], s=sizes, color=COLORS[number], alpha=0.8)
        axes.set(title=name, xlabel="confidence", xlim=(0, 1.05), ylim=(0, 1.05))
        sure, right = (
            np.average(table[column], weights=table["images"]) for column in ("confidence", "accuracy")
        )
        words.append(f"{name}: on average {sure:.2%} sure and {right:.2%} right")
    panels[0].set_ylabel("share that is right")
    return DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def robustness(
    measured: Mapping[str, Mapping[str, object]], names: Sequence[str], title: str
) -> DescribedFigure:
    """Draws accuracy against the strength of distortions, a panel each.

    Args:
        measured: distortion -> `levels` (numbers) and `accuracy` (model name -> a fraction per level).
        names: the models to draw.
        title: the figure's title.
    """
    figure, panels = _panels(len(measured), title, ylabel="accuracy", height=2.5)
    words = []
    for axes, (distortion, results) in zip(panels, measured.items(), strict=True):
        for number, name in enumerate(names):
            style = {"color": COLORS[number], "marker": _MARKERS[number], "linestyle": _LINES[number % 4]}
            axes.plot(results["levels"], results["accuracy"][name], label=name, **style)
        axes.set(xlabel=distortion, ylim=(0, 1.03))
        last = ", ".join(f"{name} {results['accuracy'][name][-1]:.1%}" for name in names)
        words.append(f"{distortion} {results['levels'][-1]}: {last}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return DescribedFigure(figure, f"{title}; at the strongest level: {'; '.join(words)}.")


def seed_strip(
    values: Mapping[str, Sequence[float]],
    title: str,
    label: str,
    decimals: int = 2,
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> DescribedFigure:
    """Draws what every seed gave as points, one model a line, with the mean as a bar across.

    Args:
        values: model name -> a number per seed.
        title: the figure's title.
        label: what the numbers are, with their unit.
        decimals: digits after the point in the means that are written beside.
        intervals: model name -> lower and upper end of the mean's 95 % interval, where there is one.
    """
    intervals = intervals or {}
    figure = _figure((7.5, 0.42 * len(values) + 1.3))
    axes = figure.subplots()
    words = []
    for position, (name, numbers) in enumerate(values.items()):
        numbers = np.asarray(numbers, float)
        axes.plot(numbers, np.full(len(numbers), position), "o", color=COLORS[0], alpha=0.5, markersize=5)
        axes.plot([numbers.mean()] * 2, [position - 0.3, position + 0.3], color=COLORS[3], linewidth=2.5)
        text = f"{numbers.mean():.{decimals}f}"
        ends = intervals.get(name, ())
        if ends:
            axes.hlines(position, *ends, color=COLORS[3], linewidth=7, alpha=0.3, zorder=1)
        place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 10}
        axes.annotate(text, (max([*numbers, *ends]), position), **place)
        about = ", 95 % interval {:.{d}f} to {:.{d}f}".format(*ends, d=decimals) if ends else ""
        words.append(
            f"{name} {text} ({numbers.min():.{decimals}f} to {numbers.max():.{decimals}f}, n={len(numbers)}{about})"
        )
    axes.set_yticks(range(len(values)), values)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.12)
    shaded = ", shade: 95 % interval" if intervals else ""
    axes.set(title=title, xlabel=f"{label} (point: seed, bar: mean{shaded})")
    return DescribedFigure(figure, f"{title}. Mean and range: {'; '.join(words)}.")


def bar_times(times: Mapping[str, Mapping[str, object]], title: str) -> DescribedFigure:
    """Draws times as bars with their range, one line each, the shortest first.

    Args:
        times: name -> `median_seconds`, `low`, `high`, and `reached`: False if the time led to no result.
        title: the figure's title.
    """
    figure = _figure((7.5, 0.42 * len(times) + 1.3))
    axes = figure.subplots()
    in_order = sorted(times.items(), key=lambda pair: pair[1]["median_seconds"])
    seconds = {
        name if entry["reached"] else f"{name} (not reached)": [
            entry[key] for key in ("median_seconds", "low", "high")
        ]
        for name, entry in in_order
    }
    medians, lows, highs = np.array(list(seconds.values()), float).T
    positions = np.arange(len(seconds))
    ranges = [medians - lows, highs - medians]
    axes.barh(positions, medians, color=COLORS[0], xerr=ranges, error_kw={"capsize": 4})
    for position, median, high in zip(positions, medians, highs, strict=True):
        place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 10}
        axes.annotate(f"{median:.1f}", (high, position), **place)
    axes.set_yticks(positions, seconds)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title=title, xlabel="seconds, median and range")
    words = [f"{name} {numbers[0]:.1f} s" for name, numbers in seconds.items()]
    return DescribedFigure(figure, f"{title}. Medians: {'; '.join(words)}.")


def scaling(lines: Mapping[str, Mapping[str, object]], title: str) -> DescribedFigure:
    """Draws seconds against what they grow with, a panel each.

    Args:
        lines: what grows -> `points` (dicts with `value` and `seconds`), `r_squared`.
        title: the figure's title.
    """
    figure, panels = _panels(len(lines), title, ylabel="seconds", height=2.5, sharey=False)
    words = []
    for axes, (what, line) in zip(panels, lines.items(), strict=True):
        values = [point["value"] for point in line["points"]]
        seconds = [point["seconds"] for point in line["points"]]
        axes.plot(values, seconds, "-o", color=COLORS[0])
        axes.set(xlabel=what, xlim=(0, None), ylim=(0, None))
        words.append(
            f"{what} {values[0]:g} to {values[-1]:g}: {seconds[0]:.1f} to {seconds[-1]:.1f} s, "
            f"R squared {line['r_squared']:.3f}"
        )
    return DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def _plain_log_ticks(axes) -> None:
    """Labels that can be read off within one decade, too, where a log axis has hardly any."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.4, 1.6, 2, 3, 5, 7)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:.2g}")


def _panels(
    count: int, title: str, *, ylabel: str, height: float, sharey: bool = True
) -> tuple[Figure, np.ndarray]:
    """A figure of `count` panels, at most three side by side; the y label stands at the left ones."""
    columns = min(_MAX_COLUMNS, count)
    rows = -(-count // columns)
    figure = _figure((3.3 * columns, height * rows + 0.8))
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for axes in panels.flat[count:]:
        axes.axis("off")
    for axes in panels[:, 0]:
        axes.set_ylabel(ylabel)
    return figure, panels.ravel()[:count]


def _figure(size: tuple[float, float]) -> Figure:
    # Constrained layout is asked for here, not in the style file: without it labels are cut off.
    return Figure(figsize=size, layout="constrained")


def _finite(values: Sequence[float | None]) -> np.ndarray:
    """Keras' history as numbers to draw: a loss that overflowed (null in a record) leaves a gap."""
    numbers = np.array([np.nan if value is None else value for value in values], float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _last_of(history: Mapping[str, Sequence[float]], metric: str) -> str:
    """The last values of a metric in words, in training and, where there is one, in validation."""
    parts = {metric: "in training", f"val_{metric}": "in validation"}
    last = {words: _finite(history[name])[-1] for name, words in parts.items() if name in history}
    return " and ".join(
        f"{value:.4f} {words}" if np.isfinite(value) else f"not a number {words}"
        for words, value in last.items()
    )


def _same_length(**arrays: Sequence) -> None:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"Expected: {' and '.join(arrays)} of the same length. Received: {lengths}.")
