"""The lessons: which there are, their parameters and profiles, and their notebooks as files."""

from __future__ import annotations

import ast
import copy
import json
from pathlib import Path
from typing import Any

import yaml

from mnist_helpers import _files, parameters
from mnist_helpers._course import NOTEBOOKS
from mnist_helpers._errors import UserError


def profiles() -> dict[str, dict[str, Any]]:
    """Returns the profiles: name -> parameters.

    Raises:
        UserError: the file that holds them, which authors may change, cannot be read.
    """
    path = NOTEBOOKS / "profiles.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise _wrong_profiles(path, " ".join(str(error).split())) from error
    if not isinstance(content, dict) or not content:
        raise _wrong_profiles(path, f"it holds {type(content).__name__}")
    for name, params in content.items():
        if (
            not isinstance(name, str)
            or not isinstance(params, dict)
            or not all(isinstance(key, str) for key in params)
        ):
            raise _wrong_profiles(path, f"the entry {name!r} is not a profile")
    return content


def profile_parameters(profile: str) -> dict[str, Any]:
    """Returns the parameters of one profile, checked.

    Raises:
        UserError: a parameter is unknown or has a wrong value.
    """
    try:
        return {name: parameters.check(name, value) for name, value in profiles()[profile].items()}
    except UserError as error:
        raise _wrong_profiles(NOTEBOOKS / "profiles.yaml", f"in {profile!r}: {error}") from error


def _wrong_profiles(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is wrong: {reason.rstrip('.')}. Expected: profile names, each with lines NAME: VALUE below it. "
        "Correct the file, or restore the course's own."
    )


def declared(lesson: str) -> dict[str, Any]:
    """Returns the parameters that a lesson declares: name -> default."""
    lines = ast.parse(tagged_source(lesson, "parameters")).body
    return {line.target.id: ast.literal_eval(line.value) for line in lines}


def tagged_source(lesson: str, tag: str) -> str:
    """Returns the source of the one cell of a lesson that carries a tag."""
    notebook = json.loads((NOTEBOOKS / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    (cell,) = [cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", [])]
    return "".join(cell["source"])


def read_notebook(path: Path) -> dict | None:
    """Returns a notebook as plain JSON, `None` if it cannot be read."""
    return _files.read_json_or_none(path)


def write_notebook(path: Path, notebook: dict) -> None:
    """Writes a notebook as the course keeps them."""
    with _files.atomic_write(path) as beside:
        beside.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def without_widgets(notebook: dict) -> dict:
    """Returns a copy of an executed notebook whose widgets are what they say as text.

    A widget lives as long as its kernel. Kept in a file, JupyterLab would show an error in its place, and an
    exported page would fetch a program from the network to show it.
    """
    notebook = copy.deepcopy(notebook)
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def is_executed(notebook: dict) -> bool:
    """Says whether every code cell was executed without an error."""
    code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return all(
        cell["execution_count"] is not None
        and all(output["output_type"] != "error" for output in cell["outputs"])
        for cell in code_cells
        if "".join(cell["source"]).strip()
    )


def sources(notebook: dict) -> list[str]:
    """Returns the cells' sources, without the cell that papermill injects."""
    return [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if "injected-parameters" not in cell["metadata"].get("tags", [])
    ]


def with_outputs(lesson: dict, executed: dict) -> dict:
    """Returns a copy of `lesson` with the outputs of `executed`, cell by cell; nothing else is taken over."""
    lesson = copy.deepcopy(lesson)
    outputs = {cell["id"]: cell["outputs"] for cell in executed["cells"] if cell["cell_type"] == "code"}
    code_cells = [cell for cell in lesson["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code_cells, 1):
        cell["execution_count"] = number
        cell["outputs"] = outputs[cell["id"]]
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = number
    return lesson
