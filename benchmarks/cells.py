"""What the cells of a lesson do: train, import, read data, draw, or other things."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

KINDS = ("import", "training", "data", "figures", "other")
_TRAINS = ("fit", "search", "train_on_batch")  # methods of models, tuners and scikit-learn's estimators
_TRAINS_BY_NAME = re.compile(r"train(_\w+)?")  # functions of a notebook that make the updates themselves
_PATTERNS = {
    "import": re.compile(r"^(import|from) ", re.M),
    "data": re.compile(r"\bdata\.(load_|resolve|describe|dataset_of_record)"),
    "figures": re.compile(r"\b(plots|drawings)\."),
}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def kinds(notebook: Mapping[str, Any]) -> list[str]:
    """Returns what each cell of a notebook does, out of `KINDS`.

    A cell counts for the first of training, import, data and figures that it does. It trains if its code trains a
    model when it runs, by itself or through a function that the notebook defines. A cell that only defines such a
    function does not train.
    """
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    codes = [
        _parsed(source) if cell.get("cell_type", "code") == "code" else None
        for cell, source in zip(notebook["cells"], sources, strict=True)
    ]
    training = _training_functions([code for code in codes if code])
    return [
        "other" if code is None else "training" if _trains(_runs(code), training) else _by_pattern(source)
        for code, source in zip(codes, sources, strict=True)
    ]


def _by_pattern(source: str) -> str:
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(source)), "other")


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # a magic of IPython
        return ast.Module([], [])


def _training_functions(codes: Sequence[ast.Module]) -> set[str]:
    """Returns the names of the functions that train, directly or through another one of them."""
    bodies: dict[str, list[ast.AST]] = {}
    for function in (node for code in codes for node in ast.walk(code) if isinstance(node, _FUNCTIONS)):
        bodies.setdefault(function.name, []).extend(node for line in function.body for node in ast.walk(line))
    found = {name for name in bodies if _TRAINS_BY_NAME.fullmatch(name)}
    while more := {name for name, body in bodies.items() if name not in found and _trains(body, found)}:
        found |= more
    return found


def _runs(code: ast.AST) -> Iterator[ast.AST]:
    """Returns the nodes that run when the code runs: all but the bodies of functions."""
    for node in ast.iter_child_nodes(code):
        if not isinstance(node, _FUNCTIONS):
            yield node
            yield from _runs(node)


def _trains(nodes: Iterator[ast.AST] | Sequence[ast.AST], functions: set[str]) -> bool:
    for node in nodes:
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in _TRAINS:
                return True
            case ast.Name(id=name, ctx=ast.Load()) if name in functions:
                return True
    return False
