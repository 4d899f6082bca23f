"""Records of a study's runs -> its report: mean, spread and paired differences over seeds.

Every number comes from a record of a run; nothing is measured here.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mnist_course import statistics, study_grid
from mnist_course.reports import page, run_report, two_way
from mnist_course.reports.page import UNKNOWN, Table, interval, number
from mnist_helpers import _files, metrics, plots, results

STUDY_FILE = "study.json"
_METRICS = ("test_accuracy", "test_loss", "val_accuracy", "val_loss")
_LIMITS = {"accuracy": (0.0, 1.0), "loss": (0.0, math.inf)}
_NAIVE = ("majority", "nearest_mean")
# Each of them is compared with all before it.
_TUNED = ("tuned", "tuned_vat", "four_layers", "noise", "vat", "strong", "strongest")
_MIN_SEEDS = 3  # for an interval: with two seeds, Student's t interval is wider than the range of an accuracy
_FEW_SEEDS = 5
_SAME_SIZE = 0.01  # by how much the numbers of parameters of matched networks may differ, as a fraction
_BOTH = "seeds and images"  # the heading of the second kind of interval
_MOST_NAMES = 10  # of runs in a sentence
_DIFFERENCE_NOTE = (
    "Differences of accuracy in percentage points, and of the loss, paired by seed; an interval is about the mean "
    "over seeds. The p-values of paired t-tests are corrected by the method of Holm for the number of rows. A "
    "difference with p below 0.05 is significant. One with a larger p can still exist: docs/studies.md says how "
    "many seeds it takes to find it."
)
_PARTS = {"test": "test", "val": "validation"}
_SPREAD_NOTE = "Mean, sd and n are over seeds; the interval (Student's t, 95 %) is about the mean over seeds"
_PART_NOTES = {
    "test": ", on the same test images. The Wilson intervals in the reports of the runs are about the choice of "
    "test images.",
    "val": "; each seed has its own validation images.",
}
_BOTH_NOTE = (
    " The 95 % intervals over seeds (Student's t) are about other training runs on the same test images; those in "
    f"the columns “{_BOTH}” (two-way bootstrap) are about other training runs on other test images."
)
_MATCHED_NOTE = (
    "Only differences between two networks that were trained on the same number of images for the same number of "
    f"epochs, and whose numbers of parameters differ by at most {100 * _SAME_SIZE:.0f} %: so neither more data, "
    "nor longer training, nor a larger network explains them. The differences and p-values are those of the table "
    "above."
)
_MCNEMAR_NOTE = (
    " The last column counts the seeds for which the exact McNemar test, on the test images of that seed, found "
    "the two networks different, among those for which it was computed."
)
_ROUGH_NOTE = f" With fewer than {_FEW_SEEDS} seeds, an sd and an interval are rough estimates."

Runs = Mapping[str, run_report.Records]  # run -> lesson -> record
BySetting = list[tuple[dict[str, Any], pd.DataFrame]]


class _Study(NamedTuple):
    """What a report is made from: the runs that belong to a study, and no others.

    Attributes:
        asked: the content of `study.json`.
        runs: run -> lesson -> record, in the order of the grid.
        others: the names of the other runs in the folder.
        by_setting: the settings that have rows, in the order in which they were asked for, with their rows of
            `results.table`, without *plain* if it repeats *baseline*.
        part: `"test"` if a run of the study has test scores, `"val"` otherwise. All scores that are compared are
            of this part.
    """

    asked: dict[str, Any]
    runs: Runs
    others: list[str]
    by_setting: BySetting
    part: str


def write_study_report(folder: Path) -> Path:
    """Writes the report of a study into its folder, from the records of its runs.

    Args:
        folder: the study's folder.

    Returns:
        The path of `report.html`.

    Raises:
        results.MissingLessonError: no run of the study has a record yet, or one is damaged.
    """
    study = _read(folder)
    content = _summary(folder, study)
    _files.write_json(folder / "summary.json", content)
    run_report.write_runs(folder)
    last = list(study.runs.values())[-1]
    return page.write_page(
        folder,
        title=f"Report of study {folder.name}",
        conclusion=content["conclusion"],
        tables=study_tables(content),
        details=[_settings_table(study.asked, last)],
        draw=lambda: _figures(study, content),
        provenance=page.provenance(list(last.values())[-1]),
    )


def study_text(folder: Path) -> str:
    """Returns the tables of a study as text, for a terminal."""
    content = study_summary(folder)
    return "\n\n".join([*(table.text() for table in study_tables(content)), content["conclusion"]])


# --- numbers ---


def study_runs(folder: Path) -> dict[str, dict[str, dict]]:
    """Reads the records of each run in a study's folder that has any.

    Args:
        folder: the study's folder.

    Returns:
        run name -> lesson -> record; `seed-2` comes before `seed-10`.

    Raises:
        results.MissingLessonError: no run has a record yet, or one is damaged.
    """
    runs = {run.name: run_report.records_of(run) for run in results.run_folders(folder)}
    if not runs:
        raise _no_records(folder)
    return runs


def _no_records(folder: Path, more: str = "") -> results.MissingLessonError:
    message = f"No run of study {folder.name!r} has a record yet: run the study first.{more}"
    return results.MissingLessonError(message)


def _read(folder: Path) -> _Study:
    """Reads the runs that belong to a study."""
    asked = _files.read_json(folder / STUDY_FILE)
    every = study_runs(folder)
    runs = {name: every[name] for name in study_grid.belonging(every, asked)}
    others = [name for name in every if name not in runs]
    if not runs:
        raise _no_records(folder, f" Its folder has other runs: {_listed(others)}.")
    table = results.table(folder)
    table = _without_repetition(table[table["run"].isin(runs.keys())])
    part = "test" if table["test_accuracy"].notna().any() else "val"
    return _Study(asked, runs, others, _by_setting(table, asked), part)


def study_summary(folder: Path) -> dict[str, Any]:
    """Summarises a study: for each setting and model mean, sd, n and interval, and paired differences.

    Args:
        folder: the study's folder.

    Returns:
        A dict of plain values: `dataset`, `swept`, `search_from`, `part` (`"test"` or `"val"`: the scores that are
        compared), `unfinished` (the number of runs of the study that lack a lesson), `other_runs` (the names of
        runs in the folder that do not belong to the study and are not counted), `models` (a list), `differences`
        (a list; between models), `effects` (a list; of a model between settings) and `conclusion`. A model has the
        numbers of `images` and `epochs` of its training, which are `None` where they are not known or differ
        between seeds. A difference is one of accuracy, and has another one of the `loss`; `p_holm` is the p-value
        of the paired t-test, corrected for the number of differences in its list; `matched` says whether both
        models have the same images, epochs and size; of the `tested` seeds with a McNemar test, `significant` have
        p < 0.05. An interval and a p-value of fewer than three seeds are `None`. The model *plain* is left out if
        all of its scores equal those of *baseline*.
        `low` and `high` are about seeds (Student's t). A test score of which the predictions of all seeds are known
        also has `two_way_low` and `two_way_high`, about seeds and test images (`statistics.two_way_interval`).

    Raises:
        results.MissingLessonError: no run of the study has a record yet, or one is damaged.
    """
    return _summary(folder, _read(folder))


def _summary(folder: Path, study: _Study) -> dict[str, Any]:
    """Makes the content of `summary.json`, see `study_summary`."""
    asked, runs = study.asked, study.runs
    models: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for setting, rows in study.by_setting:
        entries: dict[str, dict[str, Any]] = {}
        for model, own in rows.groupby("model", sort=False):
            entry = {"setting": setting, "model": model, "lesson": own["lesson"].iloc[0]}
            entry |= {"num_params": own["num_params"].min(), "most_params": own["num_params"].max()}
            entry |= _training(own, runs)
            entries[str(model)] = entry | {name: _spread(own[name]) for name in (*_METRICS, "train_seconds")}
        models += entries.values()
        pairs = [pair for run in rows["run"].unique() for pair in run_report.comparisons_of(runs[run])]
        for entry in _differences(rows, pairs, study.part):
            matched = _is_matched(entries[entry["first"]], entries[entry["second"]])
            differences.append({"setting": setting} | entry | {"matched": matched})
    effects = _effects(study.by_setting, study.part)
    lists = {"models": models, "differences": differences, "effects": effects}
    two_way.add_intervals(folder, study.by_setting, **lists, least=_MIN_SEEDS)
    _correct_for_number(differences)
    _correct_for_number(effects)
    finished = [run for run, records in runs.items() if set(asked["lessons"]) <= set(records)]
    wanted = study_grid.grid(asked["seeds"], asked["swept"])
    content = {key: asked[key] for key in ("swept", "search_from")} | {
        "dataset": next(iter(next(iter(runs.values())).values()))["dataset"]["name"],
        "part": study.part,
        "models": models,
        "differences": differences,
        "effects": effects,
        "unfinished": len(wanted) - len(finished),
        "other_runs": study.others,
    }
    content = json.loads(json.dumps(_files.to_jsonable(content)))
    return content | {"conclusion": _conclusion(content)}


def _by_setting(table: pd.DataFrame, asked: Mapping[str, Any]) -> BySetting:
    """Returns the settings that have rows, in the order in which they were asked for, with their rows."""
    found = []
    points = study_grid.grid(asked["seeds"], asked["swept"]).items()
    for setting, group in itertools.groupby(points, key=lambda point: point[1][1]):
        rows = table[table["run"].isin([run for run, _ in group])]
        if len(rows):
            found.append((setting, rows))
    return found


def _training(rows: pd.DataFrame, runs: Runs) -> dict[str, int | None]:
    """Returns the numbers of images and epochs of a model's training, if they are the same in all of its rows."""
    found = set()
    for run, lesson, model in rows[["run", "lesson", "model"]].itertuples(index=False):
        record = runs[run][lesson]
        images = record["dataset"]["shapes"].get("x_train", [None])[0]
        found.add((images, len(record["models"][model].get("history", {}).get("loss", [])) or None))
    images, epochs = found.pop() if len(found) == 1 else (None, None)
    return {"images": images, "epochs": epochs}


def _is_matched(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Returns whether two models had the same images and epochs, and have the same size."""
    known = None not in (first["images"], first["epochs"])
    is_same = all(first[name] == second[name] for name in ("images", "epochs"))
    sizes = [entry[name] for entry in (first, second) for name in ("num_params", "most_params")]
    return known and is_same and max(sizes) <= (1 + _SAME_SIZE) * min(sizes)


def _without_repetition(rows: pd.DataFrame) -> pd.DataFrame:
    """Leaves out *plain*, the first network of lesson 3, if it is the network of lesson 2 in all runs.

    Lesson 5 evaluates one of the two only, so scores that *baseline* alone has do not matter.
    """
    plain, baseline = (
        rows.loc[rows["model"] == name].set_index("run")[list(_METRICS)] for name in ("plain", "baseline")
    )
    is_known = plain.notna().to_numpy()
    is_equal = plain.eq(baseline.reindex(plain.index)).to_numpy()
    is_same = is_known.any() and (is_equal | ~is_known).all()
    return rows[rows["model"] != "plain"] if is_same else rows


def _correct_for_number(differences: Sequence[dict[str, Any]]) -> None:
    """Adds `p_holm` to differences of accuracy, and to those of the loss (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    for entries in (differences, [entry["loss"] for entry in differences if entry["loss"]]):
        known = [entry for entry in entries if entry["p_value"] is not None]
        corrected = multipletests([entry["p_value"] for entry in known], method="holm")[1] if known else []
        for entry in entries:
            entry["p_holm"] = None
        for entry, p_value in zip(known, corrected, strict=True):
            entry["p_holm"] = float(p_value)


def _spread(values: pd.Series) -> dict[str, Any] | None:
    numbers = values.dropna().tolist()
    return _with_interval(metrics.mean_interval(numbers)) if numbers else None


def _with_interval(spread: metrics.MeanInterval) -> dict[str, Any]:
    return spread._asdict() | ({} if spread.n >= _MIN_SEEDS else {"low": None, "high": None})


def _differences(
    rows: pd.DataFrame, compared: Sequence[Mapping[str, Any]], part: str
) -> list[dict[str, Any]]:
    """Compares every network with the baseline, and the tuned ones with all others, over the same seeds."""
    networks = [name for name in rows["model"].unique() if name not in _NAIVE]
    pairs = [("baseline", name) for name in networks if name != "baseline" and "baseline" in networks]
    for place, tuned in enumerate(_TUNED):
        others = [name for name in networks if name not in ("baseline", *_TUNED[place:])]
        pairs += [(name, tuned) for name in others if tuned in networks]
    found = []
    for first, second in pairs:
        own, other = (rows[rows["model"] == name] for name in (first, second))
        difference = _paired(own, other, part)
        if difference:
            found.append(
                {"first": first, "second": second} | difference | _significant(first, second, compared)
            )
    return found


def _paired(first: pd.DataFrame, second: pd.DataFrame, part: str) -> dict[str, Any] | None:
    """Returns the difference of accuracy between two lists of rows, paired by seed, with that of the loss."""
    both = first.merge(second, on="seed", suffixes=("_1", "_2"), validate="1:1")
    accuracy, loss = (_paired_metric(both, f"{part}_{metric}") for metric in _LIMITS)
    return accuracy and accuracy | {"loss": loss}


def _paired_metric(both: pd.DataFrame, metric: str) -> dict[str, Any] | None:
    both = both.dropna(subset=[f"{metric}_1", f"{metric}_2"])
    if both.empty:
        return None
    difference = metrics.paired_difference(*(both[f"{metric}_{side}"].tolist() for side in (1, 2)))
    p_value = statistics.paired_p_value(difference) if difference.n >= _MIN_SEEDS else None
    return {"metric": metric} | _with_interval(difference) | {"p_value": p_value}


def _effects(by_setting: BySetting, part: str) -> list[dict[str, Any]]:
    """Compares every network under each later setting with itself under the first one, over the same seeds."""
    found = []
    for (against, first), (setting, rows) in itertools.product(by_setting[:1], by_setting[1:]):
        for model in first["model"].unique():
            before, after = (of[of["model"] == model] for of in (first, rows))
            difference = _paired(before, after, part)
            if difference and model not in _NAIVE:
                found.append({"setting": setting, "against": against, "model": model} | difference)
    return sorted(found, key=lambda entry: list(by_setting[0][1]["model"].unique()).index(entry["model"]))


def _significant(first: str, second: str, compared: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Returns for how many runs a McNemar test was computed, and how many of these have p < 0.05."""
    p_values = [pair["p_value"] for pair in compared if {pair["first"], pair["second"]} == {first, second}]
    return {"significant": sum(value < 0.05 for value in p_values), "tested": len(p_values)}


# --- words ---


def _conclusion(content: dict[str, Any]) -> str:
    """Returns the sentences at the top of a study's report, made from its numbers."""
    scores = "; ".join(filter(None, (_score_in_words(entry, content["part"]) for entry in content["models"])))
    words = scores or _effects_in_words(content["effects"])
    compared = [
        entry
        for entry in content["differences"]
        if entry["first"] == "baseline"
        and entry["second"] in _TUNED
        and not entry["setting"]
        and entry["n"] > 1
    ]
    paired = [
        f"{entry['second']} {_mean(entry)} percentage points{'' if entry['low'] is None else f' ({_range(entry)})'}"
        for entry in compared
    ]
    if paired:
        has_interval = any(entry["low"] is not None for entry in compared)
        words += f". Against the baseline, over the same seeds: {', '.join(paired)}"
        words += "; 95 % intervals" * has_interval
    search = content["search_from"]
    shared = f" One search, of run {search}, serves all seeds." if search else ""
    missing = f" {content['unfinished']} of the runs are not finished." if content["unfinished"] else ""
    return f"On {content['dataset']}: {words}.{shared}{missing}"


def _score_in_words(entry: dict[str, Any], part: str) -> str:
    spread, loss = (entry[f"{part}_{metric}"] for metric in _LIMITS)
    if entry["setting"] or entry["model"] not in ("baseline", *_TUNED) or not spread:
        return ""
    sd = f"sd {100 * spread['sd']:.2f}, " if spread["n"] > 1 else ""
    return (
        f"{entry['model']} classifies {100 * spread['mean']:.2f} % of the {_PARTS[part]} images correctly "
        f"({sd}n={_seeds(spread['n'])}), loss {number((loss or {}).get('mean'), '.4f')}"
    )


def _effects_in_words(effects: list[dict[str, Any]]) -> str:
    if not effects:
        return "the table shows each model"
    against = _setting_in_words(effects[0]["against"])
    parts = [
        f"{entry['model']} with {_setting_in_words(entry['setting'])} {_mean(entry)} percentage points "
        f"({'' if entry['low'] is None else f'{_range(entry)}, '}n={entry['n']})"
        for entry in effects
        if entry["model"] in ("baseline", *_TUNED)
    ]
    if not parts:
        return f"compared with {against}"
    return f"against {against}, over the same seeds: {'; '.join(parts)}"


def _setting_in_words(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def _seeds(number_of: int) -> str:
    return f"{number_of} seed{'s' * (number_of != 1)}"


def _listed(names: Sequence[str]) -> str:
    """Returns the first names of a list, and the number of the others."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _mean(difference: Mapping[str, Any]) -> str:
    """Returns a difference of accuracy in percentage points."""
    return number(difference["mean"], "+.2f", scale=100)


def _range(difference: Mapping[str, Any]) -> str:
    return interval(difference["low"], difference["high"], "+.2f", scale=100)


# --- tables ---


def study_tables(content: dict[str, Any]) -> list[Table]:
    """Returns what `study_summary` returned as tables."""
    tables = [_models_table(content)]
    swept = list(content["swept"])
    if content["differences"]:
        both = _has_both(content["differences"])
        has_tests = any(entry["tested"] for entry in content["differences"])
        rows = []
        for entry in content["differences"]:
            counted = f"{entry['significant']} of {entry['tested']}" if entry["tested"] else UNKNOWN
            models = (entry["second"], entry["first"])
            cells = [*entry["setting"].values(), *models, *_points(entry, both)]
            rows.append([*cells, *([counted] if has_tests else [])])
        note = f"{_DIFFERENCE_NOTE}{_MCNEMAR_NOTE * has_tests}{_BOTH_NOTE * both}"
        columns = [*swept, "model", "against", *_points_columns(both)]
        columns += ["McNemar p < 0.05"] if has_tests else []
        tables.append(Table("Paired differences", columns, rows, note))
        tables += _matched_table(content, both)
    if content["effects"]:
        both = _has_both(content["effects"])
        rows = [
            [*entry["setting"].values(), entry["model"], *_points(entry, both)]
            for entry in content["effects"]
        ]
        title = f"Paired differences from {_setting_in_words(content['effects'][0]['against'])}"
        note = (
            f"Each network against itself with the first setting. {_DIFFERENCE_NOTE} Choose a setting on "
            f"validation images: run such a study without lesson 5.{_BOTH_NOTE * both}"
        )
        tables.append(Table(title, [*swept, "model", *_points_columns(both)], rows, note))
    return tables


def _matched_table(content: dict[str, Any], both: bool) -> list[Table]:
    """Returns a table of the differences between networks with the same images, epochs and size, if any."""
    training = {(str(entry["setting"]), entry["model"]): entry for entry in content["models"]}
    rows = []
    for entry in content["differences"]:
        if entry["matched"]:
            own = training[str(entry["setting"]), entry["second"]]
            numbers = [number(own[name], ",.0f") for name in ("images", "epochs", "num_params")]
            names = (entry["second"], entry["first"])
            rows.append([*entry["setting"].values(), *names, *numbers, *_points(entry, both)])
    columns = [
        *content["swept"],
        "model",
        "against",
        "images",
        "epochs",
        "parameters",
        *_points_columns(both),
    ]
    title = "Networks with the same images, epochs and size"
    return [Table(title, columns, rows, _MATCHED_NOTE)] if rows else []


def _models_table(content: dict[str, Any]) -> Table:
    part = content["part"]
    word = _PARTS[part]
    scores = [f"{part}_{metric}" for metric in _LIMITS]
    models = [entry for entry in content["models"] if any(entry[name] for name in scores)]
    unknown = [entry for entry in content["models"] if entry not in models]
    both = _has_both([entry[f"{part}_accuracy"] or {} for entry in models])
    spread = ["sd", "95 % interval", *([_BOTH] if both else [])]
    columns = [*content["swept"], "model", "n", f"{word} accuracy", *spread, f"{word} loss", *spread]
    rows = [
        [
            *entry["setting"].values(),
            entry["model"],
            (entry[f"{part}_accuracy"] or {}).get("n"),
            *_spread_cells(entry[f"{part}_accuracy"], ".2%", "accuracy", both),
            *_spread_cells(entry[f"{part}_loss"], ".4f", "loss", both),
            # The seeds may have found networks of different sizes.
            " to ".join(dict.fromkeys(number(entry[name], ",.0f") for name in ("num_params", "most_params"))),
            number((entry["train_seconds"] or {}).get("mean"), ".1f", " s"),
        ]
        for entry in models
    ]
    note = f"{_SPREAD_NOTE}{_PART_NOTES[part]}{_BOTH_NOTE * both}{_models_in_words(models)}"
    if any(entry[f"{part}_accuracy"] and entry[f"{part}_accuracy"]["n"] < _FEW_SEEDS for entry in models):
        note += _ROUGH_NOTE
    if unknown:
        note += f" Models without {word} scores are not in this table: {_unknown_in_words(unknown)}."
    if content["other_runs"]:
        note += " Runs in the folder that do not belong to the study are not counted: "
        note += f"{_listed(content['other_runs'])}."
    if content["search_from"]:
        note += f" One search, of run {content['search_from']}, serves all seeds:"
        note += " the spread is that of training, not of searching."
    return Table("Results over seeds", [*columns, "parameters", "training"], rows, note)


def _unknown_in_words(models: list[dict[str, Any]]) -> str:
    names = [(entry["model"], _setting_in_words(entry["setting"])) for entry in models]
    return _listed([" with ".join(filter(None, name)) for name in names])


def _models_in_words(models: list[dict[str, Any]]) -> str:
    """Explains the models that are in a study, and no others."""
    by_lesson: dict[str, list[str]] = {}
    for entry in models:
        names = by_lesson.setdefault(entry["lesson"], [])
        names += [entry["model"]] if entry["model"] not in names else []
    present = {name for names in by_lesson.values() for name in names}
    parts = [
        f"of {f'lesson {int(lesson[:2])}' if lesson in results.LESSONS else lesson}: {', '.join(names)}"
        for lesson, names in by_lesson.items()
    ]
    words = "; ".join(parts)
    naive = ", ".join(name for name in _NAIVE if name in present)
    return (
        f" Models {words}.{f' Models without a network: {naive}.' if naive else ''} "
        f"The training time is the mean over seeds. A dash means: not measured, or fewer than two "
        f"seeds (for an interval, fewer than {_MIN_SEEDS})."
    )


def _settings_table(asked: Mapping[str, Any], records: run_report.Records) -> Table:
    lists = {name: asked[name] for name in ("seeds", "lessons")}
    lists |= {f"swept: {name}": values for name, values in asked["swept"].items()}
    rows: list[tuple[str, object]] = [(name, ", ".join(map(str, values))) for name, values in lists.items()]
    settings = run_report.settings_of(records).items()
    rows += [(name, value) for name, value in settings if name not in ("seed", *asked["swept"])]
    return Table("Settings", ["option or parameter", "value"], rows, is_text=True)


def _has_both(scores: Iterable[Mapping[str, Any]]) -> bool:
    """Returns whether a score has the second kind of interval."""
    return any(two_way.LOW in score for score in scores)


def _spread_cells(spread: Mapping[str, Any] | None, form: str, metric: str, both: bool) -> list[str]:
    """Returns mean, sd and intervals as cells; an interval is clipped to the possible values of the metric."""
    if not spread:
        return [UNKNOWN] * (4 if both else 3)
    ends = interval(*_clipped(spread, metric), form)
    return [number(spread["mean"], form), number(spread["sd"], form), ends, *_both_cells(spread, form, both)]


def _both_cells(score: Mapping[str, Any], form: str, both: bool, scale: float = 1) -> list[str]:
    """Returns the second kind of interval as the cells that it takes: one, or none."""
    return [interval(score.get(two_way.LOW), score.get(two_way.HIGH), form, scale=scale)] if both else []


def _clipped(spread: Mapping[str, Any], metric: str) -> tuple[float | None, float | None]:
    if spread["low"] is None:
        return None, None
    low, high = _LIMITS[metric]
    return max(spread["low"], low), min(spread["high"], high)


def _points_columns(both: bool) -> list[str]:
    ends = ["95 % interval", *([_BOTH] if both else []), "p (Holm)"]
    return ["points", *ends, "loss", *ends, "n"]


def _points(difference: Mapping[str, Any], both: bool) -> list[object]:
    """Returns a difference as the columns `_points_columns`."""
    loss = difference["loss"] or dict.fromkeys(("mean", "low", "high", "p_holm"))
    return [
        *(_mean(difference), _range(difference), *_both_cells(difference, "+.2f", both, scale=100)),
        _p_value(difference["p_holm"]),
        *(number(loss["mean"], "+.4f"), interval(loss["low"], loss["high"], "+.4f")),
        *(*_both_cells(loss, "+.4f", both), _p_value(loss["p_holm"])),
        difference["n"],
    ]


def _p_value(value: float | None) -> str:
    return UNKNOWN if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


# --- figures ---


def _figures(study: _Study, content: dict[str, Any]) -> dict[str, plots.DescribedFigure]:
    dataset = content["dataset"]
    figures = {}
    for metric in _LIMITS:
        column, label = f"{study.part}_{metric}", f"{_PARTS[study.part]} {metric}"
        values = {
            ", ".join(filter(None, [str(model), _setting_in_words(setting)])): own[column]
            for setting, rows in study.by_setting
            for model, own in rows.dropna(subset=[column]).groupby("model", sort=False)
            if model not in _NAIVE
        }
        if values:
            title = f"{label.capitalize()} of every seed ({dataset})"
            figures[label.replace(" ", "_")] = _every_seed(values, title, label, metric)
    if content["swept"]:
        return figures
    shown = {model for _, rows in study.by_setting for model in rows["model"]}
    means, sds = (
        {model: curves for model, curves in of_models.items() if model in shown}
        for of_models in mean_histories(study.runs)
    )
    if means:
        counts = [len(histories) for model, histories in _histories(study.runs).items() if model in means]
        least, most = min(counts), max(counts)
        of_seeds = f"{least} to {_seeds(most)}" if least < most else _seeds(most)
        details = f", mean of {of_seeds} ({dataset}{'; band: one sd' if most > 1 else ''})"
        for metric in _LIMITS:
            figures[metric] = page.metric_by_model(means, metric, details, sds)
    return figures


def _every_seed(
    values: Mapping[str, pd.Series], title: str, label: str, metric: str
) -> plots.DescribedFigure:
    """Draws what every seed gave: accuracies in %, losses as they are."""
    low, high = _LIMITS[metric]
    scale, decimals = (100, 2) if metric == "accuracy" else (1, 4)
    spreads = {name: _spread(numbers) for name, numbers in values.items()}
    ends = {name: _clipped(spread, metric) for name, spread in spreads.items() if spread}
    known = {name: (a, b) for name, (a, b) in ends.items() if a is not None and b is not None}
    intervals = {name: (scale * a, scale * b) for name, (a, b) in known.items()}
    numbers = {name: (scale * column).tolist() for name, column in values.items()}
    label += " in %" if metric == "accuracy" else ""
    figure = plots.seed_strip(numbers, title, label, decimals, intervals)
    return page.within(figure, "x", scale * low, scale * high)


def mean_histories(runs: Runs) -> tuple[dict[str, dict], dict[str, dict]]:
    """Averages Keras' history of each network over the seeds, epoch by epoch.

    An epoch that only some seeds have trained is averaged over these.

    Returns:
        The means and the standard deviations (0 for one seed): model -> metric -> a number per epoch.
    """
    means: dict[str, dict] = {}
    sds: dict[str, dict] = {}
    for name, histories in _histories(runs).items():
        for metric in histories[0]:
            seeds = [pd.Series(history.get(metric, []), dtype=float) for history in histories]
            epochs = pd.concat(seeds, axis=1)
            means.setdefault(name, {})[metric] = epochs.mean(axis=1).tolist()
            sds.setdefault(name, {})[metric] = epochs.std(axis=1).fillna(0).tolist()
    return means, sds


def _histories(runs: Runs) -> dict[str, list[dict]]:
    """Returns the histories of each network: model -> one for each seed that has trained it."""
    found: dict[str, list[dict]] = {}
    for records in runs.values():
        for record in records.values():
            for name, entry in record["models"].items():
                if "history" in entry:
                    found.setdefault(name, []).append(entry["history"])
    return found
