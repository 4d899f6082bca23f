"""The lessons and the optional notebooks: which a run takes, their parameters, their profiles, their files."""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from mnist_helpers import _files, parameters, results
from mnist_helpers._course import NOTEBOOKS
from mnist_helpers._errors import UserError

# The optional notebooks that a profile runs besides the five lessons.
_ALSO_RUN = {"full": ("stronger_networks", "trust")}
# The package that a notebook needs and that the course does not install, and how to install it.
_NEEDS = {"pytorch": ("torch", "pip install torch")}
# They evaluate the models that the notebooks before them have saved in the same run.
EVALUATIONS = results.EVALUATIONS


def of_profile(profile: str) -> list[str]:
    """Returns the notebooks that a profile runs, in order."""
    names = {*results.LESSONS, *_ALSO_RUN.get(profile, ())}
    return [name for name in results.IN_ORDER if name in names]


def missing_package(lesson: str) -> str:
    """Returns in words which package a notebook needs and this environment lacks; empty if it lacks none."""
    package, command = _NEEDS.get(lesson, ("", ""))
    if not package or importlib.util.find_spec(package):
        return ""
    return f"{lesson} needs the package {package}, which is not installed; install it with: {command}"


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
        keys = [name, *params] if isinstance(params, dict) else [None]
        if not all(isinstance(key, str) for key in keys):
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
    expected = "Expected: profile names, each with lines NAME: VALUE below it."
    advice = "Correct the file, or restore the course's own."
    return UserError(f"{path} is wrong: {reason.rstrip('.')}. {expected} {advice}")


def declared(lesson: str) -> dict[str, Any]:
    """Returns the parameters that a lesson declares: name -> default.

    Raises:
        UserError: the lesson's notebook, or its parameters cell, is damaged.
    """
    found: dict[str, Any] = {}
    try:
        for line in ast.parse(tagged_source(lesson, "parameters")).body:
            match line:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    found[name] = ast.literal_eval(value)
                case _:
                    raise UserError(f"line {line.lineno} is another statement")
    except (SyntaxError, ValueError) as error:
        expected = "Expected: lines such as `epochs: int = 5  # passes over the training images`."
        raise UserError(
            f"The parameters cell of lesson {lesson} cannot be read: {error}. {expected}"
        ) from error
    return found


def parameter_rows(lesson: str) -> list[list[str]]:
    """Returns a row for each parameter of a lesson: its name, type, default, allowed values and meaning."""
    import papermill

    declared(lesson)  # refuses a damaged cell, which papermill would pass over
    found = papermill.inspect_notebook(papermill_path(results.notebook_path(lesson)))
    return [
        [name, entry["inferred_type_name"], entry["default"], _allowed(name), entry["help"]]
        for name, entry in found.items()
    ]


def _allowed(name: str) -> str:
    parameter = parameters.PARAMETERS[name]
    if parameter.type is str:
        return ", ".join([*parameter.choices, *(["or a folder"] if parameter.or_folder else [])])
    return f"{parameter.low:,} to {parameter.high:,}"


def papermill_path(path: Path) -> str:
    """Returns a path as papermill needs it: papermill applies `str.format` to every path."""
    return str(path).replace("{", "{{").replace("}", "}}")


def read_lesson(lesson: str) -> dict:
    """Returns the notebook of a lesson as plain JSON.

    Raises:
        UserError: it is damaged.
    """
    path = results.notebook_path(lesson)
    notebook = _files.read_json(path, "Get the course's files again.")
    if not _is_notebook(notebook):
        raise UserError(f"{path} is damaged: it is not a notebook. Get the course's files again.")
    return notebook


def tagged_source(lesson: str, tag: str) -> str:
    """Returns the source of the one cell of a lesson that has a tag.

    Raises:
        UserError: the notebook is damaged, or no cell or several cells have the tag.
    """
    cells = [cell for cell in read_lesson(lesson)["cells"] if tag in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        form = f"Expected: one cell with the tag {tag!r}. Received: {len(cells)}."
        raise UserError(f"Lesson {lesson} is damaged. {form} Get the course's files again.")
    return "".join(cells[0]["source"])


def read_notebook(path: Path) -> dict | None:
    """Returns a notebook as plain JSON; `None` if it is missing or damaged."""
    notebook = _files.read_json_or_none(path)
    return notebook if _is_notebook(notebook) else None


def _is_notebook(content: Any) -> bool:
    """Returns whether JSON has the parts of a notebook that this module reads."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("metadata"), dict)
        and isinstance(content.get("cells"), list)
        and all(
            isinstance(cell, dict)
            and isinstance(cell.get("metadata"), dict)
            and isinstance(cell.get("source"), str | list)
            and (cell.get("cell_type") != "code" or {"execution_count", "outputs"} <= cell.keys())
            for cell in content["cells"]
        )
    )


def write_notebook(path: Path, notebook: dict) -> None:
    """Writes a notebook in the layout of the committed ones: indented by one space, not ASCII only."""
    _files.write(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def without_widgets(notebook: dict) -> dict:
    """Returns a copy of an executed notebook that has the text of each widget in place of the widget.

    A widget needs its kernel. From a file, JupyterLab would show an error in its place, and an exported page
    would load a program from the network to show it.
    """
    notebook = copy.deepcopy(notebook)
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def is_executed(notebook: dict) -> bool:
    """Returns whether every code cell was executed without an error."""
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


def made_from(lesson: str) -> dict[str, str]:
    """Returns what the record of a lesson says about its origin.

    Returns:
        `code_sha256`, a hash of the sources of the notebook's code cells; and in a clone of the repository
        `commit`, the hash of its last commit, with `+changes` if tracked files have changed since, apart from those
        in `results/`, which are no code.
    """
    notebook = read_lesson(lesson)
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = {"code_sha256": hashlib.sha256(json.dumps(code).encode()).hexdigest()}
    root = NOTEBOOKS.parent
    if (root / ".git").exists() and (git := shutil.which("git")):
        environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # other commands may work in the clone

        def run(*command: str) -> subprocess.CompletedProcess[str]:
            whole = [git, "-C", str(root), *command]
            return subprocess.run(whole, capture_output=True, text=True, env=environment)

        head = run("rev-parse", "HEAD")
        if head.returncode == 0:
            is_same = run("diff", "--quiet", "HEAD", "--", ".", ":(exclude)results").returncode == 0
            found["commit"] = head.stdout.strip() + ("" if is_same else "+changes")
    return found


def with_outputs(lesson: dict, executed: dict) -> dict:
    """Returns a copy of the notebook `lesson` that has the outputs of the same cells of `executed`.

    Each code cell's metadata gets the sha256 of its source, so that a later change of the code is noticed.
    """
    lesson = copy.deepcopy(lesson)
    outputs = {cell["id"]: cell["outputs"] for cell in executed["cells"] if cell["cell_type"] == "code"}
    code_cells = [cell for cell in lesson["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code_cells, 1):
        cell["execution_count"] = number
        cell["metadata"]["source_sha256"] = hashlib.sha256("".join(cell["source"]).encode()).hexdigest()
        cell["outputs"] = copy.deepcopy(outputs[cell["id"]])
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = number
    return lesson
