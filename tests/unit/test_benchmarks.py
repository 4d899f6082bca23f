"""The bench's plan, arithmetic and report; and one real measurement of each kind, tiny."""

import json
import shutil
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import speed, speed_report
from mnist_course import course_file, lessons
from mnist_course.run import study
from mnist_helpers import _files, data, results

REFERENCE = Path(__file__).parent.parent.parent / "results" / "reference"


def invoke(*arguments):
    return CliRunner().invoke(command.main, [*map(str, arguments)])


def test_measurements_take_turns_in_an_order_that_differs():
    plan = speed.plan(speed.GROWTH_REPEATS + 1, quick=False)
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
    assert plan == speed.plan(speed.GROWTH_REPEATS + 1, quick=False)
    assert ("target", "fast_recipe", 1) in plan
    assert ("target", "keras_default", 1) in plan


@pytest.mark.parametrize(
    ("curves", "seconds", "reached", "scored"),
    [
        ([[[1.0, 0.97], [2.0, 0.99]], [[3.0, 0.98], [5.0, 0.99]]], 3.5, True, 2),
        ([[[1.0, 0.99]], [[2.0, 0.98]], [[9.0, 0.99]]], 2.0, True, 1),
        ([[[1.0, 0.90], [2.0, 0.98]], [[1.0, 0.90], [4.0, 0.98]]], 3.0, False, 2),
    ],
)
def test_the_target_is_reached_when_the_mean_over_seeds_is(curves, seconds, reached, scored):
    found = speed.time_to_target(curves)
    assert (found["median_seconds"], found["reached"], found["scored"]) == (seconds, reached, scored)
    assert found["n"] == len(curves)
    assert found["low"] <= seconds <= found["high"]


def test_a_straight_line_is_found_and_a_bent_one_is_not():
    def points(seconds):
        return [{"value": value, "seconds": seconds(value), "num_params": value} for value in (4, 1, 2, 8)]

    line = speed.straight_line(points(lambda x: 2 + 3 * x), "epochs")
    assert (line["slope"], line["intercept"], line["r_squared"]) == pytest.approx((3, 2, 1))
    assert [point["value"] for point in line["points"]] == [1, 2, 4, 8]
    assert speed.straight_line(points(lambda x: x**4), "epochs")["r_squared"] < 0.95
    shared_out = speed.straight_line(points(lambda x: 5 + 3 * speed.STUDY_RUNS / x), "workers")
    assert (shared_out["slope"], shared_out["r_squared"]) == pytest.approx((3, 1))


def test_what_needs_a_package_that_is_absent_is_left_out(monkeypatch):
    monkeypatch.setattr(speed.importlib.util, "find_spec", lambda name: None)
    names = {name.split("=")[0] for _, name, _ in speed.plan(1, quick=False)}
    assert names.isdisjoint({"torch", "torch_resident", "seeds", "workers"})
    assert {"fast_recipe", "keras_default", "epochs"} <= names


@pytest.mark.course
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


def measured(folder, monkeypatch, repeats=2, fail_at=None, quick=True):
    """A bench whose measurements are made up; returns what was asked to be measured."""
    asked = []

    def stand_in(kind, name, seed, quick):
        if len(asked) == fail_at:
            raise RuntimeError("the lid was closed")
        asked.append((kind, name, seed))
        if kind == "target":
            return [[float(seed), 0.99]]
        if kind == "throughput":
            return {"training": 1.0, "matmul": 4.0, "fraction": 0.25}
        value = float(name.split("=")[1])
        return {"seconds": value, "peak_memory_bytes": 1, "num_params": 5 * value}

    monkeypatch.setattr(speed, "_in_a_process", stand_in)
    monkeypatch.setattr(speed, "_arrays", lambda quick: {})
    try:
        speed.run_bench(folder, repeats=repeats, quick=quick)
    except RuntimeError:
        return asked
    return asked


def texts(content):
    tables = (f"{table.text()}\n{table.note}" for table in speed_report.tables(content))
    return "\n".join([*tables, speed_report.conclusion(content)])


def test_a_bench_that_was_stopped_goes_on(tmp_path, monkeypatch):
    first = measured(tmp_path, monkeypatch, fail_at=3)
    assert len(first) == 3
    assert not (tmp_path / "bench.json").exists()
    second = measured(tmp_path, monkeypatch)
    assert first + second == speed.plan(2, quick=True)
    assert measured(tmp_path, monkeypatch) == []


def test_a_quick_bench_is_no_part_of_a_real_one(tmp_path, monkeypatch):
    measured(tmp_path, monkeypatch)
    assert measured(tmp_path, monkeypatch, repeats=1, quick=False) == speed.plan(1, quick=False)
    content = json.loads((tmp_path / "bench.json").read_text())
    assert "nothing" not in texts(content)
    measured(tmp_path, monkeypatch)
    content = json.loads((tmp_path / "bench.json").read_text())
    assert "the numbers mean nothing" in texts(content)


def test_the_numbers_and_their_report(tmp_path, monkeypatch):
    measured(tmp_path, monkeypatch)
    content = json.loads((tmp_path / "bench.json").read_text())
    ours = content["time_to_target"]["fast_recipe"]
    assert [ours[key] for key in ("median_seconds", "n", "low", "high", "reached")] == [
        1.5,
        2,
        1.0,
        2.0,
        True,
    ]
    assert content["matmul_fraction"]["median"] == 0.25
    assert content["machine"]["cores"] >= 1
    shown = texts(content)
    for word in ("Time to 98.03%", "1.5 s", "1.0 to 2.0 s", "25%", "fast_recipe"):
        assert word in shown
    assert "Our recipe takes 1.5 s to 98.03% of the test images (median, n=2 seeds, 1.0 to 2.0 s)." in shown
    for figure in speed_report.figures(content).values():
        assert len(figure.png()) > 1000
    assert "fast_recipe 1.5 s" in speed_report.figures(content)["bench"].description


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


def test_the_conclusion_compares_with_ours():
    def time(median, reached=True, scored=12):
        return {
            "median_seconds": median,
            "low": 1,
            "high": 9,
            "n": 5,
            "reached": reached,
            "scored": scored,
        }

    content = {
        "target": 0.9803,
        "time_to_target": {"keras_default": time(30, False), "fast_recipe": time(5), "sgd": time(4)},
    }
    assert speed_report.conclusion(content).endswith(
        ". Times as long: keras_default 6.0 (not there after 12 epochs), sgd 0.8."
    )
    content["time_to_target"]["fast_recipe"]["reached"] = False
    assert "did not reach 98.03%" in speed_report.conclusion(content)


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
    ],
)
def test_bad_input_is_one_message_and_status_2(arguments, words, tmp_path):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert not (tmp_path / "results").exists()


def test_the_fast_recipe_is_the_notebooks_own():
    source = lessons.tagged_source("faster_training", "fast-recipe")
    assert "fast_seconds = " in source
    arrays = {name: array[:300] for name, array in data.load_arrays("digits")[0].items()}
    ((seconds, accuracy),) = speed.fast_recipe(arrays, seed=1, epochs=1)
    assert 0 < seconds < 60
    assert 0.05 < accuracy <= 1


@pytest.mark.course
@pytest.mark.parametrize("name", ["keras_default", "keras_mnist_mlp", "sklearn"])
def test_each_competitor_is_scored_after_every_epoch(name):
    arrays = {name: array[:200] for name, array in data.load_arrays("digits")[0].items()}
    curve = speed.COMPETITORS[name](arrays, 1, 2)
    assert len(curve) == 2
    assert curve[0][0] < curve[1][0]
    assert all(0 <= accuracy <= 1 for _, accuracy in curve)


@pytest.mark.course
def test_throughput_and_growth_are_measured():
    arrays = {name: array[:600] for name, array in data.load_arrays("digits")[0].items()}
    found = speed.throughput(arrays, 1, 1)
    assert found["fraction"] == found["training"] / found["matmul"]
    assert 0 < found["fraction"] < 1
    grown = speed.growth(arrays, 1, "units", 32)
    assert grown["num_params"] == 785 * 32 + 33 * 16 + 17 * 10
    assert grown["peak_memory_bytes"] > 10**8


def test_the_page_is_written_without_measuring(tmp_path):
    shutil.copy(REFERENCE / "bench.json", tmp_path)
    result = invoke(tmp_path.name, "--only-report", "--results-dir", tmp_path.parent)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "bench.json").read_text())
    for page in (result.output, (tmp_path / "bench.html").read_text(), (tmp_path / "bench.md").read_text()):
        assert speed_report.conclusion(content) in page
        assert "Growth of time and memory (mnist)" in page
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_the_help_has_an_example():
    assert "Example: python -m benchmarks monday --repeats 3 --course class" in invoke("--help").output
