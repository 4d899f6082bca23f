"""What a notebook shows of an error: one message for what a student did, the traceback for everything else."""

import atexit
import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mnist_helpers import _errors, results


@pytest.fixture
def shell(monkeypatch):
    """A notebook's shell; `shown` are the messages that it displayed."""
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    shell.shown = []
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, error, lines: shell.shown.append(lines))
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    yield shell
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()


def test_an_interrupted_cell_says_so_in_one_line(shell, tmp_path):
    results.open_run("monday", tmp_path)
    result = shell.run_cell("def train():\n    raise KeyboardInterrupt\ntrain()")
    assert isinstance(result.error_in_exec, KeyboardInterrupt)  # so that the next cells do not run
    assert shell.shown == [[_errors._INTERRUPTED]]


def test_a_users_error_is_its_message(shell):
    shell.run_cell("from mnist_helpers import parameters\nparameters.check('epochs', 0)")
    (lines,) = shell.shown
    assert len(lines) == 1
    assert lines[0].startswith("ParameterError: Parameter 'epochs' has a wrong value.")


def test_every_other_error_keeps_its_traceback(shell, tmp_path):
    results.open_run("monday", tmp_path)
    result = shell.run_cell("def divide():\n    return 1 / 0\ndivide()")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    assert "return" in "".join(shell.shown[0])


def test_outside_a_notebook_nothing_changes(monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    _errors.shorten_interrupts()
