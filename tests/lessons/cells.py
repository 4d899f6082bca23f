"""Runs single cells of a notebook on made-up names, so that each answer is known."""

from __future__ import annotations

import ast
import json
from typing import Any

import numpy as np
import pandas as pd

from mnist_helpers import metrics, plots, quiz, results


def run_cell(lesson: str, cell_id: str, **names: Any) -> dict[str, Any]:
    """Runs one code cell as it is in the notebook of a lesson, or of an optional notebook.

    Args:
        lesson: such as `"02_baseline"` or `"trust"`.
        cell_id: the cell's id.
        **names: what the cell needs; `np`, `pd`, `metrics`, `plots` and `quiz` are always there.

    Returns:
        The cell's names, and under `_` the value of its last line.
    """
    notebook = json.loads(results.notebook_path(lesson).read_text(encoding="utf-8"))
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == cell_id]
    names = {"np": np, "pd": pd, "metrics": metrics, "plots": plots, "quiz": quiz} | names
    body = ast.parse("".join(cell["source"])).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), cell_id, "exec"), names)
    names["_"] = eval(compile(ast.Expression(last.value), cell_id, "eval"), names) if last else None
    return names
