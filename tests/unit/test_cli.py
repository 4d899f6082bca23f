"""The command line: bad input gives one message and exit status 2, and writes nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mnist_course import cli
from mnist_helpers import data


def invoke(*arguments):
    return CliRunner().invoke(cli.main, arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "../x"], ["'run'", "plain name"]),
        (["run", "--profile", "fast"], ["Unknown profile", "quick"]),
        (["run", "--dataset", "mnits"], ["'dataset'", "Did you mean 'mnist'?"]),
        (["run", "--dataset", "./mnits"], ["mnits'", "train-images-idx3-ubyte.gz", "no such folder"]),
        (["data", "check", "mnits"], ["mnits'", "no such folder"]),
        (["run", "--seed", "one"], ["'seed'", "'one'"]),
        (["run", "--seed", "0"], ["'seed'", "Received: 0"]),
        (["run", "-p", "epoch", "3"], ["Unknown parameter", "'epochs'"]),
        (["run", "-p", "epochs", "0"], ["'epochs'", "Received: 0"]),
        (["run", "-p", "epochs"], ["-p", "2 arguments"]),
        (["run", "-p", "dataset", "digits"], ["--dataset"]),
        (["run", "--only", "06"], ["Unknown lesson", "'06'"]),
        (["run", "--dataset", "mnist", "--offline"], ["MNIST_DATA_DIR", "MNIST_COURSE_OFFLINE"]),
        (["run", "--profil", "quick"], ["No such option"]),
        (["report", "nowhere"], ["no run 'nowhere'", "mnist-course run nowhere"]),
        (["report", "../.."], ["plain name"]),
        (["data", "fetch", "minst"], ["Unknown dataset", "'minst'"]),
        (["data", "fetch", "mnist"], ["MNIST_COURSE_OFFLINE"]),
        (["frobnicate"], ["No such command"]),
    ],
)
def test_bad_input_is_one_message_and_status_2(arguments, words, tmp_path):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "results").exists()


def test_report_of_an_unfinished_run_names_the_lesson(tmp_path):
    (tmp_path / "results" / "half").mkdir(parents=True)
    result = invoke("report", "half")
    assert result.exit_code == 2
    assert "Run lesson 01_data_exploration first" in result.output


def test_data_says_where_each_dataset_is_or_why_not(made_up, monkeypatch):
    monkeypatch.setenv("MNIST_DATA_DIR", str(made_up.folder))
    lines = invoke("data").output.splitlines()
    assert "mnist: found in MNIST_DATA_DIR (60,000 + 10,000 images)" in lines
    assert "digits: bundled with scikit-learn (1,437 + 360 images)" in lines
    assert "fashion_mnist: not here" in lines
    assert any("checksum differs" in line for line in lines)


def test_data_check_names_a_folder_and_counts_its_images(made_up, tmp_path, monkeypatch):
    (tmp_path / "mine").symlink_to(made_up.folder)
    monkeypatch.delitem(data.DATASETS, "mnist")
    result = invoke("data", "check", str(tmp_path / "mine"))
    assert result.exit_code == 0, result.output
    name, *arrays = [line for line in result.output.splitlines() if not line.startswith("note:")]
    assert name == "dataset: mine"
    assert arrays[0] == f"  x_train: [60000, 28, 28], sha256 {made_up.sha256['x_train']}"
    assert len(arrays) == 4


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"tensorflow", "keras", "papermill", "matplotlib", "numpy", "pandas", "sklearn"}
    for module, allowed in (("mnist_helpers", set()), ("mnist_course.cli", set())):
        code = f"import sys, {module}; print(*sys.modules)"
        loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        assert heavy & set(loaded) <= allowed, module


def test_lesson_1_never_waits_for_tensorflow():
    code = (
        "import sys; from mnist_helpers import data, metrics, parameters, plots, results; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "tensorflow" not in loaded
    assert "keras" not in loaded


def test_imports_go_one_way():
    """`mnist_helpers` knows nothing of `mnist_course`."""
    root = Path(cli.__file__).parent.parent
    for path in (root / "mnist_helpers").rglob("*.py"):
        assert "mnist_course" not in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.M), path
