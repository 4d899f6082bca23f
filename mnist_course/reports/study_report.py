"""The records of a study's runs -> its report: mean, spread and paired differences over seeds.

Every number comes from a record of a run; nothing is measured here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import speed_report
from mnist_course.reports import faults_report, run_report
from mnist_course.run import runner
from mnist_helpers import _files, metrics, plots, results

STUDY_FILE = "study.json"
_STUDY_METRICS = ("test_accuracy", "test_loss", "val_accuracy", "val_loss")
_NAIVE = ("majority", "nearest_mean")
_TUNED = ("tuned", "tuned_vat")
_FEW_SEEDS = 5
_NOTE = "Mean, sd and n are over seeds; the interval (Student's t, 95 %) is about the mean over seeds"
_TESTED = (
    ", on the same test images. How far another draw of test images could move it, the Wilson intervals in the "
    "reports of the runs say."
)
_VALIDATED = "; each seed has its own validation images."
_MODELS = (
    "Training: mean seconds of a network's training. *majority* and *nearest_mean* are the naive classifiers of "
    "lesson 1, *baseline* the network of lesson 2, *plain* to *batchnorm_dropout* the four of lesson 3 (*plain* is "
    "the baseline again: same network, same seed, same numbers), *tuned* and *tuned_vat* those of lesson 4. A "
    "dash: not measured, or only one seed."
)
_ROUGH = f" With fewer than {_FEW_SEEDS} seeds an sd and an interval are rough: take them as a hint."


def write_study_report(folder: Path) -> Path:
    """Writes the report of a study into its folder, from the records of its runs.

    Args:
        folder: the study's folder.

    Returns:
        The path of `run_report.html`.

    Raises:
        results.MissingLessonError: no run of the study has a record yet, or one cannot be read.
    """
    runs = study_runs(folder)
    content = study_summary(folder)
    _files.write_json(folder / "summary.json", content)
    speed = folder / speed_report.BENCH_FILE
    measured = _files.read_json(speed) if speed.is_file() else None
    faults = folder / faults_report.FAULTS_FILE
    last = list(runs.values())[-1]
    record = last[max(last)]
    question = _files.read_json(folder / STUDY_FILE)
    asked = [[name, ", ".join(map(str, question[name]))] for name in ("seeds", "lessons")]
    asked += [[f"swept: {name}", ", ".join(map(str, values))] for name, values in question["swept"].items()]
    settings = [
        [name, value]
        for name, value in run_report.settings_of(last).items()
        if name not in ("seed", *content["swept"])
    ]
    return run_report.write_page(
        folder,
        title=f"Report of study {folder.name}",
        conclusion=content["conclusion"],
        tables=_study_tables(content) + (speed_report.tables(measured) if measured else []),
        details=[
            {"title": "Settings", "columns": ["asked, or parameter", "value"], "rows": asked + settings},
            *(faults_report.tables(_files.read_json(faults)) if faults.is_file() else []),
        ],
        draw=lambda: _study_figures(runs, content) | (speed_report.figures(measured) if measured else {}),
        versions=record["versions"],
        machine=record["machine"],
    )


def study_text(folder: Path) -> str:
    """Returns the tables of a study as text, for a terminal."""
    content = study_summary(folder)
    tables = [
        f"{table['title']}\n{run_report.aligned([table['columns'], *table['rows']])}"
        for table in _study_tables(content)
    ]
    return "\n\n".join([*tables, content["conclusion"]])


def study_summary(folder: Path) -> dict[str, Any]:
    """Summarises a study: for each setting and model mean, sd, n and interval, and paired differences.

    Args:
        folder: the study's folder.

    Returns:
        A dict of plain values: `dataset`, `swept`, `search_from`, `unfinished` (how many of the runs that were
        asked for), `models` (a list), `differences` (a list; between models), `effects` (a list; of a model
        between settings) and `conclusion`.

    Raises:
        results.MissingLessonError: no run of the study has a record yet.
    """
    asked = _files.read_json(folder / STUDY_FILE)
    runs = study_runs(folder)
    table = pd.concat([_study_rows(records, asked["swept"]) for records in runs.values()], ignore_index=True)
    models, differences = [], []
    by_setting = list(_by_setting(table, list(asked["swept"])))
    for setting, rows in by_setting:
        by_model = dict(iter(rows.groupby("model", sort=False)))
        for model, own in by_model.items():
            entry = {"setting": setting, "model": model}
            entry |= {"num_params": own["num_params"].min(), "most_params": own["num_params"].max()}
            entry |= {name: _spread(own[name]) for name in (*_STUDY_METRICS, "train_seconds")}
            models.append(entry)
        differences += [{"setting": setting} | entry for entry in _differences(by_model, runs, setting)]
    content = {key: asked[key] for key in ("swept", "search_from")}
    content |= {"dataset": table["dataset"].iloc[0], "models": models, "differences": differences}
    content |= {"effects": _effects(by_setting), "unfinished": _unfinished(asked, runs)}
    return json.loads(json.dumps(_files.to_jsonable(content | {"conclusion": _study_conclusion(content)})))


def study_runs(folder: Path) -> dict[str, dict[str, dict]]:
    """Reads the records of each run of a study, as far as there are any.

    Args:
        folder: the study's folder.

    Returns:
        run name -> lesson -> record; `seed-2` comes before `seed-10`.

    Raises:
        results.MissingLessonError: no run has a record yet.
    """
    runs = {}
    for path in sorted(folder.glob(f"*/{runner.COURSE_FILE}"), key=lambda path: _natural(path.parent.name)):
        lesson_names = tuple(
            lesson for lesson in results.LESSONS if (path.parent / f"{lesson}.json").is_file()
        )
        if lesson_names:
            runs[path.parent.name] = results.load_records(path.parent, lesson_names)
    if not runs:
        raise results.MissingLessonError(
            f"No run of study {folder.name!r} has a record yet: run the study first."
        )
    return runs


def _natural(name: str) -> list[Any]:
    """A key by which seed-2 comes before seed-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _study_rows(records: dict[str, dict], swept: Iterable[str]) -> pd.DataFrame:
    params = {name: value for record in records.values() for name, value in record["params"].items()}
    return results.model_table(records).assign(**{name: params.get(name) for name in swept})


def _by_setting(table: pd.DataFrame, swept: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    if not swept:
        yield {}, table
        return
    for values, rows in table.groupby(swept, sort=False):
        yield dict(zip(swept, values, strict=True)), rows


def _spread(values: pd.Series) -> dict[str, Any] | None:
    values = values.dropna()
    return metrics.mean_interval(values)._asdict() if len(values) else None


def _differences(
    by_model: dict[str, pd.DataFrame], runs: dict[str, dict], setting: dict
) -> list[dict[str, Any]]:
    """Every network against the baseline, and the tuned ones against all others, over the same seeds."""
    networks = [name for name in by_model if name not in _NAIVE]
    pairs = [("baseline", name) for name in networks if name != "baseline" and "baseline" in networks]
    for tuned in _TUNED:
        others = [name for name in networks if name not in ("baseline", tuned, "tuned_vat")]
        pairs += [(name, tuned) for name in others if tuned in networks]
    found = []
    for first, second in pairs:
        difference = _paired(by_model[first], by_model[second])
        if difference:
            entry = {"first": first, "second": second} | difference
            found.append(entry | {"significant": _significant(first, second, runs, setting)})
    return found


def _paired(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any] | None:
    """The difference of accuracy between two lists of rows, paired by seed."""
    metric = "test_accuracy" if first["test_accuracy"].notna().any() else "val_accuracy"
    both = first.merge(second, on="seed", suffixes=("_1", "_2"))
    both = both.dropna(subset=[f"{metric}_1", f"{metric}_2"])
    if both.empty:
        return None
    return {"metric": metric} | metrics.paired_difference(both[f"{metric}_1"], both[f"{metric}_2"])._asdict()


def _effects(by_setting: list[tuple[dict[str, Any], pd.DataFrame]]) -> list[dict[str, Any]]:
    """Every network with each later setting against itself with the first one, over the same seeds."""
    (against, first), *others = by_setting
    found = []
    for model, own in first.groupby("model", sort=False):
        for setting, rows in others if model not in _NAIVE else ():
            difference = _paired(own, rows[rows["model"] == model])
            if difference:
                found.append({"setting": setting, "against": against, "model": model} | difference)
    return found


def _unfinished(asked: dict[str, Any], runs: dict[str, dict]) -> int:
    """How many of the runs that were asked for lack a lesson."""
    wanted = len(asked["seeds"]) * math.prod(len(values) for values in asked["swept"].values())
    return wanted - sum(set(asked["lessons"]) <= set(records) for records in runs.values())


def _significant(first: str, second: str, runs: dict[str, dict], setting: dict[str, Any]) -> int | None:
    """In how many runs the exact McNemar test finds a difference (p < 0.05); `None` where it was not made."""
    counts = []
    for records in runs.values():
        evaluation = records.get("05_evaluation")
        params = {name: value for record in records.values() for name, value in record["params"].items()}
        if evaluation and all(params.get(name) == value for name, value in setting.items()):
            counts += [
                pair["p_value"] < 0.05
                for pair in evaluation.get("comparisons", [])
                if {pair["first"], pair["second"]} == {first, second}
            ]
    return sum(counts) if counts else None


def _study_conclusion(content: dict[str, Any]) -> str:
    """The sentence on top of a study's report, made from its numbers."""
    sentences = []
    for entry in content["models"]:
        metric = "test_accuracy" if entry["test_accuracy"] else "val_accuracy"
        if entry["setting"] or entry["model"] not in ("baseline", *_TUNED) or not entry[metric]:
            continue
        part, spread = ("test" if metric[0] == "t" else "validation"), entry[metric]
        loss = entry[metric.replace("accuracy", "loss")]
        about = f"sd {100 * spread['sd']:.2f}, " if spread["n"] > 1 else ""
        sentences.append(
            f"{entry['model']} is right on {100 * spread['mean']:.2f} % of the {part} images "
            f"({about}n={spread['n']} seeds), loss {loss['mean']:.4f}"
        )
    words = "; ".join(sentences) or _effects_in_words(content["effects"])
    form = {"form": "+.2f", "scale": 100}
    paired = [
        f"{entry['second']} {_shown(entry, 'mean', **form)} points ({_interval(entry, **form)})"
        for entry in content["differences"]
        if not entry["setting"]
        and entry["first"] == "baseline"
        and entry["second"] in _TUNED
        and entry["n"] > 1
    ]
    if paired:
        words += f". Against the baseline, over the same seeds: {', '.join(paired)}; 95 % intervals"
    shared = (
        f" One search, of run {content['search_from']}, serves all seeds." if content["search_from"] else ""
    )
    missing = f" {content['unfinished']} of the runs are not finished." if content["unfinished"] else ""
    return f"On {content['dataset']}: {words}.{shared}{missing}"


def _effects_in_words(effects: list[dict[str, Any]]) -> str:
    if not effects:
        return "the table holds the settings side by side"
    against = _setting_in_words(effects[0]["against"])
    parts = [
        f"{entry['model']} with {_setting_in_words(entry['setting'])} "
        f"{_shown(entry, 'mean', '+.2f', scale=100)} points "
        + (f"({_interval(entry, '+.2f', scale=100)}, n={entry['n']})" if entry["n"] > 1 else "(one seed)")
        for entry in effects
        if entry["model"] in ("baseline", *_TUNED)
    ]
    return (
        f"against {against}, over the same seeds: {'; '.join(parts)}" if parts else f"compared with {against}"
    )


def _setting_in_words(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def _study_tables(content: dict[str, Any]) -> list[dict[str, Any]]:
    swept = list(content["swept"])
    tested = any(entry["test_accuracy"] for entry in content["models"])
    part, word = ("test", "test") if tested else ("val", "validation")
    columns = [*swept, "model", "n", f"{word} accuracy", "sd", "95 % interval", f"{word} loss", "sd"]
    columns += ["95 % interval", "parameters", "training"]
    rows = []
    for entry in content["models"]:
        accuracy, loss = entry[f"{part}_accuracy"], entry[f"{part}_loss"]
        rows.append(
            [
                *(str(entry["setting"][name]) for name in swept),
                entry["model"],
                str((accuracy or {"n": "–"})["n"]),
                _shown(accuracy, "mean", ".2%"),
                _shown(accuracy, "sd", ".2%"),
                _interval(accuracy, ".2%", limits=(0, 1)),
                _shown(loss, "mean", ".4f"),
                _shown(loss, "sd", ".4f"),
                _interval(loss, ".4f", limits=(0, math.inf)),
                _params(entry),
                _shown(entry["train_seconds"], "mean", ".1f", " s"),
            ]
        )
    note = f"{_NOTE}{_TESTED if tested else _VALIDATED} {_MODELS}"
    if any(
        entry[f"{part}_accuracy"] and entry[f"{part}_accuracy"]["n"] < _FEW_SEEDS
        for entry in content["models"]
    ):
        note += _ROUGH
    if content["search_from"]:
        note += (
            f" One search, of run {content['search_from']}, serves all seeds: the spread is that of training, not "
            "of searching."
        )
    tables = [{"title": "Results over seeds", "columns": columns, "rows": rows, "note": note}]
    if content["differences"]:
        tables.append(_difference_table(content["differences"], swept))
    if content["effects"]:
        tables.append(_effect_table(content["effects"], swept))
    return tables


def _params(entry: dict[str, Any]) -> str:
    """The number of parameters; a range where the seeds have found different networks."""
    ends = dict.fromkeys(f"{entry[name]:,.0f}" for name in ("num_params", "most_params"))
    return " to ".join(ends)


def _effect_table(effects: list[dict[str, Any]], swept: list[str]) -> dict[str, Any]:
    rows = [
        [
            *(str(entry["setting"][name]) for name in swept),
            entry["model"],
            *_points(entry),
        ]
        for entry in effects
    ]
    return {
        "title": f"Paired differences from {_setting_in_words(effects[0]['against'])}",
        "columns": [*swept, "model", *_POINTS],
        "rows": rows,
        "note": "Each network against itself with the first setting: differences of accuracy in percentage points, "
        "paired by seed. Choose a setting on validation images: run such a study without lesson 5.",
    }


_POINTS = ("points", "sd", "95 % interval", "n")


def _points(entry: dict[str, Any]) -> list[str]:
    """A difference of accuracy as the columns `_POINTS`."""
    return [
        _shown(entry, "mean", "+.2f", scale=100),
        _shown(entry, "sd", ".2f", scale=100),
        _interval(entry, "+.2f", scale=100),
        str(entry["n"]),
    ]


def _difference_table(differences: list[dict[str, Any]], swept: list[str]) -> dict[str, Any]:
    columns = [*swept, "model", "against", *_POINTS, "McNemar p < 0.05"]
    rows = [
        [
            *(str(entry["setting"][name]) for name in swept),
            entry["second"],
            entry["first"],
            *_points(entry),
            "–" if entry["significant"] is None else f"{entry['significant']} of {entry['n']}",
        ]
        for entry in differences
    ]
    note = (
        "Differences of accuracy in percentage points, paired by seed; the interval is about the mean over seeds. "
        "The last column counts the seeds in which the exact McNemar test, on the test images of that seed, found "
        "the two networks different."
    )
    return {"title": "Paired differences", "columns": columns, "rows": rows, "note": note}


def _shown(spread: dict[str, Any] | None, key: str, form: str, unit: str = "", scale: float = 1) -> str:
    value = (spread or {}).get(key)
    return "–" if value is None or value != value else format(scale * value, form) + unit


def _interval(
    spread: dict[str, Any] | None,
    form: str,
    scale: float = 1,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> str:
    """The interval in words; Student's t knows of no limits, so what lies beyond them is cut off."""
    if spread and spread["low"] is not None:
        spread = spread | {"low": max(spread["low"], limits[0]), "high": min(spread["high"], limits[1])}
    ends = [_shown(spread, end, form, scale=scale) for end in ("low", "high")]
    return "–" if "–" in ends else " to ".join(ends)


def _study_figures(runs: dict[str, dict], content: dict[str, Any]) -> dict[str, plots.DescribedFigure]:
    dataset = content["dataset"]
    table = pd.concat(
        [_study_rows(records, content["swept"]) for records in runs.values()], ignore_index=True
    )
    table = table[~table["model"].isin(_NAIVE)]
    label = table["model"]
    for name in content["swept"]:
        label = label + f", {name} " + table[name].astype(str)
    part = "test" if table["test_accuracy"].notna().any() else "val"
    words = {"test": "test", "val": "validation"}[part]
    shown = table.assign(label=label).dropna(subset=[f"{part}_accuracy"])
    by_label = dict(iter(shown.groupby("label", sort=False)))
    figures = {}
    if by_label:
        figures[f"{words}_accuracy"] = _every_seed(
            {name: 100 * rows[f"{part}_accuracy"] for name, rows in by_label.items()},
            f"{words.capitalize()} accuracy of every seed ({dataset})",
            f"{words} accuracy in %",
        )
        figures[f"{words}_loss"] = _every_seed(
            {name: rows[f"{part}_loss"] for name, rows in by_label.items()},
            f"{words.capitalize()} loss of every seed ({dataset})",
            f"{words} loss",
            decimals=4,
        )
    if not content["swept"]:
        means, sds = _mean_histories(runs)
        for metric in ("accuracy", "loss") if means else ():
            title = f"Training and validation {metric}, mean of {len(runs)} seeds ({dataset}"
            title += "; band: one sd)" if len(runs) > 1 else ")"
            figures[metric] = plots.metric_by_model(means, metric, title, bands=sds)
    return figures


def _every_seed(
    values: dict[str, pd.Series], title: str, label: str, decimals: int = 2
) -> plots.DescribedFigure:
    spreads = {name: metrics.mean_interval(numbers) for name, numbers in values.items()}
    intervals = {name: (spread.low, spread.high) for name, spread in spreads.items() if spread.n > 1}
    return plots.seed_strip(values, title, label, decimals, intervals)


def _mean_histories(runs: dict[str, dict]) -> tuple[dict[str, dict], dict[str, dict]]:
    """Keras' history of each network over the seeds, epoch by epoch: the means, and the sds (0 for one seed).

    An epoch that only some seeds have trained is the mean of these.
    """
    collected: dict[str, list[dict]] = {}
    for records in runs.values():
        for record in records.values():
            for name, entry in record["models"].items():
                if "history" in entry:
                    collected.setdefault(name, []).append(entry["history"])
    means: dict[str, dict] = {}
    sds: dict[str, dict] = {}
    for name, histories in collected.items():
        for metric in histories[0]:
            seeds = [pd.Series(history.get(metric, []), dtype=float) for history in histories]
            epochs = pd.concat(seeds, axis=1)
            means.setdefault(name, {})[metric] = epochs.mean(axis=1).tolist()
            sds.setdefault(name, {})[metric] = epochs.std(axis=1).fillna(0).tolist()
    return means, sds
