"""Figures of the speed measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
