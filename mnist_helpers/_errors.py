"""Errors that are about what a user did, and checks that several modules share."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import Any

_INTERRUPTED = "Interrupted: this cell did not run to its end. Run it again before you go on."


class UserError(ValueError):
    """A user's input, file or setting is wrong; the error says what was expected, what was received, what to do.

    A notebook shows the error without its traceback, and the command line shows it with exit status 2. Every
    other exception is a fault of the program and keeps its traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def shorten_interrupts() -> None:
    """Makes a notebook say in one line that a cell was interrupted; outside a notebook, it does nothing."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        shell.set_custom_exc((KeyboardInterrupt,), _show_interrupt)


def _show_interrupt(
    shell: Any, kind: type, error: BaseException, trace: Any, tb_offset: Any = None
) -> list[str]:
    lines = [_INTERRUPTED]
    shell._showtraceback(kind, _INTERRUPTED, lines)
    return lines


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns `" Did you mean 'epochs'?"` for the nearest of `names`, or an empty string."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def check(condition: object, expected: str, received: object) -> None:
    """Checks an argument.

    Raises:
        ValueError: `condition` is False; the error says what was expected and received.
    """
    if not condition:
        raise ValueError(f"Expected: {expected}. Received: {received}.")


def check_same_length(*, one_dimensional: bool = False, **arrays: Any) -> None:
    """Checks that sequences or arrays have the same length.

    Args:
        one_dimensional: whether each must have the shape `(n,)`, as labels have.
        **arrays: the sequences or arrays by name.

    Raises:
        ValueError: the lengths differ, or an array has more dimensions than allowed.
    """
    shapes = {name: item.shape if hasattr(item, "shape") else (len(item),) for name, item in arrays.items()}
    lengths = {shape if one_dimensional else shape[:1] for shape in shapes.values()}
    form = "one-dimensional and of the same length" if one_dimensional else "of the same length"
    check(set(map(len, lengths)) == {1} == {len(lengths)}, f"{', '.join(arrays)} {form}", f"shapes {shapes}")
