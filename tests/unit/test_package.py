"""The package `mnist_helpers`: its modules are loaded when they are used, and each says what it offers."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mnist_helpers

MODULES = sorted(path.stem for path in Path(mnist_helpers.__file__).parent.glob("[a-z]*.py"))


def test_each_module_is_named():
    assert sorted({*MODULES, "data"}) == mnist_helpers.__all__
    assert set(mnist_helpers.__all__) | {"__version__"} <= set(dir(mnist_helpers))
    for name in mnist_helpers.__all__:
        assert f"- `{name}`: " in mnist_helpers.__doc__


def test_a_module_is_loaded_when_it_is_used():
    code = """
import sys
import mnist_helpers
loaded = [name for name in sys.modules if name.startswith("mnist_helpers.")]
assert not loaded, loaded
assert "importlib.metadata" not in sys.modules
assert mnist_helpers.parameters.DATASETS
assert "mnist_helpers.parameters" in sys.modules
from mnist_helpers import quiz
assert mnist_helpers.quiz is quiz
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_the_installed_one():
    assert mnist_helpers.__version__ == metadata.version("mnist-course")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mnist_helpers' has no attribute 'dat'"):
        mnist_helpers.dat  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("mnist_helpers.dat")


@pytest.mark.parametrize("name", MODULES)
def test_each_module_says_what_it_offers(name):
    module = importlib.import_module(f"mnist_helpers.{name}")
    public = {
        key
        for key, value in vars(module).items()
        if key[0] != "_" and getattr(value, "__module__", "") == module.__name__ and callable(value)
    }
    assert public <= set(module.__all__)
    assert all(hasattr(module, key) for key in module.__all__)
    assert len(module.__all__) == len(set(module.__all__))


def test_the_package_leaves_out_a_slow_import_that_notebooks_do_not_need():
    """jsonschema builds a grammar of addresses if it finds `rfc3987_syntax`: a second in each process."""
    code = "import sys, mnist_course, nbformat; nbformat.validate(nbformat.v4.new_notebook());"
    code += "print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
