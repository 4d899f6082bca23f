import json

import pytest
from click.testing import CliRunner

from mnist_course import cli, doctor, lessons
from mnist_helpers import results


@pytest.fixture
def _no_training(monkeypatch):
    monkeypatch.setattr(doctor, "_training", lambda: "not in a unit test")


def lines():
    result = CliRunner().invoke(cli.main, ["doctor"])
    return result.exit_code, result.output


def with_versions(monkeypatch, **changed):
    """Changes the versions of installed packages; `None` for one that is not installed."""
    real = doctor.metadata.version

    def version(name):
        if name in changed and changed[name] is None:
            raise doctor.metadata.PackageNotFoundError(name)
        return changed.get(name) or real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


@pytest.mark.usefixtures("_no_training")
def test_a_ready_machine_is_all_ok(tmp_path):
    status, output = lines()
    assert status == 0, output
    assert "FAIL" not in output
    questions = [line.split(": ")[0].removeprefix("OK    ") for line in output.splitlines()[:-1]]
    assert questions == [
        *(
            "packages",
            "Python",
            "lessons",
            "kernel",
            "data",
            "write access",
            "memory",
            "isolation",
            "training",
        )
    ]
    assert f"OK    packages: {len(doctor._requirements())} packages in range\n" in output
    assert "digits (bundled)" in output
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.usefixtures("_no_training")
def test_only_the_packages_that_fail_are_listed(monkeypatch):
    with_versions(monkeypatch, keras="3.0.0", papermill=None, numpy="1.0")
    status, output = lines()
    assert status == 1
    failed = [line.split(":")[0] for line in output.splitlines() if line.startswith("FAIL")]
    assert sorted(failed) == ["FAIL  keras", "FAIL  numpy", "FAIL  papermill"]
    assert "packages in range" not in output and "OK    tensorflow" not in output


def _little_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_FREE_MEMORY_BYTES", 2**60)


def _little_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_FREE_DISK_BYTES", 2**60)


def _results_are_a_file(monkeypatch, tmp_path):
    (tmp_path / "results").write_text("a file, not a folder")


def _old_package(monkeypatch, tmp_path):
    with_versions(monkeypatch, keras="3.0.0")


def _missing_package(monkeypatch, tmp_path):
    with_versions(monkeypatch, papermill=None)


def _no_lessons(monkeypatch, tmp_path):
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path / "nowhere")


def _damaged_profiles(monkeypatch, tmp_path):
    (tmp_path / "profiles.yaml").write_text("quick: {")
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)


def _damaged_kernel(monkeypatch, tmp_path, content="{"):
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(content)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


def _other_kernel(monkeypatch, tmp_path):
    argv = ["/usr/bin/other-python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    _damaged_kernel(
        monkeypatch, tmp_path, json.dumps({"argv": argv, "display_name": "x", "language": "python"})
    )


def _no_mnist_in_its_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path))


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize(
    ("break_it", "question", "words"),
    [
        (_little_memory, "memory", "close other notebooks"),
        (_little_disk, "write access", "a run needs up to"),
        (_results_are_a_file, "write access", "MNIST_COURSE_RESULTS"),
        (_old_package, "keras", "pip install -c constraints.txt"),
        (_missing_package, "papermill", "not installed"),
        (_no_lessons, "lessons", "nowhere"),
        (_damaged_profiles, "lessons", "profiles.yaml"),
        (_damaged_kernel, "kernel", "ipykernel install"),
        (_other_kernel, "kernel", "/usr/bin/other-python"),
        (_no_mnist_in_its_folder, "data", "mnist-course data"),
    ],
)
def test_each_failure_says_what_to_do(monkeypatch, tmp_path, break_it, question, words):
    break_it(monkeypatch, tmp_path)
    status, output = lines()
    assert status == 1
    (failed,) = [line for line in output.splitlines() if line.startswith("FAIL")]
    assert failed.startswith(f"FAIL  {question}: ")
    assert words in failed
    assert "1 FAIL" in output and "Everything is ready" not in output


@pytest.mark.course
def test_training_is_real():
    """Ten epochs on the digits; results.results_dir() is not touched."""
    assert "validation accuracy 0.9" in doctor._training()
    assert not results.results_dir().exists()
