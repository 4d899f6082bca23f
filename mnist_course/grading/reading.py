"""Read a notebook that a student submits: the types, the sources and the grade ids of its cells are enough.

Faults that do not concern these three do not matter here: old outputs, missing or foreign ids and metadata, line
ends of Windows, a byte order mark, UTF-16, or half of a character.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from mnist_helpers._errors import UserError

MAX_FILE_BYTES = 100 * 2**20
MAX_BYTES = 20 * 2**20  # of all sources
NOT_COLLECTED = "not collected: it "  # the beginning of a note in place of a file; the reason follows
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CELL_TYPES = ("code", "markdown", "raw")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_REASON = 300  # characters
_MERGE_CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)


class NotReadableError(UserError):
    """The content of a submission cannot be read as a notebook; another attempt gives the same result."""


def read(path: Path) -> nbformat.NotebookNode:
    """Reads the cells of a notebook, without their outputs.

    Returns:
        A valid notebook: each cell has its type, its source with line ends `\\n`, its id if it is a valid one, its
        pictures, and of its metadata the grade id only.

    Raises:
        NotReadableError: the file is not a notebook; the error is a remark for the report.
        OSError: the file cannot be read now.
    """
    if not path.is_file():
        raise NotReadableError("is not a file")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise NotReadableError(
            f"has {size / 2**20:.0f} MiB; at most {MAX_FILE_BYTES / 2**20:.0f} MiB are read"
        )
    text = _decoded(path.read_bytes())
    if text.startswith(NOT_COLLECTED):
        raise NotReadableError(f"was {text[:_MAX_REASON].strip()}")
    try:
        cells = _cells(json.loads(text, object_hook=_without_outputs))
    except (ValueError, RecursionError) as error:
        reason = (str(error).strip() or "no details").splitlines()[0][:200]
        if _MERGE_CONFLICT.search(text):
            reason += "; it holds the marks of a merge conflict of Git"
        raise NotReadableError(f"is not a notebook ({type(error).__name__}: {reason})") from error
    if (size := sum(len(cell.source) for cell in cells)) > MAX_BYTES:
        raise NotReadableError(
            f"has {size / 2**20:.0f} MiB without its outputs; at most {MAX_BYTES / 2**20:.0f} MiB are read"
        )
    return nbformat.v4.new_notebook(cells=cells)


def name_of(cell: Mapping) -> str:
    """Returns the name of a cell that nbgrader knows (its `grade_id`), or the empty string."""
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    name = nbgrader.get("grade_id") if isinstance(nbgrader, Mapping) else ""
    return name if isinstance(name, str) else ""


def without_surrogates(text: str) -> str:
    """Replaces halves of characters, which no file in UTF-8 can hold."""
    return _SURROGATE.sub("\ufffd", text)


def _decoded(content: bytes) -> str:
    """Decodes a file by its byte order mark or by its zero bytes; otherwise as UTF-8, or as old Windows files."""
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _without_outputs(found: dict[str, Any]) -> dict[str, Any]:
    """Drops old outputs while the file is read: many files consist of almost nothing else."""
    if "cell_type" in found:
        found.pop("outputs", None)
    return found


def _cells(content: Any) -> list[nbformat.NotebookNode]:
    if not isinstance(content, dict):
        raise ValueError("it is not an object with cells")
    sheets = content.get("worksheets")  # format 3
    holders = sheets if "cells" not in content and isinstance(sheets, list) else [content]
    lists = [holder.get("cells") if isinstance(holder, dict) else None for holder in holders]
    cells = []
    ids: set[str] = set()
    for found in lists:
        if not isinstance(found, list):
            raise ValueError("it has no list of cells")
        cells += [_cell(cell, ids) for cell in found]
    return cells


def _cell(found: Any, ids: set[str]) -> nbformat.NotebookNode:
    if not isinstance(found, dict) or not {"cell_type", "source", "input"}.intersection(found):
        raise ValueError("a cell has neither a type nor a source")
    kind = found.get("cell_type")
    kind = "markdown" if kind == "heading" else kind if kind in _CELL_TYPES else "raw"
    source = found.get("source", found.get("input"))  # `input` in format 3
    lines = source if isinstance(source, list) else [source]
    text = without_surrogates("".join(line for line in lines if isinstance(line, str)))
    cell = getattr(nbformat.v4, f"new_{kind}_cell")(text.replace("\r\n", "\n").replace("\r", "\n"))
    identity = found.get("id")
    if isinstance(identity, str) and _CELL_ID.fullmatch(identity) and identity not in ids:
        cell.id = identity
    ids.add(cell.id)
    if name := name_of(found):
        cell.metadata["nbgrader"] = {"grade_id": without_surrogates(name)}
    if kind == "markdown" and _are_pictures(found.get("attachments")):
        cell.attachments = nbformat.from_dict(found["attachments"])
    return cell


def _are_pictures(attachments: Any) -> bool:
    return isinstance(attachments, dict) and all(
        isinstance(bundle, dict)
        and all(isinstance(data, str) and not _SURROGATE.search(data) for data in bundle.values())
        and not any(map(_SURROGATE.search, [name, *bundle]))
        for name, bundle in attachments.items()
    )
