"""Models that are committed: which ones, from which run, what rounding changes, and that none of them is stale."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from mnist_course import committed_models
from mnist_helpers import _course, _files, data, results
from mnist_helpers._errors import UserError
from tests.unit.test_results import a_network

pytestmark = [
    pytest.mark.course,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own
]
SIZES = {"num_train": 300, "num_validation": 120, "seed": 4}


@pytest.fixture(scope="module")
def made_up_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "s"
    run = folder / "seed-4"
    run.mkdir(parents=True)
    _files.write_json(folder / "study.json", {})
    common = {"params": {"dataset": "digits", **SIZES}, "dataset": {"name": "digits", "sha256": {}}}
    for lesson, sizes in (
        ("02_baseline", {"baseline": 16}),
        ("03_batchnorm_dropout", {"plain": 4, "batchnorm_dropout": 8}),
    ):
        entries = {
            name: results.save_model(run, lesson, a_network(units)[0], name) for name, units in sizes.items()
        }
        results.save_record(run, lesson, models=entries, started=time.perf_counter(), **common)
    return folder


@pytest.fixture
def run(made_up_study, tmp_path):
    return shutil.copytree(made_up_study, tmp_path / "s") / "seed-4"


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


def test_committed_models_are_those_of_the_records():
    for path in _course.REFERENCE.rglob("models/index.json"):
        assert not list(stale(path.parent.parent)), path


def test_models_of_a_run_are_exported_with_what_rounding_changes(run):
    text = committed_models.export(run)
    folder = run.parent / "models"
    assert {path.name for path in folder.iterdir()} == {"baseline.npz", "batchnorm_dropout.npz", "index.json"}
    index = _files.read_json(folder / "index.json")
    recorded = results.load_record(run, "02_baseline")["models"]["baseline"]
    entry = index["baseline"]
    assert entry["made_from"] == {
        "run": "seed-4",
        "sha256": recorded["sha256"],
        "weights_sha256": recorded["weights_sha256"],
    }
    assert entry["num_params"] == recorded["num_params"]
    _, (images, labels) = data.load_training("digits", **SIZES)
    before, after = (
        model.predict(images, verbose=0)
        for model in (results.load_model(run, recorded), results.load_model(folder, entry))
    )
    rounding = entry["rounding"]
    assert rounding["images"] == 120
    assert rounding["largest_difference"] == pytest.approx(np.abs(before - after).max(), abs=1e-6)
    assert 0 < rounding["largest_difference"] < 0.005
    assert rounding["other_answers"] == np.sum(before.argmax(axis=1) != after.argmax(axis=1))
    assert rounding["accuracy_before"] == np.mean(before.argmax(axis=1) == labels)
    assert rounding["accuracy_after"] == np.mean(after.argmax(axis=1) == labels)
    assert "on 120 validation images, rounding changes" in text
    assert not list(stale(run.parent))


def test_other_models_join_and_stale_ones_are_noticed(run):
    committed_models.export(run)
    committed_models.export(run, ["plain"])
    index = _files.read_json(run.parent / "models" / "index.json")
    assert list(index) == ["baseline", "batchnorm_dropout", "plain"]
    record = results.load_record(run, "02_baseline")
    record["models"]["baseline"] = results.save_model(run, "02_baseline", a_network(5)[0], "baseline")
    _files.write_json(run / "02_baseline.json", record | {"sha256": results.fingerprint(record)})
    assert list(stale(run.parent)) == ["baseline: other weights"]
    committed_models.export(run, ["baseline"])
    assert not list(stale(run.parent))
    (run.parent / "models" / "plain.npz").write_bytes(b"other")
    assert list(stale(run.parent)) == ["plain: another file"]


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
    (run / "02_baseline.json").unlink()
    (run / "03_batchnorm_dropout.json").unlink()
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
