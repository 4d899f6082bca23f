"""One seed of a study, run again: which run it is, and what its numbers are compared with."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mnist_course import cli
from mnist_course.run import replicate, runner
from mnist_helpers import _course, _files, results
from mnist_helpers._errors import UserError
from tests.unit.test_study_report import change_record, made_up_study

LESSON = "02_baseline"
TOO_LARGE = "The numbers differ more than expected."
UNKNOWN = "Differences cannot be judged."
MISSING = "Recorded numbers are missing from the replica."


@pytest.fixture
def study(tmp_path):
    """Three seeds, 8 to 10, of two networks; scored in lesson 5."""
    folder = made_up_study(tmp_path)
    for seed in (8, 9, 10):
        settings = {"profile": "quick", "dataset": "digits", "seed": seed, "params": {"epochs": 2}}
        _files.write_json(folder / f"seed-{seed}" / "course.json", {"settings": settings, "lessons": {}})
    return folder


@pytest.fixture
def runs(study, monkeypatch):
    """Lessons are not run: their records are copied, and `runs.change` changes them."""

    class Runs:
        asked: list = []  # noqa: RUF012
        change = staticmethod(lambda folder: None)

    def run_lessons(run, settings, lesson_names, *, results_dir, fresh, limits, wait_seconds):
        Runs.asked.append((run, settings, tuple(lesson_names), limits.threads))
        again = results_dir / run
        assert fresh
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(study / f"seed-{settings.seed}", again)
        Runs.change(again)
        return again

    Runs.asked = []
    monkeypatch.setattr(runner, "run_lessons", run_lessons)
    return Runs


def scores(**changes):
    return lambda record: record["models"]["tuned"].update(changes)


def test_the_run_with_the_seed_is_run_again_with_its_settings(tmp_path, runs):
    text, problem = replicate.replicate("s", 9, results_dir=tmp_path)
    ((run, settings, lessons, threads),) = runs.asked
    assert (run, settings.seed, threads) == ("s-seed-9", 9, 0)
    # As recorded, although the profile says otherwise: in `course.json`, and in the record.
    assert (settings.params["epochs"], settings.params["units"]) == (2, 16)
    assert (settings.profile, settings.dataset) == ("quick", "digits")
    assert lessons == ("02_baseline", "04_tuning", "05_evaluation")
    assert problem == ""
    assert "All 4 numbers are the same as in the record." in text
    assert (tmp_path / "replicas" / "s-seed-9").is_dir()


def test_only_some_lessons_and_other_threads(tmp_path, study, runs):
    def change(record):
        record["machine"].update(threads=3)
        record["models"]["baseline"].update(val_accuracy=0.9)

    change_record(study / "seed-8", LESSON, change)
    replicate.replicate("s", 8, results_dir=tmp_path, only=("02",))
    replicate.replicate("s/seed-8", 8, results_dir=tmp_path, only=("02",), threads=5)
    assert [entry[0] for entry in runs.asked] == ["s-seed-8", "s-seed-8"]
    assert [entry[2:] for entry in runs.asked] == [((LESSON,), 3), ((LESSON,), 5)]


@pytest.mark.parametrize(
    ("change", "problem", "words"),
    [
        ([("05_evaluation", scores(test_accuracy=0.98001))], TOO_LARGE, "so they should not differ"),
        (
            [
                ("05_evaluation", scores(test_accuracy=0.985)),  # sd 0.0132
                ("05_evaluation", lambda record: record["machine"].update(processor="another")),
            ],
            "",
            "None of them are larger.",
        ),
        (
            [
                ("05_evaluation", scores(test_accuracy=0.9)),
                ("05_evaluation", lambda record: record["versions"].update(keras="0.1")),
            ],
            TOO_LARGE,
            "1 of them is larger.",
        ),
    ],
)
def test_other_numbers_are_compared_with_the_spread_over_seeds(tmp_path, runs, change, problem, words):
    def changed(folder):
        for lesson, function in change:
            change_record(folder, lesson, function)

    runs.change = changed
    text, found = replicate.replicate("s", 9, results_dir=tmp_path)
    assert (found, words in text) == (problem, True), text
    assert "cannot be judged" not in text
    assert "1 of 4 numbers differ from the record." in text
    assert ("Changed since the record:" in text) == (len(change) > 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda of: of["machine"].update(threads=7), "threads: not limited then, 7 now"),
        (lambda of: of["machine"].update(cores=999), f"cores: {os.cpu_count()} then, 999 now"),
        (lambda of: of["machine"].update(python="2.7"), f"python: {platform.python_version()} then, 2.7 now"),
        (lambda of: of.update(commit="abc"), "commit: not recorded then, abc now"),
        (lambda of: of["machine"].update(processor="x"), "processor: "),
        (lambda of: of["versions"].update(numpy="0.1"), "numpy: "),
        (lambda of: of.update(code_sha256="x"), "the code of 02_baseline may have changed"),
        (lambda of: of["dataset"].update(sha256={"x": "y"}), "the images are others"),
    ],
)
def test_what_has_changed_is_named(tmp_path, runs, change, words):
    runs.change = lambda folder: change_record(folder, LESSON, change)
    text, _ = replicate.replicate("s", 9, results_dir=tmp_path)
    assert words in text.partition("Changed since the record:")[2]


def test_changed_code_is_told_from_code_that_was_not_recorded():
    before = {LESSON: {"machine": {}, "versions": {}, "dataset": {"sha256": {}}, "code_sha256": "a"}}
    now = {LESSON: before[LESSON] | {"code_sha256": "b"}}
    assert replicate.changed(before, now) == ["the code of 02_baseline has changed since"]
    assert replicate.changed(before, before) == []


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"threads": 2, "cores": 2}, {"threads": 2, "cores": 8}, []),  # the threads decide, not the cores
        ({"threads": None, "cores": 2}, {"threads": None, "cores": 8}, ["cores: 2 then, 8 now"]),
        (
            {"threads": None, "cores": 2},
            {"threads": 2, "cores": 8},
            ["threads: not limited then, 2 now", "cores: 2 then, 8 now"],
        ),
        ({"cores": 2}, {"threads": None, "cores": 2}, ["threads: not recorded then, not limited now"]),
    ],
)
def test_cores_count_where_threads_are_not_limited(before, now, expected):
    records = [
        {LESSON: {"machine": machine, "versions": {}, "dataset": {"sha256": {}}}} for machine in (before, now)
    ]
    assert replicate.changed(*records) == expected


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("a", "a", []),
        ("a", "b", ["commit: a then, b now"]),
        ("a", "a+changes", ["commit: a then, a+changes now"]),
        (
            "a+changes",
            "a+changes",
            ["commit: a+changes in both, so the uncommitted changes may differ"],
        ),
    ],
)
def test_the_state_of_the_repository_counts(before, now, expected):
    records = [
        {LESSON: {"machine": {}, "versions": {}, "dataset": {"sha256": {}}, "commit": commit}}
        for commit in (before, now)
    ]
    assert replicate.changed(*records) == expected


def two_seeds(folder):
    shutil.rmtree(folder / "seed-10")


def no_study(folder):
    (folder / "study.json").unlink()


def other_seeds(folder):
    _files.write_json(
        folder / "study.json", _files.read_json(folder / "study.json") | {"seeds": [8, 10, 11, 12]}
    )


@pytest.mark.parametrize("has_changed", [True, False])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (two_seeds, "the study has fewer than 3 seeds"),
        (no_study, "the run is not part of a study"),
        (other_seeds, "the run does not belong to the study in whose folder it is"),
    ],
)
def test_a_difference_without_a_known_spread_cannot_be_judged(
    tmp_path, study, runs, change, why, has_changed
):
    change(study)

    def changed(folder):
        change_record(folder, "05_evaluation", scores(test_accuracy=0.97999))
        if has_changed:
            change_record(folder, "05_evaluation", lambda record: record["versions"].update(keras="0.1"))

    runs.change = changed
    text, problem = replicate.replicate("s/seed-9", 9, results_dir=tmp_path)
    assert problem == (UNKNOWN if has_changed else TOO_LARGE)
    said = f"1 of them cannot be judged, since {why}: test_accuracy of tuned (05_evaluation)."
    assert (said in text) == has_changed
    assert "larger" not in text
    runs.change = lambda folder: None
    assert replicate.replicate("s/seed-9", 9, results_dir=tmp_path)[1] == ""


def test_the_spread_is_that_of_the_same_settings_of_the_same_study(tmp_path, study):
    """Runs of another setting, runs beside the study, and a replica do not count."""
    expected, why = replicate._spreads(study / "seed-9")
    assert expected["tuned", "test_accuracy"] == pytest.approx(0.0132, abs=1e-4)
    assert why == "the study has fewer than 3 seeds"
    for name in ("old", "seed-11"):
        shutil.copytree(study / "seed-8", study / name)
    assert replicate._spreads(study / "seed-9") == (expected, why)
    shutil.rmtree(study)
    better = {"baseline": [0.1, 0.5, 0.9], "tuned": [0.2, 0.6, 0.99]}
    swept = {"units": [16, 32]}
    made_up_study(tmp_path, swept=swept)
    made_up_study(tmp_path, better, units=32, swept=swept)
    shutil.rmtree(study / "units-32_seed-8")
    assert replicate._spreads(study / "units-16_seed-9")[0] == expected
    few = "the study has fewer than 3 seeds with these settings"
    assert replicate._spreads(study / "units-32_seed-9") == ({}, few)


def test_recorded_numbers_that_the_replica_lacks_are_named(tmp_path, runs):
    def changed(folder):
        change_record(folder, "05_evaluation", lambda record: record["models"].pop("tuned"))

    runs.change = changed
    text, problem = replicate.replicate("s", 9, results_dir=tmp_path)
    assert problem == MISSING
    assert "All 2 numbers that the replica has are the same as in the record." in text
    names = "test_accuracy of tuned (05_evaluation), test_loss of tuned (05_evaluation)"
    assert f"Recorded, but missing from the replica (2): {names}." in text
    runs.change = lambda folder: change_record(
        folder, "05_evaluation", lambda record: record["models"].clear()
    )
    text, problem = replicate.replicate("s", 9, results_dir=tmp_path)
    assert problem == MISSING
    assert "missing from the replica (4)" in text
    assert "the same as in the record" not in text


def test_what_cannot_be_compared_is_not_run(tmp_path, runs):
    with pytest.raises(UserError, match=r"Nothing can be compared: .* Received: 02_baseline, 04_tuning\."):
        replicate.replicate("s", 9, results_dir=tmp_path, only=("02", "04"))
    with pytest.raises(UserError, match=r"05_evaluation measures .* Missing: 02_baseline, 04_tuning"):
        replicate.replicate("s", 9, results_dir=tmp_path, only=("05",))
    assert runs.asked == []


def test_a_second_replica_is_not_the_first(tmp_path, runs):
    """`fresh`, which the fixture checks, deletes what an earlier replica has left."""
    replicate.replicate("s", 9, results_dir=tmp_path)
    runs.change = lambda folder: change_record(folder, "05_evaluation", scores(test_accuracy=0.5))
    assert replicate.replicate("s", 9, results_dir=tmp_path)[1] == TOO_LARGE
    assert len(runs.asked) == 2


def test_the_code_is_that_of_the_notebooks_if_no_commit_is_recorded(tmp_path, study, runs):
    def changed(folder):
        change_record(folder, "05_evaluation", scores(test_accuracy=0.5))

    runs.change = changed
    text, _ = replicate.replicate("s", 9, results_dir=tmp_path)
    assert "Processor, threads, versions and the notebooks' code are the same as in the record, so" in text
    for lesson in (LESSON, "04_tuning", "05_evaluation"):
        change_record(study / "seed-9", lesson, lambda record: record.update(commit="abc"))
    text, _ = replicate.replicate("s", 9, results_dir=tmp_path)
    assert "Processor, threads, versions and code are the same as in the record, so" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("s", 11), "has no run with the seed 11"),
        (("nothing", 8), "has no run with the seed 8"),
        (("s/seed-8", 9), "has no run with the seed 9"),
    ],
)
def test_a_run_that_is_not_there_is_named(tmp_path, runs, arguments, words):
    with pytest.raises(UserError, match=words):
        replicate.replicate(*arguments, results_dir=tmp_path)
    assert runs.asked == []


def test_of_a_sweep_one_run_has_to_be_named(tmp_path, study, runs):
    shutil.copytree(study / "seed-8", study / "units-32_seed-8")
    with pytest.raises(UserError, match=r"several runs .* one of s/seed-8, s/units-32_seed-8"):
        replicate.replicate("s", 8, results_dir=tmp_path)
    replicate.replicate("s/units-32_seed-8", 8, results_dir=tmp_path)
    assert runs.asked[0][0] == "s-units-32_seed-8"


def test_runs_of_another_edition_are_refused(tmp_path, study, runs):
    settings = {"profile": "quick", "dataset": "digits", "seed": 8, "params": {"vat_epochs": 3}}
    _files.write_json(study / "seed-8" / "course.json", {"settings": settings, "lessons": {}})
    with pytest.raises(UserError, match="has the parameter 'vat_epochs', which no lesson has now"):
        replicate.replicate("s", 8, results_dir=tmp_path)


def test_the_courses_own_studies_are_found(tmp_path):
    assert replicate._run_of("reference/class", 2, tmp_path) == _course.REFERENCE / "class" / "seed-2"
    assert replicate._run_of("reference/class/seed-3", 3, tmp_path) == _course.REFERENCE / "class" / "seed-3"


def test_the_command_fails_if_the_numbers_should_be_the_same(tmp_path, runs):
    arguments = ["replicate", "s", "9", "--results-dir", str(tmp_path)]
    assert CliRunner().invoke(cli.main, arguments).exit_code == 0
    runs.change = lambda folder: change_record(folder, "05_evaluation", scores(test_loss=0.5))
    failed = CliRunner().invoke(cli.main, arguments)
    assert failed.exit_code == 1
    assert TOO_LARGE in failed.output + failed.stderr


@pytest.mark.long
def test_a_real_replica_has_the_same_numbers(tmp_path):
    place = ["--results-dir", str(tmp_path)]
    options = ["--seeds", "1", "--profile", "quick", "--dataset", "digits", "--only", "02", "--threads", "1"]
    said = ""
    for command in (["study", "s", *options], ["replicate", "s", "1"]):
        # In processes of their own: a study sets variables of its environment.
        words = [sys.executable, "-m", "mnist_course.cli", *command, *place]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert "numbers are the same as in the record." in said
    records = [
        json.loads((tmp_path / folder / f"{LESSON}.json").read_text())
        for folder in ("s/seed-1", "replicas/s-seed-1")
    ]
    assert (
        records[0]["models"]["baseline"]["weights_sha256"]
        == records[1]["models"]["baseline"]["weights_sha256"]
    )
    assert [record["machine"]["threads"] for record in records] == [1, 1]
    assert results.load_record(tmp_path / "replicas" / "s-seed-1", LESSON)["code_sha256"]
