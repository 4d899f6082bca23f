import pytest
from click.testing import CliRunner

from mnist_course import cli, doctor
from mnist_helpers import results


@pytest.fixture
def _no_training(monkeypatch):
    monkeypatch.setattr(doctor, "_training", lambda: "not in a unit test")


def lines():
    result = CliRunner().invoke(cli.main, ["doctor"])
    return result.exit_code, result.output


@pytest.mark.usefixtures("_no_training")
def test_a_ready_machine_is_all_ok(tmp_path):
    status, output = lines()
    assert status == 0, output
    assert "FAIL" not in output
    for question in ("Python", "tensorflow", "kernel", "data", "write access", "memory", "training"):
        assert f"OK    {question}: " in output
    assert "digits (embedded)" in output
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize(
    ("breaks", "question", "words"),
    [
        ("memory", "memory", "close other notebooks"),
        ("folder", "write access", "MNIST_COURSE_RESULTS"),
        ("package", "keras", "pip install -c constraints.txt"),
        ("missing", "nbval", "not installed"),
        ("disk", "write access", "a run needs up to"),
    ],
)
def test_each_failure_says_what_to_do(monkeypatch, tmp_path, breaks, question, words):
    if breaks == "memory":
        monkeypatch.setattr(doctor, "_FREE_MEMORY_BYTES", 2**60)
    if breaks == "disk":
        monkeypatch.setattr(doctor, "_FREE_DISK_BYTES", 2**60)
    if breaks == "folder":
        (tmp_path / "results").write_text("a file, not a folder")
    real = doctor.metadata.version
    if breaks == "package":
        monkeypatch.setattr(
            doctor.metadata, "version", lambda name: "3.0.0" if name == "keras" else real(name)
        )
    if breaks == "missing":

        def version(name):
            if name == "nbval":
                raise doctor.metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(doctor.metadata, "version", version)
    status, output = lines()
    assert status == 1
    (failed,) = [line for line in output.splitlines() if line.startswith("FAIL")]
    assert failed.startswith(f"FAIL  {question}: ")
    assert words in failed


def test_training_is_real():
    """Five seconds on the digits; results.results_dir() is not touched."""
    assert "validation accuracy 0.9" in doctor._training()
    assert not results.results_dir().exists()
