import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mnist_helpers import _course, _files, results
from mnist_helpers._errors import UserError

DATASET = {"name": "digits", "shapes": {"x": [3, 28, 28]}, "sha256": {"x": "abc"}}
PARAMS = {"profile": "class", "seed": 1, "epochs": 2}


class FakeModel:
    """What `save_model` needs of a Keras model."""

    def __init__(self, content=b"weights", fails=False, weights=0):
        self.content, self.fails, self.weights = content, fails, weights

    def save(self, path):
        path.write_bytes(self.content)
        if self.fails:
            raise OSError("No space left on device")

    def count_params(self):
        return 12

    def get_weights(self):
        return [np.full((2, 3), self.weights), np.ones(4, np.float32)]


def save(folder, lesson, models, dataset=DATASET, **more):
    return results.save_record(
        folder, lesson, params=PARAMS, dataset=dataset, models=models, started=time.perf_counter(), **more
    )


@pytest.fixture
def folder(tmp_path):
    return results.run_folder("a run", tmp_path)


def test_results_go_where_one_says(tmp_path, monkeypatch):
    assert results.results_dir(tmp_path / "x") == (tmp_path / "x").resolve()
    assert (
        results.results_dir() == (tmp_path / "results").resolve()
    )  # MNIST_COURSE_RESULTS, set for all tests
    monkeypatch.delenv("MNIST_COURSE_RESULTS")
    assert results.results_dir().name == "results"
    assert (results.results_dir().parent / "mnist_helpers").is_dir()


@pytest.mark.parametrize("as_path", [str, Path])
@pytest.mark.parametrize("folder", ["~/res", "~", "res", "./res", "a/../res", "../res"])
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_results_folder_is_made_absolute_where_it_enters(folder, way, as_path, tmp_path, monkeypatch):
    """R1: `~` is the user's home, a relative path starts at the caller's folder; no folder is named `~`."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MNIST_COURSE_RESULTS", folder if way == "environment" else "/elsewhere")
    found = results.results_dir(as_path(folder) if way == "argument" else "")
    expected = {"~/res": "home/res", "~": "home", "../res": "res"}.get(folder, "here/res")
    assert found == tmp_path / expected
    assert results.run_folder("r", as_path(folder) if way == "argument" else "") == found / "r"
    assert not list(tmp_path.rglob("~*"))


def test_opening_a_run_makes_its_folder_and_notes_the_time(tmp_path):
    before = time.perf_counter()
    folder, started = results.open_run("monday", tmp_path)
    assert folder == tmp_path / "monday"
    assert folder.is_dir()
    assert before <= started <= time.perf_counter()


def test_optional_notebooks_have_their_place_records_and_rows(folder):
    assert set(results.IN_ORDER) == {*results.LESSONS, *results.FURTHER}
    assert len(results.IN_ORDER) == len(results.LESSONS) + len(results.FURTHER)
    order = {name: place for place, name in enumerate(results.IN_ORDER)}
    assert order["04_tuning"] < order["stronger_networks"] < order["05_evaluation"] < order["trust"]
    assert results.notebook_path("02_baseline") == _course.NOTEBOOKS / "02_baseline.ipynb"
    assert results.notebook_path("trust") == _course.NOTEBOOKS / "further" / "trust.ipynb"
    save(folder, "stronger_networks", {"strong": {"num_params": 5, "val_accuracy": 0.99}})
    assert results.load_record(folder, "stronger_networks")["models"]["strong"]["num_params"] == 5
    assert results.table(folder).loc[0, ["lesson", "model"]].tolist() == ["stronger_networks", "strong"]
    with pytest.raises(results.MissingLessonError, match=r"open further/trust\.ipynb"):
        results.load_record(folder, "trust")


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/res", "a\0b"])
def test_a_results_folder_that_cannot_be_is_one_message(folder):
    with pytest.raises(UserError, match=r"Expected: the path of a file or folder\. Received: "):
        results.results_dir(folder)


def test_the_machine_is_described_in_one_place(folder, monkeypatch):
    found = results.machine()
    assert list(found) == ["python", "system", "architecture", "processor", "cores", "threads"]
    assert found["architecture"] == platform.machine()
    assert found["processor"] != found["architecture"]
    assert _files.read_json(save(folder, "02_baseline", {}))["machine"] == found


@pytest.mark.parametrize(
    ("cpuinfo", "system", "sysctl", "processor", "expected"),
    [
        (
            "processor\t: 0\nmodel name\t: AMD EPYC 9B45\nmodel name\t: other\n",
            "Linux",
            "",
            "x86_64",
            "AMD EPYC 9B45",
        ),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", "Linux", "", "arm64", ""),  # Arm's kernels do not tell it
        (None, "Darwin", "Apple M2\n", "arm", "Apple M2"),
        (None, "Windows", "", "Intel64 Family 6 Model 85", "Intel64 Family 6 Model 85"),
        (None, "Plan9", "", "", ""),
    ],
)
def test_a_processor_is_named_by_its_model(cpuinfo, system, sysctl, processor, expected, monkeypatch):
    is_file, read_text = Path.is_file, Path.read_text
    monkeypatch.setattr(Path, "is_file", lambda p: cpuinfo is not None if "cpuinfo" in p.name else is_file(p))
    monkeypatch.setattr(Path, "read_text", lambda p, *a: cpuinfo if "cpuinfo" in p.name else read_text(p, *a))
    for name, value in (("system", system), ("processor", processor), ("machine", "arm64")):
        monkeypatch.setattr(platform, name, lambda value=value: value)
    done = subprocess.CompletedProcess([], 0, stdout=sysctl)
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: done)
    assert results.machine()["processor"] == expected


def test_a_record_comes_back_as_it_was(folder, capsys):
    models = {"baseline": {"val_loss": np.float32(0.5), "history": {"loss": [np.float64(1.0), float("nan")]}}}
    save(folder, "02_baseline", models, matrix=np.eye(2, dtype=int))
    record = results.load_record(folder, "02_baseline")
    assert record["params"] == PARAMS
    assert record["dataset"] == DATASET
    assert record["models"]["baseline"] == {"val_loss": 0.5, "history": {"loss": [1.0, None]}}
    assert record["matrix"] == [[1, 0], [0, 1]]
    assert record["versions"]["keras"]
    assert record["seconds"] >= 0
    assert record["peak_memory_bytes"] > 10**7
    assert capsys.readouterr().out == "saved: a run/02_baseline.json\n"


@pytest.mark.parametrize("refit_on_all", [0, 1])
def test_images_that_a_model_was_trained_on_give_it_no_validation_score(folder, refit_on_all):
    history = {"loss": [0.5, 0.4], "val_loss": [0.6, 0.5], "accuracy": [0.8, 0.9], "val_accuracy": [0.7, 0.8]}
    scores = {"val_accuracy": 0.8, "val_loss": 0.5}
    trained = {"num_params": 12, "train_seconds": 3.0, "history": history, **scores}
    models = {
        "first": {**trained, "temperature": 1.1},
        "second": {**trained, "history": None},
        "third": dict(scores),
    }
    given = json.loads(json.dumps(models))
    entries = {"default": {"units": 4, **trained}, "default_score": 0.3, "finals": [{"val_loss": 0.2}]}
    entries["experiments"] = {"deep": {"relu": history}}
    results.save_record(
        folder,
        "04_tuning",
        params=PARAMS | {"refit_on_all": refit_on_all},
        dataset=DATASET,
        models=models,
        started=time.perf_counter(),
        **entries,
    )
    record = results.load_record(folder, "04_tuning")
    assert models == given  # what the lesson holds does not change
    assert (record["default_score"], record["finals"]) == (0.3, [{"val_loss": 0.2}])  # of the search
    if not refit_on_all:
        assert record["models"] == given
        assert record["default"] == entries["default"]
        return
    none = dict.fromkeys(scores)
    expected = {**trained, **none, "history": {"loss": [0.5, 0.4], "accuracy": [0.8, 0.9]}}
    assert record["models"]["first"] == {**expected, "temperature": None}
    assert record["models"]["second"] == {**expected, "history": None}
    assert record["models"]["third"] == none
    assert record["default"] == {"units": 4, **expected}
    assert record["experiments"] == {"deep": {"relu": expected["history"]}}


@pytest.mark.parametrize(
    ("lesson", "params", "words"), [("02_base", PARAMS, "Unknown lesson"), ("02_baseline", {}, "parameters")]
)
def test_a_record_without_stage_or_parameters_is_refused(folder, lesson, params, words):
    with pytest.raises(ValueError, match=words):
        results.save_record(
            folder, lesson, params=params, dataset=DATASET, models={}, started=time.perf_counter()
        )
    assert not list(folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(folder):
    path = folder / "02_baseline.json"
    _files.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        _files.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    with pytest.raises(OSError, match="No space"):
        results.save_model(folder, "02_baseline", FakeModel(fails=True))
    assert [file.name for file in folder.iterdir()] == ["02_baseline.json"]


@pytest.mark.parametrize(("limit", "threads"), [("3", 3), ("0", None), ("", None), (None, None)])
def test_the_threads_of_a_kernel_are_recorded(limit, threads, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    if limit is not None:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", limit)
    assert results.machine()["threads"] == threads


def test_the_origin_of_a_record_is_what_the_command_says(folder, monkeypatch):
    assert {"code_sha256", "commit"}.isdisjoint(_files.read_json(save(folder, "02_baseline", {})))
    monkeypatch.setenv(results.MADE_FROM, json.dumps({"code_sha256": "abc", "commit": "def"}))
    save(folder, "02_baseline", {})
    record = results.load_record(folder, "02_baseline")
    assert (record["code_sha256"], record["commit"]) == ("abc", "def")


def test_the_same_weights_have_one_hash(folder):
    """The hash of the file is another one: it holds the time."""
    entries = [results.save_model(folder, "02_baseline", FakeModel(weights=n)) for n in (1, 1, 2)]
    hashes = [entry["weights_sha256"] for entry in entries]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 64


def test_models_and_arrays_are_named_after_their_lesson(folder):
    entry = results.save_model(folder, "02_baseline", FakeModel())
    other = results.save_model(folder, "03_batchnorm_dropout", FakeModel(), "plain")
    arrays = results.save_arrays(folder, "01_data_exploration", means=np.ones(3))
    assert (entry["file"], entry["num_params"]) == ("02_baseline.keras", 12)
    assert other["file"] == "03_batchnorm_dropout.plain.keras"
    assert arrays["file"] == "01_data_exploration.npz"
    assert results.verified_path(folder, entry).read_bytes() == b"weights"
    assert results.load_arrays(folder, arrays)["means"].tolist() == [1, 1, 1]


def test_a_changed_or_missing_model_is_not_given_out(folder):
    entry = results.save_model(folder, "03_batchnorm_dropout", FakeModel(), "plain")
    path = folder / entry["file"]
    path.write_bytes(b"other weights")
    with pytest.raises(
        results.MissingLessonError, match=r"sha256 differs.*lesson 03_batchnorm_dropout first"
    ):
        results.verified_path(folder, entry)
    path.unlink()
    with pytest.raises(results.MissingLessonError, match="is missing"):
        results.verified_path(folder, entry)


def a_network(units=16):
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dropout(0.2)]
    layers += [keras.layers.Dense(units), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    model = keras.Sequential([keras.Input((28, 28)), *layers, keras.layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(1).integers(0, 256, (64, 28, 28)).astype("uint8")
    model.fit(images, np.arange(64) % 10, verbose=0)
    return model, images


@pytest.mark.course
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_both_forms_of_a_model_are_loaded_by_one_function(folder):
    model, images = a_network()
    weights = model.get_weights()
    entry = results.save_model(folder, "02_baseline", model)
    compact = results.save_compact_model(folder, "baseline", model)
    assert (compact["file"], compact["num_params"]) == ("baseline.npz", entry["num_params"])
    assert compact["weights_sha256"] != entry["weights_sha256"]
    size, whole = ((folder / of["file"]).stat().st_size for of in (compact, entry))
    assert size < whole / 3
    exact, rounded = results.load_model(folder, entry), results.load_model(folder, compact)
    for before, after, other in zip(weights, exact.get_weights(), rounded.get_weights(), strict=True):
        assert (before == after).all()
        assert other.dtype == np.float32
        rounding = before.astype(np.float16).astype(np.float32) if before.ndim > 1 else before
        assert (other == rounding).all()
    again = results.save_model(folder, "03_batchnorm_dropout", rounded)
    assert again["weights_sha256"] == compact["weights_sha256"]
    answers = [network.predict(images, verbose=0) for network in (model, exact, rounded)]
    assert (answers[0] == answers[1]).all()
    assert 0 < np.abs(answers[0] - answers[2]).max() < 0.005
    assert not exact.compiled and not rounded.compiled


@pytest.mark.course
def test_a_compact_model_that_was_changed_or_cannot_be_made_is_refused(folder):
    model, _ = a_network(4)
    compact = results.save_compact_model(folder, "baseline", model)
    (folder / compact["file"]).write_bytes(b"other weights")
    with pytest.raises(
        results.MissingLessonError, match=r"sha256 differs.*Get the course's whole repository"
    ):
        results.load_model(folder, compact)
    for wrong in (70_000, np.nan):
        weights = model.get_weights()
        weights[0][3, 3] = wrong
        model.set_weights(weights)
        with pytest.raises(UserError, match="in 'other'"):
            results.save_compact_model(folder, "other", model)
    assert [path.name for path in folder.iterdir()] == ["baseline.npz"]


def test_a_recorded_file_name_does_not_leave_the_folder(folder, tmp_path):
    (tmp_path / "02_secret.keras").write_bytes(b"weights")
    with pytest.raises(results.MissingLessonError, match="is missing"):
        results.verified_path(folder, {"file": "../02_secret.keras", "sha256": ""})


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", '{"lesson": "03"}', '{"lesson": "02_baseline", "params": {}}']
)
def test_a_missing_or_damaged_record_names_the_lesson_and_the_command(folder, content):
    (folder / "course.json").write_text("{}")  # a run of the runner's
    if content is not None:
        (folder / "02_baseline.json").write_text(content)
    with pytest.raises(results.MissingLessonError) as caught:
        results.load_record(folder, "02_baseline")
    assert "Run lesson 02_baseline first" in str(caught.value)
    assert "mnist-course run a run --only 02_baseline" in str(caught.value)


def test_a_record_of_an_older_version_is_named_as_such(folder):
    record = _files.read_json(save(folder, "02_baseline", {}))
    record["stage"] = record.pop("lesson")
    (folder / "02_baseline.json").write_text(json.dumps(record))
    with pytest.raises(
        results.MissingLessonError,
        match=r"written by an older version of the course\. Run lesson 02_baseline",
    ):
        results.load_record(folder, "02_baseline")


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record["models"]["baseline"].update(val_loss=0.1),
        lambda record: record["params"].update(epochs=99),
        lambda record: record.update(more=1),
        lambda record: record.pop("seconds"),
    ],
)
def test_a_record_that_was_edited_is_refused(folder, edit):
    path = save(folder, "02_baseline", {"baseline": {"val_loss": 0.5}})
    record = _files.read_json(path)
    path.write_text(json.dumps(record, indent=None))  # the same content, otherwise laid out
    assert results.load_record(folder, "02_baseline") == record
    edit(record)
    path.write_text(json.dumps(record))
    with pytest.raises(
        results.MissingLessonError, match=r"changed after the lesson wrote it.*Run lesson 02_baseline"
    ):
        results.load_record(folder, "02_baseline")


@pytest.mark.parametrize(
    "other",
    [DATASET | {"name": "mnist"}, DATASET | {"sha256": {"x": "other"}}, DATASET | {"sha256": {"z": "abc"}}],
)
def test_lessons_of_one_run_must_have_used_the_same_images(folder, other):
    save(folder, "02_baseline", {})
    save(folder, "03_batchnorm_dropout", {}, dataset=other)
    lesson_names = ("02_baseline", "03_batchnorm_dropout")
    if "x" in other["sha256"] and other != DATASET:
        with pytest.raises(results.MissingLessonError, match="different images"):
            results.load_records(folder, lesson_names)
    else:
        assert list(results.load_records(folder, lesson_names)) == list(lesson_names)


def test_rows_join_validation_and_test(folder):
    save(folder, "02_baseline", {"baseline": {"val_accuracy": 0.9, "num_params": 5, "history": {}}})
    save(folder, "05_evaluation", {"baseline": {"test_accuracy": 0.8, "test_loss": 0.7, "sha256": "x"}})
    table = results.model_table(results.load_records(folder, ("02_baseline", "05_evaluation")))
    assert list(table.columns) == list(results.ROW_FIELDS)
    row = table.iloc[0]
    assert (row["lesson"], row["model"], row["val_accuracy"], row["test_accuracy"]) == (
        "02_baseline",
        "baseline",
        0.9,
        0.8,
    )
    assert np.isnan(row["val_loss"])


def test_the_error_shows_students_a_sentence_not_a_stack(folder):
    with pytest.raises(results.MissingLessonError) as caught:
        results.load_record(folder, "04_tuning")
    assert caught.value._render_traceback_() == [f"MissingLessonError: {caught.value}"]


def test_reference_records_come_with_the_course_and_their_absence_is_explained():
    records = results.reference_records("ablation", "03_batchnorm_dropout")
    assert len(records) == len({record["params"]["seed"] for record in records}) == 5
    with pytest.raises(results.MissingLessonError, match="The reference results were not found"):
        results.reference_records("no such study", "02_baseline")


def test_reference_bench_comes_with_the_course_and_its_absence_is_explained(tmp_path, monkeypatch):
    assert results.reference_bench()["time_to_target"]["fast_recipe"]["reached"]
    monkeypatch.setattr(_course, "REFERENCE", tmp_path)
    with pytest.raises(results.MissingLessonError, match="Get the course's whole repository"):
        results.reference_bench()


def test_in_a_course_that_is_read_only_results_go_to_the_users_home(monkeypatch, tmp_path):
    monkeypatch.delenv("MNIST_COURSE_RESULTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    own = Path(results.__file__).parent.parent / "results"
    assert results.results_dir() == own
    monkeypatch.setattr("os.access", lambda path, mode: not Path(path).is_relative_to(own.parent))
    assert results.results_dir() != own
    assert "mnist-course" in results.results_dir().parts
    assert results.results_dir(tmp_path / "mine") == tmp_path / "mine"


def test_all_missing_lessons_are_named_at_once_and_the_runner_only_where_it_would_do(tmp_path):
    folder = results.run_folder("lab", tmp_path)
    with pytest.raises(results.MissingLessonError) as caught:
        results.load_records(folder)
    for word in (
        *results.LESSONS,
        "Run lesson 01_data_exploration first",
        "or: mnist-course run lab --only 01",
    ):
        assert word in str(caught.value)
    (folder / "03_batchnorm_dropout.json").write_text("{}")
    with pytest.raises(results.MissingLessonError, match=r"run all its cells\.$") as caught:
        results.load_records(folder)
    assert "03_batchnorm_dropout" not in str(caught.value)
    assert "mnist-course run" not in str(caught.value)


def test_an_earlier_run_is_found_in_the_results_or_among_the_reference(tmp_path, monkeypatch):
    monkeypatch.setattr(_course, "REFERENCE", tmp_path / "shipped")
    (tmp_path / "shipped" / "seed-1").mkdir(parents=True)
    results_dir = tmp_path / "results"
    assert results.find_run("study/run", results_dir) == results_dir / "study/run"
    for name in ("reference/seed-1", "../reference/seed-1"):
        assert results.find_run(name, results_dir / "study") == tmp_path / "shipped" / "seed-1"
    (results_dir / "reference" / "seed-1").mkdir(parents=True)
    assert results.find_run("reference/seed-1", results_dir) == results_dir / "reference/seed-1"
    assert results.find_run("reference", results_dir) == results_dir / "reference"
