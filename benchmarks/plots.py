"""Figures of the speed measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import LogLocator, NullLocator

from mnist_helpers import plots


def scaling(lines: Mapping[str, Mapping[str, Any]], title: str) -> plots.DescribedFigure:
    """Draws seconds against the quantities that they grow with, a panel each.

    Args:
        lines: quantity -> `points` (dicts with `value` and `seconds`), `r_squared`.
        title: the figure's title.
    """
    figure, panels = plots.panels(len(lines), title, ylabel="seconds", height=2.5, sharey=False)
    words = []
    for axes, (quantity, line) in zip(panels, lines.items(), strict=True):
        values = [point["value"] for point in line["points"]]
        seconds = [point["seconds"] for point in line["points"]]
        axes.plot(values, seconds, "-o", color=plots.COLORS[0])
        axes.set(xlabel=quantity, xlim=(0, None), ylim=(0, None))
        words.append(
            f"{quantity} {values[0]:g} to {values[-1]:g}: {seconds[0]:.1f} to {seconds[-1]:.1f} s, "
            f"R squared {line['r_squared']:.3f}"
        )
    return plots.DescribedFigure(figure, f"{title}. {'; '.join(words)}.")


def frontier(
    points: Mapping[str, Sequence[tuple[float, float]]], marks: Sequence[float], title: str
) -> plots.DescribedFigure:
    """Draws accuracy against training time, on a logarithmic axis, a line for each recipe.

    Args:
        points: recipe -> seconds and accuracy (0-1) of its schedules, the fastest first.
        marks: accuracies (0-1), each drawn as a dotted line with its number.
        title: the figure's title.
    """
    figure = plots.new_figure(7.5, 4.6, title=title)
    axes = figure.subplots()
    words = []
    for number, (recipe, schedules) in enumerate(points.items()):
        seconds, percent = [time for time, _ in schedules], [100 * accuracy for _, accuracy in schedules]
        axes.plot(
            seconds, percent, "-", color=plots.COLORS[number], marker=plots.MARKERS[number], label=recipe
        )
        shown = [f"{right:.2f} % in {time:.1f} s" for time, right in zip(seconds, percent, strict=True)]
        words.append(f"{recipe} {', '.join(shown)}")
    for mark in marks:
        axes.axhline(100 * mark, color=plots.COLORS[7], linestyle=":", linewidth=1)
        place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "bottom", "fontsize": 9}
        axes.text(0.01, 100 * mark, f"{mark:.2%}", **place)
    axes.set(xscale="log", xlabel="seconds of training, median", ylabel="test accuracy in %, mean")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside lower center", ncols=4)
    best = ", ".join(name for name in points if _on_frontier(name, points))
    return plots.described(figure, f"{title}. On the frontier: {best}.", words)


def _on_frontier(recipe: str, points: Mapping[str, Sequence[tuple[float, float]]]) -> bool:
    """Returns whether a schedule of the recipe is as accurate as all that take no longer."""
    every = [point for schedules in points.values() for point in schedules]
    return any(
        all(accuracy >= right for time, right in every if time <= seconds)
        for seconds, accuracy in points[recipe]
    )
