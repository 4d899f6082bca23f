"""The five lessons in real kernels, on the embedded digits with the quick profile, then again under nbval.

What they print and save is held against values that are computed here in another way.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics
from statsmodels.stats.proportion import proportion_confint

from mnist_course import lessons
from mnist_helpers import data, parameters, plots, results

pytestmark = pytest.mark.course
EXPECTED = Path(__file__).parent / "expected_digits_quick.json"
SEED = 1
MOVES = (
    "train_seconds",
    "seconds",
    "peak_memory_bytes",
    "machine",
    "sha256",
    "params",
    "date",
    "code_sha256",
    "commit",
)


def environment(results_dir, **more):
    """The environment of a subprocess: offline, with its own results folder and without caches."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MNIST_", "PYTEST_"))}
    shut = {
        "MNIST_COURSE_OFFLINE": "1",
        "XDG_CACHE_HOME": str(results_dir / "cache"),
        "KERAS_HOME": str(results_dir),
    }
    return kept | shut | {"MNIST_COURSE_RESULTS": str(results_dir)} | more


def mnist_course(*arguments, results_dir):
    command = [sys.executable, "-m", "mnist_course.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(results_dir), check=False)


def nbval(notebooks, results_dir, **more):
    """Runs notebooks again and compares the outputs of their tagged cells."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "--nbval-cell-timeout=600",
        f"--nbval-sanitize-with={Path(__file__).with_name('nbval_sanitize.cfg')}",
        "-q",
        "-c",
        os.devnull,
    ]
    command += ["-p", "no:cacheprovider", f"--rootdir={results_dir}", *map(str, notebooks)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(results_dir, **more), check=False
    )


@pytest.fixture(scope="session")
def results_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("results dir")


@pytest.fixture(scope="session")
def quick(results_dir):
    """The folder of a whole quick run, made as a user makes it."""
    options = ["--profile", "quick", "--dataset", "digits", "--seed", str(SEED)]
    done = mnist_course("run", "quick", *options, results_dir=results_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    (results_dir / "quick.out").write_text(done.stdout)
    return results_dir / "quick"


@pytest.fixture(scope="session")
def records(quick):
    return results.load_records(quick)


def load_model(*arguments, **options):
    """Loads a model; Keras is imported here because every process that collects tests imports this file."""
    import keras

    return keras.models.load_model(*arguments, **options)


@pytest.fixture(
    scope="session",
    params=[("02_baseline",), pytest.param(results.LESSONS, marks=pytest.mark.full)],
    ids=["one lesson", "all lessons"],
)
def validated(request, quick, tmp_path_factory):
    """nbval's second run of what papermill wrote, in another results folder."""
    again = tmp_path_factory.mktemp("again")
    notebooks = [again / f"{lesson}.ipynb" for lesson in request.param]
    for path in notebooks:  # the parameters of the first run name its folder
        text = (quick / path.name).read_text()
        assert str(quick.parent) in text
        path.write_text(text.replace(str(quick.parent), str(again)))
    done = nbval(notebooks, again)
    return done, again / "quick", request.param


def outputs_of(notebook):
    """Texts of the tagged cells: id -> what is printed, and what figures say."""
    texts = {}
    for cell in notebook["cells"]:
        if "nbval-check-output" in cell["metadata"].get("tags", []):
            parts = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
            texts[cell["id"]] = "".join("".join(part) for part in parts)
    return texts


def test_the_run_ends_with_table_dataset_figures_and_report(quick):
    said = (quick.parent / "quick.out").read_text()
    for word in (
        "test accuracy",
        "nearest_mean",
        "tuned",
        "Dataset: digits",
        "accuracy.png, ",
        "report.html",
    ):
        assert word in said
    assert (quick / "report.html").is_file()
    assert not list(quick.glob(".*"))
    assert not list(quick.glob("*.log"))
    assert not list(lessons.NOTEBOOKS.glob("kernel-*"))  # the kernels' sockets are elsewhere


@pytest.mark.parametrize("lesson", results.LESSONS)
def test_every_code_cell_was_executed_and_shows_no_stderr(quick, lesson):
    notebook = json.loads((quick / f"{lesson}.ipynb").read_text())
    code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code_cells)
    outputs = [output for cell in code_cells for output in cell["outputs"]]
    assert not [output for output in outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("lesson", results.LESSONS)
def test_checked_outputs_are_those_expected_on_every_machine(quick, lesson):
    """After an intended change: `python -m tests.lessons.test_lessons RUN_FOLDER` writes the expected outputs."""
    notebook = json.loads((quick / f"{lesson}.ipynb").read_text())
    assert outputs_of(notebook) == json.loads(EXPECTED.read_text())[lesson]


@pytest.mark.parametrize("lesson", results.LESSONS)
def test_records_hold_every_parameter_as_it_was(records, results_dir, lesson):
    quick_profile = lessons.profiles()["quick"]
    given = quick_profile | {"seed": SEED, "profile": "quick", "dataset": "digits", "run": "quick"}
    given["results_dir"] = str(results_dir)
    expected = {name: given.get(name, default) for name, default in lessons.declared(lesson).items()}
    assert records[lesson]["params"] == expected


def test_training_and_test_images_are_what_the_functions_load(records):
    (x_train, y_train), (x_val, y_val) = data.load_training(
        "digits", num_train=1000, num_validation=200, seed=SEED
    )
    x_test, y_test = data.load_test("digits")
    arrays = {"x_train": x_train, "y_train": y_train, "x_val": x_val, "y_val": y_val}
    for lesson in results.LESSONS[:4]:
        assert records[lesson]["dataset"] == json.loads(json.dumps(data.describe("digits", **arrays)))
    opened = data.describe("digits", x_test=x_test, y_test=y_test)
    assert records["05_evaluation"]["dataset"] == json.loads(json.dumps(opened))


def test_recorded_scores_are_those_of_the_saved_models(quick, records):
    """Each saved model is loaded and scored here, with scikit-learn: what a record says of it must hold."""
    _, (x_val, y_val) = data.load_training("digits", num_train=1000, num_validation=200, seed=SEED)
    x_test, y_test = data.load_test("digits")
    seen = 0
    for record in records.values():
        for name, entry in record["models"].items():
            if not entry.get("file", "").endswith(".keras"):
                continue
            model = load_model(results.verified_path(quick, entry), compile=False)
            parts = [(x_val, y_val, entry, "val")]
            if name != "plain":  # the baseline again
                parts.append((x_test, y_test, records["05_evaluation"]["models"][name], "test"))
            for x, y, scores, part in parts:
                answer = model.predict(x, verbose=0).astype(float)
                answer /= answer.sum(axis=1, keepdims=True)
                assert scores[f"{part}_accuracy"] == pytest.approx(
                    np.mean(answer.argmax(axis=1) == y), abs=1e-6
                )
                loss = sklearn_metrics.log_loss(y, answer, labels=range(10))
                assert scores[f"{part}_loss"] == pytest.approx(loss, rel=1e-3)
            assert entry["num_params"] == model.count_params()
            assert entry["history"]["val_loss"][-1] == pytest.approx(entry["val_loss"], rel=1e-4)
            seen += 1
    assert seen == 6


def test_naive_scores_by_another_way(records):
    (x_train, y_train), (x_val, y_val) = data.load_training(
        "digits", num_train=1000, num_validation=200, seed=SEED
    )
    x_test, y_test = data.load_test("digits")
    means = np.stack([x_train[y_train == digit].mean(axis=0) for digit in range(10)])
    naive = records["01_data_exploration"]["models"], records["05_evaluation"]["models"]
    for x, y, scores, part in ((x_val, y_val, naive[0], "val"), (x_test, y_test, naive[1], "test")):
        distances = ((x[:, None].astype(float) - means) ** 2).sum(axis=(2, 3))
        assert scores["nearest_mean"][f"{part}_accuracy"] == np.mean(distances.argmin(axis=1) == y)
        shares = np.bincount(y_train) / len(y_train)
        assert scores["majority"][f"{part}_accuracy"] == np.mean(y == shares.argmax())
        if part == "val":
            assert scores["majority"]["val_loss"] == pytest.approx(-np.log(shares[y]).mean())


def test_intervals_and_comparison_are_about_the_test_images(quick, records):
    x_test, y_test = data.load_test("digits")
    evaluation = records["05_evaluation"]
    right = {}
    for entry in evaluation["models"].values():
        low, high = proportion_confint(round(entry["test_accuracy"] * 360), 360, method="wilson")
        assert (entry["test_accuracy_low"], entry["test_accuracy_high"]) == pytest.approx((low, high))
    for lesson, name in (("02_baseline", "baseline"), ("04_tuning", "tuned")):
        model = load_model(results.verified_path(quick, records[lesson]["models"][name]), compile=False)
        right[name] = model.predict(x_test, verbose=0).argmax(axis=1)
    comparison = evaluation["baseline_against_tuned"]
    assert comparison["only_first"] == np.sum((right["baseline"] == y_test) & (right["tuned"] != y_test))
    assert comparison["only_second"] == np.sum((right["baseline"] != y_test) & (right["tuned"] == y_test))
    counted = np.zeros((10, 10), int)
    for true, predicted in zip(y_test, right["tuned"], strict=True):
        counted[true, predicted] += 1
    assert evaluation["confusion_matrix"] == counted.tolist()
    assert f"{100 * evaluation['models']['tuned']['test_accuracy']:.2f} %" in evaluation["conclusion"]


def test_the_saved_predictions_are_those_of_the_saved_models(quick, records):
    """What the notebook on trust reads, without a model."""
    x_test, y_test = data.load_test("digits")
    arrays = results.load_arrays(quick, records["05_evaluation"]["predictions"])
    tested = records["05_evaluation"]["models"]
    assert np.array_equal(arrays.pop("labels"), y_test)
    assert set(arrays) == {name for name, entry in tested.items() if "test_loss" in entry}
    for name, probabilities in arrays.items():
        assert tested[name]["test_accuracy"] == np.mean(probabilities.argmax(axis=1) == y_test)
    model = load_model(results.verified_path(quick, records["04_tuning"]["models"]["tuned"]), compile=False)
    assert arrays["tuned"] == pytest.approx(model.predict(x_test, verbose=0), abs=1e-5)


def test_a_shift_moves_the_digit_to_the_right(quick, records):
    x_test, y_test = data.load_test("digits")
    model = load_model(
        results.verified_path(quick, records["02_baseline"]["models"]["baseline"]), compile=False
    )
    measured = records["05_evaluation"]["shifts"]["pixels to the right"]
    params = records["05_evaluation"]["params"]
    size = min(params["num_distorted"], len(x_test))
    sample = np.random.default_rng(params["seed"]).choice(len(x_test), size, replace=False)
    for pixels in (-2, 0, 3):
        moved = np.zeros_like(x_test[sample])
        for column in range(28):
            if 0 <= column + pixels < 28:
                moved[:, :, column + pixels] = x_test[sample][:, :, column]
        accuracy = np.mean(model.predict(moved, verbose=0).argmax(axis=1) == y_test[sample])
        assert measured["accuracy"]["baseline"][measured["levels"].index(pixels)] == pytest.approx(accuracy)
    assert all(len(line) == len(measured["levels"]) for line in measured["accuracy"].values())


def test_tuning_selects_by_the_mean_over_new_seeds(records):
    tuning = records["04_tuning"]
    table = pd.DataFrame(tuning["final_scores"])
    assert tuning["best"] == table.loc[table["mean"].idxmin(), list(tuning["best"])].to_dict()
    finals = pd.DataFrame(tuning["finals"])
    params = tuning["params"]
    assert finals.groupby("rank").size().tolist() == [params["num_seeds"]] * (params["num_finalists"] + 1)
    assert finals["seed"].min() == params["seed"] + 1
    assert finals.groupby("rank")["retrained"].mean().tolist() == pytest.approx(table["mean"].tolist())
    assert finals.groupby("rank")["retrained"].std(ddof=1).tolist() == pytest.approx(table["std"].tolist())
    assert tuning["default_score"] == table["in_search"][0]
    both = pd.concat([pd.DataFrame(trials) for trials in tuning["search"].values()])
    assert table["in_search"][1] == both["score"].min()
    assert all(len(trials["score"]) == params["max_trials"] for trials in tuning["search"].values())


def test_regularisation_makes_fitting_harder_and_early_stopping_ends_the_same_training(records):
    """The lesson says so; here it is counted."""
    wide = records["03_batchnorm_dropout"]["experiments"]["wide"]
    assert wide["dropout 0.5"]["loss"][-1] > wide["no dropout"]["loss"][-1]
    stopped = wide["early stopping"]["loss"]
    assert stopped == wide["no dropout"]["loss"][: len(stopped)]
    models = records["03_batchnorm_dropout"]["models"]
    last = {name: entry["history"]["loss"][-1] for name, entry in models.items()}
    assert last["batchnorm"] < last["plain"] < last["dropout"]
    assert last["batchnorm"] < last["batchnorm_dropout"]


def described(quick, lesson):
    notebook = json.loads((quick / f"{lesson}.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return {
        "".join(output["data"]["text/plain"]) for output in outputs if "image/png" in output.get("data", {})
    }


def test_figures_of_training_show_what_the_records_hold(quick, records):
    """Each figure that is drawn from a training is drawn again here, from the record."""
    deep, tuning, evaluation = (
        records[name] for name in ("03_batchnorm_dropout", "04_tuning", "05_evaluation")
    )
    wide = deep["experiments"]["wide"]
    baseline = records["02_baseline"]["models"]["baseline"]["history"]
    networks = {name: entry for name, entry in evaluation["models"].items() if "test_loss" in entry}
    spans = [[entry[f"test_accuracy{end}"] for entry in networks.values()] for end in ("", "_low", "_high")]
    tables = {name: pd.DataFrame(table) for name, table in tuning["search"].items()}
    choices = list(tuning["best"])
    both = pd.concat(tables.values(), ignore_index=True).drop_duplicates(choices)
    few = f"{deep['params']['num_few']:,} training images (digits)"
    trials = f"Random and Bayesian search, {tuning['params']['max_trials']} trials each (digits)"
    expected = {
        "02_baseline": [plots.learning_curves({"baseline": baseline}, "Learning curves (digits)")],
        "03_batchnorm_dropout": [
            plots.learning_curves({"no dropout": wide["no dropout"]}, few),
            plots.learning_curves(
                {name: wide[name] for name in ("no dropout", "dropout 0.5")},
                "Without and with dropout (digits)",
            ),
            plots.metric_by_model(wide, "loss", "Loss of four runs (digits)"),
        ],
        "04_tuning": [
            plots.search_progress(tables, tuning["default_score"], trials),
            plots.hyperparameter_effects(
                both, choices, "Loss of every trial against each hyperparameter (digits)"
            ),
        ],
        "05_evaluation": [
            plots.accuracies(list(networks), *spans, "Test accuracy on 360 images (digits)"),
            plots.confusion_matrix(
                evaluation["confusion_matrix"], "Confusion matrix of the tuned network (digits)"
            ),
        ],
    }
    for lesson, figures in expected.items():
        for figure in figures:
            assert figure.description in described(quick, lesson)


def test_only_the_deep_sigmoid_network_fails_to_train(records):
    """The lesson says so, and why; here it is counted."""
    record = records["03_batchnorm_dropout"]
    deep = record["experiments"]["deep"]
    assert max(deep["sigmoid"]["val_accuracy"]) < 0.5
    assert min(deep["sigmoid"]["loss"]) > 0.9 * np.log(10)
    for cured in ("relu", "sigmoid, batch norm"):
        assert deep[cured]["val_accuracy"][-1] > 0.6
        assert record["gradient_sizes"]["sigmoid"][0] < 0.01 * record["gradient_sizes"][cured][0]


def test_nbval_finds_the_same_outputs_again(validated):
    done, *_ = validated
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_the_same_seed_gives_the_same_numbers_on_this_machine(records, validated):
    def numbers(record):
        """The record without what may differ: times, memory, archive checksums."""
        if isinstance(record, dict):
            return {key: numbers(value) for key, value in record.items() if key not in MOVES}
        return record

    _, folder, again = validated
    for lesson, record in results.load_records(folder, again).items():
        assert numbers(record) == numbers(records[lesson]), lesson


def test_another_seed_gives_other_numbers(records, results_dir):
    options = ["--profile", "quick", "--dataset", "digits", "--seed", str(SEED + 1), "--only", "02"]
    done = mnist_course("run", "other", *options, results_dir=results_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Not run: 01_data_exploration" in done.stdout
    other = results.load_record(results_dir / "other", "02_baseline")
    mine = records["02_baseline"]
    assert other["params"]["seed"] == SEED + 1
    assert other["dataset"]["sha256"] != mine["dataset"]["sha256"]
    assert other["models"]["baseline"]["history"]["loss"] != mine["models"]["baseline"]["history"]["loss"]


def test_a_finished_run_goes_on_to_its_report_without_running_a_lesson(quick, results_dir):
    before = {path: path.stat().st_mtime_ns for path in quick.glob("0*")}
    options = ["--profile", "quick", "--dataset", "digits", "--seed", str(SEED)]
    done = mnist_course("run", "quick", *options, results_dir=results_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("finished before") == 5
    assert {path: path.stat().st_mtime_ns for path in quick.glob("0*")} == before


@pytest.mark.long
def test_papermill_alone_runs_a_lesson_from_any_folder(tmp_path):
    command = ["papermill", lessons.NOTEBOOKS / "02_baseline.ipynb", "out.ipynb", "-k", "python3"]
    command += [
        "-p",
        "dataset",
        "digits",
        "-p",
        "epochs",
        "2",
        "-p",
        "units",
        "32",
        "-p",
        "results_dir",
        tmp_path / "r",
    ]
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = results.load_record(tmp_path / "r" / "lab", "02_baseline")
    assert record["params"]["epochs"] == len(record["models"]["baseline"]["history"]["loss"]) == 2


@pytest.mark.parametrize(
    ("lesson", "options", "words"),
    [
        ("01_data_exploration", ["-p", "seed", "-3"], ["Parameter 'seed' has a wrong value", "Received: -3"]),
        (
            "05_evaluation",
            ["-p", "run", "empty"],
            ["Run lesson 01_data_exploration first", "mnist-course run empty"],
        ),
    ],
)
def test_a_lesson_says_in_a_sentence_what_is_wrong(tmp_path, lesson, options, words):
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(lessons.NOTEBOOKS / f"{lesson}.ipynb"),
        str(tmp_path / "out.ipynb"),
    ]
    done = subprocess.run(
        [*command, "-k", "python3", *options],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr


def test_a_failing_lesson_is_kept_with_its_error_and_named(quick, results_dir):
    """A model that was swapped after the run: lesson 5 stops, names the lesson to run again, and is kept."""
    folder = results_dir / "swapped"
    shutil.copytree(quick, folder)
    for name in ("05_evaluation.ipynb", "05_evaluation.json"):
        (folder / name).unlink()
    (folder / "02_baseline.keras").write_bytes(b"another model")
    options = ["--profile", "quick", "--dataset", "digits", "--seed", str(SEED), "--only", "05"]
    done = mnist_course("run", "swapped", *options, results_dir=results_dir)
    assert done.returncode == 1
    for word in ("Lesson 05_evaluation", "id 'networks'", "sha256 differs", "05_evaluation.failed.ipynb"):
        assert word in done.stderr, done.stderr
    assert (folder / "05_evaluation.failed.ipynb").is_file()
    assert not (folder / "05_evaluation.ipynb").exists()


@pytest.mark.long
def test_the_lessons_run_with_the_least_values_of_their_parameters(results_dir):
    """The lower end of each range, except what would only take longer: figures and statistics of the least data."""
    used = {name for lesson in results.LESSONS for name in lessons.declared(lesson)}
    least = {
        name: int(found.low)
        for name, found in parameters.PARAMETERS.items()
        if name in used and found.type is int and name not in ("seed", "batch_size")
    }
    least |= {"num_train": 100, "num_validation": 20, "dropout_rate": 0}  # 0 images means all of them
    options = [text for name, value in least.items() for text in ("-p", name, str(value))]
    done = mnist_course(
        "run", "least", "--profile", "quick", "--dataset", "digits", *options, results_dir=results_dir
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(results.load_records(results_dir / "least")) == set(results.LESSONS)


@pytest.mark.full
@pytest.mark.mnist
def test_the_committed_lessons_say_the_same_again_on_mnist(mnist, tmp_path):
    """The class profile on MNIST itself, some minutes: what a reader of the notebooks sees is what comes out."""
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "mnist.npz", **mnist)
    notebooks = [lessons.NOTEBOOKS / f"{lesson}.ipynb" for lesson in results.LESSONS]
    done = nbval(notebooks, tmp_path, MNIST_DATA_DIR=str(folder))
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.full
def test_the_full_profile_runs_the_stronger_networks_and_trust_on_the_digits(quick, records, results_dir):
    """What only the full profile asks for, in quick sizes: another run's search, training on all images."""
    options = ["--profile", "quick", "--dataset", "digits", "--seed", str(SEED + 1)]
    options += ["-p", "search_from", "quick", "-p", "refit_on_all", "1"]
    options += ["--only", "01,02,03,04,stronger_networks,05,trust"]
    done = mnist_course("run", "all", *options, results_dir=results_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results.load_records(results_dir / "all", (*results.LESSONS, "stronger_networks", "trust"))
    for shared in ("search", "finals", "best", "default_score"):
        assert found["04_tuning"][shared] == records["04_tuning"][shared]
    tested = found["05_evaluation"]["models"]
    for name in ("strong", "vat"):
        entry = found["stronger_networks"]["models"][name]
        assert (entry["val_accuracy"], entry["val_loss"], entry["temperature"]) == (None, None, None)
        assert "val_loss" not in entry["history"]
        assert tested[name]["test_accuracy"] > 0.5
    trust = found["trust"]
    networks = {name for name, entry in tested.items() if "test_loss" in entry}
    pairs = {frozenset((pair["first"], pair["second"])) for pair in trust["comparisons"]}
    assert pairs == {frozenset(pair) for pair in itertools.combinations(networks, 2)}
    assert all(pair["p_value"] <= pair["p_holm"] <= 1 for pair in trust["comparisons"])
    for measured in trust["robustness"].values():
        assert (
            measured["accuracy"]["baseline"][0]
            == trust["robustness"]["shift in pixels"]["accuracy"]["baseline"][0]
        )
        assert all(len(line) == len(measured["levels"]) for line in measured["accuracy"].values())


if __name__ == "__main__":
    run = Path(sys.argv[1])
    texts = {
        lesson: outputs_of(json.loads((run / f"{lesson}.ipynb").read_text())) for lesson in results.LESSONS
    }
    EXPECTED.write_text(json.dumps(texts, indent=1, ensure_ascii=False) + "\n")
