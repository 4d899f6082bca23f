"""A study's report: arithmetic by hand, tables, figures and `runs.csv`, from records that are made up."""

import json
import math
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from mnist_course import cli, course_file, statistics
from mnist_course.reports import run_report, study_report
from mnist_helpers import _files, plots, results

REFERENCE = Path(__file__).parent.parent.parent / "results" / "reference"
DATASET = {"name": "digits", "shapes": {}, "sha256": {}}
ACCURACIES = {"baseline": [0.95, 0.96, 0.97], "tuned": [0.96, 0.98, 0.985]}


@pytest.fixture
def drawn(monkeypatch):
    """The figures of the reports that a test writes, in order; they are not rendered."""
    figures = []
    monkeypatch.setattr(plots.DescribedFigure, "png", lambda self: figures.append(self) or b"PNG")
    return figures


def made_up_study(tmp_path, accuracies=ACCURACIES, units=16, **asked):
    """A study whose records are made up: one run per number; called again, other runs join it."""
    folder = tmp_path / "s"
    folder.mkdir(exist_ok=True)
    asked = {"seeds": [8, 9, 10], "lessons": ["02_baseline", "04_tuning", "05_evaluation"]} | asked
    _files.write_json(folder / study_report.STUDY_FILE, {"swept": {}, "search_from": ""} | asked)
    for number, values in enumerate(zip(*accuracies.values(), strict=True)):
        # 8, 9, 10: their names sort otherwise than they count
        run = folder / (f"units-{units}_" * ("units" in asked.get("swept", {})) + f"seed-{number + 8}")
        run.mkdir()
        _files.write_json(run / course_file.COURSE_FILE, {})
        scores = dict(zip(accuracies, values, strict=True))
        history = {"accuracy": [0.1 * number], "loss": [1.0]}
        trained = {"num_params": 10, "train_seconds": 2.0 + number, "history": history}
        tested = {model: {"test_accuracy": score, "test_loss": 1 - score} for model, score in scores.items()}
        pair = {"first": "baseline", "second": "tuned", "p_value": 0.01 if number else 0.5}
        for lesson, models, more in (
            ("02_baseline", {"baseline": trained}, {}),
            ("04_tuning", {"tuned": trained}, {}),
            ("05_evaluation", tested, {"comparisons": [pair]}),
        ):
            results.save_record(
                run,
                lesson,
                params={"profile": "quick", "seed": number + 8, "units": units},
                dataset=DATASET,
                models=models,
                started=time.perf_counter(),
                **more,
            )
    return folder


SWEPT = {"units": [16, 32]}


def add_lesson_3(folder, **validated):
    """Adds the record of lesson 3: networks with validation scores, which lesson 5 has not evaluated."""
    for number, values in enumerate(zip(*validated.values(), strict=True)):
        scores = dict(zip(validated, values, strict=True))
        history = {"accuracy": [0.5], "loss": [1.0]}
        results.save_record(
            folder / f"seed-{number + 8}",
            "03_batchnorm_dropout",
            params={"profile": "quick", "seed": number + 8, "units": 16},
            dataset=DATASET,
            models={
                model: {"num_params": 10, "val_accuracy": score, "val_loss": 1 - score, "history": history}
                for model, score in scores.items()
            },
            started=time.perf_counter(),
        )


def validate(folder, accuracies):
    """Adds validation scores to the network of lesson 2."""
    for number, score in enumerate(accuracies):
        change_record(
            folder / f"seed-{number + 8}",
            "02_baseline",
            lambda record, score=score: record["models"]["baseline"].update(
                val_accuracy=score, val_loss=1 - score
            ),
        )


def rows_of(text, heading):
    """The rows of a table of a report, as lists of cells."""
    (part,) = [part for part in text.split("\n## ") if part.startswith(f"{heading}\n")]
    return [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("is_repetition", [True, False])
def test_a_table_of_test_scores_has_no_validation_scores(tmp_path, drawn, is_repetition):
    """Lesson 5 evaluates `baseline`, and not `plain`."""
    folder = made_up_study(tmp_path)
    validate(folder, [0.91, 0.92, 0.93])
    add_lesson_3(folder, plain=[0.91, 0.92, 0.93 if is_repetition else 0.931], dropout=[0.9, 0.9, 0.9])
    summary = study_report.study_summary(folder)
    assert summary["part"] == "test"
    (difference,) = summary["differences"]
    assert (difference["first"], difference["second"]) == ("baseline", "tuned")
    assert difference["p_holm"] == difference["p_value"]
    in_summary = ["baseline", *([] if is_repetition else ["plain"]), "dropout", "tuned"]
    assert [entry["model"] for entry in summary["models"]] == in_summary
    study_report.write_study_report(folder)
    text = (folder / "report.md").read_text()
    assert [row[0] for row in rows_of(text, "Results over seeds")] == ["baseline", "tuned"]
    assert [row[:2] for row in rows_of(text, "Paired differences")] == [["tuned", "baseline"]]
    names = "dropout" if is_repetition else "plain, dropout"
    assert f"Models without test scores are not in this table: {names}." in text
    accuracy, loss, *curves = drawn
    assert "plain" not in accuracy.description + loss.description
    assert [("plain" in figure.description) for figure in curves] == [not is_repetition] * 2


def test_a_repetition_has_no_differences_between_settings(tmp_path):
    made_up_study(tmp_path, swept=SWEPT)
    folder = made_up_study(tmp_path, units=32, swept=SWEPT)
    for run in folder.glob("units-*"):
        for lesson in ("02_baseline", "05_evaluation"):
            change_record(
                run, lesson, lambda record: record["models"].update(plain=record["models"]["baseline"])
            )
    summary = study_report.study_summary(folder)
    assert [entry["model"] for entry in summary["effects"]] == ["baseline", "tuned"]
    change_record(
        folder / "units-32_seed-9",
        "05_evaluation",
        lambda record: record["models"]["plain"].update(test_loss=9),
    )
    summary = study_report.study_summary(folder)
    assert [entry["model"] for entry in summary["effects"]] == ["baseline", "plain", "tuned"]


def test_a_setting_without_test_scores_is_not_compared_by_validation_scores(tmp_path):
    made_up_study(tmp_path, swept=SWEPT)
    folder = made_up_study(tmp_path, units=32, swept=SWEPT)
    for run in folder.glob("units-32*"):
        (run / "05_evaluation.json").unlink()
    for run in folder.glob("units-*"):
        for lesson, model in (("02_baseline", "baseline"), ("04_tuning", "tuned")):
            scores = {"val_accuracy": 0.5, "val_loss": 0.5}
            change_record(run, lesson, lambda record, m=model, of=scores: record["models"][m].update(of))
    summary = study_report.study_summary(folder)
    assert {entry["metric"] for entry in summary["differences"]} == {"test_accuracy"}
    assert {entry["setting"]["units"] for entry in summary["differences"]} == {16}
    assert summary["effects"] == []
    models, *_ = study_report.study_tables(summary)
    assert [row[:2] for row in models.rows] == [[16, "baseline"], [16, "tuned"]]
    assert "not in this table: baseline with units 32, tuned with units 32." in models.note


def test_runs_that_do_not_belong_to_the_study_are_not_counted(tmp_path, drawn):
    """A study with fewer seeds than before, runs of a sweep, and a copy of a run."""
    folder = made_up_study(tmp_path, seeds=[8, 9, 10])
    expected = study_report.study_summary(folder)
    for name, of in (("units-32_seed-8", "seed-8"), ("old", "seed-9")):
        shutil.copytree(folder / of, folder / name)
    summary = study_report.study_summary(folder)
    assert summary == expected | {"other_runs": ["old", "units-32_seed-8"]}
    _files.write_json(
        folder / "study.json", _files.read_json(folder / "study.json") | {"seeds": [8, 9, 11, 12]}
    )
    summary = study_report.study_summary(folder)
    assert {entry["test_accuracy"]["n"] for entry in summary["models"]} == {2}
    assert summary["differences"][0]["n"] == summary["differences"][0]["tested"] == 2
    assert summary["conclusion"].endswith(" 2 of the runs are not finished.")
    study_report.write_study_report(folder)
    others = (
        "Runs in the folder that do not belong to the study are not counted: old, seed-10, units-32_seed-8."
    )
    assert others in (folder / "report.md").read_text()
    assert "n=2" in drawn[0].description and "n=3" not in drawn[0].description
    assert "mean of 2 seeds" in drawn[2].description


@pytest.mark.parametrize("change", [{"seed": 77}, {"units": 99}, {"profile": "full"}, {"epochs": 4}])
def test_a_run_with_other_settings_than_its_name_says_does_not_belong_to_the_study(tmp_path, change):
    fixed = {"units": 16, "epochs": 3}
    folder = made_up_study(tmp_path, profile="quick", fixed=fixed)  # no record names `epochs`
    assert study_report.study_summary(folder)["other_runs"] == []
    for lesson in ("02_baseline", "04_tuning", "05_evaluation"):
        change_record(folder / "seed-9", lesson, lambda record: record["params"].update(change))
    summary = study_report.study_summary(folder)
    assert summary["other_runs"] == ["seed-9"]
    assert summary["unfinished"] == 1
    assert summary["differences"][0]["n"] == 2


def test_a_study_of_which_only_other_runs_are_there_has_no_report(tmp_path):
    folder = made_up_study(tmp_path, seeds=[1])
    with pytest.raises(
        results.MissingLessonError, match=r"run the study first\. .* other runs: seed-8, seed-9"
    ):
        study_report.study_summary(folder)


def test_two_runs_with_one_seed_are_refused():
    rows = _rows({"baseline": [0.9], "tuned": [0.9]})
    with pytest.raises(pd.errors.MergeError):
        study_report._differences(pd.concat([rows, rows]), [], "test")


def test_a_long_list_of_runs_is_cut():
    assert study_report._listed(["a"] * 12) == f"{', '.join(['a'] * 10)} and 2 more"
    assert study_report._listed(["a", "b"]) == "a, b"


@pytest.mark.parametrize("n", [2, 3])
def test_the_conclusion_names_intervals_only_if_it_has_some(tmp_path, n):
    folder = made_up_study(tmp_path, {name: values[:n] for name, values in ACCURACIES.items()})
    conclusion = study_report.study_summary(folder)["conclusion"]
    assert "Against the baseline, over the same seeds: tuned +1.50 percentage points" in conclusion
    assert ("95 % interval" in conclusion) == (n == 3)


def test_mcnemar_counts_the_seeds_that_were_tested(tmp_path):
    folder = made_up_study(tmp_path)
    for number in (9, 10):
        change_record(folder / f"seed-{number}", "05_evaluation", lambda record: record.pop("comparisons"))
    summary = study_report.study_summary(folder)
    assert [summary["differences"][0][name] for name in ("significant", "tested", "n")] == [0, 1, 3]
    assert study_report.study_tables(summary)[1].rows[0][-1] == "0 of 1"


def test_the_curves_name_the_number_of_seeds_that_they_are_the_mean_of(tmp_path, drawn):
    folder = made_up_study(tmp_path)
    (folder / "seed-9" / "04_tuning.json").unlink()
    study_report.write_study_report(folder)
    assert "mean of 2 to 3 seeds (digits; band: one sd)" in drawn[2].description
    for number in (8, 9, 10):
        (folder / f"seed-{number}" / "02_baseline.json").unlink()
    study_report.write_study_report(folder)
    assert "mean of 2 seeds (digits; band: one sd)" in drawn[-1].description
    (folder / "seed-8" / "04_tuning.json").unlink()
    study_report.write_study_report(folder)
    assert "mean of 1 seed (digits)" in drawn[-1].description


def test_a_studys_numbers_by_hand(tmp_path):
    summary = study_report.study_summary(made_up_study(tmp_path))
    models = {entry["model"]: entry for entry in summary["models"]}
    for name, values in ACCURACIES.items():
        spread = models[name]["test_accuracy"]
        mean, sd = np.mean(values), np.std(values, ddof=1)
        low, high = stats.t.interval(0.95, 2, mean, sd / np.sqrt(3))
        assert [spread[key] for key in ("mean", "sd", "n", "low", "high")] == pytest.approx(
            [mean, sd, 3, low, high]
        )
    assert models["tuned"]["train_seconds"]["mean"] == pytest.approx(3.0)
    (difference,) = summary["differences"]
    assert (difference["first"], difference["second"]) == ("baseline", "tuned")
    assert difference["mean"] == pytest.approx(np.mean([0.01, 0.02, 0.015]))
    assert difference["significant"] == 2


def test_a_studys_report_shows_them(tmp_path):
    folder = made_up_study(tmp_path, search_from="searches/seed-1")
    page = study_report.write_study_report(folder)
    text = (folder / "report.md").read_text()
    assert "| tuned | 3 | 97.50% | 1.32% |" in text
    assert "| tuned | baseline | +1.50 | +0.26 to +2.74 | 0.035 | " in text
    assert "2 of 3" in text
    assert "One search, of run searches/seed-1, serves all seeds" in text
    assert "tuned classifies 97.50 % of the test images correctly (sd 1.32, n=3 seeds)" in text
    assert "Against the baseline, over the same seeds: tuned +1.50 percentage points (+0.26 to +2.74)" in text
    for name in ("test_accuracy.png", "test_loss.png", "accuracy.png", "loss.png"):
        assert (folder / name).stat().st_size > 1000
        assert f"]({name})" in text
    assert json.loads((folder / "summary.json").read_text()) == study_report.study_summary(folder)
    assert "<script" not in page.read_text()
    means, sds = study_report.mean_histories(study_report.study_runs(folder))
    assert means["tuned"]["accuracy"] == [pytest.approx(0.1)]
    assert sds["tuned"]["accuracy"] == [pytest.approx(0.1)]


def change_record(folder, lesson, change):
    record = json.loads((folder / f"{lesson}.json").read_text())
    change(record)
    record["sha256"] = results.fingerprint(record)
    (folder / f"{lesson}.json").write_text(json.dumps(record))


@pytest.mark.usefixtures("drawn")
def test_a_seed_that_trained_longer_goes_on_alone(tmp_path):
    folder = made_up_study(tmp_path)
    longer = {"accuracy": [0.4, 0.9], "loss": [1.0, 0.5]}
    change_record(
        folder / "seed-10", "04_tuning", lambda record: record["models"]["tuned"].update(history=longer)
    )
    study_report.write_study_report(folder)
    means, sds = study_report.mean_histories(study_report.study_runs(folder))
    assert means["tuned"]["accuracy"] == pytest.approx([(0.0 + 0.1 + 0.4) / 3, 0.9])
    assert sds["tuned"]["accuracy"][1] == 0


@pytest.mark.parametrize("validated", [False, True])
def test_the_figures_of_histories_say_whether_they_show_validation(tmp_path, drawn, validated):
    """Networks that were trained on all images, too, have no validation curves; one with them is enough."""
    folder = made_up_study(tmp_path)
    if validated:
        scores = {"val_accuracy": [0.5], "val_loss": [2.0]}
        for number in (8, 9, 10):
            run = folder / f"seed-{number}"
            change_record(
                run, "04_tuning", lambda record: record["models"]["tuned"]["history"].update(scores)
            )
    study_report.write_study_report(folder)
    for name in ("05_evaluation.json", course_file.COURSE_FILE):  # as a run by hand, without lesson 5
        (folder / "seed-8" / name).unlink()
    run_report.write_report(folder / "seed-8")
    what = "Training and validation" if validated else "Training"
    for metric in ("accuracy", "loss"):
        beginnings = (f"{what} {metric}, mean of 3 seeds (digits; band: one sd)", f"{what} {metric} (digits)")
        for beginning in beginnings:
            assert any(figure.description.startswith(beginning) for figure in drawn), beginning


def test_a_pair_that_was_not_compared_shows_a_dash(tmp_path):
    folder = made_up_study(tmp_path)
    for number in (8, 9, 10):
        change_record(folder / f"seed-{number}", "05_evaluation", lambda record: record.pop("comparisons"))
    summary = study_report.study_summary(folder)
    assert [summary["differences"][0][name] for name in ("significant", "tested")] == [0, 0]
    add = {"comparisons": [{"first": "baseline", "second": "other", "p_value": 0.01}]}
    change_record(folder / "seed-8", "05_evaluation", lambda record: record.update(add))
    change_record(
        folder / "seed-8",
        "05_evaluation",
        lambda record: record["models"].update(other={"test_accuracy": 0.9, "test_loss": 0.1}),
    )
    summary = study_report.study_summary(folder)
    counts = {
        entry["second"]: entry["tested"] for entry in summary["differences"] if entry["first"] == "baseline"
    }
    assert counts == {"tuned": 0, "other": 1}
    table = study_report.study_tables(summary)[1]
    assert {(row[0], row[1]): row[-1] for row in table.rows} == {
        ("tuned", "baseline"): "–",
        ("other", "baseline"): "1 of 1",
        ("tuned", "other"): "–",
    }
    assert "McNemar" in table.note


def test_without_any_mcnemar_test_there_is_no_column_of_them(tmp_path):
    folder = made_up_study(tmp_path)
    for number in (8, 9, 10):
        change_record(folder / f"seed-{number}", "05_evaluation", lambda record: record.pop("comparisons"))
    table = study_report.study_tables(study_report.study_summary(folder))[1]
    assert "McNemar" not in table.note + " ".join(table.columns)
    assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.mark.parametrize("with_old", [True, False])
def test_comparisons_come_from_the_notebook_on_trust_if_it_was_run(tmp_path, with_old):
    """Runs of earlier versions hold all pairs in the record of lesson 5; since then, it holds one."""
    folder = made_up_study(tmp_path)
    for number in (8, 9, 10):
        run = folder / f"seed-{number}"
        if not with_old:
            change_record(run, "05_evaluation", lambda record: record.pop("comparisons"))
        results.save_record(
            run,
            "trust",
            params={"seed": number},
            dataset=DATASET,
            models={},
            started=time.perf_counter(),
            comparisons=[{"first": "tuned", "second": "baseline", "p_value": 0.001 if number == 8 else 0.9}],
        )
    assert study_report.study_summary(folder)["differences"][0]["significant"] == 1
    (folder / "seed-8" / "trust.json").unlink()  # a run may lack the optional notebook
    assert study_report.study_summary(folder)["differences"][0]["significant"] == 0


def test_without_the_notebook_on_trust_the_one_pair_of_lesson_5_counts(tmp_path):
    folder = made_up_study(tmp_path)
    for number in (8, 9, 10):
        pair = {"only_first": 1, "only_second": 9, "p_value": 0.021 if number < 10 else 0.05}
        change_record(
            folder / f"seed-{number}",
            "05_evaluation",
            lambda record, pair=pair: record.update(
                baseline_against_tuned=record.pop("comparisons") and pair
            ),
        )
    assert study_report.study_summary(folder)["differences"][0]["significant"] == 2


def test_runs_count_as_they_are_numbered(tmp_path):
    assert list(study_report.study_runs(made_up_study(tmp_path))) == ["seed-8", "seed-9", "seed-10"]


@pytest.mark.usefixtures("drawn")
def test_one_seed_shows_a_dash_for_its_spread(tmp_path):
    one = {name: values[:1] for name, values in ACCURACIES.items()}
    folder = made_up_study(tmp_path, one)
    study_report.write_study_report(folder)
    assert "| tuned | 1 | 96.00% | – | – |" in (folder / "report.md").read_text()
    assert json.loads((folder / "summary.json").read_text())["models"][0]["test_accuracy"]["sd"] is None


@pytest.mark.usefixtures("drawn")
def test_settings_of_a_sweep_are_compared(tmp_path):
    made_up_study(tmp_path, swept=SWEPT)
    better = {"baseline": [0.96, 0.98, 0.99], "tuned": ACCURACIES["tuned"]}
    folder = made_up_study(tmp_path, better, units=32, swept=SWEPT)
    change_record(
        folder / "units-32_seed-8",
        "04_tuning",
        lambda record: record["models"]["tuned"].update(num_params=99),
    )
    summary = study_report.study_summary(folder)
    assert [entry["setting"]["units"] for entry in summary["models"]] == [16, 16, 32, 32]
    effects = {entry["model"]: entry for entry in summary["effects"]}
    assert [effects["baseline"][key] for key in ("mean", "n")] == pytest.approx([0.05 / 3, 3])
    assert effects["tuned"]["mean"] == 0
    assert (
        "against units 16, over the same seeds: baseline with units 32 +1.67 percentage points ("
        in summary["conclusion"]
    )
    study_report.write_study_report(folder)
    text = (folder / "report.md").read_text()
    assert "| units | model | n |" in text
    assert "Paired differences from units 16" in text
    assert "| 32 | baseline | +1.67 |" in text
    assert "| 10 to 99 |" in text
    assert "| seeds | 8, 9, 10 |" in text
    assert "With fewer than 5 seeds" in text
    assert "not finished" not in text


def test_what_is_not_finished_is_said(tmp_path):
    folder = made_up_study(tmp_path, seeds=[8, 9, 10, 11])
    (folder / "seed-9" / "02_baseline.json").unlink()
    assert study_report.study_summary(folder)["conclusion"].endswith(" 2 of the runs are not finished.")


@pytest.mark.usefixtures("drawn")
def test_an_interval_ends_where_its_number_ends(tmp_path):
    folder = made_up_study(tmp_path, {"baseline": [0.9, 0.95, 1.0], "tuned": [0.2, 0.6, 1.0]})
    study_report.write_study_report(folder)
    rows = [
        line for line in (folder / "report.md").read_text().splitlines() if line.startswith("| tuned | 3")
    ]
    assert " 0.00% to 100.00% | 0.4000 | 0.4000 | 0.0000 to " in rows[0]


def test_a_report_of_a_study_that_has_not_begun_says_so(tmp_path):
    (tmp_path / "results" / "s").mkdir(parents=True)
    _files.write_json(
        tmp_path / "results" / "s" / "study.json",
        {"swept": {}, "search_from": "", "seeds": [1], "lessons": []},
    )
    result = CliRunner().invoke(cli.main, ["report", "s"])
    assert result.exit_code == 2
    assert "No run of study 's' has a record yet" in result.output


@pytest.mark.parametrize("n", [1, 2, 3])
def test_there_is_no_interval_below_three_seeds(tmp_path, n, drawn):  # P2
    scores = {"baseline": [0.96, 0.99, 1.0][:n], "tuned": [0.99, 0.97, 1.0][:n]}
    folder = made_up_study(tmp_path, scores)
    study_report.write_study_report(folder)
    summary = json.loads((folder / "summary.json").read_text())
    spreads = [entry["test_accuracy"] for entry in summary["models"]] + summary["differences"]
    assert len(spreads) == 3
    for spread in spreads:
        assert (spread["low"] is not None) == (spread["high"] is not None) == (n >= 3)
        assert spread["n"] == n
    accuracy, loss, *curves = drawn
    low, high = accuracy.figure.axes[0].get_xlim()
    assert low >= 0 and high <= 100 and (n == 1 or high - low < 15)
    assert loss.figure.axes[0].get_xlim()[0] >= 0
    assert ("95 % interval" in accuracy.description) == (n >= 3)
    for figure, top in zip(curves, (1, math.inf), strict=True):  # their bands are sds, which know no limits
        for axes in figure.figure.axes:
            assert axes.get_ylim()[0] >= 0 and axes.get_ylim()[1] <= top


def test_axes_hold_only_what_can_be_even_for_scores_far_apart(tmp_path, drawn):  # P2
    folder = made_up_study(tmp_path, {"baseline": [0.0, 0.5, 1.0], "tuned": [0.1, 0.9, 1.0]})
    study_report.write_study_report(folder)
    assert drawn[0].figure.axes[0].get_xlim() == (0, 100)
    assert drawn[1].figure.axes[0].get_xlim()[0] == 0
    assert "interval 0.00 to 100.00" in drawn[0].description


@pytest.mark.usefixtures("drawn")
def test_a_report_explains_the_models_that_are_in_it_and_no_others(tmp_path):  # P1
    page = study_report.write_study_report(made_up_study(tmp_path)).read_text()
    assert "Models of lesson 2: baseline; of lesson 4: tuned." in page
    for absent in ("majority", "nearest_mean", "plain", "batchnorm", "tuned_vat", "Models without a network"):
        assert absent not in page, absent


@pytest.mark.parametrize("study", ["", "ablation", "recipe-1", "searches"])
def test_the_committed_reports_hold_no_markup_and_no_absent_model(study):  # P1
    folder = REFERENCE / study
    page = re.sub(r'src="[^"]*"', "", (folder / "report.html").read_text())
    assert not re.search(r"[*`]\w|\w[*`]", re.sub(r"<style>.*</style>", "", page, flags=re.S))
    models = {entry["model"] for entry in json.loads((folder / "summary.json").read_text())["models"]}
    for name in {"majority", "nearest_mean", "baseline", "batchnorm_dropout", "tuned", "tuned_vat"} - models:
        assert not re.search(rf"\b{name}\b", page), name


@pytest.mark.usefixtures("drawn")
def test_runs_csv_of_a_study_holds_every_run_and_model(tmp_path):  # P5
    made_up_study(tmp_path, swept=SWEPT)
    folder = made_up_study(tmp_path, units=32, swept=SWEPT)
    (folder / "units-16_seed-9" / "05_evaluation.json").unlink()  # a partial run
    study_report.write_study_report(folder)
    back = pd.read_csv(folder / run_report.RUNS_FILE)
    pd.testing.assert_frame_equal(back, results.table(str(folder)))
    assert back["run"].drop_duplicates().tolist() == [
        *("units-16_seed-8", "units-16_seed-9", "units-16_seed-10"),
        *("units-32_seed-8", "units-32_seed-9", "units-32_seed-10"),
    ]
    assert len(back) == 12
    assert back["units"].tolist() == [16] * 6 + [32] * 6
    assert back.loc[back["run"] == "units-16_seed-9", "test_accuracy"].isna().all()
    assert back.loc[back["run"] == "units-16_seed-8", "test_accuracy"].tolist() == [0.95, 0.96]


@pytest.mark.usefixtures("drawn")
def test_a_sweep_whose_parameter_no_run_has_recorded_yet_has_a_report(tmp_path):
    folder = made_up_study(tmp_path, swept={"epochs": [1, 2]})
    for number in (8, 9, 10):
        (folder / f"seed-{number}").rename(folder / f"epochs-1_seed-{number}")
    study_report.write_study_report(folder)
    assert "3 of the runs are not finished" in (folder / "report.md").read_text()
    models = study_report.study_summary(folder)["models"]
    assert [(entry["setting"]["epochs"], entry["test_accuracy"]["n"]) for entry in models] == [(1, 3)] * 2
    assert study_report.study_text(folder)


def test_models_of_optional_notebooks_are_explained_and_compared():
    models = [
        {"lesson": "04_tuning", "model": "tuned"},
        {"lesson": "stronger_networks", "model": "strong"},
        {"lesson": "stronger_networks", "model": "vat"},
    ]
    words = study_report._models_in_words(models)
    assert "Models of lesson 4: tuned; of stronger_networks: strong, vat." in words
    names = ["baseline", "plain", "tuned", "strong", "vat"]
    rows = pd.DataFrame(
        [{"model": name, "seed": seed, "test_accuracy": 0.9} for name in names for seed in (1, 2)]
    ).assign(val_accuracy=0.9, test_loss=0.1, val_loss=0.1)
    pairs = [(entry["first"], entry["second"]) for entry in study_report._differences(rows, [], "test")]
    assert pairs == [
        *(("baseline", name) for name in names[1:]),
        ("plain", "tuned"),
        *((name, "vat") for name in ("plain", "tuned")),
        *((name, "strong") for name in ("plain", "tuned", "vat")),
    ]


LINEUP = {
    # model: images, epochs, parameters
    "baseline": (60_000, 8, 535_818),
    "dropout": (60_000, 8, 538_890),
    "tuned": (60_000, 50, 538_890),
    "four_layers": (50_000, 8, 535_818),
    "noise": (60_000, 8, 1_534_474),
    "strong": (60_000, 8, 533_000),
}


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("swept", [False, True])
def test_networks_with_the_same_images_epochs_and_size_have_a_table(tmp_path, swept):
    """An advantage in the table is not one of more images, longer training or a larger network."""
    folder = tmp_path / "s"
    asked = {
        "seeds": [1, 2, 3],
        "lessons": [],
        "search_from": "",
        "swept": {"units": [16, 32]} if swept else {},
    }
    for units in (16, 32) if swept else (16,):
        for seed in asked["seeds"]:
            run = folder / (f"units-{units}_" * swept + f"seed-{seed}")
            run.mkdir(parents=True)
            _files.write_json(run / course_file.COURSE_FILE, {})
            for lesson, names in (("02_baseline", ["baseline"]), ("stronger_networks", list(LINEUP)[1:])):
                for images in {LINEUP[name][0] for name in names}:
                    models = {}
                    for name in names:
                        _, epochs, size = LINEUP[name]
                        history = {
                            "loss": [1.0] * (epochs + (name == "dropout" and seed == 2 and units == 32))
                        }
                        scores = {"val_accuracy": 0.9 + 0.01 * seed, "val_loss": 0.1}
                        models[name] = {"num_params": size, "history": history} | scores
                    results.save_record(
                        run,
                        lesson if images == 60_000 else "ablation",
                        params={"profile": "full", "seed": seed, "units": units},
                        dataset=DATASET | {"shapes": {"x_train": [images, 28, 28]}},
                        models={name: entry for name, entry in models.items() if LINEUP[name][0] == images},
                        started=time.perf_counter(),
                    )
    _files.write_json(folder / study_report.STUDY_FILE, asked)
    summary = study_report.study_summary(folder)
    found = {
        (*entry["setting"].values(), entry["first"], entry["second"])
        for entry in summary["differences"]
        if entry["matched"]
    }
    expected = {("baseline", "dropout"), ("baseline", "strong")}  # dropout and strong differ by 1.1 %
    if swept:  # one seed of dropout was trained for another number of epochs
        expected = {(16, *pair) for pair in expected} | {(32, "baseline", "strong")}
    assert found == expected
    training = {
        entry["model"]: (entry["images"], entry["epochs"]) for entry in summary["models"][: len(LINEUP)]
    }
    assert training == {name: values[:2] for name, values in LINEUP.items()}
    study_report.write_study_report(folder)
    _, text = (folder / "report.md").read_text().split("## Networks with the same images, epochs and size")
    rows = [line.strip("| ").split(" | ") for line in text.split("\n\n")[1].splitlines()[2:]]
    assert len(rows) == len(expected)
    assert ["strong", "baseline", "60,000", "8", "533,000", "+0.00"] in [row[swept:][:6] for row in rows]


def test_without_matched_networks_there_is_no_table_of_them(tmp_path):
    text = study_report.study_text(made_up_study(tmp_path))
    assert "Paired differences" in text
    assert "the same images" not in text


def _rows(scores):
    return pd.DataFrame(
        [
            {
                "run": f"seed-{seed}",
                "model": model,
                "seed": seed,
                "test_accuracy": accuracy,
                "test_loss": 1 - accuracy / 2,
            }
            for model, values in scores.items()
            for seed, accuracy in enumerate(values)
        ]
    ).assign(val_accuracy=0.9, val_loss=0.1)


def test_p_values_are_students_and_corrected_for_their_number_by_holm():
    scores = {"baseline": [0.95, 0.96, 0.97, 0.95], "a": [0.96, 0.98, 0.985, 0.97]}
    scores |= {"b": [0.951, 0.959, 0.972, 0.951], "c": [0.97, 0.96, 0.97, 0.94]}
    found = study_report._differences(_rows(scores), [], "test")
    study_report._correct_for_number(found)
    names = [entry["second"] for entry in found]
    assert names == ["a", "b", "c"]
    tests = [stats.ttest_rel(scores[name], scores["baseline"]).pvalue for name in names]
    assert [entry["p_value"] for entry in found] == pytest.approx(tests)
    order = np.argsort(tests)
    holm = np.minimum(1, np.maximum.accumulate(np.array(tests)[order] * [3, 2, 1]))
    assert [found[place]["p_holm"] for place in order] == pytest.approx(holm)
    assert [entry["loss"]["p_holm"] for entry in found] == pytest.approx([entry["p_holm"] for entry in found])
    for entry in found:
        assert entry["loss"]["metric"] == "test_loss"
        assert entry["loss"]["mean"] == pytest.approx(-entry["mean"] / 2)


def test_the_network_of_lesson_2_is_there_once():
    scores = {"baseline": [0.95, 0.96, 0.97], "plain": [0.95, 0.96, 0.97], "dropout": [0.96, 0.97, 0.98]}
    assert set(study_report._without_repetition(_rows(scores))["model"]) == {"baseline", "dropout"}
    scores["plain"] = [0.95, 0.96, 0.971]
    assert set(study_report._without_repetition(_rows(scores))["model"]) == set(scores)
    del scores["baseline"]
    assert set(study_report._without_repetition(_rows(scores))["model"]) == set(scores)


@pytest.mark.parametrize(
    ("change", "is_repetition"),
    [
        ({("plain", 0): math.nan}, True),  # this run has not reached lesson 3
        ({("plain", seed): math.nan for seed in range(3)}, True),  # lesson 5 evaluates `baseline` only
        ({("baseline", 0): math.nan}, False),  # a score of its own
        ({("plain", 2): 0.98}, False),
    ],
)
def test_plain_is_a_repetition_if_all_scores_that_it_has_are_those_of_the_baseline(change, is_repetition):
    rows = _rows({"baseline": [0.95, 0.96, 0.97], "plain": [0.95, 0.96, 0.97]})
    for (model, seed), value in change.items():
        rows.loc[(rows["model"] == model) & (rows["seed"] == seed), "test_accuracy"] = value
    assert ("plain" not in set(study_report._without_repetition(rows)["model"])) == is_repetition
    unknown = rows.assign(
        test_accuracy=math.nan, test_loss=math.nan, val_accuracy=math.nan, val_loss=math.nan
    )
    assert "plain" in set(study_report._without_repetition(unknown)["model"])


def test_the_page_on_studies_says_how_many_seeds_it_takes():
    """Its numbers are those of the reference results and of the library."""
    page = (REFERENCE.parent.parent / "docs" / "studies.md").read_text()
    found = json.loads((REFERENCE / "summary.json").read_text())["differences"]
    lesson_3 = [entry for entry in found if entry["first"] == "baseline" and "tuned" not in entry["second"]]
    sds = [f"{100 * entry['sd']:.2f}" for entry in lesson_3]
    assert len(sds) == 3
    assert f"is {min(sds)} to {max(sds)} percentage points of accuracy for the networks of lesson 3" in page
    assert all(entry["p_holm"] > 0.05 > entry["loss"]["p_holm"] for entry in lesson_3)
    assert all(entry["loss"]["mean"] < 0 and entry["n"] == 10 for entry in lesson_3)
    rows = re.findall(r"^\| (0\.\d\d) \| (\d+) seeds \| (\d+) seeds \|$", page, re.MULTILINE)
    assert len(rows) == 4
    assert f"| sd {min(sds)} | sd {max(sds)} |" in page
    for difference, *seeds in rows:
        for sd, number in zip((min(sds), max(sds)), seeds, strict=True):
            assert statistics.seeds_needed(float(sd), float(difference)) == int(number)
