"""Reads back what a figure shows: the artists themselves, not the arguments or the description."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.markers import MarkerStyle
from matplotlib.patches import StepPatch
from matplotlib.ticker import FixedLocator

from mnist_helpers import plots


def read(figure) -> dict[str, Any]:
    """Returns what a figure shows: its title, its panels in reading order, what each entry of a legend explains.

    What is empty is left out. Colours are positions in the palette; numbers have six digits after the point.
    """
    figure.draw_without_rendering()
    shown = [
        axes for axes in figure.axes if axes.get_label() != "<colorbar>" and (axes.axison or axes.images)
    ]
    legends = [*figure.legends, *(axes.get_legend() for axes in shown if axes.get_legend())]
    entries = [
        entry for legend in legends for entry in zip(legend.get_texts(), legend.legend_handles, strict=True)
    ]
    return _not_empty(
        title=figure.get_suptitle(),
        panels=[_panel(axes) for axes in sorted(shown, key=_reading_order)],
        legend={text.get_text(): _explained(handle, shown[0]) for text, handle in entries},
    )


def _not_empty(**found) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value}


def _reading_order(axes) -> tuple[float, float]:
    box = axes.get_position()
    return -round(box.y1, 2), round(box.x0, 2)


def _panel(axes) -> dict[str, Any]:
    _check_all_is_in_sight(axes.get_xlim(), axes.dataLim.intervalx, axes.get_xscale())
    _check_all_is_in_sight(axes.get_ylim(), axes.dataLim.intervaly, axes.get_yscale())
    assert not axes.xaxis_inverted()
    return _not_empty(
        title=axes.get_title(),
        x=axes.get_xlabel() if axes.axison else "",
        y=axes.get_ylabel() if axes.axison else "",
        log="".join(name for name in "xy" if getattr(axes, f"get_{name}scale")() == "log"),
        named_x=_named_ticks(axes.xaxis),
        named_y=_named_ticks(axes.yaxis),
        top_down=bool(axes.axison and axes.yaxis_inverted()),
        lines=[_line(line) for line in axes.lines if line.get_marker() != "|"],  # the ends of error bars
        bars=[_bar(patch) for patch in axes.patches if not isinstance(patch, StepPatch)],
        steps=[_steps(patch) for patch in axes.patches if isinstance(patch, StepPatch)],
        images=[_image(image, axes) for image in axes.images],
        texts=[(*_numbers(getattr(text, "xy", text.get_position())), text.get_text()) for text in axes.texts],
        **_collections(axes),
    )


def _check_all_is_in_sight(limits, data, scale) -> None:
    low, high = sorted(limits)
    if np.isfinite(data).all():
        assert data[1] <= high
        assert low <= data[0] or scale == "log"  # a bar on a logarithmic axis begins at 0


def _collections(axes) -> dict[str, list]:
    found: dict[str, list] = {"points": [], "segments": [], "bands": [], "cells": []}
    for collection in axes.collections:
        color = _colour(collection.get_facecolor()[0]) if len(collection.get_facecolor()) else None
        if isinstance(collection, PathCollection):
            found["points"].append((color, *_marker(collection), _numbers(collection.get_offsets())))
        elif isinstance(collection, LineCollection):
            found["segments"] += [
                (_colour(collection.get_edgecolor()[0]), _numbers(ends)) for ends in collection.get_segments()
            ]
        elif isinstance(collection, PolyCollection):
            (corners,) = (path.vertices for path in collection.get_paths())
            reach = {x: corners[corners[:, 0] == x, 1] for x in sorted({*corners[:, 0]})}
            found["bands"].append((color, [_numbers([x, ys.min(), ys.max()]) for x, ys in reach.items()]))
        else:
            found["cells"].append((_numbers(collection.get_array()), _darkens(collection)))
    return found


def _numbers(values) -> list:
    return np.round(np.ma.filled(np.ma.asarray(values, float), np.nan), 6).tolist()


def _colour(value) -> int | str:
    name = colors.to_hex(value)
    return plots.COLORS.index(name) if name in plots.COLORS else name


def _look(line) -> tuple:
    return _colour(line.get_color()), line.get_linestyle(), line.get_marker()


def _line(line) -> tuple:
    steps = [line.get_drawstyle()] if line.get_drawstyle() != "default" else []
    return (*_look(line), *steps, *map(_numbers, line.get_data()))


def _bar(patch) -> tuple:
    return _colour(patch.get_facecolor()), str(patch.get_hatch() or ""), *_numbers(patch.get_bbox().extents)


def _steps(patch) -> dict[tuple[float, float], float]:
    """The steps that are not 0: from and to -> height."""
    heights, edges, _ = patch.get_data()
    steps = zip(edges[:-1], edges[1:], heights, strict=True)
    return {(float(start), float(end)): float(height) for start, end, height in steps if height}


def _marker(collection) -> tuple:
    """The digit that is drawn at each point, if it is one, and the sizes of the points if they differ."""
    marks = {f"${digit}$": MarkerStyle(f"${digit}$") for digit in range(10)}
    marks["*"] = MarkerStyle("*")
    path = collection.get_paths()[0].vertices
    names = [
        name
        for name, mark in marks.items()
        if np.array_equal(mark.get_path().transformed(mark.get_transform()).vertices, path)
    ]
    sizes = _numbers(collection.get_sizes())
    return (*names, *([sizes] if len(sizes) > 1 else []))


def _darkens(mappable) -> bool:
    """Whether larger values are darker."""
    light, dark = (np.mean(mappable.cmap(mappable.norm(value))[:3]) for value in mappable.get_clim())
    return bool(dark < light)


def _image(image, axes) -> tuple:
    assert image.origin == "upper"
    assert axes.yaxis_inverted()
    return _numbers(image.get_array()), _darkens(image), _numbers(image.get_clim())


def _named_ticks(axis) -> dict[str, float]:
    """The ticks whose labels were given: name -> position."""
    if not isinstance(axis.get_major_locator(), FixedLocator):
        return {}
    ticks = zip(axis.get_majorticklabels(), axis.get_majorticklocs(), strict=True)
    return {label.get_text(): round(float(position), 6) for label, position in ticks}


def _explained(handle, axes) -> list:
    """The data of the artist that looks like a legend's handle: a line's y, the heights of bars."""
    if hasattr(handle, "get_marker"):
        return next(_numbers(line.get_ydata()) for line in axes.lines if _look(line) == _look(handle))
    bars = [_bar(patch) for patch in axes.patches]
    return [top - bottom for color, hatch, _, bottom, _, top in bars if (color, hatch) == _bar(handle)[:2]]
