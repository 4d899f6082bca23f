"""What is asked of a run: checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mnist_course import lessons
from mnist_helpers import data, parameters, results
from mnist_helpers._errors import UserError

_OWN_OPTIONS = {
    "run": "RUN",
    "results_dir": "--results-dir",
    "profile": "--profile",
    "dataset": "--dataset",
    "seed": "--seed (--seeds of a study)",
}


class Settings(NamedTuple):
    """What was asked of a run, checked.

    Attributes:
        profile: a name in `profiles.yaml`.
        dataset: `"mnist"`, `"fashion_mnist"`, `"digits"`, or the absolute path of a folder.
        seed: the seed of all lessons.
        params: the other parameters, profile and `-p` together.
    """

    profile: str
    dataset: str
    seed: int
    params: dict[str, Any]


class Limits(NamedTuple):
    """What a run may use; no part of what it computes, so a run goes on with other ones.

    Attributes:
        threads: threads of each kernel; 0 for as many as there are cores that it may use.
        cell_seconds: how long one cell may take; 0 for ever.
    """

    threads: int = 0
    cell_seconds: int = 0


def check_settings(profile: str, dataset: str, seed: int, given: Sequence[tuple[str, str]]) -> Settings:
    """Checks what was asked before anything runs, and settles the dataset.

    Args:
        profile: a profile's name.
        dataset: a dataset's name, `"auto"`, or a folder with the four idx files of another one.
        seed: the seed.
        given: `-p` options: names and values as typed.

    Raises:
        UserError: an unknown name, a wrong value, or a contradiction.
        data.DatasetNotFoundError: the dataset was named and cannot be had.
    """
    known = lessons.profiles()
    if profile not in known:
        raise UserError(
            f"Unknown profile. Expected: one of {', '.join(known)}. Received: {profile!r}."
            f"{parameters.did_you_mean(profile, known)}"
        )
    params = {name: parameters.check(name, value) for name, value in known[profile].items()}
    parameters.check("dataset", dataset)
    parameters.check("seed", seed)
    typed = {}
    for name, text in given:
        check_free(name)
        value = parameters.parse(name, text)
        if typed.setdefault(name, value) != value:
            raise UserError(f"Parameter {name!r} is given twice, as {typed[name]!r} and {value!r}.")
    params |= typed
    if params.get("data_dir"):  # lessons run in another folder, notebooks/
        params["data_dir"] = str(data.expand(params["data_dir"]))
    used, folder = data.resolve_dataset(dataset, data_dir=params.get("data_dir"))
    sizes = {name: params[name] for name in ("num_train", "num_validation") if name in params}
    data.load_training(used, seed=seed, data_dir=folder, **sizes)  # refuses sizes that do not fit
    return Settings(profile, folder if data.is_folder(dataset) else used, seed, params)


def check_free(name: str) -> None:
    """Refuses a parameter that has an option of its own.

    Raises:
        UserError: it has.
    """
    if name in _OWN_OPTIONS:
        raise UserError(f"Parameter {name!r} is given as {_OWN_OPTIONS[name]}, not with -p.")


def check_search(search_from: str, results_dir: str = "", *, asked_as: str = "search_from") -> None:
    """Refuses to use the search of a run that has none.

    Args:
        search_from: RUN or STUDY/RUN; empty for a search of one's own.
        results_dir: the folder that holds the runs; empty for the course's own.
        asked_as: what the message calls it: as the user has written it.

    Raises:
        UserError: it is no such name, or there is no search.
    """
    parameters.check("search_from", search_from)
    base = results.results_dir(results_dir)
    if search_from and not (base / search_from / f"{results.LESSONS[3]}.json").is_file():
        raise UserError(
            f"{asked_as}: run {search_from!r} has no record of lesson {results.LESSONS[3]}. Expected: a run in "
            f"{base} whose lesson 4 was run, as RUN or STUDY/RUN."
        )


def check_lessons(only: Sequence[str]) -> list[str]:
    """Returns the lessons to run, in order.

    Args:
        only: lessons, or beginnings of their names such as `"03"`, or several with commas; empty for all.

    Raises:
        UserError: a name fits no lesson.
    """
    only = [name for names in only for name in names.split(",")]
    for name in only:
        if not name or not any(lesson.startswith(name) for lesson in results.LESSONS):
            raise UserError(
                f"Unknown lesson. Expected: one of {', '.join(results.LESSONS)}. Received: {name!r}."
                f"{parameters.did_you_mean(name, results.LESSONS)}"
            )
    return [lesson for lesson in results.LESSONS if not only or any(lesson.startswith(name) for name in only)]
