"""What the checks of all exercises share: tasks, messages, hints, points and the calls of students' functions.

A check is a function with the decorator `Exercise.check`. It returns if the answer is correct; otherwise it raises
`AnswerError` with the message of the first row of its table that describes the answer. Nothing here depends on the
names in a student's notebook.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from mnist_helpers._errors import UserError

_PACKAGE = str(Path(__file__).parent.parent)
_NAMES = {"keras": "Keras", "tensorflow": "TensorFlow"}
_OPEN, _WRONG, _CORRECT = "not done yet", "not correct yet", "correct"


class AnswerError(UserError):
    """An answer of a student is missing or not correct; a notebook shows the message only, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class NotDoneError(AnswerError):
    """An answer is missing."""


class ArgumentsError(UserError, TypeError):
    """A check is called with other arguments than its own."""


class Task(NamedTuple):
    """A task of an exercise.

    Attributes:
        name: name of its check.
        title: its heading in the notebook, without the number.
        points: points that its check in the student's notebook gives.
        when_graded: further points, which are given when the exercise is graded.
        hints: hints in steps; the first says the least.
        for_teacher: whether the answer is a sentence, which the teacher reads and no check looks at.
    """

    name: str
    title: str
    points: int
    when_graded: int = 0
    hints: tuple[str, ...] = ()
    for_teacher: bool = False


class Row(NamedTuple):
    """A row of a table of wrong answers.

    Attributes:
        answer: a wrong number or value, or a function with a misconception that gets the same arguments as the
            student's function.
        message: what the student is told.
    """

    answer: Any
    message: str


class Exercise:
    """The tasks of one exercise, and what is known about the student's answers in this kernel.

    Args:
        name: such as "exercise_02".
        *tasks: its tasks in their order.
    """

    def __init__(self, name: str, *tasks: Task) -> None:
        self.name = name
        self.tasks = tasks
        self._states = dict.fromkeys((task.name for task in tasks), _OPEN)

    def check(self, function: Callable[..., None]) -> Callable[..., None]:
        """Decorator: makes a check of a function that has the name of a task and raises `AnswerError`.

        The check prints that the answer is correct, or raises the error with the task's number. With `hint=1`,
        `hint=2` and so on it prints a hint and looks at no answer. What only the check itself sets, such as
        further cases, is a keyword-only parameter of the function; such a call does not change the summary.
        """
        number = next(place for place, task in enumerate(self.tasks, 1) if task.name == function.__name__)
        task = self.tasks[number - 1]
        signature = inspect.signature(function)
        names = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]

        @functools.wraps(function)
        def check(*answers: Any, hint: int = 0, **options: Any) -> None:
            if hint:
                print(_hint(task, number, hint))
                return
            try:
                received = signature.bind(*answers, **options).arguments
            except TypeError as error:
                raise ArgumentsError(
                    f"Expected: checks.{self.name}.{task.name}({', '.join(names)}). Received: a call with other "
                    f"arguments ({error})."
                ) from None
            before = self._states[task.name]
            self._states[task.name] = _WRONG
            try:
                function(*answers, **options)
            except NotDoneError as error:
                self._states[task.name] = _OPEN
                raise NotDoneError(f"Task {number} is not done yet: {error}") from None
            except AnswerError as error:
                more = f"\nFor a hint: checks.{self.name}.{task.name}(..., hint=1)" if task.hints else ""
                raise AnswerError(f"Task {number} is not correct yet: {error}{more}") from None
            other_cases = received.keys() - names  # when graded, or a student's own
            self._states[task.name] = before if other_cases else _CORRECT
            print(f"Task {number}: correct ({_points(task)})")

        return check

    def summary(self) -> None:
        """Prints each task with its points and whether its answer is correct, wrong or missing."""
        width = max(len(task.title) for task in self.tasks)
        gained = 0
        still_open = []
        for number, task in enumerate(self.tasks, 1):
            if task.for_teacher:
                print(f"Task {number}  {task.title:{width}}          read by your teacher")
                continue
            state = self._states[task.name]
            points = task.points if state == _CORRECT else 0
            gained += points
            still_open += [str(number)] if state != _CORRECT else []
            print(f"Task {number}  {task.title:{width}}  {points} of {task.points}  {state}")
        print(f"\n{gained} of {sum(task.points for task in self.tasks)} points so far.", end=" ")
        if later := sum(task.when_graded for task in self.tasks):
            are = "point is" if later == 1 else "points are"
            print(f"{later} more {are} checked when the exercise is graded.", end=" ")
        tasks = "tasks" if len(still_open) > 1 else "task"
        print(f"Still open: {tasks} {', '.join(still_open)}." if still_open else "All checks are passed.")


def _points(task: Task) -> str:
    total = task.points + task.when_graded
    unit = "point" if total == 1 else "points"
    rest = "; the rest is checked when graded" if task.when_graded else ""
    return f"{task.points} of {total} {unit}{rest}"


def _hint(task: Task, number: int, hint: int) -> str:
    if not isinstance(hint, int) or not 1 <= hint <= len(task.hints):
        raise UserError(
            f"Task {number} has {len(task.hints)} hints. Expected: hint=1 to hint={len(task.hints)}. "
            f"Received: hint={hint!r}."
        )
    more = f" (hint={hint + 1} says more)" if hint < len(task.hints) else ""
    return f"Task {number}, hint {hint} of {len(task.hints)}: {task.hints[hint - 1]}{more}"


# --- answers ---


def expect(condition: Any, message: str) -> None:
    """Raises `AnswerError` with a message unless a condition holds."""
    if not condition:
        raise AnswerError(message)


def given(**answers: Any) -> None:
    """Checks that answers are there.

    Args:
        **answers: answers by the name of their variable, which the message names.

    Raises:
        NotDoneError: an answer is `None`, or an empty string.
    """
    for name, answer in answers.items():
        if answer is None or (isinstance(answer, str) and not answer.strip()):
            raise NotDoneError(f"{name} is still {'None' if answer is None else 'empty'}.")


def number(answer: Any, name: str) -> float:
    """Returns an answer as a number.

    Raises:
        NotDoneError: the answer is missing.
        AnswerError: it is not one finite number.
    """
    given(**{name: answer})
    value = np.array([])
    if isinstance(answer, int | float | np.number | np.ndarray | list | tuple):
        with contextlib.suppress(TypeError, ValueError):
            value = np.asarray(answer, dtype=float)
    if value.size != 1 or not np.isfinite(value).all():
        raise AnswerError(f"{name} should be one number. Received: {short(answer)}.")
    return float(value.reshape(()))


def one_of(answer: Any, name: str, choices: Sequence[str]) -> str:
    """Returns an answer that is one of several strings; case and outer spaces do not matter.

    Raises:
        NotDoneError: the answer is missing.
        AnswerError: it is not one of the choices.
    """
    given(**{name: answer})
    known = {choice.casefold(): choice for choice in choices}
    found = known.get(str.casefold(str.strip(answer))) if isinstance(answer, str) else None
    if found is None:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        raise AnswerError(f"{name} should be one of {listed}. Received: {short(answer)}.")
    return found


def compare(answer: Any, right: Any, rows: Sequence[Row], otherwise: str, *, rtol: float = 1e-3) -> None:
    """Compares an answer with the right one and with a table of wrong ones.

    Args:
        answer: a number, a string, or an array.
        right: the right answer.
        rows: known wrong answers; the message of the first that equals the answer is raised. A row that happens to
            equal the right answer is ignored.
        otherwise: the message for any other answer.
        rtol: relative tolerance for numbers, so that rounding to three or four digits is accepted.

    Raises:
        AnswerError: the answer is not the right one.
    """
    if same(answer, right, rtol=rtol):
        return
    for row in rows:
        if same(answer, row.answer, rtol=rtol):
            raise AnswerError(row.message)
    raise AnswerError(otherwise)


def compare_function(
    function: Any,
    right: Callable[..., Any],
    rows: Sequence[Row],
    cases: Sequence[tuple],
    otherwise: str | Callable[[tuple, Any, Any], str],
    *,
    name: str,
    rtol: float = 1e-3,
    helpers: bool = False,
) -> None:
    """Compares a student's function with the right one, and with functions that have a misconception.

    Args:
        function: the student's function.
        right: a correct function.
        rows: functions with a misconception; a row applies if it agrees with the student's function in all cases
            and with `right` not in all of them. A row's function may raise an exception; then it does not apply.
        cases: the arguments of each call.
        otherwise: what is said of any other function: words that follow the call and what came back, or a function
            that makes the whole message from the first case that fails, the expected and the received value. The
            message never shows the expected value, because a student can call the function with the same case.
        name: the name of the function in the notebook.
        rtol: relative tolerance of numbers.
        helpers: as in `returned`; True also if `function` is a function of the check, which calls the student's.

    Raises:
        NotDoneError: the function returns `None`.
        AnswerError: the function is not correct.
    """
    received = [returned(function, *case, name=name, helpers=helpers) for case in cases]
    expected = [right(*_copied(case)) for case in cases]
    wrong = [place for place in range(len(cases)) if not same(received[place], expected[place], rtol=rtol)]
    if not wrong:
        return
    for row in rows:
        if _agrees(row.answer, cases, received, rtol):
            raise AnswerError(row.message)
    place = wrong[0]
    if callable(otherwise):
        raise AnswerError(otherwise(cases[place], expected[place], received[place]))
    form = _form(expected[place])
    words = otherwise if _form(received[place]) == form else f"Expected: {form}."
    raise AnswerError(f"{called(name, cases[place])} returns {short(received[place])}. {words}")


_LARGE = 20  # a message gives the shape of an array with more entries


def called(name: str, case: Sequence[Any]) -> str:
    """Returns a call of a student's function as text; a large array is described by its shape."""
    arguments = [
        f"an array of the shape {value.shape}"
        if isinstance(value, np.ndarray) and value.size > _LARGE
        else short(value)
        for value in case
    ]
    return f"{name}({', '.join(arguments)})"


def _form(value: Any) -> str:
    """Returns what kind of value something is, without the value."""
    for kind, words in ((bool, "True or False"), (str, "a string"), (Mapping, "a dictionary")):
        if isinstance(value, kind):
            return words
    try:
        shape = np.asarray(value, dtype=float).shape
    except (TypeError, ValueError):
        return f"{len(value)} values" if isinstance(value, list | tuple) else type(value).__name__
    if len(shape) < 2:
        return f"a list or an array of {shape[0]} numbers" if shape else "one number"
    return f"an array of the shape {shape}"


def _agrees(
    function: Callable[..., Any], cases: Sequence[tuple], received: Sequence[Any], rtol: float
) -> bool:
    for case, value in zip(cases, received, strict=True):
        try:
            answer = function(*_copied(case))
        except Exception:  # a misconception that does not fit these cases
            return False
        if not same(value, answer, rtol=rtol):
            return False
    return True


def same(first: Any, second: Any, *, rtol: float = 1e-3) -> bool:
    """Returns whether two answers are equal: numbers and arrays within a tolerance, everything else exactly."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            same(first[key], second[key], rtol=rtol) for key in first
        )
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(
            same(one, other, rtol=rtol) for one, other in zip(first, second, strict=True)
        )
    if isinstance(first, str | set | bool) or isinstance(second, str | set | bool):
        return type(first) is type(second) and first == second
    try:
        one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    except (TypeError, ValueError):
        return False
    return one.shape == other.shape and np.allclose(one, other, rtol=rtol, atol=1e-8, equal_nan=True)


def returned(
    function: Any, *arguments: Any, name: str, helpers: bool = False, refused: Sequence[str] = ()
) -> Any:
    """Calls a student's function with copies of the arguments, and returns what it returns.

    Args:
        function: the student's function.
        *arguments: its arguments.
        name: its name in the notebook.
        helpers: whether the function may call functions of `mnist_helpers`.
        refused: packages that the function may not call either, such as "keras". Looked at only without `helpers`.

    Raises:
        NotDoneError: the function returns `None`, or there is none.
        AnswerError: it is not a function, it stops with an exception, or it calls the course's helpers, or a
            refused package, although the task is to do without them.
    """
    given(**{name: function})
    if not callable(function):
        raise AnswerError(f"{name} should be a function. Received: {short(function)}.")
    copies = _copied(arguments)
    used: list[str] = []
    before, note = sys.getprofile(), functools.partial(_note_helpers, used, tuple(refused))
    collects = gc.isenabled()
    gc.disable()  # objects of refused packages would be deleted in the middle of the function, by their own code
    if not helpers:
        sys.setprofile(note)
    try:
        answer = _plain(function(*copies))
    except AnswerError:  # of a check's own function, which calls the student's
        raise
    except (Exception, SystemExit) as error:
        if not used:
            raise AnswerError(f"{name} stops with {_described(error)}.") from None
    finally:
        replaced = not helpers and sys.getprofile() is not note
        sys.setprofile(before)
        if collects:
            gc.enable()
    if replaced:
        raise AnswerError(f"{name} changes sys.setprofile, with which the check watches the function.")
    if used:
        raise AnswerError(f"{name} calls {used[0]}. In this task you write the calculation yourself.")
    if answer is None:
        raise NotDoneError(f"{name} returns None. Does every way through the function end with a `return`?")
    return answer


def _copied(value: Any) -> Any:
    """Returns a copy of arrays and containers, so that a function cannot change what others get."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    return value


def _plain(answer: Any) -> Any:
    """Returns an answer as plain Python objects and NumPy arrays: what a class of a student does ends here."""
    if isinstance(answer, str):
        return str.__str__(answer)
    if isinstance(answer, np.bool_):
        return bool(answer)
    if isinstance(answer, np.generic) or type(answer) in (bool, int, float):
        return answer
    if isinstance(answer, list | tuple):
        return [_plain(item) for item in answer] if isinstance(answer, list) else tuple(map(_plain, answer))
    if isinstance(answer, dict):
        return {key: _plain(item) for key, item in answer.items()}
    if hasattr(type(answer), "__array__") and not _is_of_framework(answer):
        return np.array(np.asarray(answer))
    return answer


def _is_of_framework(answer: Any) -> bool:
    """Whether an answer is a tensor: a check may want to say that NumPy is asked for."""
    return type(answer).__module__.partition(".")[0] in ("keras", "tensorflow", "jax", "jaxlib", "torch")


def _note_helpers(
    used: list[str], refused: tuple[str, ...], frame: FrameType, event: str, argument: Any
) -> None:
    """Profile function: notes the functions of this package that are the answer, or that code outside it calls.

    Of refused packages it notes the package only: which of its functions was called first says little.
    """
    if event != "call" or frame.f_back is None or used:
        return
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    if package in refused:
        used.append(_NAMES.get(package, package))
    if not frame.f_code.co_filename.startswith(_PACKAGE):
        return
    caller = frame.f_back.f_code
    is_answer = caller is returned.__code__ and frame.f_code is not _plain.__code__
    if is_answer or not caller.co_filename.startswith(_PACKAGE):
        used.append(f"{frame.f_code.co_name} of the course's helpers")


def _described(error: BaseException) -> str:
    """Returns the type and the message of an exception, and the last line of the student's code that it passed."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_PACKAGE) and "site-packages" not in frame.filename
    ]
    message = f"{type(error).__name__}: {error}".rstrip(": .")
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip() if frames else ""
    return f"{message}, in the line `{line}`" if line else message


def short(value: Any, length: int = 80) -> str:
    """Returns a value as text of limited length."""
    try:
        text = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    except Exception:  # an object of a student
        text = f"an object of the type {type(value).__name__}"
    return text if len(text) <= length else f"{text[: length - 3]}..."
