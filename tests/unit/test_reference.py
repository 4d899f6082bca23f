"""The reference results are complete, good enough and small, and the README quotes them.

`python -m tests.unit.test_reference` writes the README's tables again.
"""

import functools
import json
import re
import subprocess
from pathlib import Path

import pytest

from mnist_course.reports import study_report, two_way
from mnist_course.reports.page import Table, interval, number
from mnist_helpers import _files, results
from tests.faults import report as faults_report
from tests.unit.test_teaching import marked

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ROOT / "results" / "reference"
README = ROOT / "README.md"
MODELS = {
    "majority": "always the most frequent digit",
    "nearest_mean": "the nearest of ten average images",
    "baseline": "two hidden layers of 512 and 256 neurons",
    "batchnorm_dropout": "the baseline with batch normalisation and dropout",
    "tuned": "a larger network with batch normalisation and noise, found by a search",
    "tuned_vat": "the same network, trained with virtual adversarial training",
}
STEPS = {("baseline", "batchnorm_dropout"): "batch normalisation and dropout"}


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


def readme_blocks():
    """The README's tables, as the summary of the reference gives them: mark -> text."""
    summary = json.loads((REFERENCE / "summary.json").read_text())
    models = {entry["model"]: entry for entry in summary["models"]}
    pairs = {(entry["first"], entry["second"]): entry for entry in summary["differences"]}
    has_both = two_way.LOW in models["baseline"]["test_accuracy"]
    both = ["over seeds and images"] if has_both else []
    kinds = [("low", "high"), *([(two_way.LOW, two_way.HIGH)] if has_both else [])]
    columns = ["model", "what it is", "test accuracy", "95 % over seeds", *both, "test loss", "parameters"]
    rows = []
    for model, what in MODELS.items():
        accuracy, loss = (models[model][name] or {} for name in ("test_accuracy", "test_loss"))
        ends = [interval(accuracy.get(low), accuracy.get(high), ".2%") for low, high in kinds]
        numbers = [number(accuracy["mean"], ".2%"), *ends, number(loss.get("mean"), ".4f")]
        rows.append([model, what, *numbers, number(models[model]["num_params"], ",.0f")])
    steps = []
    for (first, second), what in STEPS.items():
        entry = pairs[first, second]
        assert entry["matched"], (first, second)
        ends = [interval(entry[low], entry[high], "+.2f", scale=100) for low, high in kinds]
        loss = entry["loss"]
        change = [number(loss["mean"], "+.4f"), interval(loss["low"], loss["high"], "+.4f")]
        steps.append([what, first, second, number(entry["mean"], "+.2f", scale=100), *ends, *change])
    steps_columns = [
        "what is added",
        "from",
        "to",
        "points",
        "95 % over seeds",
        *both,
        "test loss",
        "95 % over seeds",
    ]
    # In both tables, the first columns are texts: on the left.
    tables = {"reference": (Table("", columns, rows), 2), "steps": (Table("", steps_columns, steps), 3)}
    return {
        name: f"{table.markdown()}\n".replace("|---" + "|---:" * (texts - 1), "|---" * texts, 1)
        for name, (table, texts) in tables.items()
    }


def test_the_tables_of_the_readme_are_those_of_the_reference():
    """If not: python -m tests.unit.test_reference."""
    readme = README.read_text()
    for name, text in readme_blocks().items():
        assert marked(name).search(readme)[0] == text, name


def test_readme_quotes_the_reference_and_nothing_else():
    """The README's prose quotes no other percentage than those of its tables."""
    readme = README.read_text()
    summary = json.loads((REFERENCE / "summary.json").read_text())
    assert {entry["test_accuracy"]["n"] for entry in summary["models"]} == {10}
    assert "each the mean of ten seeds" in readme
    known = {"97.74 %", "98.03 %"}  # the reference that the project started from
    prose = functools.reduce(lambda text, name: marked(name).sub("", text), readme_blocks(), readme)
    assert set(re.findall(r"\d+\.\d+ ?%", prose)) <= known
    faults = _files.read_json(REFERENCE / faults_report.FAULTS_FILE)["summary"]
    assert re.findall(r"\[(\d+) faults\]", readme) == [str(faults["tried"])]
    for page in ("report.md", "README.md", "bench.md", "faults.md"):
        assert f"(results/reference/{page})" in readme


def test_the_readme_says_which_models_saw_more_images():
    """The tuned networks were trained on the validation images, too; the other ones were not."""
    readme = README.read_text()
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


if __name__ == "__main__":
    for block, content in readme_blocks().items():
        README.write_text(marked(block).sub(lambda _, content=content: content, README.read_text()))
