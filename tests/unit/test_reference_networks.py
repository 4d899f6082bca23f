"""`run = "reference"`: lesson 5 gets a copy of the committed networks, and the committed files stay as they are."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from mnist_course import cli, committed_models, lessons
from mnist_helpers import _course, _files, results
from mnist_helpers._errors import UserError
from tests.unit.exported import a_study

pytestmark = [
    pytest.mark.course,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own
]
COPY = "reference-networks"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    run = a_study(tmp_path_factory.mktemp("exported") / "reference")
    committed_models.export(run)
    return run.parent


@pytest.fixture
def base(exported, tmp_path):
    """A results folder in which `reference` is a study, as in the checkout."""
    shutil.copytree(exported, tmp_path / "results" / "reference")
    return tmp_path / "results"


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def open_reference(base):
    return results.open_run("reference", base, trains=False)[0]


def test_the_networks_are_copied_and_the_study_stays_as_it_is(base, capsys):
    before = content(base)
    folder = open_reference(base)
    assert folder == base / COPY
    assert {path: data for path, data in content(base).items() if path.parts[0] != COPY} == before
    assert {path.name for path in base.iterdir()} == {"reference", COPY}
    records = results.load_records(folder, results.recorded_lessons(folder))
    networks = {}
    for record in records.values():
        networks |= {name: entry for name, entry in record["models"].items() if "weights_sha256" in entry}
    assert set(networks) == set(committed_models.DEFAULT)
    assert [results.load_model(folder, entry).count_params() for entry in networks.values()]
    assert set(results.load_arrays(folder, records["01_data_exploration"]["models"]["nearest_mean"]))
    printed = capsys.readouterr().out
    assert "trained on digits with seed 4: baseline, batchnorm_dropout, tuned, strong." in printed
    assert (
        "Nothing is trained here. The test images of digits are needed. Outputs: run 'reference-networks'."
        in printed
    )


def test_outside_a_checkout_the_networks_of_the_course_are_found(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(_course, "REFERENCE", exported)
    folder = open_reference(tmp_path / "new" / "results")
    assert (folder / "02_baseline.json").is_file()
    assert [path.name for path in folder.parent.iterdir()] == [COPY]


def test_a_second_call_keeps_what_the_lesson_wrote(base):
    folder = open_reference(base)
    for name in ("05_evaluation.json", "05_evaluation.ipynb", "trust.json"):
        (folder / name).write_text("{}")
    (folder / "tuned.npz").write_bytes(b"damaged")
    before = content(folder)
    assert open_reference(base) == folder
    after = content(folder)
    assert after.keys() == before.keys()
    committed = base / "reference" / "models"
    assert (folder / "tuned.npz").read_bytes() == (committed / "tuned.npz").read_bytes()
    assert (folder / "05_evaluation.json").read_text() == "{}"


def test_other_networks_replace_the_copy_and_what_was_measured_of_it(base):
    folder = open_reference(base)
    for name in ("05_evaluation.json", "trust.json", "05_evaluation.ipynb"):
        (folder / name).write_text("{}")
    run = base / "reference" / "seed-4"
    record = results.load_record(run, "02_baseline")
    record["params"]["seed"] = 9
    shutil.copyfile(run / "03_batchnorm_dropout.plain.keras", run / "02_baseline.baseline.keras")
    record["models"]["baseline"] |= {
        key: results.load_record(run, "03_batchnorm_dropout")["models"]["plain"][key]
        for key in ("sha256", "weights_sha256", "num_params")
    }
    _files.write_json(run / "02_baseline.json", record | {"sha256": results.fingerprint(record)})
    (run / "stronger_networks.json").unlink()
    shutil.rmtree(base / "reference" / "models")
    committed_models.export(run)
    open_reference(base)
    assert set(results.recorded_lessons(folder)) == set(results.LESSONS[:4])
    assert (folder / "05_evaluation.ipynb").is_file()
    assert results.load_record(folder, "02_baseline")["params"]["seed"] == 9
    baseline = results.load_record(folder, "02_baseline")["models"]["baseline"]
    assert results.load_model(folder, baseline).count_params() == baseline["num_params"]


def test_a_notebook_that_trains_is_refused_and_nothing_is_written(base):
    before = content(base)
    with pytest.raises(UserError, match=r"Expected: another name for this run\. Received: run='reference'"):
        results.open_run("reference", base)
    assert content(base) == before
    assert not (base / COPY).exists()


def test_a_notebook_that_trains_does_not_overwrite_the_copy(base):
    open_reference(base)
    before = content(base)
    with pytest.raises(UserError, match=r"another name for this run\. Received: run='reference-networks'"):
        results.open_run(COPY, base)
    assert content(base) == before
    assert results.open_run(COPY, base, trains=False)[0] == base / COPY


@pytest.mark.parametrize("file", ["02_baseline.json", "course.json"])
@pytest.mark.parametrize("trains", [True, False])
def test_a_run_of_this_name_is_that_run(tmp_path, file, trains):
    """Lessons of the installed package may have been run under this name before."""
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / file).write_text("{}")
    assert results.open_run("reference", tmp_path, trains=trains)[0] == tmp_path / "reference"
    assert [path.name for path in tmp_path.iterdir()] == ["reference"]


@pytest.mark.parametrize("run", ["lab", "reference-networks", "reference2"])
def test_other_names_are_runs(tmp_path, run):
    assert results.open_run(run, tmp_path, trains=False)[0] == tmp_path / run
    assert not list((tmp_path / run).iterdir())


def test_a_folder_of_the_users_own_is_not_overwritten(base):
    (base / COPY).mkdir()
    (base / COPY / "02_baseline.json").write_text("mine")
    before = content(base)
    with pytest.raises(UserError, match=r"Received: .*reference-networks\. Give that folder another name"):
        open_reference(base)
    assert content(base) == before


def break_model(models):
    (models / "tuned.npz").write_bytes((models / "baseline.npz").read_bytes())


def break_arrays(models):
    (models / "01_data_exploration.npz").unlink()


def break_record(models):
    path = models / "records" / "04_tuning.json"
    path.write_text(path.read_text().replace('"val_accuracy": 0.25', '"val_accuracy": 0.99'))


def miss_record(models):
    (models / "records" / "03_batchnorm_dropout.json").unlink()


def other_images(models):
    path = models / "records" / "stronger_networks.json"
    record = _files.read_json(path)
    record["dataset"]["name"] = "mnist"
    _files.write_json(path, record | {"sha256": results.fingerprint(record)})


BROKEN = {
    break_model: r"tuned\.npz of run 'reference-networks' is not the file that its record describes",
    break_arrays: r"01_data_exploration\.npz of run 'reference-networks' is missing",
    break_record: r"04_tuning\.json in run 'reference-networks' was changed",
    miss_record: r"Run 'reference-networks' has no record of lesson 03_batchnorm_dropout",
    other_images: r"Lessons 01_data_exploration and stronger_networks .* used different images",
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_networks_that_were_changed_are_refused_and_nothing_is_written(base, damage):
    damage(base / "reference" / "models")
    before = content(base)
    with pytest.raises(results.MissingLessonError, match=BROKEN[damage]) as caught:
        open_reference(base)
    assert str(caught.value).endswith("Get the course's whole repository, with results/reference.")
    assert content(base) == before
    assert [path.name for path in base.iterdir()] == ["reference"]


@pytest.mark.parametrize("missing", ["models", "models/index.json", "models/records"])
def test_without_the_networks_the_message_says_what_to_do(base, missing, monkeypatch):
    monkeypatch.setattr(_course, "REFERENCE", base / "not here")
    path = base / "reference" / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    before = content(base)
    with pytest.raises(results.MissingLessonError, match=r"were not found\. .* run lessons 1 to 4 and give"):
        open_reference(base)
    assert content(base) == before


def test_a_later_notebook_still_names_the_lesson_that_it_needs(base):
    with pytest.raises(results.MissingLessonError, match="Run lesson 05_evaluation first"):
        results.load_record(open_reference(base), "05_evaluation")


def test_the_committed_networks_are_no_run_of_their_study(base):
    assert results.run_folders(base / "reference") == [base / "reference" / "seed-4"]


def test_the_copy_has_a_report(base):
    open_reference(base)
    result = CliRunner().invoke(cli.main, ["report", COPY, "--results-dir", str(base)])
    assert result.exit_code == 0, result.output
    assert "tuned" in (base / COPY / "report.md").read_text()


def test_the_notebooks_that_train_nothing_can_open_the_networks():
    opened = {
        name for name in results.IN_ORDER if "trains=False" in json.dumps(lessons.read_lesson(name)["cells"])
    }
    assert opened == set(lessons.EVALUATIONS)
