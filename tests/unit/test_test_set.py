"""Who reads the test images, and whose test results were seen: the page that says so is complete."""

from __future__ import annotations

import ast
import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mnist_helpers import data

ROOT = Path(data.__file__).parent.parent.parent
REFERENCE = ROOT / "results" / "reference"
PAGE = (REFERENCE / "test_set.md").read_text(encoding="utf-8")
OPENS = ("load_test", "load_arrays", "x_test", "t10k-images", "t10k-labels")
# They make the test set; they evaluate nothing.
MAKES = ("mnist_helpers/data/__init__.py", "mnist_helpers/data/_archives.py", "mnist_helpers/data/_digits.py")
# Here the words mean something else: arrays that a lesson has saved, and an answer of a student.
OTHERS = {
    "mnist_helpers/results.py": "load_arrays",
    "mnist_course/predictions.py": "load_arrays",
    "mnist_helpers/checks/exercise_04.py": "x_test",
}
RECORDS = {
    "73e44ae": "seed-*",
    "59b980a": "class/seed-*",
    "ea76a97": "networks/seed-*",
    "9aa7d57": "next/seed-*",
}


@functools.cache
def code_of(path: Path) -> str:
    """The code of a module or a notebook, without comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join(re.sub(r"^\s*[%!].*$", "", "".join(cell["source"]), flags=re.M) for cell in cells)
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            body[0] = ast.Pass()
    return ast.unparse(tree)


def readers() -> set[str]:
    found = set()
    for folder in ("mnist_helpers", "mnist_course", "benchmarks", "notebooks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".py", ".ipynb") or ".ipynb_checkpoints" in path.parts:
                continue
            name = path.relative_to(ROOT).as_posix()
            words = [word for word in OPENS if re.search(rf"\b{word}\b", code_of(path))]
            if [word for word in words if word != OTHERS.get(name)] and name not in MAKES:
                found.add(name)
    return found


def opening(name: str) -> bool:
    """Whether a notebook loads test images, and does not only use the name of an array."""
    return not name.endswith(".ipynb") or "load_test(" in code_of(ROOT / name)


def test_no_other_place_reads_test_images():
    section = PAGE.partition("## Every recipe")[0]
    listed = set(re.findall(r"`([\w/.]+\.(?:py|ipynb))`", section))
    assert {name for name in readers() if opening(name)} == listed


@pytest.mark.parametrize("commit", RECORDS)
def test_the_results_that_were_seen_are_those_of_the_records(commit):
    (row,) = [line for line in PAGE.splitlines() if f"| {commit} |" in line]
    _, _, _, _, seeds, models, _ = (cell.strip() for cell in row.split("|"))
    records = [
        json.loads(path.read_text()) for path in REFERENCE.glob(f"{RECORDS[commit]}/05_evaluation.json")
    ]
    assert len(records) == int(seeds)
    listed = re.findall(r"(\w+): ([\d.]+) %, ([\d.]+)", models)
    assert len(listed) >= 3
    for model, accuracy, loss in listed:
        entries = [record["models"][model] for record in records]
        assert f"{100 * np.mean([entry['test_accuracy'] for entry in entries]):.2f}" == accuracy
        assert f"{np.mean([entry['test_loss'] for entry in entries]):.4f}" == loss


def test_every_study_with_test_results_is_in_the_list():
    """A new folder of records with test scores needs a row."""
    folders = {
        path.parent.parent.relative_to(REFERENCE).as_posix()
        for path in REFERENCE.rglob("05_evaluation.json")
        if any("test_accuracy" in entry for entry in json.loads(path.read_text())["models"].values())
    }
    assert folders == {pattern.rpartition("seed-*")[0].rstrip("/") or "." for pattern in RECORDS.values()}
