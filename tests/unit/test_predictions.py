"""The predictions of a study: what is kept, of which networks, and that every test score follows from it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from mnist_course import predictions, statistics
from mnist_course.reports import study_report
from mnist_helpers import _course, _files, data, metrics, plots, results
from mnist_helpers._errors import UserError

REFERENCE = _course.REFERENCE
MODELS = ("baseline", "dropout", "tuned", "strong")
# By how much a score on 10,000 images may differ because logarithms of probabilities are rounded; measured below.
TOLERANCES = {"loss": 2e-5, "brier": 1e-5, "ece": 3e-4}
NAIVE = ("majority", "nearest_mean")  # lesson 5 does not save what they answer


# --- a made-up study ---


def answers_of(seed, number, labels, spread=2.0):
    """Probabilities like a network's: most are near 1, the others far below."""
    dice = np.random.default_rng((seed, number))
    logits = dice.normal(0, spread, (len(labels), 10))
    logits[np.arange(len(labels)), labels] += 12 * np.minimum(dice.gamma(2, 0.5, len(labels)), 1.3)
    return softmax(logits, axis=1).astype("float32")


def evaluate(run, seed, num_images=400, models=MODELS, weights=""):
    """Writes the records and arrays of a run whose networks are made up; called again, it trains them again."""
    run.mkdir(parents=True, exist_ok=True)
    labels = np.random.default_rng(1).integers(0, 10, num_images)
    arrays = {
        name: answers_of(seed if not weights else sum(map(ord, weights)), number, labels)
        for number, name in enumerate(models)
    }
    saved = results.save_arrays(run, "05_evaluation", labels=labels, **arrays)
    files = {name: f"{name}-{seed}{weights}" for name in models}
    common = {"params": {"profile": "quick", "seed": seed}, "started": time.perf_counter()}
    common["dataset"] = {"name": "digits", "shapes": {}, "sha256": {}}
    for lesson, of_lesson in (("02_baseline", models[:1]), ("03_batchnorm_dropout", models[1:])):
        entries = {
            name: {
                "file": f"{name}.keras",
                "sha256": files[name],
                "weights_sha256": f"weights of {files[name]}",
            }
            for name in of_lesson
        }
        results.save_record(run, lesson, models=entries, **common)
    predicted = {name: answers.argmax(axis=1) for name, answers in arrays.items()}
    tested = {
        name: {"test_accuracy": float(np.mean(predicted[name] == labels)), "sha256": files[name]}
        for name in models
    }
    for name, entry in tested.items():
        num_correct = int(np.sum(predicted[name] == labels))
        entry["test_accuracy_low"], entry["test_accuracy_high"] = metrics.accuracy_interval(
            num_correct, num_images
        )
        entry["test_loss"] = metrics.negative_log_likelihood(labels, arrays[name])
    tested["majority"] = {"test_accuracy": 0.1}
    pair = metrics.mcnemar(labels, predicted["baseline"], predicted["tuned"])
    results.save_record(
        run,
        "05_evaluation",
        models=tested,
        predictions=saved,
        confusion_matrix=metrics.confusion_matrix(labels, predicted["tuned"]),
        baseline_against_tuned=pair._asdict(),
        **common,
    )
    calibration = {name: calibration_of(labels, arrays[name]) for name in ("baseline", "tuned")}
    results.save_record(
        run,
        "trust",
        models={},
        calibration=calibration,
        comparisons=metrics.mcnemar_pairs(labels, predicted).to_dict(orient="records"),
        label_errors={
            "accuracy": {name: {"all": tested[name]["test_accuracy"], "without": 0} for name in models}
        },
        **common,
    )


def calibration_of(labels, answers, temperature=1.2):
    found = {"temperature": temperature}
    functions = {"loss": metrics.negative_log_likelihood, "brier": metrics.brier_score}
    for name, function in (functions | {"ece": metrics.calibration_error}).items():
        found[name] = function(labels, answers)
        found[f"{name}_after"] = function(labels, metrics.apply_temperature(answers, temperature))
    return found


@pytest.fixture(scope="session")
def made_up_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "s"
    asked = {"seeds": [1, 2, 10], "lessons": [], "swept": {}, "search_from": ""}
    folder.mkdir()
    _files.write_json(folder / "study.json", asked)
    for seed in (1, 2, 10):
        evaluate(folder / f"seed-{seed}", seed)
    return folder


@pytest.fixture
def study(made_up_study, tmp_path):
    return Path(shutil.copytree(made_up_study, tmp_path / "s"))


def change(run, lesson, edit):
    record = _files.read_json(run / f"{lesson}.json")
    edit(record)
    _files.write_json(run / f"{lesson}.json", record | {"sha256": results.fingerprint(record)})


# --- every test score follows from the predictions ---


def recomputed(found, name):
    """The scores of a model, by their formulas."""
    right = found.predicted[name] == found.labels
    low, high = proportion_confint(right.sum(), right.size, method="wilson")
    return {
        "test_accuracy": right.mean(),
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_loss": -np.mean(np.maximum(found.log_right[name].astype(float), np.log(1e-7))),
    }


def recalibrated(labels, answers, temperature):
    """Loss, Brier score and ECE of a model, before and after its temperature, by their formulas."""
    scores = {}
    for end, power in (("", 1.0), ("_after", 1 / temperature)):
        softer = np.clip(answers, 1e-7, 1) ** power
        softer /= softer.sum(axis=1, keepdims=True)
        rows, truth = np.arange(len(labels)), np.eye(10)[labels]
        scores[f"loss{end}"] = -np.log(np.clip(softer[rows, labels], 1e-7, 1)).mean()
        scores[f"brier{end}"] = ((softer - truth) ** 2).sum(axis=1).mean()
        confidence, right = softer.max(axis=1), softer.argmax(axis=1) == labels
        groups = np.minimum((15 * confidence).astype(int), 14)
        gaps = [abs(np.sum(right[groups == group] - confidence[groups == group])) for group in range(15)]
        scores[f"ece{end}"] = np.sum(gaps) / len(labels)
    return scores


def wrong_numbers(study):
    """Yields the test scores in the records of a study that do not follow from its predictions."""
    for run, found in predictions.of_study(study).items():
        records = results.load_records(study / run, tuple(predictions._records(study / run)))
        for name, recorded, expected, tolerance in scores_of(records, found):
            if not np.isclose(recorded, expected, rtol=0, atol=tolerance):
                yield f"{run}: {name}"


def tolerance_of(score, num_images):
    """Errors of rounding are independent of each other, so their mean is smaller for more images."""
    return TOLERANCES[score] * max(1, np.sqrt(10_000 / num_images))


def scores_of(records, found):
    """Yields name, recorded score, recomputed score and tolerance."""
    evaluation, trust = records["05_evaluation"], records.get("trust", {})
    num_images = len(found.labels)
    assert set(found.predicted) == set(evaluation["models"]) - set(NAIVE)
    for model in found.predicted:
        for score, value in recomputed(found, model).items():
            tolerance = tolerance_of("loss", num_images) if score == "test_loss" else 1e-12
            yield f"{score} of {model}", evaluation["models"][model][score], value, tolerance
        if model in trust.get("label_errors", {}).get("accuracy", {}):
            right = found.predicted[model] == found.labels
            recorded = trust["label_errors"]["accuracy"][model]
            yield f"label errors of {model}", recorded["all"], right.mean(), 1e-12
            if evaluation["dataset"]["name"] == "mnist":
                kept = np.delete(right, data.label_errors("mnist")["index"])
                yield f"without label errors, {model}", recorded["without"], kept.mean(), 1e-12
    counted = np.zeros((10, 10), int)
    np.add.at(counted, (found.labels, found.predicted["tuned"]), 1)
    yield "confusion matrix", np.sum(counted != evaluation["confusion_matrix"]), 0, 0
    pair = evaluation["baseline_against_tuned"] | {"first": "baseline", "second": "tuned"}
    for of in (pair, *trust.get("comparisons", [])):
        first, second = (found.predicted[of[side]] == found.labels for side in ("first", "second"))
        counts = int(np.sum(first & ~second)), int(np.sum(second & ~first))
        name = f"McNemar of {of['first']} and {of['second']}"
        yield (
            f"counts, {name}",
            10**5 * of["only_first"] + of["only_second"],
            10**5 * counts[0] + counts[1],
            0,
        )
        p_value = mcnemar([[0, counts[0]], [counts[1], 0]], exact=True).pvalue
        yield f"p, {name}", of["p_value"], min(p_value, 1), 1e-12
    for model, recorded in trust.get("calibration", {}).items():
        if model in found.log_probabilities:
            temperature = recorded.get("temperature") or 1.0
            answers = found.probabilities(model)
            for score, value in recalibrated(found.labels, answers, temperature).items():
                yield (
                    f"{score} of {model}",
                    recorded[score],
                    value,
                    tolerance_of(score.split("_")[0], num_images),
                )


def committed():
    return sorted(path.parent.parent for path in REFERENCE.rglob(f"{predictions.FOLDER}/{predictions.INDEX}"))


def test_every_committed_test_score_follows_from_the_predictions():
    for folder in committed():
        index = _files.read_json(folder / predictions.FOLDER / predictions.INDEX)["runs"]
        assert set(predictions.of_study(folder)) == set(index), folder
        assert not list(wrong_numbers(folder)), folder


def test_the_scores_of_a_made_up_study_follow_from_its_predictions(study):
    predictions.keep(study)
    assert predictions.of_study(study).keys() == {"seed-1", "seed-2", "seed-10"}
    assert not list(wrong_numbers(study))


@pytest.mark.parametrize(
    ("lesson", "keys", "by"),
    [
        ("05_evaluation", ("models", "dropout", "test_accuracy"), 1 / 400),
        ("05_evaluation", ("models", "dropout", "test_loss"), 2e-4),
        ("05_evaluation", ("models", "tuned", "test_accuracy_low"), 1e-4),
        ("05_evaluation", ("models", "tuned", "test_accuracy_high"), 1e-4),
        ("05_evaluation", ("confusion_matrix", 3, 5), 1),
        ("05_evaluation", ("baseline_against_tuned", "only_second"), 1),
        ("05_evaluation", ("baseline_against_tuned", "p_value"), 1e-6),
        ("trust", ("comparisons", 5, "only_first"), 1),
        ("trust", ("comparisons", 0, "p_value"), 1e-6),
        ("trust", ("label_errors", "accuracy", "strong", "all"), 1 / 400),
        *(
            ("trust", ("calibration", "tuned", f"{score}{end}"), 3e-3)
            for score in TOLERANCES
            for end in ("", "_after")
        ),
        ("trust", ("calibration", "baseline", "temperature"), 0.05),
    ],
    ids=str,
)
def test_a_wrong_score_is_noticed(study, lesson, keys, by):
    predictions.keep(study)

    def edit(record):
        *path, last = keys
        for key in path:
            record = record[key]
        record[last] += by

    change(study / "seed-2", lesson, edit)
    wrong = list(wrong_numbers(study))
    assert wrong
    assert all(name.startswith("seed-2: ") for name in wrong)


# --- the compact form ---


@pytest.mark.parametrize("spread", [1.0, 2.0, 5.0])
def test_ten_seeds_are_small_and_lose_no_more_than_is_stated(tmp_path, spread):
    """As many images as MNIST's test set; networks that are sure of everything, and of little."""
    labels = np.random.default_rng(1).integers(0, 10, 10_000)
    found, sizes = {}, 0
    for seed in range(2):
        answers = answers_of(seed, 0, labels, spread)
        logs = predictions.compact(answers)
        assert (logs.argmax(axis=1) == answers.argmax(axis=1)).all()
        restored = np.exp(logs.astype(float))
        assert np.abs(restored.sum(axis=1) - 1).max() < 1e-3
        exact, rounded = (recalibrated(labels, p.astype(float), 1.3) for p in (answers, restored))
        for score, value in exact.items():
            assert abs(value - rounded[score]) < TOLERANCES[score.split("_")[0]], score
        found[str(seed)] = logs
    np.savez_compressed(tmp_path / "m.npz", **found)
    sizes = (tmp_path / "m.npz").stat().st_size
    assert 5 * sizes < 2e6


def test_rounding_keeps_the_first_place_and_the_least_probability_of_the_loss():
    ties = np.array(
        [[0.3, 0.30001, 0.39999, 0, 0, 0, 0, 0, 0, 0], [0.49999, 0.50001, 0, 0, 0, 0, 0, 0, 0, 0]]
    )
    logs = predictions.compact(ties)
    assert logs.dtype == np.float16
    assert logs.argmax(axis=1).tolist() == [2, 1]
    assert logs[0, 0] == logs[0, 1]
    assert logs.min() == np.float16(np.log(1e-7))
    one = predictions.compact(np.eye(10))
    assert one.max() == 0
    assert one[0, 1] == np.float16(-16.125)


def test_a_probability_of_nought_costs_as_much_as_in_the_loss():
    labels, answers = np.array([1]), np.eye(10)[:1]
    found = predictions.Predictions(1, labels, {}, {"m": predictions.compact(answers)[:, 1]}, {})
    assert found.losses("m") == pytest.approx(metrics.negative_log_likelihood(labels, answers), abs=1e-12)


# --- what is kept ---


def test_one_file_for_each_run_and_an_index(study):
    text = predictions.keep(study, ["tuned"])
    folder = study / predictions.FOLDER
    assert {path.name for path in folder.iterdir()} == {
        "index.json",
        "seed-1.npz",
        "seed-2.npz",
        "seed-10.npz",
    }
    index = _files.read_json(folder / "index.json")
    assert list(index["runs"]) == ["seed-1", "seed-2", "seed-10"]
    entry = index["runs"]["seed-10"]
    assert (entry["seed"], entry["file"]) == (10, "seed-10.npz")
    assert entry["sha256"] == _files.sha256(folder / "seed-10.npz")
    assert entry["models"]["dropout"] == {
        "sha256": "dropout-10",
        "weights_sha256": "weights of dropout-10",
        "all": False,
    }
    assert entry["models"]["tuned"]["all"]
    assert "3 runs" in text and "Written now: seed-1, seed-2, seed-10." in text
    with np.load(folder / "seed-1.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    kinds = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    assert kinds.pop("labels") == ("uint8", (400,))
    assert kinds.pop("tuned.log_probabilities") == ("float16", (400, 10))
    others = {"baseline", "dropout", "strong"}
    assert kinds == {f"{name}.predicted": ("uint8", (400,)) for name in (*others, "tuned")} | {
        f"{name}.log_right": ("float16", (400,)) for name in others
    }


def test_what_is_read_is_what_lesson_5_saved(study):
    predictions.keep(study)
    found = predictions.of_study(study)["seed-2"]
    arrays = results.load_arrays(
        study / "seed-2", results.load_record(study / "seed-2", "05_evaluation")["predictions"]
    )
    assert found.seed == 2
    assert found.labels.tolist() == arrays["labels"].tolist()
    assert set(found.log_probabilities) == {"baseline", "tuned", "strong"}
    for name in MODELS:
        assert found.predicted[name].tolist() == arrays[name].argmax(axis=1).tolist()
        right = arrays[name][np.arange(400), arrays["labels"]]
        assert np.allclose(found.losses(name), -np.log(np.clip(right, 1e-7, 1)), atol=2**-7)
        assert found.correct(name).mean() == np.mean(arrays[name].argmax(axis=1) == arrays["labels"])
    assert np.allclose(found.probabilities("tuned"), arrays["tuned"], atol=5e-4)


def test_a_later_seed_joins_and_the_others_stay(study):
    predictions.keep(study, ["tuned"])
    before = (study / "predictions" / "seed-1.npz").stat().st_mtime_ns
    for seed in (1, 2, 10):  # as in a clone: records, and no arrays
        (study / f"seed-{seed}" / "05_evaluation.npz").unlink()
    evaluate(study / "seed-3", 3)
    text = predictions.keep(study)
    assert "4 runs" in text and "Written now: seed-3." in text and "Without" not in text
    index = _files.read_json(study / "predictions" / "index.json")
    assert list(index["runs"]) == ["seed-1", "seed-2", "seed-3", "seed-10"]
    assert index["with_probabilities"] == ["tuned"]
    assert (study / "predictions" / "seed-1.npz").stat().st_mtime_ns == before
    found = predictions.of_study(study)
    assert list(found) == ["seed-1", "seed-2", "seed-3", "seed-10"]
    assert set(found["seed-3"].log_probabilities) == {"tuned"}
    assert not list(wrong_numbers(study))


def test_the_same_again_writes_nothing_and_a_damaged_file_is_written_again(study):
    predictions.keep(study)
    assert "Written now: none." in predictions.keep(study)
    (study / "predictions" / "seed-2.npz").write_bytes(b"half")
    with pytest.raises(
        results.MissingLessonError, match=r"was changed \(sha256 differs\).*mnist-course predictions s"
    ):
        predictions.of_study(study)
    assert "Written now: seed-2." in predictions.keep(study)
    (study / "predictions" / "seed-2.npz").unlink()
    with pytest.raises(results.MissingLessonError, match="is missing"):
        predictions.of_study(study)
    assert "Written now: seed-2." in predictions.keep(study)
    assert len(predictions.of_study(study)) == 3


def test_other_models_with_probabilities_are_written_again(study):
    predictions.keep(study, ["tuned"])
    assert "Written now: seed-1, seed-2, seed-10." in predictions.keep(study, ["dropout", "tuned"])
    assert set(predictions.of_study(study)["seed-1"].log_probabilities) == {"dropout", "tuned"}


def test_a_run_that_was_trained_again_is_replaced(study):
    predictions.keep(study)
    old = predictions.of_study(study)["seed-2"].predicted["tuned"].tolist()
    evaluate(study / "seed-2", 2, weights="other")
    assert set(predictions.of_study(study)) == {"seed-1", "seed-10"}  # never answers of other weights
    assert "Written now: seed-2." in predictions.keep(study)
    found = predictions.of_study(study)["seed-2"]
    assert found.predicted["tuned"].tolist() != old
    index = _files.read_json(study / "predictions" / "index.json")["runs"]
    assert index["seed-2"]["models"]["tuned"]["sha256"] == "tuned-2other"
    assert not list(wrong_numbers(study))


def test_a_run_whose_new_arrays_are_elsewhere_is_named(study):
    predictions.keep(study)
    evaluate(study / "seed-2", 2, weights="other")
    (study / "seed-2" / "05_evaluation.npz").unlink()
    assert "Without predictions of their networks: seed-2." in predictions.keep(study)
    assert set(predictions.of_study(study)) == {"seed-1", "seed-10"}


def test_an_interrupted_command_keeps_what_it_wrote(study, monkeypatch):
    save, written = np.savez_compressed, []

    def save_two(path, **arrays):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        save(path, **arrays)

    monkeypatch.setattr(np, "savez_compressed", save_two)
    with pytest.raises(KeyboardInterrupt):
        predictions.keep(study)
    assert set(predictions.of_study(study)) == {"seed-1", "seed-2"}
    monkeypatch.undo()
    assert "Written now: seed-10." in predictions.keep(study)


def test_what_cannot_be_kept_is_refused_and_nothing_is_written(study):
    with pytest.raises(UserError, match=r"Unknown model\. Expected: some of baseline, .*Received: 'tunde'"):
        predictions.keep(study, ["tuned", "tunde"])
    with pytest.raises(UserError, match="is not a study"):
        predictions.keep(study / "seed-1")
    for seed in (1, 2, 10):
        (study / f"seed-{seed}" / "05_evaluation.npz").unlink()
    with pytest.raises(UserError, match="3 runs, none of which has the arrays of lesson 5"):
        predictions.keep(study)
    assert not (study / predictions.FOLDER).exists()


def test_arrays_that_are_not_those_of_the_record_are_refused(study):
    evaluate(tmp := study.parent / "other", 7)
    (tmp / "05_evaluation.npz").replace(study / "seed-2" / "05_evaluation.npz")
    with pytest.raises(results.MissingLessonError, match="sha256 differs"):
        predictions.keep(study)


def test_a_damaged_index_is_one_message(study):
    predictions.keep(study)
    for content in ("{", "[]", '{"runs": []}'):
        (study / "predictions" / "index.json").write_text(content)
        with pytest.raises(UserError, match="damaged"):
            predictions.of_study(study)


# --- in the report ---


def summary(study):
    content = study_report.study_summary(study)
    return content, {entry["model"]: entry for entry in content["models"]}


@pytest.mark.parametrize("are_kept", [True, False])
def test_the_report_has_both_kinds_of_interval(study, are_kept):
    if are_kept:
        predictions.keep(study)
    content, models = summary(study)
    found = predictions.of_study(study).values()
    for metric, per_image in (("test_accuracy", "correct"), ("test_loss", "losses")):
        table = {name: np.array([getattr(of, per_image)(name) for of in found]) for name in MODELS}
        for name in MODELS:
            score = models[name][metric]
            ends = score["two_way_low"], score["two_way_high"]
            assert ends == pytest.approx(statistics.two_way_interval(table[name]), abs=1e-12)
            assert ends[0] < score["mean"] < ends[1]
        for entry in content["differences"]:
            score = entry if metric == "test_accuracy" else entry["loss"]
            expected = statistics.two_way_interval(table[entry["second"]] - table[entry["first"]])
            assert (score["two_way_low"], score["two_way_high"]) == pytest.approx(expected, abs=1e-12)
    assert len(content["differences"]) == 6
    assert "two_way_low" not in json.dumps(models["majority"])


def test_the_tables_name_both_kinds(study):
    predictions.keep(study)
    content, models = summary(study)
    of_models, of_pairs = study_report.study_tables(content)
    assert (
        list(of_models.columns).count("seeds and images")
        == list(of_pairs.columns).count("seeds and images")
        == 2
    )
    for table in (of_models, of_pairs):
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert "two-way bootstrap" in table.note and "Student's t" in of_models.note
    (row,) = [row for row in of_models.rows if row[0] == "tuned"]
    score = models["tuned"]["test_accuracy"]
    place = list(of_models.columns).index("seeds and images")
    assert row[place] == f"{score['two_way_low']:.2%} to {score['two_way_high']:.2%}"
    assert row[place - 1] != row[place]
    (row, *_) = of_pairs.rows
    entry = content["differences"][0]
    place = list(of_pairs.columns).index("seeds and images")
    assert row[place] == f"{100 * entry['two_way_low']:+.2f} to {100 * entry['two_way_high']:+.2f}"
    loss_place = list(of_pairs.columns).index("seeds and images", place + 1)
    loss = entry["loss"]
    assert row[loss_place] == f"{loss['two_way_low']:+.4f} to {loss['two_way_high']:+.4f}"


def test_without_all_predictions_there_is_only_one_kind(study):
    """An interval about two of three seeds would not be about the mean that stands beside it."""
    predictions.keep(study)
    evaluate(study / "seed-2", 2, weights="other")
    content, _ = summary(study)
    assert "two_way" not in json.dumps(content)
    assert all("seeds and images" not in table.columns for table in study_report.study_tables(content))


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_have_no_interval(study, seeds):
    for seed in (1, 2, 10)[seeds:]:
        shutil.rmtree(study / f"seed-{seed}")
    predictions.keep(study)
    content, _ = summary(study)
    assert len(predictions.of_study(study)) == seeds
    assert "two_way" not in json.dumps(content)


def test_settings_are_compared_with_both_kinds(study, monkeypatch):
    monkeypatch.setattr(plots.DescribedFigure, "png", lambda self: b"PNG")
    for units in (16, 32):
        for seed in (1, 2, 3):
            run = study / f"units-{units}_seed-{seed}"
            evaluate(run, seed, weights=f"{units}, {seed}")
            for lesson in ("02_baseline", "03_batchnorm_dropout", "05_evaluation"):
                change(run, lesson, lambda record, units=units: record["params"].update(units=units))
    for seed in (1, 2, 10):
        for path in (study / f"seed-{seed}").iterdir():
            path.unlink()
    _files.write_json(
        study / "study.json",
        {"seeds": [1, 2, 3], "lessons": [], "swept": {"units": [16, 32]}, "search_from": ""},
    )
    content, _ = summary(study)
    found = predictions.of_study(study)
    effects = {entry["model"]: entry for entry in content["effects"]}
    tables = [
        np.array([found[f"units-{units}_seed-{seed}"].correct("tuned") for seed in (1, 2, 3)])
        for units in (16, 32)
    ]
    expected = statistics.two_way_interval(tables[1] - tables[0])
    assert (effects["tuned"]["two_way_low"], effects["tuned"]["two_way_high"]) == pytest.approx(expected)
    *_, last = study_report.study_tables(content)
    assert "seeds and images" in last.columns
    assert "two-way bootstrap" in last.note
    study_report.write_study_report(study)
    assert "seeds and images" in Path(study / "report.md").read_text()


def test_runs_on_other_test_images_are_not_put_together(study):
    evaluate(study / "seed-10", 10, num_images=300)
    assert "two_way" not in json.dumps(summary(study)[0])


def test_the_test_images_of_runs_outside_the_study_do_not_matter(study):
    evaluate(study / "old", 7, num_images=300)
    content, models = summary(study)
    assert content["other_runs"] == ["old"]
    assert models["tuned"]["test_accuracy"]["two_way_low"]
