"""Tables that go to a spreadsheet and come back: CSV files as Excel, LibreOffice and others write them."""

from __future__ import annotations

import codecs
import contextlib
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
    """Reads a table that has certain columns; see `rows`.

    Args:
        path: the file.
        required: the columns that it must have, in lower case.

    Returns:
        For each row that is not empty, its number, and column (in lower case) -> text, without spaces around it.

    Raises:
        UserError: the file cannot be read, is not a table, or lacks a column.
    """
    found = rows(path)
    columns = [name.strip().casefold() for name in found[0][1]] if found else []
    missing = [name for name in required if name not in columns]
    if missing:
        received = ", ".join(filter(None, columns))[:200] or "none"
        raise UserError(
            f"{path} lacks the columns {', '.join(missing)}. Expected: {', '.join(required)} in its first row. "
            f"Received: {received}."
        )
    if doubled := [name for name in set(columns) - {""} if columns.count(name) > 1]:
        raise UserError(f"{path} has several columns with the name {min(doubled)}. Keep one of them.")
    table = []
    for number, line in found[1:]:
        if any(line[len(columns) :]):
            raise UserError(f"{path}, row {number}, has more cells than there are columns. Correct the row.")
        cells = [restored(cell.strip()) for cell in line] + [""] * (len(columns) - len(line))
        table.append((number, dict(zip(columns, cells, strict=False))))
    return table


def rows(path: Path, expected: str = "a CSV file") -> list[tuple[int, list[str]]]:
    """Reads the rows of a table: commas, semicolons or tabs; UTF-8, UTF-16, or Windows' own encoding.

    Args:
        path: the file.
        expected: what the file should be, for error messages.

    Returns:
        The rows that are not empty, each with its number as a spreadsheet shows it, from 1.

    Raises:
        UserError: the file cannot be read, or is not a table.
    """
    text = _text(path, expected)
    first = text.partition("\n")[0].strip()
    if marker := re.fullmatch(r"sep=(.)", first):  # Excel's own line
        delimiter = marker[1]
    else:
        header = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[tuple[int, list[str]]] = []
    try:
        for number, cells in enumerate(reader, 1):
            if any(cell.strip() for cell in cells) and not (marker and number == 1):
                found.append((number, cells))
    except csv.Error as error:
        raise UserError(
            f"{path} is not a CSV file (line {reader.line_num}: {error}). Expected: {expected}."
        ) from error
    return found


def _text(path: Path, expected: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be read ({reason}). Expected: {expected}.") from error
    if content.startswith(b"PK\x03\x04"):
        raise UserError(f"{path} is a workbook, not a CSV file. Save it as CSV UTF-8. Expected: {expected}.")
    if len(content) > _MAX_BYTES:
        raise UserError(f"{path} is larger than {_MAX_BYTES >> 20} MiB. Expected: {expected}.")
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Excel on Windows, in western languages, writes cp1252.
    for encoding in ["utf-16"] if is_utf_16 else ["utf-8-sig", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            if "\0" not in (text := content.decode(encoding)):
                return text
    raise UserError(f"{path} is not a text file. Expected: {expected}.")
