"""Tables that go to a spreadsheet and come back: CSV files as Excel, LibreOffice and others write them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from mnist_helpers import _files
from mnist_helpers._errors import UserError

_MAX_BYTES = 50 * 2**20
_DELIMITERS = ",;\t"
# Spreadsheets take a text for a formula if it begins with one of these signs.
_FORMULA = re.compile(r"[=+\-@\t\r]")


def defused(text: str) -> str:
    """Returns a text that no spreadsheet takes for a formula: with an apostrophe in front, if necessary."""
    return f"'{text}" if _FORMULA.match(text) else text


def restored(text: str) -> str:
    """Returns a text without the apostrophe that `defused` has added."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def printable(text: str) -> str:
    """Returns other people's text for a terminal: `?` in place of control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def points_text(value: float | None) -> str:
    """Returns points as the report shows them: with at most two decimals, and a dash for none."""
    return "–" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def write(path: Path, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Writes a table in UTF-8 with the mark at its beginning that spreadsheets need; texts are `defused`."""
    safe = [[defused(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    with (
        _files.atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8-sig", newline="") as file,
    ):
        csv.writer(file).writerows([columns, *safe])


def read(path: Path, required: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Reads a table: commas, semicolons or tabs; UTF-8, UTF-16, or Windows' own encoding.

    Args:
        path: the file.
        required: the columns that it must have, in lower case.

    Returns:
        For each row that is not empty, its number as a spreadsheet shows it (the first row after the columns is 2),
        and column (in lower case) -> text, without spaces around it.

    Raises:
        UserError: the file cannot be read, is not a table, or lacks a column.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} is too large. Expected: a CSV file of at most {_MAX_BYTES >> 20} MiB.")
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). Expected: a CSV file.") from error
    head = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=head.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file ({error}). Save it as CSV in your spreadsheet.") from error
    columns = [name.strip().casefold() for name in lines[0]] if lines else []
    missing = [name for name in required if name not in columns]
    if missing:
        found = ", ".join(filter(None, columns))[:200] or "none"
        raise UserError(
            f"{path} lacks the columns {', '.join(missing)}. Expected: {', '.join(required)} in its first row. "
            f"Received: {found}."
        )
    if doubled := [name for name in set(columns) - {""} if columns.count(name) > 1]:
        raise UserError(f"{path} has several columns with the name {min(doubled)}. Keep one of them.")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) > len(columns) and any(line[len(columns) :]):
            raise UserError(f"{path}, row {number}, has more cells than there are columns. Correct the row.")
        cells = [restored(cell.strip()) for cell in line] + [""] * (len(columns) - len(line))
        if any(cells):
            rows.append((number, dict(zip(columns, cells, strict=False))))
    return rows


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")  # Excel on Windows, in western languages
