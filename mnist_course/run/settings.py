"""The settings of a run, checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnist_course import lessons
from mnist_course.course_file import Settings
from mnist_helpers import _files, data, parameters, results
from mnist_helpers._errors import UserError

_OWN_OPTIONS = {
    "run": "RUN",
    "results_dir": "--results-dir",
    "profile": "--profile",
    "dataset": "--dataset",
    "seed": "--seed (--seeds of a study)",
}


class Limits(NamedTuple):
    """Limits of a run. They do not change what it computes, so a run may go on with other limits.

    Attributes:
        threads: threads of each kernel; 0 for the number of cores that this process may use.
        cell_seconds: how long one cell may take; 0 for no limit.
    """

    threads: int = 0
    cell_seconds: int = 0


def check_settings(profile: str, dataset: str, seed: int, options: Sequence[tuple[str, str]]) -> Settings:
    """Checks the settings of a run before anything runs, and resolves the dataset.

    Args:
        profile: a profile's name.
        dataset: a dataset's name, `"auto"`, or a folder with the four idx files of another one.
        seed: the seed.
        options: `-p` options: names and values as typed.

    Raises:
        UserError: an unknown name, a wrong value, or a contradiction.
        data.DatasetNotFoundError: the dataset was named and is not available.
    """
    known = lessons.profiles()
    if profile not in known:
        hint = parameters.did_you_mean(profile, known)
        raise UserError(f"Unknown profile. Expected: one of {', '.join(known)}. Received: {profile!r}.{hint}")
    params = lessons.profile_parameters(profile)
    parameters.check("dataset", dataset)
    parameters.check("seed", seed)
    typed: dict[str, Any] = {}
    for name, text in options:
        check_free(name)
        value = parameters.parse(name, text)
        if typed.setdefault(name, value) != value:
            raise UserError(f"Parameter {name!r} is given twice, as {typed[name]!r} and {value!r}.")
    params |= typed
    if params.get("data_dir"):  # lessons run in another folder, notebooks/
        params["data_dir"] = str(_files.expand(params["data_dir"]))
    used, folder = data.resolve_dataset(dataset, data_dir=params.get("data_dir"))
    sizes = {name: params[name] for name in ("num_train", "num_validation") if name in params}
    data.load_training(used, seed=seed, data_dir=folder, **sizes)  # refuses sizes that do not fit
    return Settings(profile, folder if data.is_folder(dataset) else used, seed, params)


def check_free(name: str) -> None:
    """Refuses a parameter that has an option of its own.

    Raises:
        UserError: the parameter has an option of its own.
    """
    if name in _OWN_OPTIONS:
        raise UserError(f"Parameter {name!r} is given as {_OWN_OPTIONS[name]}, not with -p.")


def check_search(search_from: str, results_dir: Path, *, option: str = "search_from") -> None:
    """Checks that a run has a search which others can use.

    Args:
        search_from: RUN or STUDY/RUN; empty for a new search.
        results_dir: the folder that holds the runs.
        option: the name under which the user gave `search_from`, for the error message.

    Raises:
        UserError: `search_from` is not the name of a run, or the run has no search that this version can read.
    """
    parameters.check("search_from", search_from)
    record = f"{results.LESSONS[3]}.json"
    if search_from and not (results.find_run(search_from, results_dir) / record).is_file():
        raise UserError(
            f"{option}: run {search_from!r} has no record of lesson {results.LESSONS[3]}. Expected: a run in "
            f"{results_dir} whose lesson 4 was run, as RUN or STUDY/RUN, or one of reference/."
        )
    if search_from:
        try:
            results.load_search(search_from, results_dir)
        except UserError as error:
            raise UserError(f"{option}: {error}") from error


def check_lessons(only: Sequence[str], profile: str = "class", *, needs_packages: bool = True) -> list[str]:
    """Returns the notebooks to run, in order.

    Args:
        only: lessons and optional notebooks, or beginnings of their names such as `"03"`, or several with commas;
            empty for those of the profile.
        profile: a profile's name.
        needs_packages: False if the notebooks are not run, so that packages may be missing.

    Raises:
        UserError: no notebook has such a name, or it needs a package that is not installed.
    """
    only = [name for names in only for name in names.split(",")]
    for name in only:
        if not name or not any(lesson.startswith(name) for lesson in results.IN_ORDER):
            received = f"Received: {name!r}.{parameters.did_you_mean(name, results.IN_ORDER)}"
            raise UserError(f"Unknown lesson. Expected: one of {', '.join(results.IN_ORDER)}. {received}")
    if not only:
        return lessons.of_profile(profile)
    names = [lesson for lesson in results.IN_ORDER if any(lesson.startswith(name) for name in only)]
    for lesson in names:
        if needs_packages and (missing := lessons.missing_package(lesson)):
            raise UserError(f"Notebook {missing}")
    return names
