"""Functions that draw arrays and describe what they have drawn.

Every function returns a `DescribedFigure`. As the last line of a notebook cell it shows itself: the picture,
and a description made from the data, for screen readers and for comparisons between runs. The colours are
seaborn's colour-blind palette; lines also differ in style and marker.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mnist_helpers._errors import UserError, check_same_length

__all__ = [
    "COLORS",
    "MARKERS",
    "DescribedFigure",
    "accuracies",
    "bar_times",
    "class_balance",
    "confusion_matrix",
    "curves_with_spread",
    "described",
    "hyperparameter_effects",
    "image_grid",
    "learning_curves",
    "metric_by_model",
    "moved_images",
    "new_figure",
    "panels",
    "pixel_intensity",
    "reliability",
    "robustness",
    "schedules",
    "search_progress",
    "seed_strip",
    "single_axes",
    "values_along",
]

COLORS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"]  # seaborn's "colorblind"
COLORS += ["#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]
MARKERS = "osD^vPX*<>"
_STYLE = {  # one look for all lessons and the report
    "figure.dpi": 100,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "legend.frameon": False,
    "image.cmap": "gray_r",
}
_MAX_COLUMNS = 3  # of panels side by side
_LINES = ("-", "--", "-.", ":")
_GREY = "#555555"

History = Mapping[str, Sequence[float]]
Groups = Mapping[str, Iterable[float]]
Entries = Mapping[str, Mapping[str, Any]]


class DescribedFigure:
    """A figure with a description in words.

    Attributes:
        figure: the matplotlib figure.
        description: one or a few sentences, made from the data that was drawn.
    """

    def __init__(self, figure: Figure, description: str):
        self.figure, self.description = figure, description

    def png(self) -> bytes:
        """Returns the picture as PNG with at most 64 colours, because a lesson holds many pictures."""
        buffer, drawn, dpi = io.BytesIO(), io.BytesIO(), self.figure.dpi
        self.figure.savefig(drawn, format="png")
        metadata = PngInfo()
        metadata.add_itxt("Description", self.description)
        with Image.open(drawn) as picture:
            small = picture.convert("RGB").quantize(64)
            small.save(buffer, format="png", pnginfo=metadata, optimize=True, dpi=(dpi, dpi))
        return buffer.getvalue()

    def __repr__(self) -> str:
        return self.description

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
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
        images: `(n, 28, 28)`, any dtype; n may be 0, for a model without mistakes.
        captions: n short strings.
        title: the figure's title; it names the dataset.
        columns: images in a row.
        darkest: the value that is drawn black; `None` for each image's largest.
    """
    check_same_length(images=images, captions=captions)
    if not len(images):
        return DescribedFigure(new_figure(5.0, 0.6, f"{title}: none"), f"{title}: no image to show.")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    extra_lines = max(caption.count("\n") for caption in captions)
    width = max(0.95, 0.095 * max(len(line) for caption in captions for line in caption.split("\n")))
    figure = new_figure(max(5.0, width * columns), (1.15 + 0.18 * extra_lines) * rows + 0.4, title=title)
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if number < len(images):
            axes.imshow(images[number], cmap="gray_r", vmin=None if darkest is None else 0, vmax=darkest)
            axes.set_title(captions[number], fontsize=10)
    ink = [float(np.mean(image)) for image in images]
    words = ", ".join(caption.replace("\n", " ") for caption in captions)
    inked = f"average ink {min(ink):.1f} to {max(ink):.1f}"
    return DescribedFigure(figure, f"{title}: {len(images)} images ({inked}), captioned {words}.")


def class_balance(labels: Mapping[str, np.ndarray], title: str) -> DescribedFigure:
    """Draws the number of images of each digit as bars.

    Args:
        labels: name of a part (such as `"training"`) -> labels, `(n,)`.
        title: the figure's title.
    """
    figure, axes = single_axes(7.5, 3.2)
    width = 0.8 / len(labels)
    words = []
    for number, (part, values) in enumerate(labels.items()):
        counts = np.bincount(values, minlength=10)
        positions = np.arange(10) + (number - (len(labels) - 1) / 2) * width
        axes.bar(positions, counts, width, label=part, color=COLORS[number], hatch=("", "//")[number % 2])
        fewest = f"fewest {counts.min()} (digit {counts.argmin()})"
        most = f"most {counts.max()} (digit {counts.argmax()})"
        words.append(f"{part}: {counts.sum()} images, {fewest}, {most}")
    axes.set(title=title, xlabel="digit", ylabel="images", xticks=range(10))
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return described(figure, f"{title}.", words)


def pixel_intensity(images: np.ndarray, title: str) -> DescribedFigure:
    """Draws the distribution of pixel values (logarithmic) and the average image.

    Args:
        images: uint8 `(n, 28, 28)`.
        title: the figure's title.
    """
    figure = new_figure(8, 3.2, title=title)
    histogram, average = figure.subplots(1, 2, width_ratios=(2, 1))
    counts, edges = np.histogram(images, bins=32, range=(0, 256))
    histogram.stairs(counts, edges, fill=True, color=COLORS[0])
    histogram.set(yscale="log", xlabel="pixel value (0 background, 255 ink)", ylabel="pixels (log scale)")
    mean_image = images.mean(axis=0)
    average.imshow(mean_image, cmap="gray_r")
    average.set_title("average image")
    average.axis("off")
    shares = f"{np.mean(images == 0):.1%} of the pixels are 0, {np.mean(images >= 250):.1%} are 250 or more"
    means = f"mean {images.mean():.1f}. The average image is darkest at {mean_image.max():.0f}"
    return described(figure, f"{title}.", [shares, means])


def learning_curves(histories: Mapping[str, History], title: str) -> DescribedFigure:
    """Draws accuracy and loss against epochs: training solid, validation dashed.

    Args:
        histories: model name -> Keras' `history` (`accuracy`, `loss`, and `val_accuracy`, `val_loss` where
            images were left for validation); `None` for a training run that has not ended.
        title: the figure's title.

    Raises:
        UserError: a training run has not ended; the error says what to do.
    """
    _check_ended(histories)
    several = len(histories) > 1
    figure = new_figure(9.5, 3.8 + 0.22 * len(histories) * several, title=title)
    accuracy, loss = figure.subplots(1, 2)
    words = []
    for number, (name, history) in enumerate(histories.items()):
        for axes, metric in ((accuracy, "accuracy"), (loss, "loss")):
            _draw_history(axes, history, metric, (number, number), f"{name}, ")
            axes.set(xlabel="epoch", ylabel=metric)
        last = f"accuracy {_last_of(history, 'accuracy')}, loss {_last_of(history, 'loss')}"
        words.append(f"{name} after {len(history['loss'])} epochs: {last}")
    losses = np.concatenate([_finite(history["loss"]) for history in histories.values()])
    if np.nanmax(losses, initial=0) > 10:  # on a linear axis, a failed training would hide the others
        loss.set(yscale="log", ylabel="loss (log scale)")
    else:
        loss.set_ylim(bottom=0)
    _legend_below(figure, accuracy, ncols=1 + several, fontsize=10)
    return described(figure, f"{title}.", words)


def metric_by_model(
    histories: Mapping[str, History], metric: str, title: str, bands: Mapping[str, History] | None = None
) -> DescribedFigure:
    """Draws one metric against epochs, a panel per model: training solid, validation dashed.

    Args:
        histories: model name -> Keras' `history`.
        metric: `"accuracy"` or `"loss"`.
        title: the figure's title.
        bands: as `histories`: how far a band reaches above and below each value; `None` for no bands.
    """
    _check_ended(histories)
    figure, all_axes = panels(len(histories), title, ylabel=metric, height=2.6)
    words = []
    for axes, (name, history) in zip(all_axes, histories.items(), strict=True):
        _draw_history(axes, history, metric, (0, 1))
        for key, color in ((metric, COLORS[0]), (f"val_{metric}", COLORS[1])):
            if bands and key in history:
                low, high = np.add(history[key], np.outer([-1, 1], bands[name][key]))
                axes.fill_between(range(1, len(low) + 1), low, high, color=color, alpha=0.2, linewidth=0)
        axes.set_title(name)
        words.append(f"{name} {_last_of(history, metric)}")
    for axes in all_axes[-_MAX_COLUMNS:]:
        axes.set_xlabel("epoch")
    _legend_below(figure, all_axes[0], ncols=2)
    return described(figure, f"{title}; in the last epoch:", words)


def _check_ended(histories: Mapping[str, History | None]) -> None:
    if waiting := [name for name, history in histories.items() if history is None]:
        names = ", ".join(waiting)
        raise UserError(
            f"The training of {names} has not ended. Run the cell that trains it again, to its end."
        )


def search_progress(tables: Mapping[str, pd.DataFrame], default_score: float, title: str) -> DescribedFigure:
    """Draws every trial's score and the best score so far, for each search method.

    Args:
        tables: search method -> table with the columns `trial` and `score` (lower is better).
        default_score: the score of the default configuration.
        title: the figure's title.
    """
    figure, axes = single_axes(7.5, 3.8)
    words = []
    for number, (name, table) in enumerate(tables.items()):
        trials, scores, color = table["trial"].to_numpy(), table["score"].to_numpy(), COLORS[number]
        best = np.minimum.accumulate(scores)
        axes.plot(trials, scores, linestyle="none", marker=MARKERS[number], color=color, alpha=0.6)
        form, label = ("-", "--")[number % 2], f"{name}: best so far"
        axes.step(trials, best, form, where="post", color=color, label=label)
        words.append(f"{name}: {len(table)} trials, best {best[-1]:.4f}")
    axes.axhline(default_score, color=_GREY, linestyle=":", label="the default configuration")
    axes.set(title=title, xlabel="trial", ylabel="validation loss (log scale)", yscale="log")
    _plain_log_ticks(axes)
    _whole_numbers(axes)
    axes.legend()
    return described(figure, f"{title}.", [*words, f"default configuration {default_score:.4f}"])


def hyperparameter_effects(table: pd.DataFrame, names: Sequence[str], title: str) -> DescribedFigure:
    """Draws the score against each hyperparameter, one panel each.

    A trial that did not use a hyperparameter (NaN) has no point in its panel.

    Args:
        table: the trials, with a column per hyperparameter (numbers, strings or booleans) and `score` (lower is
            better).
        names: the hyperparameters to show.
        title: the figure's title.
    """
    figure = new_figure((2.8 if len(names) < 4 else 1.9) * len(names) + 0.6, 3.0, title=title)
    all_axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    table = table.reindex(columns=[*names, "score"]).reset_index(drop=True)
    best = table["score"].to_numpy().argmin()
    words = []
    for axes, name in zip(all_axes, names, strict=True):
        used = table[[name, "score"]].dropna()
        values = used[name].infer_objects()  # without its NaN, an object column may hold numbers or booleans
        values = values.map({False: "no", True: "yes"}) if values.dtype == bool else values
        x, is_best = _positions(axes, values), used.index == best
        axes.scatter(x, used["score"], color=COLORS[0], alpha=0.7)
        axes.scatter(x[is_best], used["score"][is_best], color=COLORS[3], marker="*", s=150)
        axes.set(xlabel=name, yscale="log")
        shown = [value if isinstance(value, str) else f"{value:.4g}" for value in values[is_best]]
        words += [f"{name} {value}" for value in shown]
    all_axes[0].set_ylabel("validation loss (log)")
    _plain_log_ticks(all_axes[0])
    lowest = f"{len(table)} trials; the star is the best, {table['score'][best]:.4f}"
    return DescribedFigure(figure, f"{title}. {lowest}: {', '.join(words)}.")


def _positions(axes: Axes, values: pd.Series) -> pd.Series:
    """Sets the scale and the ticks of a hyperparameter's axis; returns the positions of the values on it."""
    levels = sorted(values.unique(), key=str)
    if not pd.api.types.is_numeric_dtype(values) or not levels:
        axes.set_xticks(range(len(levels)), levels)
        axes.set_xlim(-0.5, len(levels) - 0.5 if levels else 0.5)
        return values.map({level: position for position, level in enumerate(levels)})
    low, high = min(levels), max(levels)
    halfway = (np.sqrt(max(low * high, 0)) + (low + high) / 2) / 2  # between geometric and arithmetic middle
    if low > 0 and ("learning_rate" in str(values.name) or (high >= 10 * low and values.median() <= halfway)):
        axes.set_xscale("log")
        axes.minorticks_off()
        exponents = range(int(np.floor(np.log10(low))), int(np.log10(high)) + 1)
        round_values = (float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 3))
        # a few trials may lie between two ticks
        ticks = [tick for tick in round_values if low <= tick <= high] or sorted({low, high})
        axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    elif len(levels) <= 4:
        axes.set_xticks(sorted(levels))
    return values.astype(float)


def confusion_matrix(matrix: np.ndarray, title: str) -> DescribedFigure:
    """Draws a confusion matrix with its counts; colour shows the mistakes only.

    Args:
        matrix: int `(10, 10)`; row = true digit, column = predicted digit.
        title: the figure's title.
    """
    import seaborn

    matrix = np.asarray(matrix)
    mistakes = matrix - np.diag(np.diag(matrix))
    figure, axes = single_axes(7, 5.6)
    look = {"cmap": "Oranges", "square": True, "linewidths": 0.5, "annot_kws": {"fontsize": 9}}
    scale = {"vmin": 0, "vmax": max(1, mistakes.max()), "cbar_kws": {"label": "mistakes"}}
    seaborn.heatmap(mistakes, ax=axes, annot=matrix, fmt="d", **look, **scale)
    axes.set(title=title, xlabel="predicted digit", ylabel="true digit")
    axes.tick_params(axis="y", rotation=0)
    axes.grid(visible=False)
    row, column = np.unravel_index(mistakes.argmax(), mistakes.shape)
    description = f"{title}. {np.trace(matrix)} of {matrix.sum()} right."
    if mistakes.sum():
        description += f" The most frequent mistake: {row} taken for {column}, {mistakes.max()} times."
    return DescribedFigure(figure, description)


def accuracies(
    names: Sequence[str], values: Sequence[float], lows: Sequence[float], highs: Sequence[float], title: str
) -> DescribedFigure:
    """Draws test accuracies as points with their intervals, one model a line.

    Args:
        names: the models.
        values: their accuracies, fractions.
        lows: lower ends of the intervals.
        highs: upper ends.
        title: the figure's title.
    """
    check_same_length(names=names, values=values, lows=lows, highs=highs)
    points, left, right = 100 * np.array([values, lows, highs], float)
    figure, axes = _lines_of(names, title, "test accuracy in %, with 95 % interval")
    ends = [points - left, right - points]
    axes.errorbar(points, range(len(names)), xerr=ends, fmt="o", color=COLORS[0], capsize=4)
    words = []
    for position, (name, point, low, high) in enumerate(zip(names, points, left, right, strict=True)):
        _write_beside(axes, high, position, f"{point:.2f}")
        words.append(f"{name} {point:.2f} % ({low:.2f} to {high:.2f})")
    return described(figure, f"{title}.", words)


def reliability(tables: Mapping[str, pd.DataFrame], title: str) -> DescribedFigure:
    """Draws how often classifiers are right against how sure they are (a reliability diagram).

    Args:
        tables: name -> table with the columns `confidence`, `accuracy` (fractions) and `images`.
        title: the figure's title.
    """
    figure = new_figure(3.2 * len(tables) + 0.4, 3.8, title=title)
    all_axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    words = []
    for number, (axes, (name, table)) in enumerate(zip(all_axes, tables.items(), strict=True)):
        confidence, accuracy, images = (table[key] for key in ("confidence", "accuracy", "images"))
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":")
        sizes = 15 + 150 * images / images.max()
        axes.scatter(confidence, accuracy, s=sizes, color=COLORS[number], alpha=0.8)
        axes.set(title=name, xlabel="confidence", xlim=(0, 1.05), ylim=(0, 1.05))
        sure, right = (np.average(column, weights=images) for column in (confidence, accuracy))
        words.append(f"{name}: on average {sure:.2%} sure and {right:.2%} right")
    all_axes[0].set_ylabel("share that is right")
    return described(figure, f"{title}.", words)


def robustness(measured: Entries, names: Sequence[str], title: str) -> DescribedFigure:
    """Draws accuracy against the strength of distortions, a panel each.

    Args:
        measured: distortion -> `levels` (numbers) and `accuracy` (model name -> a fraction per level).
        names: the models to draw.
        title: the figure's title.
    """
    figure, all_axes = panels(len(measured), title, ylabel="accuracy", height=2.5)
    words = []
    for axes, (distortion, results) in zip(all_axes, measured.items(), strict=True):
        levels, accuracy = results["levels"], results["accuracy"]
        for number, name in enumerate(names):
            line = {"linestyle": _LINES[number % 4], "marker": MARKERS[number], "color": COLORS[number]}
            axes.plot(levels, accuracy[name], label=name, **line)
        axes.set(xlabel=distortion, ylim=(0, 1.03))
        last = ", ".join(f"{name} {accuracy[name][-1]:.1%}" for name in names)
        words.append(f"{distortion} {levels[-1]}: {last}")
    _legend_below(figure, all_axes[0], ncols=4)
    return described(figure, f"{title}; at the strongest level:", words)


def seed_strip(
    values: Groups, title: str, label: str, decimals: int = 2, intervals: Groups | None = None
) -> DescribedFigure:
    """Draws the result of every seed as a point, one model a line, with the mean as a bar across.

    Args:
        values: model name -> a number per seed.
        title: the figure's title.
        label: what the numbers are, with their unit.
        decimals: digits after the point in the means that are written beside.
        intervals: model name -> lower and upper end of the mean's 95 % interval, where there is one.
    """
    intervals = intervals or {}
    shaded = ", shade: 95 % interval" if intervals else ""
    figure, axes = _lines_of(values, title, f"{label} (point: seed, bar: mean{shaded})")
    words = []
    for position, (name, results) in enumerate(values.items()):
        numbers = np.array([*results], float)
        mean, ends = numbers.mean(), [*intervals.get(name, [])]
        shown = [f"{number:.{decimals}f}" for number in (mean, numbers.min(), numbers.max(), *ends)]
        axes.plot(numbers, np.full(len(numbers), position), "o", color=COLORS[0], alpha=0.5, markersize=5)
        axes.plot([mean, mean], [position - 0.3, position + 0.3], color=COLORS[3], linewidth=2.5)
        if ends:
            axes.hlines(position, ends[0], ends[1], color=COLORS[3], linewidth=7, alpha=0.3, zorder=1)
        _write_beside(axes, max(*numbers, *ends, mean), position, shown[0])
        about = ", 95 % interval {3} to {4}".format(*shown) if ends else ""
        words.append(f"{name} {shown[0]} ({shown[1]} to {shown[2]}, n={len(numbers)}{about})")
    return described(figure, f"{title}. Mean and range:", words)


def bar_times(times: Entries, title: str) -> DescribedFigure:
    """Draws times as bars with their range, one line each, the shortest first.

    Args:
        times: name -> `median_seconds`, `low`, `high`, and `reached`: False if the time led to no result.
        title: the figure's title.
    """
    in_order = sorted(times.items(), key=lambda pair: pair[1]["median_seconds"])
    names = [name if entry["reached"] else f"{name} (not reached)" for name, entry in in_order]
    keys = ("median_seconds", "low", "high")
    medians, lows, highs = np.array([[entry[key] for key in keys] for _, entry in in_order], float).T
    figure, axes = _lines_of(names, title, "seconds, median and range")
    ranges = [medians - lows, highs - medians]
    axes.barh(range(len(names)), medians, color=COLORS[0], xerr=ranges, error_kw={"capsize": 4})
    for position, (median, high) in enumerate(zip(medians, highs, strict=True)):
        _write_beside(axes, high, position, f"{median:.1f}")
    words = [f"{name} {median:.1f} s" for name, median in zip(names, medians, strict=True)]
    return described(figure, f"{title}. Medians:", words)


def panels(
    count: int, title: str, *, ylabel: str, height: float, sharey: bool = True
) -> tuple[Figure, np.ndarray]:
    """Makes a figure of panels, at most three side by side, with the y label at the left ones.

    Args:
        count: number of panels.
        title: the figure's title.
        ylabel: the label of the y axes.
        height: of a row of panels, in inches.
        sharey: whether the panels have the same y axis.

    Returns:
        The figure and its axes, `(count,)`.
    """
    columns = min(_MAX_COLUMNS, count)
    rows = -(-count // columns)
    figure = new_figure(3.3 * columns, height * rows + 0.8, title=title)
    all_axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for axes in all_axes.flat[count:]:
        axes.axis("off")
    for axes in all_axes[:, 0]:
        axes.set_ylabel(ylabel)
    return figure, all_axes.ravel()[:count]


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Makes an empty figure in the course's style; sizes are in inches."""
    matplotlib.style.use(["default", _STYLE])  # and not what an account has set
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title)
    return figure


def single_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Makes a figure with one axes in the course's style; sizes are in inches."""
    figure = new_figure(width, height)
    return figure, figure.subplots()


def _lines_of(names: Iterable[str], title: str, xlabel: str) -> tuple[Figure, Axes]:
    """Makes a figure with a horizontal line of data per name, the first at the top."""
    labels = [*names]
    figure, axes = single_axes(7.5, 0.42 * len(labels) + 1.3)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.12)
    axes.set(title=title, xlabel=xlabel)
    return figure, axes


def _write_beside(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=10)


def _legend_below(figure: Figure, axes: Axes, **layout: Any) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", **layout)


def _whole_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))


def _plain_log_ticks(axes: Axes) -> None:
    """Labels that can be read within one decade, too, where a log axis has hardly any."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.4, 1.6, 2, 3, 5, 7)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:.2g}")


def _draw_history(axes: Axes, history: History, metric: str, styles: Sequence[int], prefix: str = "") -> None:
    """Draws a metric against epochs, which start at 1: training solid, validation (if any) dashed."""
    for validation, (key, label) in enumerate(((metric, "training"), (f"val_{metric}", "validation"))):
        if key in history:
            values, style = _finite(history[key]), styles[validation]
            (line,) = axes.plot(range(1, len(values) + 1), values, ("-", "--")[validation])
            line.set(color=COLORS[style], marker=MARKERS[style], label=f"{prefix}{label}")
            line.set_markerfacecolor("white" if validation else COLORS[style])
    _whole_numbers(axes)


def _finite(values: Sequence[float | None]) -> np.ndarray:
    """Returns Keras' history as numbers; a loss that overflowed (null in a record) becomes NaN, a gap."""
    numbers = np.array(values, float)  # None becomes NaN
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _last_of(history: History, metric: str) -> str:
    """Returns the last values of a metric in words, in training and, where there is one, in validation."""
    words = []
    for key, where in ((metric, "in training"), (f"val_{metric}", "in validation")):
        if key in history:
            value = _finite(history[key])[-1]
            words.append(f"{value:.4f} {where}" if np.isfinite(value) else f"not a number {where}")
    return " and ".join(words)


def described(figure: Figure, title: str, words: Sequence[str]) -> DescribedFigure:
    """Returns a figure with the description that consists of its title and further words."""
    return DescribedFigure(figure, f"{title} {'; '.join(words)}.")


def schedules(rates: Mapping[str, Sequence[float]], title: str) -> DescribedFigure:
    """Draws learning rates against the training step.

    Args:
        rates: name of a schedule -> the learning rate of each step.
        title: the figure's title.
    """
    figure, axes = single_axes(7.5, 3.0)
    words = []
    for number, (name, values) in enumerate(rates.items()):
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, _LINES[number % 4], color=COLORS[number], label=name)
        peak = int(np.argmax(values))
        highest = f"highest {values[peak]:.2g} at step {peak + 1}"
        words.append(f"{name} begins at {values[0]:.2g}, {highest}, ends at {values[-1]:.2g}")
    axes.set(title=title, xlabel="training step", ylabel="learning rate")
    axes.set_ylim(bottom=0)
    axes.legend()
    return described(figure, f"{title}.", words)


def moved_images(
    images: np.ndarray,
    directions: np.ndarray,
    moved: np.ndarray,
    captions: Mapping[str, Sequence[str]],
    title: str,
) -> DescribedFigure:
    """Draws images, the direction in which each is moved, and the result, one column per image.

    Args:
        images: `(n, 28, 28)`, n at least 1.
        directions: float `(n, 28, 28)`. Red pixels become darker, blue ones lighter.
        moved: as `images`, after the step.
        captions: `"before"` and `"after"` -> n short strings each, written above the images.
        title: the figure's title; it names the dataset.
    """
    before, after = captions["before"], captions["after"]
    check_same_length(images=images, directions=directions, moved=moved, before=before, after=after)
    figure = new_figure(1.3 * len(images) + 0.6, 4.9, title=title)
    rows = figure.subplots(3, len(images), squeeze=False)
    largest = np.abs(directions).max()
    for column, (image, direction, end) in enumerate(zip(images, directions, moved, strict=True)):
        rows[0, column].imshow(image, cmap="gray_r", vmin=0, vmax=255)
        rows[1, column].imshow(direction, cmap="RdBu_r", vmin=-largest, vmax=largest)
        rows[2, column].imshow(end, cmap="gray_r", vmin=0, vmax=255)
        rows[0, column].set_title(before[column], fontsize=10)
        rows[2, column].set_title(after[column], fontsize=10)
    for axes, label in zip(rows[:, 0], ("image", "direction", "moved image"), strict=True):
        axes.set_ylabel(label)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    words = [f"{start}, after the step {end}" for start, end in zip(before, after, strict=True)]
    return described(figure, f"{title}.", words)


def values_along(
    positions: Sequence[float], values: Mapping[str, Groups], title: str, xlabel: str, ylabel: str
) -> DescribedFigure:
    """Draws lines of values against positions, a panel per model.

    Args:
        positions: where the values were measured, such as lengths of a step.
        values: model name -> name of a line -> a value per position.
        title: the figure's title; it names the dataset.
        xlabel: what the positions are.
        ylabel: what the values are.
    """
    figure, all_axes = panels(len(values), title, ylabel=ylabel, height=2.8)
    words = []
    for axes, (model, lines) in zip(all_axes, values.items(), strict=True):
        for number, (name, numbers) in enumerate(lines.items()):
            (line,) = axes.plot(positions, [*numbers], _LINES[number % 4], label=name)
            line.set(marker=MARKERS[number], color=COLORS[number])
        axes.set(title=model, xlabel=xlabel)
        words.append(f"{model}: " + ", ".join(f"{name} {[*last][-1]:.3g}" for name, last in lines.items()))
    all_axes[0].set_ylim(bottom=0)  # of all panels, now that their highest value is known
    _legend_below(figure, all_axes[0], ncols=len(next(iter(values.values()))))
    return described(figure, f"{title}; {ylabel} at {positions[-1]:g}:", words)


def curves_with_spread(
    curves: Mapping[str, Sequence[Sequence[float]]], title: str, ylabel: str
) -> DescribedFigure:
    """Draws a metric against epochs for groups of training runs: the mean as a line, lowest to highest as a band.

    Args:
        curves: name -> a list per seed: the metric after each epoch.
        title: the figure's title; it names the dataset.
        ylabel: the metric.
    """
    figure, axes = single_axes(7.5, 3.8)
    words = []
    for number, (name, seeds) in enumerate(curves.items()):
        table = np.array([*seeds], float)
        epochs = np.arange(1, table.shape[1] + 1)
        axes.fill_between(
            epochs, table.min(axis=0), table.max(axis=0), color=COLORS[number], alpha=0.2, linewidth=0
        )
        label = f"{name}, mean of {len(table)} seeds"
        (line,) = axes.plot(epochs, table.mean(axis=0), _LINES[number % 4], label=label)
        line.set(marker=MARKERS[number], color=COLORS[number])
        last = table[:, -1]
        words.append(f"{name} {last.mean():.4f} ({last.min():.4f} to {last.max():.4f}, n={len(last)})")
    axes.set(title=title, xlabel="epoch", ylabel=ylabel)
    _whole_numbers(axes)
    axes.legend()
    return described(figure, f"{title}; {ylabel} after the last epoch, mean and range:", words)
