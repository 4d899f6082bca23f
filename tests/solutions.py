"""The solutions and hidden tests of the exercises, to search what students can see for them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from textwrap import dedent

from mnist_course.grading import release

_MARKERS = ("SOLUTION", "HIDDEN TESTS")
# The notes for teachers show how to write an exercise of one's own; in them, the markers are part of the example.
_MAY_HAVE_MARKERS = ("teaching",)


@functools.cache
def blocks() -> tuple[str, ...]:
    """The code between the markers, and the sentences, of all exercises; without imports and very short blocks."""
    found = set()
    for path in release.EXERCISES.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown" and cell["metadata"].get("nbgrader", {}).get("solution"):
                found.add(source)
            for marker in _MARKERS:
                codes = re.findall(rf"### BEGIN {marker}\n(.*?)\n[ ]*### END {marker}", source, re.S)
                found |= {re.sub(r"^(from|import) .*\n?", "", dedent(code), flags=re.M) for code in codes}
    return tuple(sorted(code.strip() for code in found if len(code.strip()) >= 25))


def shown_in(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the name of each text that contains a solution, a hidden test or a marker, and what it contains."""
    found = []
    for name, text in texts.items():
        lines = "\n".join(line.strip() for line in text.splitlines())
        for block in blocks():
            if "\n".join(line.strip() for line in block.splitlines()) in lines:
                found.append((name, block))
        if not any(word in name for word in _MAY_HAVE_MARKERS):
            found += [(name, marker) for marker in _MARKERS if f"### BEGIN {marker}" in text]
    return found
