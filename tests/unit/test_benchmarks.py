"""The bench's accounting, plan, choice of schedules and report; and one real measurement of each kind, tiny."""

import ast
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import cells, marks, schedules, speed, speed_report, steps
from benchmarks.recipes import twins
from benchmarks.schedules import CANDIDATES, MARKS, RECIPES
from mnist_course import cores, course_file, lessons
from mnist_course.run import study
from mnist_helpers import _course, _files, data, metrics, results
from mnist_helpers._errors import UserError

REFERENCE = Path(__file__).parent.parent.parent / "results" / "reference"
CORES_LIMITS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
OURS, PEER = "fast_recipe, 2 epochs", "keras_default, 8 epochs"


def invoke(*arguments):
    return CliRunner().invoke(command.main, [*map(str, arguments)])


def few(num_images):
    (x, y), held_out = data.load_training("digits", seed=1)
    return (x[:num_images], y[:num_images]), held_out


def runs_of(seconds, accuracy, seeds=None, imports=1.0, sessions=1):
    """The runs of a schedule; a single accuracy is that of every seed, and so is a single session."""
    seeds = seeds or list(range(1, len(seconds) + 1))
    accuracies = [accuracy] * len(seeds) if isinstance(accuracy, float) else accuracy
    return {
        "seeds": seeds,
        "sessions": [sessions] * len(seeds) if isinstance(sessions, int) else sessions,
        "seconds": seconds,
        "accuracy": accuracies,
        "import_seconds": [imports] * len(seeds),
    }


# --- the timer ---


class Clock:
    """A clock that moves only when told to."""

    def __init__(self):
        self.now, self.is_warm = 100.0, False

    def perf_counter(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(marks, "time", clock)
    return clock


def made_up_library(clock, asked, digits):
    """A library in place of `importlib`: it takes 7 s to import, 2 to build, 3 to train and 11 to score."""

    def train(x, y, seed, epochs, **settings):
        asked.append((x, y, seed, epochs, settings))
        clock.spend(2)
        clock.spend(3)

        def predict(images):
            asked.append(images)
            clock.spend(11)
            return digits

        return predict

    def import_module(name):
        clock.spend(7)
        module = ModuleType(name)
        for recipe in RECIPES.values():
            if name == f"benchmarks.recipes.{recipe.module}":
                setattr(module, recipe.function, train)
        return module

    return SimpleNamespace(import_module=import_module)


@pytest.mark.parametrize("schedule", CANDIDATES.values(), ids=CANDIDATES)
def test_the_time_of_every_program_is_that_of_its_set_up_and_training(schedule, clock, monkeypatch):
    asked, labels = [], np.uint8([1, 2, 3, 4])
    monkeypatch.setattr(schedules, "importlib", made_up_library(clock, asked, np.array([1, 2, 3, 9])))
    train, images = (object(), object()), object()
    found = marks.measure(schedule, 5, train, (images, labels))
    assert found == {"import_seconds": 7, "seconds": 5, "accuracy": 0.75}
    assert asked == [(*train, 5, schedule.epochs, schedule.settings), images]


@pytest.mark.parametrize("digits", [np.array([[1], [2]]), np.array([1]), 1])
def test_an_answer_that_is_not_a_digit_per_image_is_refused(digits, clock, monkeypatch):
    monkeypatch.setattr(schedules, "importlib", made_up_library(clock, [], digits))
    with pytest.raises(ValueError, match=r"digits of shape \(2,\)"):
        marks.measure(CANDIDATES[PEER], 1, (None, None), (None, np.uint8([1, 2])))


def test_images_are_those_of_the_training_and_test_set_or_a_split():
    (x, y), (x_test, y_test) = marks.images(quick=True)
    arrays = data.load_arrays("digits")[0]
    for found, name in zip((x, y, x_test, y_test), ("x_train", "y_train", "x_test", "y_test"), strict=True):
        np.testing.assert_array_equal(found, arrays[name])
    (x_fit, _), (x_val, _) = marks.images(quick=True, seed=2, validation=True)
    assert len(x_fit) + len(x_val) == len(x)
    assert {image.tobytes() for image in x_val} <= {image.tobytes() for image in x}
    assert not np.array_equal(x_val, marks.images(quick=True, seed=3, validation=True)[1][0])


@pytest.mark.parametrize("kind", ["marks", "validation"])
def test_a_measurement_gets_the_images_of_its_kind_and_all_of_them(kind, monkeypatch):
    asked = []
    monkeypatch.setattr(
        marks, "images", lambda quick, **options: asked.append((quick, options)) or ("train", "held out")
    )
    monkeypatch.setattr(marks, "measure", lambda *arguments: arguments)
    found = speed.measure(kind, PEER, 3, quick=False)
    assert found == (CANDIDATES[PEER], 3, "train", "held out")
    assert asked == [(False, {"seed": 3, "validation": kind == "validation"})]


def test_every_measurement_may_use_the_same_number_of_threads(monkeypatch):
    environments = []

    def run(arguments, **options):
        assert "env" not in options
        environments.append((arguments[-4:], [speed.os.environ[name] for name in CORES_LIMITS]))
        return SimpleNamespace(returncode=0, stdout='a log\n{"seconds": 1}\n', stderr="")

    for name in CORES_LIMITS:
        monkeypatch.setenv(name, "7")
    monkeypatch.setattr(cores, "usable_cores", lambda: 3)
    monkeypatch.setattr(speed.subprocess, "run", run)
    for name in CANDIDATES:
        assert speed._in_a_process("marks", name, 4, False) == {"seconds": 1}
    assert environments == [(["marks", name, "4", "0"], ["3"] * 3) for name in CANDIDATES]


def test_a_measurement_that_fails_shows_its_message(monkeypatch):
    failed = SimpleNamespace(returncode=1, stdout="", stderr="out of memory")
    monkeypatch.setattr(cores, "limit_threads", lambda threads: None)
    monkeypatch.setattr(speed.subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(RuntimeError, match=r"marks keras_default, 8 epochs failed:\nout of memory"):
        speed._in_a_process("marks", PEER, 1, False)


# --- what the times say ---


def test_a_schedule_reaches_a_mark_by_its_mean():
    assert schedules.reaches([0.97, 0.9906], 0.9803)
    assert not schedules.reaches([0.97, 0.9905], 0.9803)
    assert schedules.reaches([0.99] * 10, 0.99)  # whose sum is not exactly 9.9
    assert not schedules.reaches([0.9902, 0.9897], 0.99)


def test_a_recipes_time_is_the_median_of_its_fastest_schedule_that_reaches_the_mark():
    runs = {
        "fast_recipe, 1 epoch": runs_of([1.0, 1.0, 1.0], [0.985, 0.979, 0.976]),  # one lucky seed
        "fast_recipe, 2 epochs": runs_of([2.0, 9.0, 3.0], [0.98, 0.981, 0.9801]),
        "fast_recipe, 3 epochs": runs_of([4.0, 4.0, 4.0], 0.99),
        "keras_default, 8 epochs": runs_of([30.0, 12.0, 18.0], 0.9805, imports=4.0),
        "keras_default, 12 epochs": runs_of([40.0, 40.0, 40.0], 0.985),
        "sklearn defaults, 20 epochs": runs_of([5.0, 5.0, 5.0], 0.975),
        "sklearn 256-128, 9 epochs": runs_of([9.0, 7.0, 8.0], 0.978),
    }
    found = marks.summary(runs)
    assert [at["mark"] for at in found] == [0.9803, 0.99, 0.993]
    assert [at["ours"] for at in found] == ["fast_recipe", None, None]
    at = found[0]["recipes"]
    assert [*at] == ["fast_recipe", "keras_default", "sklearn"]
    ours = at["fast_recipe"]
    assert (ours["schedule"], ours["epochs"], ours["reached"]) == ("fast_recipe, 2 epochs", 2, True)
    assert [ours[key] for key in ("median_seconds", "low", "high", "n", "ratio")] == [3.0, 2.0, 9.0, 3, 1.0]
    assert ours["mean_accuracy"] == pytest.approx(0.9803667, abs=1e-6)
    peer = at["keras_default"]
    assert [peer[key] for key in ("schedule", "median_seconds", "import_seconds", "ratio")] == [
        "keras_default, 8 epochs",
        18.0,
        4.0,
        6.0,
    ]
    late = at["sklearn"]
    assert [late[key] for key in ("schedule", "reached", "median_seconds", "mean_accuracy")] == [
        "sklearn 256-128, 9 epochs",
        False,
        8.0,
        0.978,
    ]
    assert late["ratio"] is late["ratio_low"] is late["ratio_high"] is late["ratio_n"] is None
    assert [*found[1]["recipes"]] == ["keras_default", "sklearn"]  # our fast recipe does not compete there
    assert found[1]["recipes"]["keras_default"]["schedule"] == "keras_default, 12 epochs"
    assert found[1]["recipes"]["keras_default"]["ratio"] is None


def test_the_interval_of_a_ratio_draws_both_times_of_a_seed_together():
    slow_rounds = [1.0, 1.0, 10.0, 10.0, 1.0, 10.0]
    ours, peer = runs_of(slow_rounds, 0.99), runs_of([2 * time for time in slow_rounds], 0.99)
    same = {"ratio_n": 6, "same_session": True}
    assert marks.ratio(peer, ours) == {"ratio": 2, "ratio_low": 2, "ratio_high": 2} | same
    assert marks.ratio(ours, peer) == {"ratio": 0.5, "ratio_low": 0.5, "ratio_high": 0.5} | same


@pytest.mark.parametrize("peer_sessions", [2, [1, 1, 1, 1, 1, 2]], ids=["other", "partly other"])
def test_seeds_of_different_sessions_are_drawn_independently(peer_sessions):
    """The rounds of two sessions are not the same rounds, even if their seeds are."""
    slow_rounds = [1.0, 1.0, 10.0, 10.0, 1.0, 10.0]
    ours = runs_of(slow_rounds, 0.99)
    peer = runs_of([2 * time for time in slow_rounds], 0.99, sessions=peer_sessions)
    found = marks.ratio(peer, ours)
    assert (found["ratio"], found["ratio_n"], found["same_session"]) == (2, 6, False)
    assert found["ratio_low"] < 1 and found["ratio_high"] > 4


def benches(num_seeds, sessions, count):
    """Ratios of made-up benches, in which the peer takes twice as long as ours."""
    dice = np.random.default_rng(1)
    for _ in range(count):
        ours, peer = (
            runs_of([*(middle * np.exp(dice.normal(0, 0.1, num_seeds)))], 0.99, sessions=session)
            for middle, session in zip((3.0, 6.0), sessions, strict=True)
        )
        yield marks.ratio(peer, ours, repeats=400)


@pytest.mark.parametrize("sessions", [(1, 1), (1, 2)], ids=["same session", "two sessions"])
@pytest.mark.parametrize("num_seeds", [marks.FEWEST_SEEDS, 10])
def test_the_interval_of_a_ratio_covers_95_percent(num_seeds, sessions):
    """A bootstrap of medians of few seeds covers a little more or less."""
    found = list(benches(num_seeds, sessions, 400))
    covered = sum(one["ratio_low"] <= 2 <= one["ratio_high"] for one in found)
    assert 0.92 <= covered / len(found) <= 0.99


def test_fewer_than_six_common_seeds_have_no_interval():
    assert marks.FEWEST_SEEDS == 6
    for num_seeds in range(1, marks.FEWEST_SEEDS):
        (found,) = benches(num_seeds, (1, 1), 1)
        assert found["ratio"] > 1
        assert found["ratio_low"] is found["ratio_high"] is None


def test_a_ratio_is_over_the_seeds_that_both_have():
    ours = runs_of([1.0, 2.0, 3.0], 0.99, seeds=[1, 2, 3])
    peer = runs_of([60.0, 9.0, 8.0], 0.99, seeds=[9, 3, 2])
    assert marks.ratio(peer, ours)["ratio"] == pytest.approx(8.5 / 2.5)
    alone = runs_of([7.0], 0.99, seeds=[1])
    found = marks.ratio(alone, ours)
    assert (found["ratio"], found["ratio_low"], found["ratio_high"], found["ratio_n"]) == (7, None, None, 1)
    stranger = runs_of([7.0], 0.99, seeds=[4])
    nothing = dict.fromkeys(("ratio", "ratio_low", "ratio_high", "same_session"))
    assert marks.ratio(stranger, ours) == nothing | {"ratio_n": 0}


def at_first_mark(runs):
    found = marks.summary(runs)[0]
    return found, found["recipes"]


def test_a_recipe_is_compared_with_ours_over_their_common_seeds():
    """Seeds 3 to 5 were slow, and only our recipe has them."""
    ours = runs_of([3.0, 3.0, 30.0, 30.0, 30.0], 0.985)
    found, entries = at_first_mark({OURS: ours, PEER: runs_of([6.0, 6.0], 0.985)})
    assert found["ours"] == "fast_recipe"
    assert (entries["fast_recipe"]["median_seconds"], entries["fast_recipe"]["n"]) == (30, 5)
    peer = entries["keras_default"]
    assert [peer[key] for key in ("median_seconds", "n", "ratio", "ratio_n")] == [6, 2, 2, 2]
    found, entries = at_first_mark(
        {OURS: runs_of([3.0, 3.0], 0.985), PEER: runs_of([6.0, 6.0, 99.0, 99.0], 0.985)}
    )
    peer = entries["keras_default"]
    assert [peer[key] for key in ("median_seconds", "high", "n", "ratio")] == [6, 6, 2, 2]
    words = speed_report.conclusion(
        {"runs": {"some": 1}, "marks": [at_first_mark({OURS: ours, PEER: runs_of([6.0, 6.0], 0.985)})[0]]}
    )
    assert "n=5 seeds" in words
    assert "keras_default 2.00 over 2 common seeds." in words


def test_a_recipe_without_a_common_seed_has_no_ratio_and_is_named():
    ours, peer = runs_of([3.0, 3.0], 0.985), runs_of([6.0, 7.0, 8.0], 0.985, seeds=[7, 8, 9])
    found, entries = at_first_mark({OURS: ours, PEER: peer})
    assert (entries["keras_default"]["median_seconds"], entries["keras_default"]["n"]) == (7, 3)
    assert entries["keras_default"]["ratio"] is None
    words = speed_report.conclusion({"runs": {"some": 1}, "marks": [found]})
    assert "Without a common seed with ours, and therefore not compared: keras_default." in words
    assert "Not reached by" not in words


def test_the_schedules_of_a_recipe_are_compared_over_their_common_seeds():
    """The second schedule is slower in each seed that both have, but not in its median over all of its seeds."""
    first, second = runs_of([5.0, 2.0, 9.0], 0.985), runs_of([5.5], 0.985, seeds=[1])
    _, entries = at_first_mark({"fast_recipe, 2 epochs": first, "fast_recipe, 3 epochs": second})
    assert entries["fast_recipe"]["schedule"] == "fast_recipe, 2 epochs"
    first["seconds"] = [6.0, 2.0, 3.0]
    _, entries = at_first_mark({"fast_recipe, 2 epochs": first, "fast_recipe, 3 epochs": second})
    assert entries["fast_recipe"]["schedule"] == "fast_recipe, 3 epochs"
    assert entries["fast_recipe"]["n"] == 1


def test_measurements_are_collected_by_schedule_and_seed():
    entries = [
        {
            "name": name,
            "seed": seed,
            "session": 4 + seed,
            "value": {"seconds": s, "accuracy": a, "import_seconds": i},
        }
        for name, seed, s, a, i in (
            (PEER, 2, 3.00004, 0.98765432, 0.5),
            (OURS, 1, 1.0, 0.9, 2.0),
            (PEER, 1, 4.0, 0.97, 0.25),
        )
    ]
    assert marks.compact(entries) == {
        OURS: {"seeds": [1], "sessions": [5], "seconds": [1.0], "accuracy": [0.9], "import_seconds": [2.0]},
        PEER: {
            "seeds": [1, 2],
            "sessions": [5, 6],
            "seconds": [4.0, 3.0],
            "accuracy": [0.97, 0.987654],
            "import_seconds": [0.25, 0.5],
        },
    }


def wrong_numbers(content):
    """What a `bench.json` says that its own times of each seed contradict."""
    again = json.loads(json.dumps(marks.summary(content["runs"])))
    wrong = [at["mark"] for at, right in zip(content["marks"], again, strict=True) if at != right]
    measured = {CANDIDATES[name].recipe for name in content["runs"]}
    expected = {
        one.name
        for name in measured
        if content["validation"]
        for one in schedules.chosen(content["validation"], RECIPES[name])
    }
    return wrong + sorted(expected ^ set(content["runs"]) if expected else [])


def test_the_reference_agrees_with_its_own_times_of_each_seed():
    content = json.loads((REFERENCE / "bench.json").read_text())
    assert (
        "runs" not in content or wrong_numbers(content) == []
    )  # the version before had no times of each seed


def test_a_wrong_number_is_noticed(tmp_path, monkeypatch):
    content = bench(tmp_path, monkeypatch)
    assert wrong_numbers(content) == []
    content["marks"][0]["recipes"]["keras_default"]["ratio"] = 1.0
    assert wrong_numbers(content) == [MARKS[0]]
    content = bench(tmp_path, monkeypatch)
    extra = "keras_default, 5 epochs"  # scored, although it was not chosen in validation
    content["runs"][extra] = runs_of([9.0, 9.0], 0.97)
    assert extra in wrong_numbers(content)


# --- which schedules are measured ---


def validation_of(recipe, accuracy, seconds=lambda epochs: float(epochs)):
    """Made-up results of all candidates of a recipe: seconds and accuracy as functions of the epochs."""
    return {
        name: runs_of([seconds(one.epochs)] * 3, float(accuracy(one.epochs)))
        for name, one in CANDIDATES.items()
        if one.recipe == recipe
    }


def names_chosen(validation, recipe):
    return [one.name for one in schedules.chosen(validation, RECIPES[recipe])]


def test_the_two_fastest_candidates_that_reach_a_mark_in_validation_are_scored():
    found = validation_of("strong_recipe", lambda epochs: 0.9899 if epochs < 6 else 0.994)
    assert names_chosen(found, "strong_recipe") == ["strong_recipe, 6 epochs", "strong_recipe, 9 epochs"]
    slow = validation_of("strong_recipe", lambda epochs: 0.994, seconds=lambda epochs: 100.0 - epochs)
    assert names_chosen(slow, "strong_recipe") == ["strong_recipe, 17 epochs", "strong_recipe, 24 epochs"]


def test_a_recipe_that_reaches_no_mark_is_scored_with_its_best_schedule():
    found = validation_of("keras_mnist_mlp", lambda epochs: 0.975 if epochs != 9 else 0.979)
    assert names_chosen(found, "keras_mnist_mlp") == ["keras_mnist_mlp, 9 epochs"]
    found["keras_mnist_mlp, 20 epochs"] = runs_of([20.0] * 3, 0.981)
    assert names_chosen(found, "keras_mnist_mlp") == ["keras_mnist_mlp, 20 epochs"]


def test_other_recipes_and_unknown_schedules_do_not_change_the_choice():
    found = validation_of("torch", lambda epochs: 0.9 + epochs / 100)
    others = validation_of("fast_recipe", lambda epochs: 0.99) | {"torch, 99 epochs": runs_of([0.1], 0.99)}
    chosen = names_chosen(others | found, "torch")
    assert chosen == names_chosen(found, "torch") == ["torch, 6 epochs"]


def test_without_validation_the_command_says_what_to_do_first(tmp_path, monkeypatch):
    monkeypatch.setattr(marks, "images", lambda *arguments, **options: ((), ()))
    monkeypatch.setattr(_course, "REFERENCE", tmp_path)
    result = invoke("new", "--only", "keras_default", "--results-dir", tmp_path)
    assert result.exit_code == 2
    for word in ("keras_default", "validation images", "Received: none", "--validate"):
        assert word in result.output
    assert not (tmp_path / "new").exists()


def test_without_validation_of_ones_own_the_references_is_taken(tmp_path, monkeypatch):
    validation = reference_of("sklearn", tmp_path, monkeypatch)
    assert speed._validation(tmp_path) == {"machine": ELSEWHERE, "runs": validation}
    own = validation_of("torch", lambda epochs: 0.97)
    machine = ELSEWHERE | {"processor": "own"}
    _files.write_json(tmp_path / "bench.json", {"validation": own, "machine": machine})
    assert speed._validation(tmp_path) == {"machine": machine, "runs": own}


ELSEWHERE = {"processor": "Elsewhere 9000", "cores": 64, "date": "2026-01-02"}


def reference_of(recipe, folder, monkeypatch):
    """Writes a reference that has a validation of one recipe, and returns it."""
    validation = validation_of(recipe, lambda epochs: 0.97)
    (folder / "reference").mkdir()
    _files.write_json(folder / "reference" / "bench.json", {"validation": validation, "machine": ELSEWHERE})
    monkeypatch.setattr(_course, "REFERENCE", folder / "reference")
    return validation


def test_the_references_validation_chooses_and_its_times_are_not_shown(tmp_path, monkeypatch):
    validation = reference_of("sklearn", tmp_path, monkeypatch)
    folder = tmp_path / "own"
    asked = measured(folder, monkeypatch, repeats=1, parts=["marks"], only=["sklearn"])
    chosen = names_chosen(validation, "sklearn")
    assert {name for _, name, _ in asked} == {*chosen}
    content = speed_report.read(folder)
    assert content["validation"] == {}
    assert [*content["runs"]] == chosen
    assert speed_report._details(content) == []
    assert "chosen by an earlier validation on Elsewhere 9000, 64 cores, 2026-01-02" in texts(content)
    monkeypatch.setattr(_course, "REFERENCE", tmp_path / "nowhere")  # the choice stays that of the first call
    assert measured(folder, monkeypatch, repeats=1, parts=["marks"], only=["sklearn"]) == []
    assert [*speed_report.read(folder)["runs"]] == chosen


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"keras_default, 8 epochs": [1]}, "4 with seeds 1, 2, 3; 1 with seeds 1"),
        ({"keras_default, 30 epochs": []}, "4 with seeds 1, 2, 3; 1 with no seed"),
        ({"keras_default, 8 epochs": [1, 2, 4]}, "4 with seeds 1, 2, 3; 1 with seeds 1, 2, 4"),
        (
            {name: [1] for name in CANDIDATES if name.startswith("keras_default, ")},
            "5 with seeds 1",
        ),
        (
            {name: [] for name in CANDIDATES if name.startswith("keras_default, ")} | {PEER: [1]},
            "4 with no seed; 1 with seeds 1",
        ),
    ],
)
def test_an_unfinished_validation_chooses_nothing(change, received):
    validation = validation_of("keras_default", lambda epochs: 0.985)
    for name, seeds in change.items():
        validation.pop(name)
        if seeds:
            validation[name] = runs_of([1.0] * len(seeds), 0.985, seeds)
    with pytest.raises(UserError) as found:
        schedules.chosen(validation, RECIPES["keras_default"])
    message = str(found.value)
    assert f"Received: {received}." in message
    for word in (
        "keras_default",
        "not complete",
        "all of its 5 candidates",
        "same seeds, at least 2",
        "--validate",
    ):
        assert word in message


def test_after_an_interrupted_validation_the_bench_says_what_to_do(tmp_path, monkeypatch):
    measured(tmp_path, monkeypatch, fail_at=7, validate=True, repeats=2, only=["sklearn"])
    result = invoke(tmp_path.name, "--only", "sklearn", "--results-dir", tmp_path.parent)
    assert result.exit_code == 2
    assert "not complete" in " ".join(result.output.split())
    measured(tmp_path, monkeypatch, validate=True, repeats=2, only=["sklearn"])
    assert measured(tmp_path, monkeypatch, repeats=1, parts=["marks"], only=["sklearn"]) != []


def test_the_candidates_are_fair_to_the_peers():
    """The twins have the lengths of ours, every peer has several lengths, and each candidate has a reason."""

    def lengths(recipe):
        return sorted({one.epochs for one in CANDIDATES.values() if one.recipe == recipe})

    assert lengths("fast_recipe") == lengths("torch") == lengths("jax")
    assert lengths("strong_recipe") == lengths("torch_strong")
    assert {one.recipe for one in CANDIDATES.values()} == set(RECIPES)
    assert all(len(lengths(recipe)) >= 5 or recipe == "sklearn" for recipe in RECIPES)
    assert len({one.setting for one in CANDIDATES.values() if one.recipe == "sklearn"}) >= 5
    assert all(len(one.reason) > 20 for one in CANDIDATES.values())
    assert len(CANDIDATES) == len(schedules._CANDIDATES)
    for twin, own in (("torch", "fast_recipe"), ("jax", "fast_recipe"), ("torch_strong", "strong_recipe")):
        assert RECIPES[twin].marks == RECIPES[own].marks
    for recipe in ("keras_default", "keras_mnist_mlp", "sklearn"):
        assert RECIPES[recipe].marks == MARKS == (0.9803, 0.99, 0.993)
    assert [name for name, recipe in RECIPES.items() if recipe.is_ours] == ["fast_recipe", "strong_recipe"]


def test_what_needs_a_package_that_is_absent_is_left_out(monkeypatch):
    monkeypatch.setattr(
        schedules.importlib.util, "find_spec", lambda name: None if name in ("torch", "distributed") else 1
    )
    names, missing = schedules.installed()
    assert missing == {"torch": "torch", "torch_strong": "torch"}
    assert {*names} == {*RECIPES} - {*missing}
    assert schedules.installed(["torch", "sklearn"]) == (["sklearn"], {"torch": "torch"})
    growing = {name.split("=")[0] for kind, name, _ in speed.plan(1, quick=False) if kind == "growth"}
    assert growing == {"epochs", "images", "units", "trials"}


# --- the recipes are what they say ---


def test_the_twins_learning_rates_are_those_of_keras():
    import keras

    names = {"keras": keras}
    exec(lessons.tagged_source("faster_training", "schedule"), names)
    for updates in (705, 30, 7):
        expected = [float(names["one_cycle"](updates)(step)) for step in range(updates)]
        np.testing.assert_allclose(twins.learning_rates(twins.FAST, updates), expected, rtol=1e-4, atol=1e-8)
    strong, warm_up = twins.STRONG, 4080 // 20
    cosine = keras.optimizers.schedules.CosineDecay(
        strong.peak / 20, 4080 - warm_up, warmup_target=0.004, warmup_steps=warm_up
    )
    rates = twins.learning_rates(strong, 4080)
    for step in (0, 1, 100, warm_up - 1, warm_up, 2000, 4079):
        assert rates[step] == pytest.approx(float(cosine(step)), rel=1e-3, abs=1e-8)


def test_the_twins_settings_are_those_of_the_notebook():
    cells = "\n".join(lessons.tagged_source("faster_training", tag) for tag in RECIPES["fast_recipe"].tags)
    assert tuple(map(int, re.findall(r"Dense\((\d+)", cells))) == twins.FAST.widths[1:]
    assert re.findall(r"batch_size=(\d+)", cells) == [str(twins.FAST.batch_size)]
    assert "optimizers.Adam(one_cycle(" in cells  # with Keras' own epsilon
    import keras

    assert keras.optimizers.Adam().epsilon == twins.FAST.epsilon == twins.STRONG.epsilon


def test_initial_kernels_have_the_limits_of_glorot():
    kernels = twins.glorot_uniform((784, 512, 10), seed=1)
    assert [kernel.shape for kernel in kernels] == [(784, 512), (512, 10)]
    for kernel in kernels:
        limit = np.sqrt(6 / sum(kernel.shape))
        assert kernel.dtype == np.float32
        assert 0.99 * limit < np.abs(kernel).max() <= limit
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    assert not np.array_equal(kernels[0], twins.glorot_uniform((784, 512, 10), seed=2)[0])


def test_our_fast_recipe_is_the_notebooks_own():
    source = lessons.tagged_source("faster_training", "fast-recipe")
    assert "epochs=fast_epochs" in source
    train, held_out = few(300)
    found = marks.measure(CANDIDATES["fast_recipe, 2 epochs"], 1, train, held_out)
    assert 0 < found["seconds"] < 60
    assert 0.05 < found["accuracy"] <= 1


def strong_tags():
    tags = {tag for cell in lessons.read_lesson("stronger_networks")["cells"] for tag in _tags(cell)}
    return {tag for tag in tags if tag.startswith("strong-")}


def _tags(cell):
    return cell["metadata"].get("tags", [])


def test_all_cells_of_the_strong_recipe_are_tagged():
    assert strong_tags() == {*RECIPES["strong_recipe"].tags}
    cells = lessons.read_lesson("stronger_networks")["cells"]
    in_order = [tag for cell in cells for tag in _tags(cell) if tag.startswith("strong-")]
    assert in_order == [*RECIPES["strong_recipe"].tags]


def test_the_twin_of_the_strong_recipe_has_the_notebooks_numbers():
    full = lessons.declared("stronger_networks") | lessons.profile_parameters("full")
    units = full["strong_units"]
    assert twins.STRONG.widths == (784, units, units // 2, units // 4, units // 4, 10)
    numbers = ("batch_size", "peak", "weight_decay", "average_share", "adversarial_step", "neighbour_step")
    names = (
        "batch_size",
        "peak_learning_rate",
        "weight_decay",
        "average_share",
        "vat_epsilon",
        "neighbour_length",
    )
    for number, name in zip(numbers, names, strict=True):
        assert getattr(twins.STRONG, number) == full[name], name
    assert twins.STRONG.start == twins.STRONG.peak / 20
    source = lessons.tagged_source("stronger_networks", "strong-optimiser")
    assert "peak_learning_rate / 20" in source and f"steps // {twins.STRONG.warm_up}" in source
    assert f"count={twins.STRONG.neighbours}" in lessons.tagged_source(
        "stronger_networks", "strong-neighbours"
    )
    assert f"gradients={twins.STRONG.gradients}" in lessons.tagged_source("stronger_networks", "strong-step")


def made_up_cells(monkeypatch, cells, **parameters):
    """Cells with the tags of the strong recipe, in place of the notebook's; most of them do nothing."""
    monkeypatch.setattr(
        lessons, "declared", lambda lesson: {"batch_size": 10, "strong_units": 4, **parameters}
    )
    monkeypatch.setattr(
        lessons,
        "profile_parameters",
        lambda profile: {"batch_size": 10, "refit_epochs": 3, "strong_units": 8},
    )
    monkeypatch.setattr(lessons, "tagged_source", lambda lesson, tag: cells.get(tag, ""))


STRONG_CELLS = {
    "strong-network": "seen = [('network', seed, strong_epochs, batch_size, strong_units, options)]",
    "strong-direction": "def scaled_direction(): return 'searched'",
    "strong-neighbours": "seen.append(('neighbours', x_train.shape, NearestNeighbors.__name__))",
    "strong-step": "def smooth_step(): return 'near'",
    "strong-fit": """
class Network:
    def predict(self, images, **options):
        return np.eye(10)[[3] * len(images)]
def train_smooth(find_step, verbose):
    seen.append((scaled_direction(), find_step(), verbose))
    return Network(), {}
""",
}


def test_our_strong_recipe_is_the_notebooks_own_cells(monkeypatch):
    from benchmarks.recipes import ours_strong

    made_up_cells(monkeypatch, STRONG_CELLS, strong_epochs=17, seed=9)
    train, held_out = few(20)
    predict = ours_strong.strong(*train, 4, 6)
    assert predict(held_out[0]).tolist() == [3] * len(held_out[0])
    found = ours_strong.train(*train, 4, 6, {})
    assert found["seen"] == [
        ("network", 4, 6, 10, 8, {"shuffle": False}),
        ("neighbours", (20, 28, 28), "NearestNeighbors"),
        ("searched", "near", 0),
    ]
    assert "refit_epochs" not in found  # it is no parameter of the notebook
    found = ours_strong.train(*train, 4, 6, {"scaled_direction": lambda: "left out"})
    assert found["seen"][-1] == ("left out", "near", 0)
    with pytest.raises(KeyError, match=r"No tagged cell of stronger_networks defines renamed\."):
        ours_strong.train(*train, 4, 6, {"renamed": None})


@pytest.mark.long
def test_our_strong_recipe_learns():
    train, held_out = few(1000)
    assert marks.measure(CANDIDATES["strong_recipe, 4 epochs"], 1, train, held_out)["accuracy"] > 0.7


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "keras_default, 5 epochs",
        "keras_mnist_mlp, 4 epochs",
        "sklearn 512-256 SGD rate 0.1 batch 128, 6 epochs",
    ],
)
def test_each_peer_learns(name):
    train, held_out = few(1000)
    assert marks.measure(CANDIDATES[name], 1, train, held_out)["accuracy"] > 0.7


@pytest.mark.parametrize("setting", sorted({one.setting for one in CANDIDATES.values() if one.setting}))
def test_each_setting_of_sklearn_is_accepted_and_trains_for_all_epochs(setting, monkeypatch):
    from benchmarks.recipes import with_sklearn

    made = []
    original = with_sklearn.MLPClassifier
    monkeypatch.setattr(
        with_sklearn, "MLPClassifier", lambda **given: made.append(original(**given)) or made[-1]
    )
    one = next(one for one in CANDIDATES.values() if one.setting == setting)
    train, held_out = few(300)
    with_sklearn.classifier(*train, 3, 4, **one.settings)(held_out[0])
    assert made[0].n_iter_ == 4
    assert made[0].n_iter_no_change > 4
    assert made[0].random_state == 3
    assert one.settings.items() <= made[0].get_params().items()


LIBRARIES = {"torch": "PyTorch", "jax": "JAX"}
with_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
with_jax = pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("torch, 6 epochs", marks=with_torch),
        pytest.param("torch_strong, 4 epochs", marks=with_torch),
        pytest.param("jax, 6 epochs", marks=with_jax),
    ],
)
def test_each_twin_learns(name):
    train, held_out = few(1150)
    assert marks.measure(CANDIDATES[name], 1, train, held_out)["accuracy"] > 0.8


@with_torch
def test_the_torch_twins_are_the_recipes():
    import torch

    from benchmarks.recipes import with_torch

    network = with_torch._network(twins.FAST.widths, 1)
    assert sum(weight.numel() for weight in network.parameters()) == 785 * 512 + 513 * 256 + 257 * 10
    np.testing.assert_array_equal(network[0].weight.detach().T, twins.glorot_uniform(twins.FAST.widths, 1)[0])
    assert not network[0].bias.any()
    strong = with_torch._network(twins.STRONG.widths, 1, 1e-3)
    kernels = 784 * 1024 + 1024 * 512 + 512 * 256 + 256 * 256 + 256 * 10
    assert (
        sum(weight.numel() for weight in strong.parameters()) == kernels + 2 * (1024 + 512 + 256 + 256) + 10
    )
    hidden, others = with_torch._adamw(strong).param_groups
    assert [weight.shape[0] for weight in hidden["params"]] == [1024, 512, 256, 256]
    assert (hidden["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert len(hidden["params"]) + len(others["params"]) == len([*strong.parameters()])
    assert hidden["fused"] and others["fused"]
    points = torch.tensor([[0.0], [1.0], [5.0], [0.4], [100.0], [101.0], [103.0]])
    near = with_torch.nearest_of_class(points, torch.tensor([0, 0, 0, 0, 1, 1, 1]), 2)
    assert near.tolist() == [[3, 1], [3, 0], [1, 3], [0, 1], [5, 6], [4, 6], [5, 4]]


LATE = """
import sys
from benchmarks import marks, schedules
train, held_out = marks.images(quick=True, validation=True)
one = schedules.CANDIDATES[sys.argv[1]]
function = schedules.RECIPES[one.recipe].load()
before = len(sys.modules)
function(*(array[:300] for array in train), 1, 1, **one.settings)
print(len(sys.modules) - before)
"""


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_no_library_is_imported_while_the_clock_runs(recipe):
    """PyTorch imports 800 modules when the first optimiser is made, which takes seconds."""
    if recipe in schedules.installed()[1]:
        pytest.skip(f"{LIBRARIES[RECIPES[recipe].package]} is not installed")
    name = next(name for name, one in CANDIDATES.items() if one.recipe == recipe)
    done = subprocess.run([sys.executable, "-c", LATE, name], capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 20


# --- operations, updates and growth ---


def test_operations_are_those_of_the_matrix_products():
    assert (
        speed.operations([(784, 256), (256, 128), (128, 10)], 1)
        == 4 * 784 * 256 + 6 * 256 * 128 + 6 * 128 * 10
    )
    assert speed.operations([(2, 3)], 5) == 5 * 4 * 6
    assert speed.matmul_operations(2, 3, 4) == 48


@pytest.mark.long
def test_throughput_counts_the_images_that_were_trained_on(monkeypatch):
    counted = []
    original = speed.operations
    monkeypatch.setattr(
        speed, "operations", lambda *arguments: counted.append(arguments) or original(*arguments)
    )
    train, _ = few(1100)
    kernels = [(784, 256), (256, 128), (128, 10)]
    found = speed.throughput(*train, 1, 2)
    assert found["fraction"] == found["training"] / found["matmul"]
    assert 0 < found["fraction"] < 1
    speed.throughput(*train, 1, 2, one_batch=True)
    assert counted == [(kernels, 2 * 1100), (kernels, 2 * 1024)]


def test_the_matmul_rate_counts_all_repetitions(monkeypatch):
    ticks = iter([10.0, 14.0])
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert speed._matmul_rate(repetitions=3) == 2 * 512 * 784 * 256 * 3 / 4


def test_growth_is_measured():
    train, _ = few(600)
    grown = speed.growth(*train, 1, "units", 32)
    assert grown["num_params"] == 785 * 32 + 33 * 16 + 17 * 10
    assert grown["peak_memory_bytes"] > 10**8


STEP_CELLS = {
    "strong-network": "clock.spend(5 if clock.is_warm else 8)\nclock.is_warm = True",
    "strong-direction": """
def scaled_direction(model, images):
    clock.spend(0.02)
""",
    "strong-neighbours": "clock.spend(len(x_train) / 1000)",
    "strong-step": """
def neighbour_direction():
    clock.spend(0.005)
def smooth_step():
    scaled_direction(None, None)
    neighbour_direction()
""",
    "strong-fit": """
def train_smooth(find_step, verbose):
    for _ in range(strong_epochs * (len(x_train) // batch_size)):
        find_step()
        clock.spend(0.015)
        keras.layers.BatchNormalization()
    return None, {}
""",
}


def test_an_update_is_timed_without_set_up_and_a_part_is_left_out(monkeypatch):
    import keras

    clock = Clock()
    made_up_cells(monkeypatch, STEP_CELLS, clock=clock)
    monkeypatch.setattr(steps, "time", clock)
    monkeypatch.setattr(steps, "_random_direction", lambda *arguments: None)
    monkeypatch.setattr(keras.layers, "BatchNormalization", lambda: clock.spend(0.01))
    x, y = np.zeros((steps.NUM_IMAGES + 500, 28, 28)), np.zeros(steps.NUM_IMAGES + 500)
    variants = {
        steps.COMPLETE: 50,
        "without the search for the adversarial direction": 30,
        "without the step towards the neighbours": 45,
        "without batch normalisation": 40,
    }
    for name, expected in variants.items():
        variant = steps.VARIANTS[name]
        if "search" in name:
            variant = steps.Variant({"scaled_direction": lambda *arguments: None})
        found = steps.milliseconds(x, y, 1, variant)["milliseconds"]
        assert found == pytest.approx(expected), name
    assert keras.layers.BatchNormalization() is None  # what was replaced is there again


def test_the_saved_share_is_of_the_complete_update():
    names = [*steps.VARIANTS]
    complete = {1: 50.0, 2: 40.0}
    found = steps.summary({names[1]: {1: 40.0, 2: 20.0, 3: 90.0}, names[0]: complete})
    assert [*found] == names[:2]
    assert found[names[0]] == {"median": 45, "low": 40, "high": 50, "n": 2, "saved": 0}
    assert (found[names[1]]["median"], found[names[1]]["n"]) == (40, 3)
    assert found[names[1]]["saved"] == pytest.approx(1 / 3)  # over the seeds 1 and 2
    assert steps.summary({names[1]: {1: 30.0}})[names[1]]["saved"] is None
    assert steps.summary({names[1]: {3: 30.0}, names[0]: complete})[names[1]]["saved"] is None


def test_a_straight_line_is_found_and_a_bent_one_is_not():
    def points(seconds):
        return [{"value": value, "seconds": seconds(value), "num_params": value} for value in (4, 1, 2, 8)]

    line = speed.straight_line(points(lambda x: 2 + 3 * x), "epochs")
    assert (line["slope"], line["intercept"], line["r_squared"]) == pytest.approx((3, 2, 1))
    assert [point["value"] for point in line["points"]] == [1, 2, 4, 8]
    assert speed.straight_line(points(lambda x: x**4), "epochs")["r_squared"] < 0.95
    shared_out = speed.straight_line(points(lambda x: 5 + 3 * speed.STUDY_RUNS / x), "workers")
    assert (shared_out["slope"], shared_out["r_squared"]) == pytest.approx((3, 1))


@pytest.mark.long
def test_the_growth_with_workers_is_that_of_a_study(monkeypatch):
    asked = []

    def run_study(name, question, *, results_dir, limits, workers):
        asked.append((question.seeds, workers, limits.threads))
        for run in study.grid(question):
            folder = Path(results_dir) / name / run
            folder.mkdir(parents=True)
            monkeypatch.setattr(results, "peak_memory", lambda: 100 * 2**20)
            results.save_record(
                folder, "02_baseline", params={"seed": 1}, dataset={}, models={}, started=time.perf_counter()
            )
        return Path(results_dir) / name, []

    monkeypatch.setattr(study, "run_study", run_study)
    assert speed.measure("growth", "workers=2", 1, quick=True)["peak_memory_bytes"] == 200 * 2**20
    assert speed.measure("growth", "seeds=2", 1, quick=True)["peak_memory_bytes"] == 100 * 2**20
    assert asked == [([1, 2, 3, 4], 2, 1), ([1, 2], 1, 1)]


# --- the bench as a whole ---


def test_measurements_take_turns_in_an_order_that_differs():
    plan = speed.plan(speed.GROWTH_REPEATS + 1, quick=False, scored=[OURS, PEER])
    assert len(plan) == len(set(plan))
    seeds = [seed for _, _, seed in plan]
    assert seeds == sorted(seeds)
    orders = [
        [(kind, name) for kind, name, seed in plan if seed == turn]
        for turn in range(1, speed.GROWTH_REPEATS + 2)
    ]
    assert sorted(orders[0]) == sorted(orders[1])
    assert sorted(orders[-1]) == sorted(job for job in orders[0] if job[0] != "growth")
    assert orders[0] != orders[1]
    assert plan == speed.plan(speed.GROWTH_REPEATS + 1, quick=False, scored=[OURS, PEER])
    assert {kind for kind, _, _ in plan} == {*speed.PARTS}
    assert [job for job in plan if job[0] == "marks" and job[2] == 1] != []
    of_marks = speed.plan(2, quick=False, parts=["marks"], scored=[OURS, PEER])
    assert sorted(of_marks) == sorted(("marks", name, seed) for name in (OURS, PEER) for seed in (1, 2))


def measured(folder, monkeypatch, fail_at=None, validate=False, **options):
    """A bench whose measurements are made up; returns what was asked to be measured."""
    asked = []

    def stand_in(kind, name, seed, quick):
        if len(asked) == fail_at:
            raise RuntimeError("the lid was closed")
        asked.append((kind, name, seed))
        if kind in ("marks", "validation"):
            one = CANDIDATES[name]
            ours = RECIPES[one.recipe].is_ours
            accuracy = 0.97 + (0.0055 if ours else 0.004) * one.epochs**0.5
            return {
                "seconds": (0.5 + 0.01 * seed) * one.epochs * (1 if ours else 4),
                "accuracy": accuracy,
                "import_seconds": 2.0,
            }
        if kind == "throughput":
            return {"training": 1.0, "matmul": 4.0, "fraction": 0.25}
        if kind == "step":
            return {"milliseconds": 30.0 - len(name) / 10}
        value = float(name.split("=")[1])
        return {"seconds": value, "peak_memory_bytes": 1, "num_params": 5 * value}

    monkeypatch.setattr(speed, "_in_a_process", stand_in)
    monkeypatch.setattr(marks, "images", lambda *arguments, **options: ((), ()))
    monkeypatch.setattr(speed, "_code", lambda kind, name: "a hash")
    monkeypatch.setattr(
        schedules,
        "installed",
        lambda only=(): ([name for name in only or RECIPES if name != "jax"], {"jax": "jax"}),
    )
    try:
        (speed.run_validation if validate else speed.run_bench)(folder, **options)
    except RuntimeError:
        return asked
    return asked


def bench(folder, monkeypatch, **options):
    """The content of a made-up bench of two seeds, after its validation."""
    measured(folder, monkeypatch, validate=True, repeats=2)
    measured(folder, monkeypatch, **{"repeats": 2, **options})
    return json.loads((folder / "bench.json").read_text())


def texts(content):
    tables = (f"{table.title}\n{table.text()}\n{table.note}" for table in speed_report.tables(content))
    return "\n".join([*tables, speed_report.conclusion(content)])


def test_a_bench_that_was_stopped_goes_on(tmp_path, monkeypatch):
    first = measured(tmp_path, monkeypatch, fail_at=3, quick=True, repeats=2)
    assert len(first) == 3
    assert not (tmp_path / "bench.json").exists()
    second = measured(tmp_path, monkeypatch, quick=True, repeats=2)
    assert first + second == speed.plan(2, quick=True, scored=[speed.QUICK_SCHEDULE])
    assert measured(tmp_path, monkeypatch, quick=True, repeats=2) == []


def test_a_program_that_has_changed_is_measured_again(tmp_path, monkeypatch):
    measured(tmp_path, monkeypatch, quick=True, repeats=1)
    lines = (tmp_path / "bench.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    changed = [entry | {"code": "another"} if entry["kind"] == "marks" else entry for entry in entries]
    changed.append({"kind": "target", "name": "fast_recipe", "seed": 1, "quick": True, "value": []})
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in changed))
    again = measured(tmp_path, monkeypatch, quick=True, repeats=1)
    assert again == [("marks", speed.QUICK_SCHEDULE, 1)]
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["runs"][speed.QUICK_SCHEDULE]["seeds"] == [1]


def changed_log(folder, **changes):
    """Changes the entries of `bench.jsonl` that are of the time to an accuracy."""
    path = folder / "bench.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    changed = [entry | changes if entry["kind"] == "marks" else entry for entry in entries]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in changed))
    return entries


def test_each_entry_says_where_when_and_with_what_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 3)
    measured(tmp_path, monkeypatch, quick=True, repeats=1)
    measured(tmp_path, monkeypatch, quick=True, repeats=2)
    entries = changed_log(tmp_path)
    assert [entry["session"] for entry in entries] == [entry["seed"] for entry in entries]  # one call each
    for entry in entries:
        assert entry["machine"]["processor"] == results.machine()["processor"]
        assert entry["machine"]["threads"] == 3
        assert entry["versions"]["numpy"] == np.__version__
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"])
    used = {entry["kind"]: entry["versions"].keys() for entry in entries}
    assert {"keras", "tensorflow"} <= used["marks"]
    assert {"torch"} < speed._versions("validation", "torch, 1 epoch").keys() < {"torch", "numpy", "keras"}
    for recipe in RECIPES.values():
        assert recipe.package in speed._DISTRIBUTIONS


OTHER_MACHINE = {"processor": "another", "cores": 1}


@pytest.mark.parametrize(
    "change",
    [{"machine": OTHER_MACHINE}, {"versions": {"numpy": "1.0"}}, {"machine": None}, {"code": "another"}],
    ids=["machine", "versions", "from before", "code"],
)
def test_what_was_measured_elsewhere_or_with_other_versions_is_measured_again(tmp_path, monkeypatch, change):
    measured(tmp_path, monkeypatch, quick=True, repeats=1)
    changed_log(tmp_path, **change)
    assert measured(tmp_path, monkeypatch, quick=True, repeats=1) == [("marks", speed.QUICK_SCHEDULE, 1)]
    assert measured(tmp_path, monkeypatch, quick=True, repeats=1) == []
    content = speed_report.read(tmp_path)
    assert content["runs"][speed.QUICK_SCHEDULE]["sessions"] == [2]


def test_the_dates_of_the_report_are_those_of_the_measurements(tmp_path, monkeypatch):
    measured(tmp_path, monkeypatch, quick=True, repeats=1)
    changed_log(tmp_path, date="2026-01-02")
    measured(tmp_path, monkeypatch, quick=True, repeats=1)
    machine = speed_report.read(tmp_path)["machine"]
    assert machine["first_date"] == "2026-01-02" < machine["date"]
    assert speed_report._where(machine).endswith(f", 2026-01-02 to {machine['date']}")
    assert speed_report._where(ELSEWHERE) == "Elsewhere 9000, 64 cores, 2026-01-02"


def test_programs_of_different_sessions_are_not_paired_and_the_note_says_so(tmp_path, monkeypatch):
    content = bench(tmp_path, monkeypatch, repeats=6, parts=["marks"], only=["fast_recipe", "keras_default"])
    first = content["time_to_target"]["keras_default"]
    assert first["same_session"]
    assert "same session" not in texts(content)
    measured(tmp_path, monkeypatch, repeats=6, parts=["marks"], only=["keras_mnist_mlp"])
    content = speed_report.read(tmp_path)
    late = content["time_to_target"]["keras_mnist_mlp"]
    assert late["same_session"] is False and late["ratio_low"]
    assert content["time_to_target"]["keras_default"] == first
    assert "Not always measured in the same session as our recipe: keras_mnist_mlp." in texts(content)


def test_a_schedule_that_validation_does_not_choose_any_more_is_kept_but_not_reported(tmp_path, monkeypatch):
    """It is the fastest one on test images, by which no schedule may be selected."""
    bench(tmp_path, monkeypatch)
    entries = [json.loads(line) for line in (tmp_path / "bench.jsonl").read_text().splitlines()]
    lucky = "keras_default, 5 epochs"
    for seed in (1, 2):
        entry = next(one for one in entries if (one["kind"], one["seed"]) == ("marks", seed))
        value = {"seconds": 0.1, "accuracy": 0.999, "import_seconds": 1.0}
        same = {"versions": speed._versions("marks", lucky)}
        entries.append(entry | same | {"name": lucky, "value": value})
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))
    measured(tmp_path, monkeypatch, repeats=2)
    content = speed_report.read(tmp_path)
    assert lucky not in content["runs"]
    assert content["not_chosen"][lucky]["accuracy"] == [0.999, 0.999]
    assert all(one["schedule"] != lucky for at in content["marks"] for one in at["recipes"].values())
    assert "Scored earlier, but not reported" in texts(content) and lucky in texts(content)
    rows = {row[0]: row for row in speed_report._details(content)[0].rows}
    assert rows[lucky][4] == "yes, not reported"
    assert wrong_numbers(content) == []


def test_every_measurement_has_a_hash_that_changes_with_its_program(monkeypatch):
    """Settings and epochs of a schedule, the timer, and the programs of the other parts."""
    code = speed._code.__wrapped__

    def other(*arguments):
        """Another program."""

    def rewritten(module):
        original = marks.source_of
        return lambda name: original(name) + "#" * (name == f"benchmarks.{module}")

    one = CANDIDATES["sklearn 512-256, 9 epochs"]
    sizes = lessons.profile_parameters("quick")
    changes = [
        ("marks", one.name, CANDIDATES, one.name, dataclasses.replace(one, epochs=10)),
        ("marks", one.name, CANDIDATES, one.name, dataclasses.replace(one, settings={"alpha": 0.5})),
        ("validation", one.name, CANDIDATES, one.name, dataclasses.replace(one, epochs=10)),
        ("marks", one.name, marks, "measure", other),
        ("step", steps.COMPLETE, marks, "source_of", rewritten("steps")),
        ("throughput", speed.FULL_NETWORK, speed, "throughput", other),
        ("throughput", speed.FULL_NETWORK, speed, "BATCH", 256),
        ("throughput", speed.FULL_NETWORK, speed.THROUGHPUT, speed.FULL_NETWORK, {"steps": 10}),
        ("throughput", speed.FULL_NETWORK, speed, "_matmul_rate", other),
        ("throughput", speed.FULL_NETWORK, marks, "source_of", rewritten("recipes.with_keras")),
        ("growth", "epochs=2", speed, "growth", other),
        ("growth", "units=512", marks, "source_of", rewritten("recipes.with_keras")),
        ("growth", "seeds=2", speed, "study_growth", other),
        ("growth", "workers=2", speed, "STUDY_RUNS", 8),
        ("growth", "workers=2", lessons, "profile_parameters", lambda profile: sizes | {"epochs": 9}),
        *((kind, name, speed, "measure", other) for kind, name, _ in speed.plan(1, quick=True)),
    ]
    for kind, name, place, key, changed in changes:
        before = code(kind, name)
        with monkeypatch.context() as patch:
            (patch.setitem if isinstance(place, dict) else patch.setattr)(place, key, changed)
            assert code(kind, name) != before, (kind, name, key)
        assert code(kind, name) == before


def test_the_hash_of_a_program_is_of_its_code_and_its_cells(monkeypatch):
    hashes = {name: marks.code_sha256(RECIPES[name]) for name in ("fast_recipe", "sklearn", "torch", "jax")}
    assert len(set(hashes.values())) == 4
    original = lessons.tagged_source
    for tag in RECIPES["fast_recipe"].tags:
        monkeypatch.setattr(
            lessons, "tagged_source", lambda lesson, own, tag=tag: original(lesson, own) + "#" * (own == tag)
        )
        assert marks.code_sha256(RECIPES["fast_recipe"]) != hashes["fast_recipe"]
    assert marks.code_sha256(RECIPES["sklearn"]) == hashes["sklearn"]
    original_path = marks._path_of
    for changed in ("with_sklearn", "twins"):
        other = Path(steps.__file__)
        monkeypatch.setattr(
            marks,
            "_path_of",
            lambda module, changed=changed, other=other: (
                other if module.endswith(changed) else original_path(module)
            ),
        )
        assert marks.code_sha256(RECIPES["sklearn"]) != hashes["sklearn"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_hash_of_a_program_is_also_of_the_modules_that_it_imports(monkeypatch, name):
    recipe, original = RECIPES[name], marks._path_of
    first, text = marks.code_sha256(recipe), original(f"benchmarks.recipes.{recipe.module}").read_text()
    imported = re.findall(r"^from benchmarks\.recipes(?: import (\w+(?:, \w+)*)|\.(\w+) import)", text, re.M)
    modules = {module for names in imported for module in ", ".join(filter(None, names)).split(", ")}
    for changed in {recipe.module} | modules:
        with monkeypatch.context() as patch:
            other = {f"benchmarks.recipes.{changed}": Path(steps.__file__)}
            patch.setattr(marks, "_path_of", lambda name, other=other: other.get(name) or original(name))
            assert marks.code_sha256(recipe) != first, changed


def test_the_hash_of_our_strong_recipe_is_also_of_what_runs_its_cells_and_of_its_sizes(monkeypatch):
    recipe, original = RECIPES["strong_recipe"], marks._path_of
    first = marks.code_sha256(recipe)
    for changed in ("recipes.ours_strong", "recipes.ours", "recipes.twins"):
        with monkeypatch.context() as patch:
            other = {f"benchmarks.{changed}": Path(steps.__file__)}
            patch.setattr(marks, "_path_of", lambda name, other=other: other.get(name) or original(name))
            assert marks.code_sha256(recipe) != first, changed
    sizes = lessons.profile_parameters("full")
    monkeypatch.setattr(lessons, "profile_parameters", lambda profile: sizes | {"strong_units": 2048})
    assert marks.code_sha256(recipe) != first


def test_a_quick_bench_is_no_part_of_a_real_one(tmp_path, monkeypatch):
    quick = measured(tmp_path, monkeypatch, quick=True, repeats=1)
    measured(tmp_path, monkeypatch, validate=True, repeats=2)
    asked = measured(tmp_path, monkeypatch, repeats=1)
    assert {job for job in quick if job[0] != "marks"} <= {*asked}
    content = json.loads((tmp_path / "bench.json").read_text())
    assert "nothing" not in texts(content)
    measured(tmp_path, monkeypatch, quick=True, repeats=1)
    content = json.loads((tmp_path / "bench.json").read_text())
    assert "the numbers mean nothing" in texts(content)


def test_validation_measures_all_candidates_and_the_bench_only_the_chosen(tmp_path, monkeypatch):
    asked = measured(tmp_path, monkeypatch, validate=True, repeats=2)
    candidates = [name for name, one in CANDIDATES.items() if one.recipe != "jax"]
    assert sorted(asked) == sorted(("validation", name, seed) for name in candidates for seed in (1, 2))
    content = json.loads((tmp_path / "bench.json").read_text())
    assert [*content["validation"]] == candidates
    assert content["runs"] == {}
    assert "was not measured" in speed_report.conclusion(content)
    asked = measured(tmp_path, monkeypatch, repeats=1)
    scored = {name for kind, name, _ in asked if kind == "marks"}
    found = content["validation"]
    expected = {
        one.name
        for name, recipe in RECIPES.items()
        if name != "jax"
        for one in schedules.chosen(found, recipe)
    }
    assert scored == expected < {*candidates}
    assert not {kind for kind, _, _ in asked} & {"validation"}


def test_a_part_or_a_recipe_is_measured_alone_and_the_rest_is_kept(tmp_path, monkeypatch):
    measured(tmp_path, monkeypatch, validate=True, repeats=2)
    asked = measured(tmp_path, monkeypatch, repeats=1, parts=["marks"], only=["sklearn"])
    assert {CANDIDATES[name].recipe for _, name, _ in asked} == {"sklearn"}
    asked = measured(tmp_path, monkeypatch, repeats=1, parts=["throughput"])
    assert {kind for kind, _, _ in asked} == {"throughput"}
    content = json.loads((tmp_path / "bench.json").read_text())
    assert {CANDIDATES[name].recipe for name in content["runs"]} == {"sklearn"}
    assert [*content["matmul_fraction"]["changes"]] == [*speed.THROUGHPUT]
    assert content["growth"] == content["step"] == {}
    assert "no ratio" in texts(content)
    assert "98.03% of the test images: our recipe was not measured." in texts(content)
    assert measured(tmp_path, monkeypatch, validate=True, repeats=2, only=["sklearn"]) == []


def test_each_option_of_the_command_arrives(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(speed, "run_bench", lambda folder, **options: asked.append((folder, options)))
    monkeypatch.setattr(speed, "run_validation", lambda folder, **options: asked.append((folder, options)))
    place = ("--results-dir", tmp_path)
    invoke("monday", "--repeats", 3, "--part", "marks", "--part", "step", "--only", "sklearn", *place)
    invoke("monday", "--quick", *place)
    invoke("tuesday", "--validate", "--only", "jax", "--repeats", 4, *place)
    folder, everything = tmp_path / "monday", {"course_runs": {}, "only": (), "parts": speed.PARTS}
    asked_for = {"repeats": 3, "quick": False, "only": ("sklearn",), "parts": ("marks", "step")}
    assert asked == [
        (folder, everything | asked_for),
        (folder, everything | {"repeats": 10, "quick": True}),
        (tmp_path / "tuesday", {"repeats": 4, "only": ("jax",)}),
    ]


def test_the_numbers_and_their_report(tmp_path, monkeypatch):
    content = bench(tmp_path, monkeypatch)
    assert content["target"] == MARKS[0]
    assert content["time_to_target"] == content["marks"][0]["recipes"]
    ours = content["time_to_target"]["fast_recipe"]
    keys = ("epochs", "median_seconds", "n", "low", "high", "reached")
    assert [ours[key] for key in keys] == pytest.approx([4, 2.06, 2, 2.04, 2.08, True])
    assert content["matmul_fraction"]["median"] == 0.25
    assert content["machine"]["cores"] >= 1
    shown = texts(content)
    for word in (
        "Time to a target accuracy (mnist)",
        "2.1 s",
        "25%",
        "keras_default, 8 epochs",
        "16.3 to 16.6 s",
    ):
        assert word in shown
    for title in ("Where the time of an update goes", "All schedules that were scored", "Growth of time"):
        assert title in shown
    assert "Not installed, and therefore not measured: jax (the package jax)." in shown
    assert "98.03% of the test images: fast_recipe takes 2.1 s (median, n=2 seeds, 2.0 to 2.1 s)." in shown
    for name, figure in speed_report.figures(content).items():
        assert len(figure.png()) > 1000, name
    assert "fast_recipe 2.1 s" in speed_report.figures(content)["bench"].description
    candidates = speed_report._details(content)[0].text()
    assert "keras_default, 30 epochs" in candidates
    rows = {row[0]: row for row in speed_report._details(content)[0].rows}
    assert rows["keras_default, 20 epochs"][4] == "no"
    assert rows["keras_default, 8 epochs"][4] == "yes"


def test_the_rows_of_the_marks_say_what_is_reached(tmp_path, monkeypatch):
    content = bench(tmp_path, monkeypatch)
    table = speed_report.tables(content)[0]
    rows = {(row[0], row[1]): row for row in table.rows}
    assert [*rows[("98.03%", "keras_default")]][2:] == [
        8,
        "16.5 s",
        "16.3 to 16.6 s",
        "8.00",
        "–",
        "98.13%",
        2,
    ]
    assert "for fewer than 6 common seeds there is no interval" in table.note
    content = bench(tmp_path, monkeypatch, repeats=6)
    rows = {(row[0], row[1]): row for row in speed_report.tables(content)[0].rows}
    assert rows[("98.03%", "keras_default")][5:7] == ["8.00", "8.00 to 8.00"]
    late = rows[("99.30%", "keras_mnist_mlp")]
    assert (late[2], late[3], late[4], late[5], late[6]) == ("not reached", "–", None, "–", "–")
    assert ("99.00%", "fast_recipe") not in rows


def at_mark(**recipes):
    empty = {"ratio": None, "ratio_low": None, "ratio_high": None, "low": 1.0, "high": 9.0, "n": 10}
    entries = {
        name: empty | {"median_seconds": 5.0, "reached": True} | entry for name, entry in recipes.items()
    }
    ours = "fast_recipe" if entries.get("fast_recipe", {}).get("reached") else None
    return {"runs": {"some": 1}, "marks": [{"mark": 0.9803, "ours": ours, "recipes": entries}]}


def test_the_conclusion_compares_with_ours():
    peers = {
        "keras_default": {"ratio": 6.0, "ratio_low": 5.5, "ratio_high": 6.5},
        "torch": {"ratio": 0.8, "ratio_low": 0.7, "ratio_high": 0.9},
        "sklearn": {"reached": False},
    }
    assert speed_report.conclusion(at_mark(fast_recipe={"ratio": 1.0}, **peers)) == (
        "98.03% of the test images: fast_recipe takes 5.0 s (median, n=10 seeds, 1.0 to 9.0 s). Times as long: "
        "keras_default 6.00 (5.50 to 6.50), torch 0.80 (0.70 to 0.90). Not reached by: sklearn. "
        "Faster than ours: torch."
    )
    late = at_mark(fast_recipe={"reached": False}, torch={})
    assert speed_report.conclusion(late) == (
        "98.03% of the test images: our recipe does not reach it. Reached by: torch."
    )
    unknown = at_mark(torch={})
    assert speed_report.conclusion(unknown) == (
        "98.03% of the test images: our recipe was not measured. Reached by: torch."
    )


def test_points_of_the_frontier_are_medians_and_means():
    runs = {
        PEER: runs_of([3.0, 9.0, 6.0], [0.97, 0.98, 0.99]),
        OURS: runs_of([2.0], 0.98),
        "fast_recipe, 1 epoch": runs_of([1.0], 0.97),
    }
    found = speed_report.points(runs)
    assert found["keras_default"] == [(6.0, pytest.approx(0.98))]
    assert found["fast_recipe"] == [(1.0, 0.97), (2.0, 0.98)]


def test_a_lessons_time_is_split_by_what_its_cells_do(tmp_path):
    def cell(source, seconds):
        return {"source": source, "metadata": {"papermill": {"duration": seconds}}}

    cells = [
        cell("import keras", 4.0),
        cell("x = data.load_training()", 1.0),
        cell("model.fit(x)\nplots.learning_curves(h)", 8.0),
        cell(["plots.", "image_grid(x)"], 0.5),
        cell("print(1)", 0.25),
    ]
    (tmp_path / "02_baseline.ipynb").write_text(json.dumps({"cells": cells}))
    timing = {"wall_seconds": 15.0, "longest_cell_seconds": 8.0}
    settings = {"profile": "quick", "dataset": "digits", "seed": 1, "params": {}}
    _files.write_json(
        tmp_path / course_file.COURSE_FILE, {"settings": settings, "lessons": {"02_baseline": timing}}
    )
    assert speed.lesson_times(tmp_path)["02_baseline"] == {
        "kernel start": 1.25,
        "import": 4.0,
        "training": 8.0,
        "data": 1.0,
        "figures": 0.5,
        "other": 0.25,
    }


NOTEBOOKS = [*results.LESSONS, "faster_training", "stronger_networks", "ablation", "pytorch", "from_scratch"]


def cells_that_train(sources):
    """The cells that call `fit` or `search`, directly or through a function that the notebook defines.

    The tests find them in another way than the program: the text of each function is taken out of its cell.
    """
    functions, outside = {}, []
    for source in (ast.unparse(ast.parse(source)) for source in sources):  # without comments
        rest = source
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                text = ast.get_source_segment(source, node)
                functions[node.name] = functions.get(node.name, "") + text.partition(":\n")[2]
                rest = rest.replace(text, "")
        outside.append(rest)
    calls = r"\.(fit|search|train_on_batch)\("
    found = set()
    for _ in functions:
        names = "".join(rf"|\b{name}\(" for name in found)
        found |= {name for name, text in functions.items() if re.search(calls + names, text)}
    names = "".join(rf"|(?<!\.)\b{name}\b" for name in found)
    return [bool(re.search(calls + names, text)) for text in outside]


@pytest.mark.parametrize("lesson", NOTEBOOKS)
def test_every_cell_of_a_notebook_that_trains_counts_as_training(lesson):
    notebook = lessons.read_lesson(lesson)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    kinds = cells.kinds({"cells": code})
    expected = cells_that_train(["".join(cell["source"]) for cell in code])
    missed = [row for row, trains in enumerate(expected) if trains and kinds[row] != "training"]
    added = [
        row
        for row, kind in enumerate(kinds)
        if kind == "training"
        and not expected[row]
        and not re.search(r"\btrain(_\w+)?\(", "".join(code[row]["source"]))
    ]
    assert (missed, added) == ([], [])


def test_lessons_have_as_many_training_cells_as_they_train():
    """Lesson 3 trains in seven cells, all through `train`; lesson 4 also in `validation_loss`."""
    numbers = {}
    for lesson in results.LESSONS[1:]:
        numbers[lesson[:2]] = cells.kinds(lessons.read_lesson(lesson)).count("training")
    assert numbers["03"] >= 7 and numbers["04"] >= 6 and numbers["05"] == 0


def test_a_definition_does_not_train_and_each_use_of_it_does():
    sources = [
        "import keras",
        "def fitted(model):\n    return model.fit(x)",
        "def twice(model):\n    fitted(model)\n    fitted(model)",
        "class Trainer:\n    def step(self):\n        self.model.fit(x)",
        "twice(model)",
        "import time\nplots.learning_curves(fitted(model))",
        "histories = [*map(fitted, models)]",
        "def train_one(model):\n    loss.backward()",
        "for model in models:\n    train_one(model)",
        "model.train()",
        "drawings.network()",
        "metrics.fit_temperature(y, p)",
        "%matplotlib inline",
        "from mnist_helpers import data\ndata.load_training()",
    ]
    found = cells.kinds({"cells": [{"source": source, "cell_type": "code"} for source in sources]})
    assert found == [
        *("import", "other", "other", "other", "training", "training", "training", "other", "training"),
        *("other", "figures", "other", "other", "import"),
    ]
    text = {"source": ["`model.fit` trains: model.fit(x)"], "cell_type": "markdown"}
    assert cells.kinds({"cells": [text]}) == ["other"]


def test_the_share_outside_training_is_over_all_lessons():
    split = {"kernel start": 1.0, "import": 2.0, "training": 9.0, "other": 0.0}
    content = {"lessons": {"class": {"02_baseline": split, "01_data_exploration": split | {"training": 0.0}}}}
    assert speed_report.outside_training(content) == "Outside training: class 40% of 15 s."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only-report"], ["--only-report", "bench.json", "Measure it first"]),
        (["--repeats", "0"], ["--repeats", "1<=x<=1000"]),
        *((["--repeats", value], ["--repeats"]) for value in ("", "-1", "x", "1.5", "nan", "1001", "²")),
        *(
            (["--results-dir", value], ["folder that can be written"])
            for value in ("/dev/null", "/dev/null/x")
        ),
        (["--results-dir", "\0"], ["zero byte"]),
        *(
            (["--quick", "--", name], ["plain name", repr(name)])
            for name in ("../x", "a/b", "", " ", ".", "x\0")
        ),
        *((["--quick", "--course", name], ["plain name", repr(name)]) for name in ("../x", "")),
        (["--course", "nowhere"], ["--course", "'nowhere'", "mnist-course run nowhere"]),
        (["--offline"], ["'mnist' was not found"]),
        (["--offline", "--validate"], ["'mnist' was not found"]),
        (["--part", "mark"], ["--part", "'mark'"]),
        (["--only", "pytorch"], ["--only", "'pytorch'"]),
        (["--validate", "--repeats", "1"], ["--repeats", "2 or more", "Received: 1"]),
        *(
            (["--validate", *more], ["--validate", "one by one"])
            for more in (["--quick"], ["--only-report"], ["--part", "step"])
        ),
    ],
)
def test_bad_input_is_one_message_and_status_2(arguments, words, tmp_path):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert not (tmp_path / "results").exists()


def test_the_page_is_written_without_measuring(tmp_path, monkeypatch):
    content = bench(tmp_path, monkeypatch)
    monkeypatch.setattr(speed, "_in_a_process", None)
    result = invoke(tmp_path.name, "--only-report", "--results-dir", tmp_path.parent)
    assert result.exit_code == 0, result.output
    for page in (result.output, (tmp_path / "bench.html").read_text(), (tmp_path / "bench.md").read_text()):
        assert speed_report.conclusion(content) in page
        assert "Growth of time and memory (mnist)" in page
    assert "All candidates, on validation images" in (tmp_path / "bench.md").read_text()
    for name in ("bench", "frontier", "growth"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize("content", [{"target": 0.98, "time_to_target": {}}, []])
def test_a_bench_of_an_earlier_version_is_named(tmp_path, content):
    _files.write_json(tmp_path / "bench.json", content)
    result = invoke(tmp_path.name, "--only-report", "--results-dir", tmp_path.parent)
    assert result.exit_code == 2
    for word in ("bench.json", "earlier version", "Measure again"):
        assert word in " ".join(result.output.split())


def test_a_bench_from_before_sessions_were_recorded_is_still_reported(tmp_path, monkeypatch):
    content = bench(tmp_path, monkeypatch, repeats=6)
    expected = speed_report.conclusion(content)
    for name in ("not_chosen", "chosen_by"):
        del content[name]
    del content["machine"]["first_date"]
    for runs in [*content["runs"].values(), *content["validation"].values()]:
        del runs["sessions"]
    for entry in (one for at in content["marks"] for one in at["recipes"].values()):
        del entry["ratio_n"], entry["same_session"]
    _files.write_json(tmp_path / "bench.json", content)
    result = invoke(tmp_path.name, "--only-report", "--results-dir", tmp_path.parent)
    assert result.exit_code == 0, result.output
    assert expected in result.output


def test_the_committed_bench_is_of_an_earlier_version_and_is_still_read():
    """The lesson on faster training reads it; the report of this version refuses it, with one message."""
    content = results.reference_bench()
    assert content["time_to_target"]["fast_recipe"]["reached"]
    if "runs" in content:
        assert speed_report.conclusion(speed_report.read(REFERENCE))
    else:
        with pytest.raises(UserError, match="earlier version"):
            speed_report.read(REFERENCE)
    validation = speed._validation(REFERENCE)
    assert set(validation) == {"machine", "runs"}


def test_the_versions_of_the_report_are_those_of_all_programs(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "_version", lambda name: None if name == "jaxlib" else f"of {name}")
    speed._versions.cache_clear()
    try:
        measured(tmp_path, monkeypatch, validate=True, repeats=2, only=["torch"])
    finally:
        speed._versions.cache_clear()
    versions = speed_report.read(tmp_path)["machine"]["versions"]
    assert versions["torch"] == "of torch"
    assert {"keras", "papermill"} < versions.keys()


def test_the_help_has_an_example_whose_report_has_intervals():
    shown = " ".join(invoke("--help").output.split())
    repeats = re.search(r"Example: python -m benchmarks monday --repeats (\d+) --course class", shown)
    assert int(repeats[1]) >= marks.FEWEST_SEEDS
    assert "With fewer than 6, the report has no intervals." in shown


def test_texts_for_readers_say_target_accuracy(tmp_path, monkeypatch):
    """In this course, a mark is also a grade."""
    content = bench(tmp_path, monkeypatch)
    details = "\n".join(f"{table.text()} {table.note}" for table in speed_report._details(content))
    section = (REFERENCE / "README.md").read_text().partition("## The speed")[2].partition("\n## ")[0]
    for text in (texts(content), details, invoke("--help").output, section):
        assert "target accurac" in " ".join(text.split())
        # What is left is the name of the part, as the command takes it and as files hold it.
        assert not re.search(r"\bmarks?\b", re.sub(r"`marks`|\[marks\||\bbenchmark\w*", "", text))


# --- the lengths of training that were compared ---

LENGTHS = json.loads((REFERENCE / "lengths.json").read_text(encoding="utf-8"))
LENGTHS_PAGE = (
    (REFERENCE / "README.md").read_text(encoding="utf-8").partition("## The length")[2].partition("## ")[0]
)


def scores_of(network, epochs, metric, seeds=("1-16", "17-32")):
    rows = [
        row
        for row in LENGTHS
        if (row["network"], row["epochs"]) == (network, epochs) and row["seeds"] in seeds
    ]
    return np.concatenate([row[metric] for row in rows])


def test_the_table_of_lengths_is_that_of_the_record():
    written = re.findall(
        r"\| `(\w+)` \| (\d+) \| (\d+) \| (\S+) \((\S+)\) \| (\S+) \((\S+)\) \|", LENGTHS_PAGE
    )
    expected = set()
    for network, epochs in {(row["network"], row["epochs"]) for row in LENGTHS}:
        accuracies, losses = (scores_of(network, epochs, name) for name in ("val_accuracy", "val_loss"))
        shown = [f"{number:.2f}" for number in (100 * accuracies.mean(), 100 * accuracies.std(ddof=1))]
        shown += [f"{number:.4f}" for number in (losses.mean(), losses.std(ddof=1))]
        expected.add((network, str(epochs), str(len(accuracies)), *shown))
    assert set(written) == expected


def test_the_length_of_the_reference_is_the_better_one_in_validation():
    better, worse = (scores_of("strongest", epochs, "val_accuracy") for epochs in (50, 38))
    found = metrics.paired_difference(worse, better)
    words = f"{100 * found.mean:.3f} percentage points higher (95 % interval of the paired difference: "
    words += f"{100 * found.low:.3f} to {100 * found.high:.3f})"
    text = " ".join(LENGTHS_PAGE.split())
    assert words in text
    losses = metrics.paired_difference(*(scores_of("strongest", epochs, "val_loss") for epochs in (38, 50)))
    assert f"the loss {-losses.mean:.4f} lower ({-losses.low:.4f} lower to {losses.high:.5f} higher)" in text
    longer = [scores_of("strongest", epochs, "val_loss", ("1-16",)) for epochs in (50, 100)]
    assert metrics.paired_difference(*longer).low > 0
    assert lessons.profiles()["full"]["strongest_epochs"] == 50
    assert lessons.profiles()["full"]["strong_epochs"] == 17


def test_each_row_of_lengths_says_where_it_was_made():
    for row in LENGTHS:
        first, last = map(int, row["seeds"].split("-"))
        assert len(row["val_accuracy"]) == len(row["val_loss"]) == last - first + 1
        assert row["device"] and row["jax"] and row["seconds"] > 0
