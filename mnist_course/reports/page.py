"""Tables and pages of every report: one `Table`, shown as text, Markdown or HTML.

Titles, notes and cells are plain text. Each form escapes them, so a name that a user chose stays text.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import pandas as pd

from mnist_helpers import _files, plots

UNKNOWN = "–"
LOOK = Path(__file__).parent / "look.css"  # the colours of all pages, of the class report and the website too


class Link(NamedTuple):
    """A cell that links to a file in the folder of the page."""

    text: str
    target: str


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: the heading; empty for none.
        columns: the names of the columns.
        rows: one sequence of cells per row. `None` and NaN are shown as a dash.
        note: an explanation below the table.
        is_text: True if the cells are sentences, which are left-aligned and may wrap.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    is_text: bool = False

    def text(self) -> str:
        """Returns title and rows for a terminal, in columns: text to the left, numbers to the right."""
        lines = [[" ".join(_shown(cell).split()) for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        align = str.ljust if self.is_text else str.rjust
        widths[-1] *= not self.is_text  # no spaces at the end of a line
        aligned = ["  ".join([line[0].ljust(widths[0]), *map(align, line[1:], widths[1:])]) for line in lines]
        return "\n".join([*filter(None, [self.title]), *aligned])

    def markdown(self) -> str:
        """Returns the table, with its title as a heading of level 2, in GitHub's Markdown."""
        rule = f"|---|{('---|' if self.is_text else '---:|') * (len(self.columns) - 1)}"
        head, *body = (f"| {' | '.join(map(_markdown_cell, row))} |" for row in (self.columns, *self.rows))
        blocks = [f"## {markdown_text(self.title)}" if self.title else "", "\n".join([head, rule, *body])]
        return "\n\n".join(filter(None, [*blocks, markdown_text(self.note)]))

    def html(self) -> str:
        """Returns the table, with its title as a heading of level 2, in HTML."""
        name, kind = html.escape(self.title), ' class="text"' if self.is_text else ""
        head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in self.columns)
        body = "\n".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in self.rows)
        return (
            (f"<h2>{name}</h2>\n" if name else "")
            + f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">\n'
            f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
            + (f"<p>{html.escape(self.note)}</p>\n" if self.note else "")
        )


# --- cells ---


def number(value: float | None, form: str, unit: str = "", scale: float = 1) -> str:
    """Returns a number as text; a dash if it is unknown or not finite.

    Args:
        value: the number.
        form: a format specification of a float, such as `"+.2f"`. A value that rounds to zero has no minus sign,
            and a number of more than 15 digits is shown with an exponent.
        unit: text that follows the number.
        scale: a factor, such as 100 for percentage points.
    """
    if value is None or value is pd.NA or not math.isfinite(value):
        return UNKNOWN
    value = float(value) * scale
    sign = "+" if form.startswith("+") else ""
    form = form.removeprefix("+") if abs(value) < 1e15 else ".3g"
    return format(value, f"{sign}z{form}") + unit


def interval(low: float | None, high: float | None, form: str, unit: str = "", scale: float = 1) -> str:
    """Returns an interval or a range as text, formatted as by `number`; a dash if an end is unknown."""
    ends = [number(end, form, scale=scale) for end in (low, high)]
    return UNKNOWN if UNKNOWN in ends else " to ".join(ends) + unit


def _shown(cell: object) -> str:
    if isinstance(cell, Link):
        return cell.text
    return UNKNOWN if _is_unknown(cell) else str(cell)


def _is_unknown(value: object) -> bool:
    return value is None or value is pd.NA or value != value


def markdown_text(text: str) -> str:
    """Returns plain text such that Markdown shows it as it is, on one line."""
    text = re.sub(r"[\\`*|~\[\]]|<(?=[a-zA-Z/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    return " ".join(text.split())


def _markdown_cell(cell: object) -> str:
    text = markdown_text(_shown(cell))
    return f"[{text}]({quote(cell.target)})" if isinstance(cell, Link) else text


def _html_cell(cell: object) -> str:
    text = html.escape(_shown(cell))
    link = f'<a href="{quote(cell.target)}">{text}</a>' if isinstance(cell, Link) else text
    return f"<td>{link}</td>"


# --- figures and pages ---


def within(figure: plots.DescribedFigure, axis: str, low: float, high: float) -> plots.DescribedFigure:
    """Limits an axis of every panel of a figure to the values that are possible.

    Args:
        figure: the figure, which is changed.
        axis: `"x"` or `"y"`.
        low: the smallest possible value.
        high: the largest possible value.
    """
    for axes in figure.figure.axes:
        start, end = getattr(axes, f"get_{axis}lim")()
        getattr(axes, f"set_{axis}lim")(max(start, low), min(end, high))
        for line in axes.lines:
            line.set_clip_on(False)  # a point at the limit is drawn whole
    return figure


def metric_by_model(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    metric: str,
    details: str,
    bands: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> plots.DescribedFigure:
    """Draws `plots.metric_by_model` with an axis of possible values: accuracy up to 1, loss from 0.

    The title begins with what the curves are. Networks that were trained on all images have no validation curves.

    Args:
        histories: model name -> Keras' history.
        metric: `accuracy` or `loss`.
        details: the end of the title, for example `" (mnist)"`.
        bands: as in `plots.metric_by_model`.
    """
    validated = any(f"val_{metric}" in history for history in histories.values())
    title = f"{'Training and validation' if validated else 'Training'} {metric}{details}"
    figure = plots.metric_by_model(histories, metric, title, bands)
    return within(figure, "y", 0, 1 if metric == "accuracy" else math.inf)


def provenance(record: Mapping[str, Any]) -> str:
    """Returns in words when and with what a record was made.

    Args:
        record: a record; one of an earlier version has no `date` and no `processor`.
    """
    machine = record["machine"]
    date = record.get("date", "")[:16].replace("T", " ")
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    processor = machine.get("processor") or machine["architecture"]
    where = f"Python {machine['python']}, {machine['system']} {processor}, {machine['cores']} cores"
    return f"{f'Made on {date} UTC. ' if date else ''}{versions}, {where}."


def write_page(
    folder: Path,
    name: str = "report",
    *,
    title: str,
    conclusion: str,
    tables: Sequence[Table],
    details: Sequence[Table] = (),
    draw: Callable[[], dict[str, plots.DescribedFigure]] = dict,
    provenance: str = "",
) -> Path:
    """Writes a page as Markdown and as self-contained HTML, and its figures as PNG.

    A page links to the other pages of its folder.

    Args:
        folder: where to write.
        name: the name of the page's files, without extension.
        title: the heading of the page.
        conclusion: the result in words, above the tables.
        tables: the tables above the figures.
        details: the tables below the figures.
        draw: returns the figures by file name.
        provenance: when and with what the results were made, as `provenance` returns it.

    Returns:
        The path of the HTML file.
    """
    images = {image: (figure.png(), figure.description) for image, figure in draw().items()}
    for image, (png, _) in images.items():
        _files.write(folder / f"{image}.png", png)
    pages = {path.stem for path in folder.glob("*.html") if path.with_suffix(".md").is_file()} - {name}
    figures = [
        {"name": image, "description": description, "base64": base64.b64encode(png).decode()}
        for image, (png, description) in images.items()
    ]
    content: dict[str, Any] = {"title": title, "conclusion": conclusion, "tables": tables, "details": details}
    content |= {"figures": figures, "pages": sorted(pages), "provenance": provenance}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda template: bool(template and template.endswith(".html.j2")),
        trim_blocks=True,
    )
    environment.filters["markdown"] = markdown_text
    for form in ("md", "html"):
        _files.write(folder / f"{name}.{form}", environment.get_template(f"page.{form}.j2").render(content))
    return folder / f"{name}.html"
