"""The entrances to the course agree with each other, and the README with the records."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from benchmarks import speed_report
from mnist_course.reports import study_report
from mnist_helpers import _files, results
from tests.faults import report as faults_report

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
SYSTEMS = [
    {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "os_name": "posix", "platform_system": "Darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "os_name": "nt", "platform_system": "Windows", "platform_machine": "AMD64"},
]
REFERENCE = ROOT / "results" / "reference"


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[Requirement]:
    """Every dependency, those of the extras too; without the extras that include others."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    found = map(Requirement, PROJECT["dependencies"] + extras)
    return [requirement for requirement in found if normal(requirement.name) != PROJECT["name"]]


def test_constraints_name_no_package_index_and_no_place_of_one_machine():
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|--(extra-)?index|--find-links|--hash| /|file:", text)
    assert all(str(line.specifier).startswith("==") and not line.extras for line in CONSTRAINTS)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system["sys_platform"])
def test_constraints_cover_every_dependency_within_its_range(python, system):
    """With the markers of each Python and system that pyproject.toml promises."""
    where = system | {"python_version": python, "python_full_version": f"{python}.9"}
    assert SpecifierSet(PROJECT["requires-python"]).contains(where["python_full_version"])
    pinned: dict[str, str] = {}
    for line in CONSTRAINTS:
        if line.marker is None or line.marker.evaluate(where):
            assert normal(line.name) not in pinned, f"{line.name} has two versions"
            pinned[normal(line.name)] = str(line.specifier).removeprefix("==")
    for requirement in declared():
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement.name


def test_each_python_that_is_promised_is_named_everywhere():
    promised = SpecifierSet(PROJECT["requires-python"])
    versions = [f"3.{minor}" for minor in range(20) if promised.contains(f"3.{minor}.1")]
    assert versions == ["3.11", "3.12", "3.13"]
    python = "Programming Language :: Python :: "
    named = [line.removeprefix(python) for line in PROJECT["classifiers"] if line.startswith(f"{python}3.")]
    assert named == versions
    assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_conda_gives_the_same_packages_by_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, by_pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert by_pip == {"pip": ["--constraint constraints.txt", "-e .[dev]"]}


def test_imported_packages_are_declared():
    extras = PROJECT["optional-dependencies"]
    everything = PROJECT["dependencies"] + extras["cluster"] + extras["teach"]
    declared = {normal(Requirement(line).name) for line in everything}
    for name in (
        "tensorflow",
        "keras",
        "keras-tuner",
        "tensorboard",
        "jupyterlab",
        "papermill",
        "matplotlib",
    ):
        assert name in declared
    distributions = metadata.packages_distributions()
    lessons = [
        "".join(cell["source"])
        for path in (ROOT / "notebooks").rglob("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    sources = [path.read_text() for path in ROOT.glob("mnist_*/**/*.py")] + lessons
    for match in re.findall(r"^\s*(?:from|import) (\w+)", "\n".join(sources), re.M):
        if match in distributions and match not in ("mnist_helpers", "mnist_course", "benchmarks"):
            names = {normal(name) for name in distributions[match]}
            # These come with jupyterlab and papermill, which cannot do without them, and with Python itself.
            assert names & (declared | {"packaging", "traitlets", "jupyter-client", "nbclient", "pip"}), match


def test_readme_documents_what_make_has():
    targets = set(re.findall(r"^([a-z]+): \$\(READY\)", (ROOT / "Makefile").read_text(), re.M))
    readme = (ROOT / "README.md").read_text()
    for target in targets - {"format"}:
        assert f"make {target}" in readme, target
    assert set(re.findall(r"make ([a-z]+)", readme)) <= targets


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
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert not [path for path in files if path.suffix in (".keras", ".npz", ".ipynb")]
    for path in files:
        if path.suffix in (".json", ".md", ".html"):
            text = re.sub(r"base64,[^\"]*", "", path.read_text())
            assert not re.search(r"[\"\s]/(home|root|tmp|work|Users)/", text), (
                f"{path} names a place of one machine"
            )


def test_readme_quotes_the_reference_table_and_nothing_else():
    """The README's table is the report's, row by row, and its prose quotes no other percentage."""
    readme = (ROOT / "README.md").read_text()
    report = (REFERENCE / "report.md").read_text().split("## Paired differences")[0]
    rows = [line for line in report.splitlines() if line.startswith("| ")]
    conclusion = json.loads((REFERENCE / "summary.json").read_text())["conclusion"]
    rest = readme
    speed = speed_report.conclusion(_files.read_json(REFERENCE / speed_report.BENCH_FILE))
    faults = faults_report.conclusion(_files.read_json(REFERENCE / faults_report.FAULTS_FILE))
    for text in (*rows, conclusion, speed, faults):
        assert text in readme, text
        rest = rest.replace(text, "")
    known = {"97.74 %", "98.03 %"}  # the reference that the project started from
    assert set(re.findall(r"\d+\.\d+ ?%", rest)) <= known
    for name in ("accuracy.png", "loss.png", "test_accuracy.png", "bench.png"):
        assert f"results/reference/{name}" in readme


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


def test_students_meet_a_plain_jupyterlab():
    """No teacher's menus, no news over the lesson; a teacher may have switched the menus on in this environment."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    ((source, target),) = [pair for pair in wheel["shared-data"].items() if "labconfig" in pair[1]]
    config = json.loads((ROOT / source).read_text())
    assert config["disabledExtensions"] == {
        "@jupyter/nbgrader": True,
        "@jupyterlab/apputils-extension:announcements": True,
    }
    assert "lockedExtensions" in config  # else JupyterLab locks what is switched off, when it starts
    assert set(json.loads((Path(sys.prefix) / target).read_text())) >= set(config)
