"""Runs in the kernel of a submission: before each test, what the test relies on is as it was before any answer ran.

A student's code runs in the same process and can defeat all of this if it aims at it. It is a guard against
accidents, such as a variable that is called `str`, and against tricks that are known everywhere. Nothing here is
trusted by `sandbox_child`, which believes a test only if its reply holds a word that the test's text ends with.
"""

from __future__ import annotations

import ast
import json
import linecache
import math
import operator
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

_GUARDED = ("mnist_helpers", "numpy")
_DISPLAYS = ("_showtraceback", "showtraceback", "showsyntaxerror", "run_cell", "run_cell_async", "run_code")
_LAST_ERROR = ("last_type", "last_value", "last_traceback", "last_exc")
_MISSING = object()

_modules: dict[str, tuple[ModuleType, dict[str, Any]]] = {}  # name -> module, its attributes
_functions: list[tuple[FunctionType, tuple[Any, ...]]] = []
_classes: dict[type, dict[str, Any]] = {}  # class of the course -> its attributes
_objects: dict[str, Any] = {}  # name -> an object of such a class
_aside: dict[str, Any] = {}  # the student's values of names that a test uses
_lines_before: set[str] = set()


def pack(message: Any) -> bytes:
    """Packs a message of the kernel; unlike Jupyter's own function, it can pack half of a character."""
    from jupyter_client.jsonutil import json_clean, json_default

    try:
        return json.dumps(message, default=json_default, allow_nan=False).encode()
    except (TypeError, ValueError):
        return json.dumps(json_clean(message), default=json_default, allow_nan=False).encode()


def start(tests: list[str]) -> None:
    """Notes the modules that the tests use, before any code of a student runs.

    Args:
        tests: the sources of all tests.
    """
    for source in tests:
        _import(source)
    names = [name for name in sys.modules if name.split(".")[0] in _GUARDED]
    for name in ["builtins", math.__name__, operator.__name__, *names]:
        module = sys.modules[name]
        _modules[name] = (
            module,
            {key: value for key, value in vars(module).items() if _is_fixed(name, key, value)},
        )
        if name.startswith("mnist_helpers"):
            _functions.extend((function, _inside(function)) for function in _functions_of(module))
            for key, value in vars(module).items():
                if isinstance(value, type) and value.__module__.startswith("mnist_helpers"):
                    _classes[value] = {
                        of: what for of, what in vars(value).items() if not of.startswith("__")
                    }
                elif type(value).__module__.startswith("mnist_helpers"):
                    _objects[f"{name}.{key}"] = value


def before(imports: str, names: list[str]) -> list[str]:
    """Prepares a test: restores modules and IPython, and takes the student's variables aside that would disturb it.

    Args:
        imports: import statements of the exercise, for names that the test takes from the exercise's first cells.
        names: names of Python itself that the test uses.

    Returns:
        What was found changed, in words.
    """
    from IPython import get_ipython

    shell = get_ipython()
    changed = [*_restore_modules(), *_restore_shell(shell)]
    given: dict[str, Any] = {}
    exec(imports, given)
    del given["__builtins__"]
    for name in [*names, *given]:
        _aside[name] = shell.user_ns.pop(name, _MISSING)
    shell.user_ns.update(given)
    _lines_before.clear()
    _lines_before.update(linecache.cache)
    return changed


def after() -> None:
    """Gives the student's variables back, and removes the traces of a test, which may be a hidden one."""
    from IPython import get_ipython

    shell = get_ipython()
    for name, value in _aside.items():
        if value is not _MISSING:
            shell.user_ns[name] = value
    _aside.clear()
    for name in set(linecache.cache) - _lines_before:
        if "ipykernel" in name or name.startswith("<ipython"):
            del linecache.cache[name]
    for name in _LAST_ERROR:
        sys.__dict__.pop(name, None)
    shell._last_traceback = None


def _import(source: str) -> None:
    """Imports what a test imports, also submodules that a package loads when they are first named."""
    given: dict[str, Any] = {}
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic command
        return
    for node in ast.walk(tree):
        try:
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(ast.unparse(node), given)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                getattr(given.get(node.value.id), node.attr, None)
        except Exception:  # the test itself will say so
            continue


def _is_fixed(module: str, name: str, value: Any) -> bool:
    """Whether nobody may replace an attribute: functions, classes, modules, and all names of the course's own."""
    if name == "_" or (name.startswith("__") and not callable(value)):
        return False
    return callable(value) or isinstance(value, ModuleType) or module.startswith("mnist_helpers")


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """Yields the functions of a module, of its classes, and those that decorators have wrapped."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    values = [*vars(module).values(), *(value for kind in classes for value in vars(kind).values())]
    for value in values:
        while isinstance(value, FunctionType) and value.__module__.startswith("mnist_helpers"):
            yield value
            value = getattr(value, "__wrapped__", None)


def _inside(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _restore_modules() -> list[str]:
    changed = []
    for name, (module, attributes) in _modules.items():
        if sys.modules.get(name) is not module:
            sys.modules[name] = module
            changed.append(f"the module {name}")
        now = vars(module)
        for key, value in attributes.items():
            if now.get(key, _MISSING) is not value:
                setattr(module, key, value)
                changed.append(f"{name}.{key}")
    for kind, attributes in _classes.items():
        for key, value in attributes.items():
            if vars(kind).get(key, _MISSING) is not value:
                setattr(kind, key, value)
                changed.append(f"{kind.__module__}.{kind.__qualname__}.{key}")
    for name, value in _objects.items():
        for key in [
            key for key in getattr(value, "__dict__", {}) if callable(getattr(type(value), key, None))
        ]:
            del vars(value)[key]  # it hides a method
            changed.append(f"{name}.{key}")
    for function, inside in _functions:
        if any(now is not then for now, then in zip(_inside(function), inside, strict=True)):
            function.__code__, function.__defaults__, function.__kwdefaults__ = inside
            changed.append(f"{function.__module__}.{function.__qualname__}")
    return changed


def _restore_shell(shell: Any) -> list[str]:
    """Restores how IPython runs a cell and shows an error; a replaced display alone is no trick, and not named."""
    changed = []
    for name in ("ast_transformers", "input_transformers_post"):
        if getattr(shell, name):
            setattr(shell, name, [])
            changed.append(f"IPython's {name}")
    for name in _DISPLAYS:
        vars(shell).pop(name, None)
    shell.set_custom_exc((), None)
    shell.call_pdb = False
    return changed
