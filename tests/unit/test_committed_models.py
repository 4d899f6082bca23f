"""Models that are committed: which ones, from which run, what rounding changes, and that none of them is stale."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mnist_course import committed_models
from mnist_helpers import _course, _files, data, results
from mnist_helpers._errors import UserError
from tests.unit.exported import SIZES, a_study
from tests.unit.test_results import a_network

pytestmark = [
    pytest.mark.course,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own
]


@pytest.fixture(scope="module")
def made_up_study(tmp_path_factory):
    return a_study(tmp_path_factory.mktemp("models") / "s", ("02_baseline", "03_batchnorm_dropout")).parent


@pytest.fixture(scope="module")
def complete_study(tmp_path_factory):
    return a_study(tmp_path_factory.mktemp("complete") / "s").parent


@pytest.fixture
def run(made_up_study, tmp_path):
    return shutil.copytree(made_up_study, tmp_path / "s") / "seed-4"


@pytest.fixture
def complete_run(complete_study, tmp_path):
    return shutil.copytree(complete_study, tmp_path / "s") / "seed-4"


def stale(study):
    """Yields what an index says of models that are not those of the study's records any more."""
    for name, entry in _files.read_json(study / "models" / "index.json").items():
        if _files.sha256(study / "models" / entry["file"]) != entry["sha256"]:
            yield f"{name}: another file"
        run = study / entry["made_from"]["run"]
        records = [results.load_record(run, path.stem) for path in run.glob("0[2-4]*.json")]
        records += [results.load_record(run, path.stem) for path in run.glob("stronger_networks.json")]
        trained = {model: of for record in records for model, of in record["models"].items()}[name]
        if any(entry["made_from"][key] != trained[key] for key in ("sha256", "weights_sha256")):
            yield f"{name}: other weights"
    for path in (study / "models" / "records").glob("*.json"):
        record = results.load_record(path.parent, path.stem)
        of_run = results.load_record(study / record["made_from"]["run"], path.stem)
        if record["made_from"]["sha256"] != of_run["sha256"]:
            yield f"{path.name}: another record"


def test_committed_models_are_those_of_the_records():
    for path in _course.REFERENCE.rglob("models/index.json"):
        assert not list(stale(path.parent.parent)), path


def test_models_of_a_run_are_exported_with_what_rounding_changes(run):
    text = committed_models.export(run)
    folder = run.parent / "models"
    assert {path.name for path in folder.iterdir()} == {
        *("baseline.npz", "batchnorm_dropout.npz", "index.json"),
        *("01_data_exploration.npz", "records"),
    }
    index = _files.read_json(folder / "index.json")
    recorded = results.load_record(run, "02_baseline")["models"]["baseline"]
    entry = index["baseline"]
    assert entry["made_from"] == {
        "run": "seed-4",
        "sha256": recorded["sha256"],
        "weights_sha256": recorded["weights_sha256"],
    }
    assert entry["num_params"] == recorded["num_params"]
    _, (images, _) = data.load_training("digits", **SIZES)
    before, after = (
        model.predict(images, verbose=0)
        for model in (results.load_model(run, recorded), results.load_model(folder, entry))
    )
    rounding = entry["rounding"]
    assert rounding["images"] == 120
    assert rounding["largest_difference"] == pytest.approx(np.abs(before - after).max(), abs=1e-6)
    assert 0 < rounding["largest_difference"] < 0.005
    assert rounding["other_answers"] == np.sum(before.argmax(axis=1) != after.argmax(axis=1))
    assert rounding["are_validation_images"]
    assert set(rounding) == {"images", "are_validation_images", "other_answers", "largest_difference"}
    assert "on 120 validation images, rounding changes" in text
    assert not list(stale(run.parent))


def test_images_of_the_training_are_not_called_validation_images(run):
    """With refit_on_all, the networks were finally trained on the validation images, too."""
    record = results.load_record(run, "02_baseline")
    record["params"]["refit_on_all"] = 1
    _files.write_json(run / "02_baseline.json", record | {"sha256": results.fingerprint(record)})
    text = committed_models.export(run, ["baseline"])
    assert "on 120 training images, rounding changes" in text
    (entry,) = _files.read_json(run.parent / "models" / "index.json").values()
    assert not entry["rounding"]["are_validation_images"]


def test_other_models_join_and_stale_ones_are_noticed(run):
    committed_models.export(run)
    committed_models.export(run, ["plain"])
    index = _files.read_json(run.parent / "models" / "index.json")
    assert list(index) == ["baseline", "batchnorm_dropout", "plain"]
    record = results.load_record(run, "02_baseline")
    record["models"]["baseline"] = results.save_model(run, "02_baseline", a_network(5)[0], "baseline")
    _files.write_json(run / "02_baseline.json", record | {"sha256": results.fingerprint(record)})
    assert list(stale(run.parent)) == ["baseline: other weights", "02_baseline.json: another record"]
    committed_models.export(run, ["baseline"])
    assert not list(stale(run.parent))
    (run.parent / "models" / "plain.npz").write_bytes(b"other")
    assert list(stale(run.parent)) == ["plain: another file"]


def test_the_records_describe_the_exported_networks_and_nothing_else(complete_run):
    run = complete_run
    committed_models.export(run)
    folder = run.parent / "models"
    records = {path.stem: _files.read_json(path) for path in (folder / "records").iterdir()}
    assert records == results.load_records(folder / "records", tuple(sorted(records)))
    assert set(records) == {*results.LESSONS[:4], "stronger_networks"}
    models = {name: entry for record in records.values() for name, entry in record["models"].items()}
    assert set(models) == {"majority", "nearest_mean", *committed_models.DEFAULT}
    index = _files.read_json(folder / "index.json")
    for name in committed_models.DEFAULT:
        entry = {key: index[name][key] for key in ("file", "sha256", "weights_sha256", "num_params")}
        assert models[name] == entry | {"val_accuracy": 0.25, "val_loss": 2.0}
        assert results.load_model(folder, models[name]).count_params() == entry["num_params"]
    arrays = results.load_arrays(folder, models["nearest_mean"])
    assert set(arrays) == {"mean_images", "class_counts"}
    for lesson, record in records.items():
        original = results.load_record(run, lesson)
        assert record["made_from"] == {"run": "seed-4", "sha256": original["sha256"]}
        assert record["params"] == original["params"] | {"data_dir": ""}
        assert all(
            record[key] == original[key] for key in ("dataset", "versions", "machine", "seconds", "date")
        )
        assert "search" not in record


def test_records_name_only_the_networks_of_their_own_run(complete_run, tmp_path):
    """The next export, of another run, exchanges one network and all records."""
    run = complete_run
    committed_models.export(run)
    other = shutil.copytree(run, run.with_name("seed-5"))
    record = results.load_record(other, "02_baseline")
    record["models"]["baseline"] |= results.save_model(other, "02_baseline", a_network(5)[0], "baseline")
    _files.write_json(other / "02_baseline.json", record | {"sha256": results.fingerprint(record)})
    (other / "stronger_networks.json").unlink()
    committed_models.export(other, ["baseline"])
    records = {path.stem: _files.read_json(path) for path in (run.parent / "models" / "records").iterdir()}
    assert set(records) == set(results.LESSONS[:4])
    networks = {name for record in records.values() for name in record["models"]}
    assert networks == {"majority", "nearest_mean", "baseline"}
    assert not list(stale(run.parent))


def test_a_run_without_its_arrays_is_refused_and_nothing_is_written(run):
    (run / "01_data_exploration.npz").unlink()
    with pytest.raises(
        results.MissingLessonError, match=r"01_data_exploration\.npz of run 'seed-4' is missing"
    ):
        committed_models.export(run)
    assert not (run.parent / "models").exists()


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(run, tmp_path):
    with pytest.raises(UserError, match=r"some of its models: baseline, .*\. Received: strong\."):
        committed_models.export(run, ["baseline", "strong"])
    with pytest.raises(UserError, match=r"Expected: a run of a study, STUDY/RUN"):
        committed_models.export(run.parent)
    with pytest.raises(UserError, match=r"Expected: a run of a study, STUDY/RUN"):
        committed_models.export(run.parent / "seed-5")
    (run / "02_baseline.baseline.keras").write_bytes(b"other weights")
    with pytest.raises(results.MissingLessonError, match="sha256 differs"):
        committed_models.export(run)
    for path in run.glob("0*.json"):
        path.unlink()
    with pytest.raises(UserError, match="Expected: a run of a study"):
        committed_models.export(run)
    assert not (run.parent / "models").exists()


def test_a_run_without_the_usual_models_says_which_it_has(run):
    record = results.load_record(run, "03_batchnorm_dropout")
    del record["models"]["batchnorm_dropout"]
    _files.write_json(run / "03_batchnorm_dropout.json", record | {"sha256": results.fingerprint(record)})
    (run / "02_baseline.json").unlink()
    with pytest.raises(UserError, match=r"some of its models: plain\. Received: none of baseline, "):
        committed_models.export(run)
