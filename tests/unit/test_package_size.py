"""`mnist_helpers` is a small library: its lines of code are counted, without drawings and exercise checks."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import mnist_helpers

AT_MOST = 1959  # without the drawings, and the checks of the exercises
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def lines_of_code(source: str) -> int:
    """Counts the lines of a module that are not blank, a comment or part of a docstring."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                code -= set(range(first.lineno, first.end_lineno + 1))
    return len(code)


def test_only_code_is_counted():
    text = '"""Text\n\nmore."""\n\n# why\n'
    code = 'x = (\n    1,  # one\n)\n\ndef f():\n    """Text."""\n    return """a\nb"""\n'
    assert lines_of_code(text) == 0
    assert lines_of_code(text + code) == 6


def test_the_library_is_small():
    root = Path(mnist_helpers.__file__).parent
    modules = [path.relative_to(root) for path in root.rglob("*.py")]
    counted = {
        str(path): lines_of_code((root / path).read_text(encoding="utf-8"))
        for path in modules
        if path.name != "drawings.py" and path.parts[0] != "checks"
    }
    assert len(counted) >= 11
    assert sum(counted.values()) <= AT_MOST, counted
