"""The optional notebook faster_training: single cells on made-up measurements, and the claims of its text."""

import math
import types

import numpy as np
import pytest
import yaml

from mnist_course import lessons
from mnist_helpers import quiz, results
from tests.lessons.cells import run_cell

LESSON = "faster_training"
CELLS = {cell["id"]: "".join(cell["source"]) for cell in lessons.read_lesson(LESSON)["cells"]}
QUIZ = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))
PLAIN = {"seed": 5, "num_seeds": 3, "learning_rate": 0.001, "batch_size": 100}


class Measure:
    """In place of `measure`: plain training takes 2, 4 and 6 s, each change a share of that; notes its calls."""

    def __init__(self, *shares):
        self.shares, self.calls = list(shares), []

    def __call__(self, weights_seed, learning_rate, batch_size, **options):
        self.calls.append((weights_seed, learning_rate, batch_size, options))
        plain = {5: 2.0, 6: 4.0, 7: 6.0}[weights_seed]
        if (learning_rate, batch_size, options) == (0.001, 100, {}):
            return plain, 0.9
        return plain * self.shares.pop(0), 0.95


class Asked:
    """In place of `quiz`: notes with which outcome a prediction is compared."""

    def compare(self, guess, outcome):
        self.outcome = outcome


def conclude():
    """The notebook's own function, which draws the conclusion from a measurement."""
    return run_cell(LESSON, "same", measure=Measure(), **PLAIN)["conclude"]


def run_pairs(cell_id, measure, **names):
    """Runs a cell that measures; returns its names."""
    more = {"measure": measure, "measured": {}, "conclude": conclude(), "guess": None, "quiz": Asked()}
    return run_cell(LESSON, cell_id, **more, **PLAIN, **names)


# --- the conclusion ---


def test_ratios_are_those_of_pairs_and_not_of_means(capsys):
    plain = [(1.0, 0.8), (10.0, 0.9), (4.0, 0.7)]
    changed = [(0.5, 0.9), (2.5, 0.9), (4.4, 0.9)]
    found = conclude()("Something", plain, changed)
    assert found == {
        "ratio": 0.5,
        "low": 0.25,
        "high": pytest.approx(1.1),
        "accuracies": (pytest.approx(0.8), pytest.approx(0.9)),
    }
    out = capsys.readouterr().out
    assert "Something: ratio of the times 0.50, range 0.25 to 1.10\n" in out
    assert "accuracy: 80.00% plain, 90.00% changed\n" in out


def test_without_a_change_the_ratio_is_one_and_the_measurements_take_turns():
    measure = Measure()
    found = run_cell(LESSON, "same", measure=measure, **PLAIN)
    assert found["measured"]["no change"]["ratio"] == 1
    assert [call[0] for call in measure.calls] == [5, 5, 6, 6, 7, 7]


@pytest.mark.parametrize(
    ("cell_id", "name", "change", "outcome"),
    [
        ("batch", "batch size", (0.001, 200, {}), 0.5),
        ("huge", "batch size 4096", (0.001, 4096, {}), "higher"),
        ("schedule-measure", "schedule", ("one-cycle", 100, {}), None),
    ],
)
def test_each_change_is_one_change_and_takes_turns_with_plain_training(
    cell_id, name, change, outcome, capsys
):
    measure = Measure(0.5, 0.25, 2.0)
    names = {"x_few": np.zeros(10_000), "fast_epochs": 2}
    if cell_id == "schedule-measure":
        names["one_cycle"] = OneCycle
    found = run_pairs(cell_id, measure, **names)
    found_ratio = found["measured"][name]
    assert (found_ratio["ratio"], found_ratio["low"], found_ratio["high"]) == (0.5, 0.25, 2.0)
    plain, changed = measure.calls[::2], measure.calls[1::2]
    assert plain == [(seed, 0.001, 100, {}) for seed in (5, 6, 7)]
    assert changed == [(seed, *change) for seed in (5, 6, 7)]
    if outcome:
        assert found["quiz"].outcome == outcome
    if cell_id == "huge":
        assert capsys.readouterr().out.endswith("steps per epoch: 100 plain, 3 changed\n")


class OneCycle(str):
    """In place of a schedule: equal to the word one-cycle, and a learning rate for each step."""

    def __new__(cls, steps):
        assert steps == 200  # 2 epochs of 10,000 images in mini-batches of 100
        return super().__new__(cls, "one-cycle")

    def __call__(self, step):
        return step / 1000


def test_the_schedule_is_drawn_for_all_steps():
    found = run_pairs(
        "schedule-measure", Measure(1, 1, 1), x_few=np.zeros(10_000), fast_epochs=2, one_cycle=OneCycle
    )
    assert found["rates"] == {"constant": [0.001] * 200, "one-cycle": [step / 1000 for step in range(200)]}
    assert "one-cycle begins at 0, highest 0.2 at step 200" in found["_"].description


def test_two_options_are_compared_with_the_same_plain_training():
    measure = Measure(0.5, 8.0, 0.5, 6.0, 0.5, 7.0)
    found = run_pairs("steps", measure)["measured"]
    assert (found["steps"]["ratio"], found["jit"]["ratio"]) == (0.5, 7.0)
    assert [call[3] for call in measure.calls] == [{}, {"steps": 20}, {"jit": True}] * 3


def test_the_schedule_warms_up_for_a_fifth_of_the_steps():
    def decay(initial, steps, warmup_target, warmup_steps):
        return initial, steps, warmup_target, warmup_steps

    schedules = types.SimpleNamespace(CosineDecay=decay)
    keras = types.SimpleNamespace(optimizers=types.SimpleNamespace(schedules=schedules))
    one_cycle = run_cell(LESSON, "schedule", keras=keras)["one_cycle"]
    assert one_cycle(100) == (0.0005, 80, 0.005, 20)
    assert one_cycle(3) == (0.0005, 3, 0.005, 0)


@pytest.mark.parametrize("cell", ["baseline", "recipe"])
def test_both_trainings_learn_from_all_training_images_and_their_schedule_ends_with_them(cell):
    """1,000 images: 10 steps of 100, or 4 steps of 256; a schedule for other images would end too early."""
    made = types.SimpleNamespace(
        compile=lambda **options: vars(made).update(options),
        fit=lambda *images, **options: vars(made).update(images=images, **options),
    )
    seeds, images = [], np.arange(1000)
    names = {"x_train": images, "y_train": images + 5, "x_few": images[:10], "y_few": images[:10]}
    names |= {"seed": 3, "learning_rate": 0.01, "batch_size": 100, "epochs": 5, "fast_epochs": 2, "steps": 99}
    names |= {
        "build": lambda seed: seeds.append(seed) or made,
        "one_cycle": lambda steps: ("one-cycle", steps),
    }
    names["keras"] = types.SimpleNamespace(optimizers=types.SimpleNamespace(Adam=lambda rate: ("Adam", rate)))
    names["time"] = types.SimpleNamespace(perf_counter=iter((2.0, 5.0)).__next__)
    found = run_cell(LESSON, cell, **names)
    x, y = made.images
    assert (x.tolist(), y.tolist(), seeds) == (images.tolist(), (images + 5).tolist(), [3])
    if cell == "baseline":
        assert (made.optimizer, made.batch_size, made.epochs) == (("Adam", 0.01), 100, 5)
        assert not hasattr(made, "steps_per_execution")
    else:
        assert made.optimizer == ("Adam", ("one-cycle", 2 * 4))
        assert (made.batch_size, made.epochs, made.steps_per_execution) == (256, 2, 20)
    assert found["baseline_seconds" if cell == "baseline" else "fast_seconds"] == 3


@pytest.mark.parametrize(
    ("change", "outcome"),
    [(-0.3, "lower"), (-0.02, "lower"), (-0.003, "about equal"), (0.003, "about equal"), (0.02, "higher")],
)
def test_a_change_of_the_accuracy_by_more_than_half_a_point_is_a_change(change, outcome):
    def measure(weights_seed, learning_rate, batch_size):
        return 2.0, 0.9 + (change if batch_size == 4096 else 0)

    found = run_pairs("huge", measure, x_few=np.zeros(10_000))
    assert found["quiz"].outcome == outcome


def test_the_two_trainings_are_compared_on_validation_images(capsys):
    scores = {"baseline": (0.08, 0.9791), "fast": (0.06, 0.9812)}
    models = {
        name: types.SimpleNamespace(evaluate=lambda x, y, batch_size, verbose, found=found: (*found,))
        for name, found in scores.items()
    }
    names = {"x_val": None, "y_val": None, "epochs": 5, "fast_epochs": 3, "guess": None, "quiz": Asked()}
    names |= {"baseline_seconds": 10.0, "fast_seconds": 4.0}
    found = run_cell(LESSON, "recipe-score", **models, **names)
    out = capsys.readouterr().out
    assert "lesson 2: 97.91% after 5 epochs, 10.0 s\n" in out
    assert "fast:     98.12% after 3 epochs, 4.0 s\n" in out
    assert "the fast recipe needs 40% of the time\n" in out
    assert found["quiz"].outcome == found["fast_accuracy"] == 0.9812


def test_the_benchmark_is_read_from_the_record(capsys):
    found = run_cell(LESSON, "bench", results=results)
    times = results.reference_bench()["time_to_target"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(times)
    for line, (name, entry) in zip(lines, times.items(), strict=True):
        ratio = entry["median_seconds"] / times["fast_recipe"]["median_seconds"]
        assert f"{name}: {ratio:.1f} times as long" in line
        assert ("not reached" in line) == (not entry["reached"])
        assert f"n = {entry['n']}" in line
    assert "not reached" in found["_"].description


# --- what the text and the quiz claim ---

TIMES = results.reference_bench()["time_to_target"]
ONCE = {"fast_recipe", "torch", "torch_resident"}
CLAIMS = [
    ("measure-idea", "We use 10,000 images", "x_train[:10_000]" in CELLS["measure"]),
    ("control-idea", "A ratio of 0.5 means half the time", "changed[:, 0] / plain[:, 0]" in CELLS["same"]),
    ("steps-idea", "With `steps_per_execution=20`", "steps=20" in CELLS["steps"]),
    ("recipe-idea", "mini-batches of 256 images", "batch_size=256" in CELLS["recipe"]),
    ("recipe-idea", "20 steps per call", "steps_per_execution=20" in CELLS["recipe"]),
    ("recipe-idea", "only `fast_epochs` epochs", "epochs=fast_epochs" in CELLS["recipe"]),
    ("bench-idea", "the mean accuracy of its five seeds", {entry["n"] for entry in TIMES.values()} == {5}),
    ("bench-idea", "Six programs", len(TIMES) == 6),
    ("bench-answer", "are evaluated once, at their end", {TIMES[name]["scored"] for name in ONCE} == {1}),
    (
        "bench-answer",
        "The others are evaluated after each epoch",
        min(TIMES[name]["scored"] for name in set(TIMES) - ONCE) > 1,
    ),
    ("huge-idea", "4,096 images", "4096" in CELLS["huge"]),
]


@pytest.mark.parametrize(("cell", "text", "holds"), CLAIMS)
def test_the_text_claims_what_holds(cell, text, holds):
    assert text in CELLS[cell]
    assert holds


@pytest.mark.parametrize("name", sorted({*TIMES} - {"fast_recipe"}))
def test_every_program_of_the_benchmark_is_described(name):
    assert f"| `{name}` |" in CELLS["bench-idea"]


def test_the_quiz_counts_steps_correctly():
    question = next(question for question in QUIZ if "50,000" in question["question"])
    (right,) = [choice for choice in question["choices"] if choice.get("right")]
    assert right["text"] == f"{math.ceil(50_000 / 256)}."
    assert "50,000 / 256 is 195.3" in right["why"]
    assert f"{50_000 / 256:.1f}" == "195.3"
    whys = " ".join(choice["why"] for choice in question["choices"])
    assert f"leaves out the last {50_000 - 195 * 256} images" in whys
    assert any(choice["text"] == f"{math.ceil(50_000 / 128)}." for choice in question["choices"])
    (few,) = [choice for choice in QUIZ[-1]["choices"] if choice.get("right")]
    steps = [math.ceil(10_000 / size) for size in (4096, 128)]
    assert f"only {steps[0]} steps of this size, compared with {steps[1]} with" in few["why"]


def test_the_test_set_is_not_opened():
    code = "\n".join(CELLS.values())
    assert "load_test" not in code
    assert "no choice in the course depends on them" in CELLS["bench-idea"]
