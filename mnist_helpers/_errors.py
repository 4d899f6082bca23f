"""The base class of errors that are about what a user did."""

from __future__ import annotations


class UserError(ValueError):
    """A user's input, file or setting is wrong; the message says what was expected, what was received, what to do.

    A notebook shows the message without the traceback, and the command line shows it with exit status 2. Every
    other exception is a fault of the program and keeps its traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]
