"""The reference results are complete, good enough and small, and the README quotes them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from mnist_course.reports import study_report
from mnist_helpers import _files, results
from tests.faults import report as faults_report

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ROOT / "results" / "reference"


def test_reference_results_are_complete_and_consistent():
    runs = study_report.study_runs(REFERENCE)
    asked = _files.read_json(REFERENCE / study_report.STUDY_FILE)
    assert asked["seeds"] == list(range(1, 11))
    assert list(runs) == [f"seed-{seed}" for seed in asked["seeds"]]
    for records in runs.values():
        assert set(records) == set(results.LESSONS)
        assert {record["params"]["profile"] for record in records.values()} == {"full"}
        assert records["02_baseline"]["dataset"]["name"] == "mnist"
    assert json.loads((REFERENCE / "summary.json").read_text()) == study_report.study_summary(REFERENCE)
    for name in ("accuracy.png", "loss.png", "test_accuracy.png", "report.md", "report.html"):
        assert (REFERENCE / name).stat().st_size > 1000


def test_what_is_committed_of_the_results_is_small():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    if not files:
        pytest.skip("this is no git checkout")
    assert sum(path.stat().st_size for path in files) < 16_000_000  # 7 of them are the networks
    meant = ("models", "predictions")  # folders of small arrays
    assert not [path for path in files if path.suffix in (".keras", ".ipynb")]
    assert not [path for path in files if path.suffix == ".npz" and path.parent.name not in meant]
    for path in files:
        if path.suffix in (".json", ".md", ".html"):
            text = re.sub(r"base64,[^\"]*", "", path.read_text())
            assert not re.search(r"[\"\s]/(home|root|tmp|work|Users)/", text), (
                f"{path} names a place of one machine"
            )


def reference_row(entry):
    """A model of the reference as the README's table shows it: accuracy, loss and parameters."""
    accuracy, loss = entry["test_accuracy"], entry["test_loss"]
    shown = f"{accuracy['mean']:.2%}"
    if accuracy["sd"]:
        shown += f" ({accuracy['low']:.2%} to {accuracy['high']:.2%})"
    return [shown, f"{loss['mean']:.4f}" if loss else "–", f"{entry['num_params']:,}"]


def test_readme_quotes_the_reference_and_nothing_else():
    """The README's table holds numbers of the reference, and its prose quotes no other percentage."""
    readme = (ROOT / "README.md").read_text()
    summary = json.loads((REFERENCE / "summary.json").read_text())
    expected = {entry["model"]: reference_row(entry) for entry in summary["models"]}
    table = re.search(r"^\| model \|.*\n\|[-:|]+\n((?:\|.*\n)+)", readme, re.M)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
    assert {"baseline", "tuned", "tuned_vat"} <= {model for model, *_ in rows}
    for model, _, *numbers in rows:
        assert numbers == expected[model], model
    assert {entry["test_accuracy"]["n"] for entry in summary["models"]} == {10}
    assert "each the mean of ten seeds" in readme
    known = {"97.74 %", "98.03 %"}  # the reference that the project started from
    assert set(re.findall(r"\d+\.\d+ ?%", readme.replace(table[0], ""))) <= known
    faults = _files.read_json(REFERENCE / faults_report.FAULTS_FILE)["summary"]
    assert re.findall(r"\[(\d+) faults\]", readme) == [str(faults["tried"])]
    for page in ("report.md", "README.md", "bench.md", "faults.md"):
        assert f"(results/reference/{page})" in readme


def test_the_readme_says_which_models_saw_more_images():
    """The tuned networks were trained on the validation images, too; the other ones were not."""
    readme = (ROOT / "README.md").read_text()
    for lesson, models in (("02_baseline", "others on 50,000"), ("04_tuning", "all 60,000 training images")):
        record = results.load_record(REFERENCE / "seed-1", lesson)
        sizes = [
            shape[0] for name, shape in record["dataset"]["shapes"].items() if name in ("x_train", "x_val")
        ]
        taken = sum(sizes) if record["params"].get("refit_on_all") else sizes[0]
        assert models in readme and f"{taken:,}" in models


@pytest.mark.parametrize(
    ("model", "accuracy", "loss"),
    [("baseline", 0.982, 0.065), ("tuned", 0.99, 0.037), ("tuned_vat", 0.9915, 0.026)],
)
def test_reference_results_are_at_or_above_the_marks(model, accuracy, loss):
    summary = json.loads((REFERENCE / "summary.json").read_text())
    (entry,) = [entry for entry in summary["models"] if entry["model"] == model]
    assert entry["test_accuracy"]["n"] == len(_files.read_json(REFERENCE / study_report.STUDY_FILE)["seeds"])
    assert entry["test_accuracy"]["mean"] >= accuracy
    assert entry["test_loss"]["mean"] <= loss
    assert entry["num_params"] <= 2_000_000
