"""The wheel: what is in it, and that the course's files are found in it without the checkout (R17)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from mnist_course import cli
from mnist_helpers import _course, results

ROOT = Path(__file__).parent.parent.parent
COURSE = "mnist_helpers/course"
SOLUTION = re.compile(rb"### (BEGIN|END) (SOLUTION|HIDDEN TESTS)")


def build(source: Path, target: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    with build(ROOT, tmp_path_factory.mktemp("wheel")) as archive:
        yield archive


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    """What an installation puts into site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    wheel.extractall(folder)
    return folder


def committed(folder: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    if not names:
        pytest.skip("this is no git checkout")
    return names


def test_every_notebook_and_quiz_is_in_the_wheel_except_the_solutions(wheel):
    solutions = {name for name in committed("notebooks") if re.fullmatch(r"notebooks/exercises/[^/]+", name)}
    expected = {f"{COURSE}/{name}" for name in committed("notebooks") - solutions - {"notebooks/ruff.toml"}}
    assert solutions
    assert {name for name in wheel.namelist() if f"{COURSE}/notebooks" in name} >= expected
    assert not {name for name in wheel.namelist() if name.removeprefix(f"{COURSE}/") in solutions}


def test_the_packages_are_in_the_wheel(wheel):
    assert set(wheel.namelist()) >= committed("mnist_helpers") | committed("mnist_course")


def test_nothing_else_is_in_the_wheel(wheel):
    kinds = (
        r"mnist_(helpers|course)/([a-z_]+/)*[a-z_]+(0\d)?(\.html|\.md|\.txt)?\.(py|js|css|png|svg|csv|txt|j2|json)",
        rf"{COURSE}/notebooks/(START_HERE|0\d_\w+|further/\w+)\.ipynb",
        rf"{COURSE}/notebooks/pictures/\w+\.png",
        rf"{COURSE}/notebooks/exercises/release/exercise_0\d\.ipynb",
        rf"{COURSE}/notebooks/(profiles\.yaml|quizzes/\w+\.yaml)",
        rf"{COURSE}/results/reference/([\w-]+/)*\w+\.json",
        rf"{COURSE}/results/reference/models/\w+\.npz",
        r"mnist_course-[\d.]+\.(dist-info|data)/.*",
    )
    assert [name for name in wheel.namelist() if not any(re.fullmatch(kind, name) for kind in kinds)] == []
    assert not [name for name in wheel.namelist() if "test" in name or "benchmarks" in name]
    assert [
        name for name in wheel.namelist() if name.endswith(".ipynb") and SOLUTION.search(wheel.read(name))
    ] == []
    models = f"{COURSE}/results/reference/models/"
    sizes = {info.filename: info.file_size for info in wheel.infolist()}
    assert sum(size for name, size in sizes.items() if not name.startswith(models)) < 6_000_000
    assert sum(size for name, size in sizes.items() if name.startswith(models)) < 12_000_000


def test_the_models_of_the_page_are_in_the_wheel(wheel):
    """All that `mnist-course demo` and lesson 5 need, where the reference has models."""
    names = {path.relative_to(ROOT).as_posix() for path in (_course.REFERENCE / "models").rglob("*.*")}
    assert {name for name in wheel.namelist() if "/reference/models/" in name} == {
        f"{COURSE}/{name}" for name in names
    }


def test_what_lies_beside_the_lessons_does_not_come_along(tmp_path):
    """A made-up checkout: solutions, a teacher's files and scratch notebooks; then the same from an sdist."""
    source = tmp_path / "source"
    lessons = {f"notebooks/{lesson}.ipynb": "{}" for lesson in results.LESSONS}
    wanted = lessons | {
        "notebooks/exercises/release/exercise_01.ipynb": "a task",
        "notebooks/quizzes/02_baseline.yaml": "",
        "results/reference/seed-7/03_batchnorm_dropout.json": "{}",
        "results/reference/models/baseline.npz": "weights",
        "results/reference/models/index.json": "{}",
        "results/reference/models/records/02_baseline.json": "{}",
        "mnist_helpers/__init__.py": "",
        "mnist_course/__init__.py": "",
    }
    unwanted = {
        "notebooks/exercises/exercise_01.ipynb": "secret",
        "notebooks/exercises/01_data_exploration.ipynb": "secret",
        "notebooks/exercises/source/exercise_01.ipynb": "secret",
        "notebooks/exercises/release/gradebook.db": "secret",
        "notebooks/exercises/release/.ipynb_checkpoints/exercise_01-checkpoint.ipynb": "secret",
        "notebooks/Untitled.ipynb": "secret",
        "notebooks/solutions/exercise_01.ipynb": "secret",
        "results/reference/seed-1/02_baseline.ipynb": "secret",
        "results/reference/seed-1/01_data_exploration.npz": "secret",
        "results/course/02_baseline.json": "secret",
        "tests/test_a.py": "secret",
    }
    for name, text in (wanted | unwanted | {"README.md": "", "LICENSE": ""}).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    for name in ("pyproject.toml", ".gitignore"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for path in ("mnist_course/jupyter/ipython_kernel_config.py", "mnist_course/jupyter/page_config.json"):
        (source / path).parent.mkdir(exist_ok=True)
        (source / path).write_text("")
    with build(source, tmp_path / "first") as archive:
        names = archive.namelist()
        assert not [name for name in names if archive.read(name) == b"secret"]
        assert {name.removeprefix(f"{COURSE}/") for name in names} >= wanted.keys()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "xf", str(sdist)], cwd=tmp_path, check=True)
    with build(sdist.with_name(sdist.name.removesuffix(".tar.gz")), tmp_path / "second") as again:
        assert again.namelist() == names


def outside(unpacked: Path, folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs code that finds the two packages in the wheel, not in the checkout."""
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r})\n{code}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MNIST_", "PYTHON"))}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(
        command, cwd=folder, env=kept | environment, capture_output=True, text=True, check=False
    )


def test_outside_a_checkout_the_files_of_the_wheel_are_found(unpacked, tmp_path):
    code = """
import json
from mnist_course import lessons
from mnist_helpers import _course, quiz, results
print(json.dumps({
    "package": _course.__file__, "checkout": _course.IS_CHECKOUT, "root": str(_course.ROOT),
    "profiles": list(lessons.profiles()), "declared": {name: lessons.declared(name) for name in results.LESSONS},
    "quizzes": [len(quiz.show(name).questions) for name in results.LESSONS],
    "results": str(results.results_dir()), "bench": bool(results.reference_bench()),
}))
"""
    done = outside(unpacked, tmp_path, code, XDG_DATA_HOME=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["package"]).is_relative_to(unpacked)
    assert not found["checkout"]
    assert found["root"] == str(unpacked / COURSE)
    assert set(found["profiles"]) >= {"quick", "full"}
    assert all("seed" in parameters for parameters in found["declared"].values())
    assert min(found["quizzes"]) >= 3
    assert found["bench"]
    if sys.platform == "linux":
        assert found["results"] == str(tmp_path / "data" / "mnist-course" / "results")


def test_outside_a_checkout_a_student_gets_lessons_and_exercises(unpacked, tmp_path):
    code = "from mnist_course import cli; cli.main(['start', 'my course'])"
    done = outside(unpacked, tmp_path, code, XDG_DATA_HOME=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("my course/0*.ipynb"))) == len(results.LESSONS)
    assert len(list(tmp_path.glob("my course/exercises/*.ipynb"))) == len(results.LESSONS)
    assert str(tmp_path / "data" / "mnist-course" / "results") in done.stdout


def test_outside_a_checkout_there_are_no_solutions(unpacked, tmp_path):
    code = "from mnist_course import cli; cli.main(['start', 'my course', '--solutions'])"
    done = outside(unpacked, tmp_path, code, XDG_DATA_HOME=str(tmp_path / "data"))
    assert (done.returncode, done.stderr.count("Error: ")) == (2, 1), done.stderr
    assert "The solutions were not found" in done.stderr
    assert not (tmp_path / "my course").exists()


def test_outside_a_checkout_a_bundle_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_course, "IS_CHECKOUT", False)
    result = CliRunner().invoke(cli.main, ["bundle", str(tmp_path / "stick")])
    assert (result.exit_code, result.output.count("Error: ")) == (2, 1), result.output
    assert not list(tmp_path.iterdir())


def test_the_reference_records_that_notebooks_read_are_in_the_wheel(wheel, unpacked, monkeypatch):
    notebooks = "\n".join(
        wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".ipynb") and COURSE in name
    )
    read = set(re.findall(r'reference_records\(\\"(.+?)\\", \\"(.+?)\\"\)', notebooks))
    assert len(read) >= 3
    ours = {question: results.reference_records(*question) for question in read}
    monkeypatch.setattr(_course, "REFERENCE", unpacked / COURSE / "results" / "reference")
    assert {question: results.reference_records(*question) for question in read} == ours


def test_an_editable_installation_reads_the_checkout():
    assert _course.IS_CHECKOUT
    assert _course.ROOT == ROOT
    assert (_course.NOTEBOOKS / "profiles.yaml").is_file()
    assert (_course.REFERENCE / "bench.json").is_file()
