"""A bundle is made, and a machine without a network is set up from it: with toy packages, and for real (`full`).

A toy package has the name and version of a real one and nothing in it; one of them lets the new environment see
the packages of the environment that runs the tests.
"""

from __future__ import annotations

import ast
import dataclasses
import ensurepip
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from mnist_course import cli, demo, lessons
from mnist_course.handout import bundle, setup_course, student_copy
from mnist_helpers import _course, data, results
from tests import conftest, processes

ROOT = lessons.NOTEBOOKS.parent
HERE = Path(__file__).parent
STRANGE = "a [1] 100%25 {}? #$x"
CLOSED = "http://127.0.0.1:9"  # nobody listens there
QUICK_LESSON = ["run", "try", "--profile", "quick", "--dataset", "digits", "--only", "01"]

# What hatchling does for `pip install --editable`, in few lines.
BACKEND = """
import pathlib, tomllib, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    needs = "".join(f"Requires-Dist: {line}\\n" for line in project["dependencies"])
    info = f"mnist_course-{project['version']}.dist-info"
    scripts = "".join(f"{name} = {target}\\n" for name, target in project["scripts"].items())
    files = {
        "mnist_course.pth": f"{pathlib.Path.cwd()}\\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: mnist-course\\nVersion: {project['version']}\\n"
        f"Requires-Python: {project['requires-python']}\\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: toy\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": f"[console_scripts]\\n{scripts}",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    name = f"mnist_course-{project['version']}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return name
"""


def toy_wheel(folder: Path, name: str, version: str, files: dict[str, str], more: str = "") -> None:
    name = name.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: toy\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> Path:
    """A folder with a toy for each package that the course needs."""
    folder = tmp_path_factory.mktemp("toys")
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    see_ours = {"ours.pth": "".join(f"{sysconfig.get_path(kind)}\n" for kind in ("purelib", "platlib"))}
    for requirement in map(Requirement, project["dependencies"]):
        files = see_ours if requirement.name == "click" else {}
        toy_wheel(folder, requirement.name, pins[requirement.name.lower()], files)
    toy_wheel(
        folder, "hatchling", pins["hatchling"], {"hatchling/__init__.py": "", "hatchling/build.py": BACKEND}
    )
    toy_wheel(folder, "editables", "0.5", {})
    pips = list((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not pips:
        pytest.skip("this Python comes without the wheel of pip (package python3-venv)")
    shutil.copy(pips[0], folder)
    return folder


@pytest.fixture
def toy_index(toys, monkeypatch):
    """pip finds the toys and nothing else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(toys))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)


@pytest.fixture(scope="module")
def made(toys, tmp_path_factory) -> Path:
    """A bundle of toys; a test that changes it takes a copy."""
    folder = tmp_path_factory.mktemp("bundles") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("PIP_FIND_LINKS", str(toys))
        patch.setenv("MNIST_COURSE_OFFLINE", "1")
        bundle.bundle(folder)
    return folder


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "stick"))


def everything(folder: Path) -> dict[str, tuple[int, bytes] | None]:
    paths = sorted(folder.rglob("*"))
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) if p.is_file() else None for p in paths}


def alone(bundle: Path) -> list[str]:
    """The beginning of a command: without a network, and the bundle read-only, where this system can do that."""
    read_only = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "sh",
        "-c",
        read_only,
        "sh",
        str(bundle),
    ]
    works = shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode
    return command if works else []


def student(home: Path) -> dict[str, str]:
    """The environment of somebody whose machine has Python, and settings that must not matter."""
    home.mkdir(exist_ok=True)
    return {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "http_proxy": CLOSED,
        "https_proxy": CLOSED,
        "PIP_INDEX_URL": CLOSED,
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_TARGET": str(home / "elsewhere"),
        "PYTHONPATH": str(home / "nowhere"),
    }


def set_up(bundle: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(bundle / "setup_course.py"), *arguments]
    pipes = {"capture_output": True, "text": True, "check": False}
    return subprocess.run([*alone(bundle), *command], env=student(home), cwd=home, **pipes)


# --- what is in a bundle ---


def test_the_course_comes_along_and_nothing_else(made):
    assert {path.name for path in made.iterdir()} == {
        "README.txt", "SHA256SUMS", "bundle.json", "course", "setup_course.py", "wheelhouse",
        *(["draw.html"] if demo.has_models() else []),
    }  # fmt: skip
    inside = made / "course"
    assert {path.name for path in inside.iterdir()} == {
        "LICENSE", "README.md", "constraints.txt", "mnist_course", "mnist_helpers", "notebooks",
        "pyproject.toml", "results",
    }  # fmt: skip
    assert {path.name for path in (inside / "notebooks").iterdir()} == {
        *(f"{lesson}.ipynb" for lesson in results.LESSONS), "START_HERE.ipynb",
        "exercises", "further", "pictures", "profiles.yaml", "quizzes",
    }  # fmt: skip
    for part in ("pictures", "further"):
        expected = {path.name for path in (lessons.NOTEBOOKS / part).glob("*.*")}
        assert {path.name for path in (inside / "notebooks" / part).glob("*")} == expected
    assert [path.name for path in (inside / "notebooks" / "exercises").iterdir()] == ["release"]
    assert [path.name for path in (inside / "results").iterdir()] == ["reference"]
    assert not [path for path in inside.rglob("*") if path.name.startswith((".", "__pycache__"))]
    for package in ("mnist_helpers", "mnist_course"):
        modules = {p.relative_to(ROOT) for p in (ROOT / package).rglob("*") if "__pycache__" not in p.parts}
        assert {p.relative_to(inside) for p in (inside / package).rglob("*")} == modules


def test_no_solution_and_no_hidden_test_comes_along(made):
    notebooks = list(made.rglob("*.ipynb"))
    assert len(notebooks) == 1 + len(results.IN_ORDER) + len(results.LESSONS)
    for path in notebooks:
        text = path.read_text(encoding="utf-8")
        nbformat.validate(nbformat.reads(text, as_version=nbformat.NO_CONVERT))
        assert "BEGIN SOLUTION" not in text
        assert "BEGIN HIDDEN" not in text
    sources = list((lessons.NOTEBOOKS / "exercises").glob("*.ipynb"))
    assert all("BEGIN SOLUTION" in path.read_text(encoding="utf-8") for path in sources)


def test_the_reference_records_that_notebooks_read_come_along(made, monkeypatch):
    notebooks = "\n".join(path.read_text(encoding="utf-8") for path in (made / "course").rglob("*.ipynb"))
    read = set(re.findall(r'reference_records\(\\"(.+?)\\", \\"(.+?)\\"\)', notebooks))
    assert ("ablation", "03_batchnorm_dropout") in read
    ours = {question: results.reference_records(*question) for question in read}
    bench = results.reference_bench()
    monkeypatch.setattr(_course, "REFERENCE", made / "course" / "results" / "reference")
    assert {question: results.reference_records(*question) for question in read} == ours
    assert results.reference_bench() == bench


def test_the_networks_of_the_reference_come_along_and_other_arrays_do_not(tmp_path, monkeypatch):
    root = tmp_path / "root"
    for name in ("notebooks", "mnist_helpers", "mnist_course"):
        (root / name).mkdir(parents=True)
    for name in bundle._ROOT_FILES:
        (root / name).write_text("")
    wanted = {"models/baseline.npz", "models/index.json", "models/records/02_baseline.json"}
    for name in wanted | {"seed-1/01_data_exploration.npz", "predictions/seed-1.npz"}:
        (root / "results" / "reference" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "results" / "reference" / name).write_text(name)
    monkeypatch.setattr(lessons, "NOTEBOOKS", root / "notebooks")
    monkeypatch.setattr(student_copy, "notebooks", list)
    bundle._copy_course(tmp_path / "course")
    copied = tmp_path / "course" / "results" / "reference"
    assert {path.relative_to(copied).as_posix() for path in copied.rglob("*.*")} == wanted


def test_the_checksums_are_of_all_files(made):
    lines = (made / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    files = {path.relative_to(made).as_posix(): path for path in made.rglob("*") if path.is_file()}
    assert listed.keys() == files.keys() - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest


def test_the_least_python_is_what_all_packages_can_do(made, tmp_path):
    assert bundle._least_python(made / "wheelhouse", "3.11") == "3.11.0"
    for name, needs in {"one": ">=3.9", "two": ">=3.11.5,!=3.11.6", "three": ">3.11.5"}.items():
        toy_wheel(tmp_path, name, "1.0", {}, more=f"Requires-Python: {needs}\n")
    assert bundle._least_python(tmp_path, "3.11") == "3.11.7"


def test_the_readme_names_the_machine_and_the_command(made):
    text = (made / "README.txt").read_text()
    description = json.loads((made / "bundle.json").read_text())
    for word in ("setup_course.py", "course-lab", description["python"], description["system"]):
        assert word in text
    assert "{{" not in text
    assert str(made) not in text
    assert max(map(len, text.splitlines())) < 100


# --- again ---


def test_again_it_keeps_the_packages_while_they_are_whole(copy, toy_index, capsys):
    wheels = everything(copy / "wheelhouse")
    (copy / "course" / "notebooks" / "old.ipynb").write_text("from an older course")
    (copy / "SHA256SUMS").unlink()  # as after a kill
    bundle.bundle(copy)
    assert "complete from an earlier call" in capsys.readouterr().out
    assert everything(copy / "wheelhouse") == wheels
    assert not (copy / "course" / "notebooks" / "old.ipynb").exists()
    first, *_ = (copy / "wheelhouse").iterdir()
    first.write_bytes(b"a bad block")
    bundle.bundle(copy)
    assert "complete from an earlier call" not in capsys.readouterr().out
    assert everything(copy / "wheelhouse").keys() == wheels.keys()
    assert first.read_bytes() != b"a bad block"


def test_a_dataset_can_be_added_and_left_out_again(copy, toy_index, made_up, monkeypatch, capsys):
    monkeypatch.setenv("MNIST_DATA_DIR", str(made_up.folder))
    bundle.bundle(copy, ["mnist", "digits"])
    assert data.load_arrays("mnist", data_dir=copy / "data", download=False)[1].kind is data.Kind.DATA_DIR
    assert "CC BY-SA 3.0" in (copy / "data" / "LICENCES.txt").read_text()
    assert "LICENCES.txt" in (copy / "README.txt").read_text()
    assert "data/mnist/train-images-idx3-ubyte.gz" in (copy / "SHA256SUMS").read_text()
    monkeypatch.setenv("MNIST_DATA_DIR", str(copy / "data"))
    bundle.bundle(copy, ["mnist"])  # from its own copy
    assert data.load_arrays("mnist", download=False)[1].kind is data.Kind.ENVIRONMENT
    bundle.bundle(copy)
    assert not (copy / "data").exists()
    assert "LICENCES.txt" not in (copy / "README.txt").read_text()


@pytest.mark.parametrize("form", ["idx", "unpacked idx", "npz", "in the cache"])
def test_mnist_comes_along_in_whatever_form_it_is_here(form, made_up, tmp_path, monkeypatch):
    if form == "unpacked idx":
        for file in data.IDX_FILES.values():
            shutil.copy(made_up.folder / file, tmp_path / file.removesuffix(".gz"))
    if form == "in the cache":
        shutil.copytree(made_up.folder, data.cache_dir() / "mnist")
    else:
        place = {"idx": made_up.folder, "npz": made_up.npz.parent}.get(form, tmp_path)
        monkeypatch.setenv("MNIST_DATA_DIR", str(place))
    bundle._copy_data(tmp_path / "to", {"mnist": bundle._find("mnist")})
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "to"))
    arrays, source = data.load_arrays("mnist", download=False)
    assert source.kind is data.Kind.ENVIRONMENT
    assert (arrays["y_test"] == made_up.arrays["y_test"]).all()


def test_fashion_mnist_comes_along_beside_mnist(made_up, tmp_path, monkeypatch):
    """Only its original archives can be verified; they have the names of MNIST's."""
    keras = Path(os.environ["KERAS_HOME"]) / "datasets" / "fashion-mnist"
    shutil.copytree(made_up.folder, keras)
    md5 = {
        name: hashlib.md5((keras / file).read_bytes()).hexdigest() for name, file in data.IDX_FILES.items()
    }
    row = dataclasses.replace(data.DATASETS["fashion_mnist"], archive_md5=md5)
    monkeypatch.setitem(data.DATASETS, "fashion_mnist", row)
    monkeypatch.setenv("MNIST_DATA_DIR", str(made_up.folder))
    bundle._copy_data(tmp_path / "to", {name: bundle._find(name) for name in ("mnist", "fashion_mnist")})
    for name in ("mnist", "fashion_mnist"):
        assert data.load_arrays(name, data_dir=tmp_path / "to", download=False)[1].kind is data.Kind.DATA_DIR
        assert len(list((tmp_path / "to" / name).iterdir())) == len(data.IDX_FILES)
    notice = (tmp_path / "to" / "LICENCES.txt").read_text()
    assert "Zalando" in notice
    assert "LeCun" in notice


# --- what is refused ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new", "--dataset", "mnits"], "Did you mean 'mnist'?"),
        (["new", "--dataset", "auto"], "unknown dataset"),
        (["new", "--dataset", "./folder"], "unknown dataset"),
        (["new", "--dataset", "mnist"], "MNIST_DATA_DIR"),  # not here, and no network
        (["other things"], "holds other things"),
        (["a file"], "Expected: a folder"),
        (["a file/x"], "Expected: a folder"),
        ([""], "Expected: a folder"),
        (["\0"], "zero byte"),
        ([str(ROOT)], "holds other things"),
        ([str(lessons.NOTEBOOKS / "new")], "part of the course itself"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("mine")
    Path("other things").mkdir()
    Path("other things/photo.jpg").write_text("mine")
    before = everything(tmp_path)
    result = CliRunner().invoke(cli.main, ["bundle", *arguments])
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert everything(tmp_path) == before
    assert not (lessons.NOTEBOOKS / "new").exists()


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(4e9, 3e9, 1e9))
    result = CliRunner().invoke(cli.main, ["bundle", str(tmp_path / "new")])
    assert result.exit_code == 2
    assert "1.0 GB free" in result.output
    assert not (tmp_path / "new").exists()


def test_where_pip_fails_the_reason_is_told_and_the_bundle_is_none(toy_index, tmp_path, monkeypatch):
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    result = CliRunner().invoke(cli.main, ["bundle", str(tmp_path / "new")])
    assert result.exit_code == 1
    for words in (
        "ERROR: ",
        "anywidget",
        f"Looking in links: {tmp_path / 'nothing'}",
        "MNIST_COURSE_OFFLINE",
    ):
        assert words in result.output
    assert "Give the same command again" in result.output
    assert not (tmp_path / "new" / "SHA256SUMS").exists()


def _for_another(**entries: str):
    def change(bundle: Path) -> None:
        made_for = json.loads((bundle / "bundle.json").read_text())
        (bundle / "bundle.json").write_text(json.dumps(made_for | entries))

    return change


def _bad_block(bundle: Path) -> None:
    (bundle / "wheelhouse" / "numpy-bad.whl").write_bytes(b"x")
    with (bundle / "course" / "notebooks" / "02_baseline.ipynb").open("r+b") as file:
        file.write(b"\0\0")
    (bundle / "course" / "constraints.txt").unlink()


def _half(bundle: Path) -> None:
    (bundle / "SHA256SUMS").unlink()


def _a_description_of_another_shape(content: str):
    return lambda bundle: (bundle / "bundle.json").write_text(content)


def _for_another_system(bundle: Path) -> None:
    (bundle / "wheelhouse" / "numpy-9-cp311-cp311-manylinux_9_99_x86_64.whl").write_bytes(b"x")


def _nothing(bundle: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "folder", "words"),
    [
        (_for_another(python="3.9"), "new", ["This bundle is for CPython 3.9", "python3.9 setup_course.py"]),
        (
            _for_another(python_at_least="{}.{}.99".format(*sys.version_info)),
            "new",
            ["need Python 3", ".99 or a newer"],
        ),
        (_for_another(implementation="PyPy"), "new", ["This bundle is for PyPy"]),
        (
            _for_another(system="Windows", machine="AMD64"),
            "new",
            ["for Windows (AMD64)", "machine like yours"],
        ),
        (_for_another(machine="riscv64"), "new", ["(riscv64)"]),
        (_for_another(installed_bytes=1e18), "new", ["1000000000.0 GB are needed"]),
        (
            _bad_block,
            "new",
            ["course/notebooks/02_baseline.ipynb", "course/constraints.txt", "Copy the whole"],
        ),
        (_for_another_system, "new", ["too old", "numpy-9-cp311"]),
        (_half, "new", ["not a complete bundle"]),
        *(
            (_a_description_of_another_shape(content), "new", ["not a complete bundle"])
            for content in ("", "[]", "null", "{}", '{"python": "3.11"}')
        ),
        (_nothing, "a file", ["is a file"]),
        (_nothing, "a file/x", ["cannot be written"]),
        (_nothing, "other things", ["holds other things"]),
        (_nothing, "stick/mine", ["in the bundle itself"]),
        (_nothing, "stick", ["in the bundle itself"]),
    ],
)
def test_set_up_refuses_in_one_message_and_makes_nothing(copy, tmp_path, change, folder, words):
    change(copy)
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "a file").write_text("mine")
    (tmp_path / "other things").mkdir()
    (tmp_path / "other things" / "photo.jpg").write_text("mine")
    before = everything(tmp_path)
    done = set_up(copy, str(tmp_path / folder), home=home)
    assert done.returncode == 2, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("wheels", "glibc"),
    [
        ([], ""),
        (["a-1-py3-none-any.whl", "b-1-cp311-cp311-macosx_11_0_arm64.whl"], ""),
        (["a-1-cp311-cp311-manylinux_2_9_x86_64.manylinux_2_28_x86_64.whl"], "2.9"),
        (["a-1-cp311-cp311-manylinux_2_9_x86_64.whl", "b-1-cp311-cp311-manylinux_2_28_x86_64.whl"], "2.28"),
    ],
)
def test_the_oldest_c_library_is_what_all_packages_can_do(wheels, glibc):
    assert bundle._least_glibc(wheels) == glibc


def test_what_is_copied_from_a_read_only_bundle_can_be_changed_and_deleted(tmp_path):
    inner = tmp_path / "stick" / "course" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("new")
    for path in (inner / "file", inner, inner.parent):
        path.chmod(0o555)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine").write_text("kept")
    for _ in range(2):
        setup_course._copy(inner.parent, tmp_path / "own")
    assert (tmp_path / "own" / "inner" / "file").read_text() == "new"
    assert (tmp_path / "own" / "mine").read_text() == "kept"
    for path in (tmp_path / "own").rglob("*"):
        assert path.stat().st_mode & stat.S_IWUSR, path


def test_a_second_set_up_of_the_same_folder_is_refused(tmp_path):
    refused = pytest.raises(setup_course.RefusedError, match="Another set-up is using")
    with setup_course._locked(tmp_path), refused, setup_course._locked(tmp_path):
        pass
    with setup_course._locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "[]", "null", "7", '{"ready": true}', "\0"])
def test_a_damaged_mark_is_replaced(tmp_path, monkeypatch, content):
    (tmp_path / "bundle.json").write_text('{"packages": "these"}')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / setup_course.MARK).write_text(content)
    monkeypatch.setattr(setup_course, "BUNDLE", tmp_path)
    assert setup_course._mark(tmp_path / "mine") == {"packages": "these", "ready": False}


@pytest.mark.parametrize("content", ["", "[]", "null", '{"wheels": 1}', '{"wheels_for": "x", "wheels": []}'])
def test_a_damaged_description_of_a_bundle_is_replaced(tmp_path, content):
    (tmp_path / "bundle.json").write_text(content)
    assert bundle._description(tmp_path)["wheels"] == {}


def test_set_up_says_so_to_an_old_python():
    """It must be read by Pythons that are too old for everything else."""
    source = Path(setup_course.__file__).read_text()
    ast.parse(source, feature_version=(3, 6))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", source, re.M))
    assert imported - {"pip"} <= sys.stdlib_module_names


# --- a machine without a network ---


def assert_opens(place: Path, home: Path) -> None:
    """A student's place after the set-up: lessons, and a command to open them."""
    lessons = {path.name for path in (place / "my-course").glob("*.ipynb")}
    assert lessons == {"START_HERE.ipynb", *(f"{lesson}.ipynb" for lesson in results.LESSONS)}
    assert os.access(place / "course-lab", os.X_OK)
    pipes = {"env": student(home), "cwd": home, "capture_output": True, "text": True, "check": False}
    opened = subprocess.run([str(place / "course-lab"), "--version"], **pipes)
    assert re.match(r"4\.\d", opened.stdout), opened.stderr


def assert_ready(place: Path, bundle: Path, home: Path) -> None:
    """As `assert_opens`, and the course runs."""
    assert_opens(place, home)
    pipes = {"env": student(home), "cwd": home, "capture_output": True, "text": True, "check": False}
    pipes["env"].pop("PYTHONPATH")
    command = [str(place / "environment" / "bin" / "mnist-course"), *QUICK_LESSON]
    done = subprocess.run([*alone(bundle), *command], **pipes)
    assert done.returncode == 0, done.stdout + done.stderr
    record = results.load_record(place / "course" / "results" / "try", "01_data_exploration")
    assert record["dataset"]["name"] == "digits"


@pytest.mark.full
@pytest.mark.course
@pytest.mark.skipif(os.name == "nt", reason="the toy environment is made as on Linux and macOS")
def test_two_students_set_up_at_once_one_is_killed_and_goes_on(made, tmp_path):
    before = everything(made)
    one, other = tmp_path / "one", tmp_path / "other"
    command = [sys.executable, str(made / "setup_course.py")]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = subprocess.Popen([*alone(made), *command], env=student(other), **silent)
    processes.until(lambda: list(other.glob("mnist-course/environment/lib/*/site-packages/*.dist-info")))
    processes.kill_all(killed)
    again = subprocess.Popen([*alone(made), *command], env=student(other), **silent)
    done = set_up(made, home=one)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(one / "mnist-course" / "course-lab") in done.stdout
    assert again.wait(300) == 0
    for home in (one, other):
        assert_ready(home / "mnist-course", made, home)
        assert [path.name for path in home.iterdir() if not path.name.startswith(".")] == ["mnist-course"]
    assert everything(made) == before


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="the toy environment is made as on Linux and macOS")
def test_a_newer_bundle_brings_what_is_new_and_keeps_the_students_work(copy, tmp_path):
    stick = copy.rename(copy.with_name(f"stick {STRANGE}"))  # R11
    home, place = tmp_path / "home", tmp_path / "home" / STRANGE
    first = set_up(stick, str(place), home=home)
    assert first.returncode == 0, first.stdout + first.stderr
    assert [path.name for path in home.iterdir() if not path.name.startswith(".")] == [STRANGE]
    assert_opens(place, home)
    (place / "course" / "results" / "lab").mkdir(parents=True)
    (place / "course" / "results" / "lab" / "02_baseline.json").write_text("my record")
    (place / "my-course" / "02_baseline.ipynb").write_text("my work")
    newer = stick / "course" / "notebooks" / "03_batchnorm_dropout.ipynb"
    newer.write_text(
        newer.read_text(encoding="utf-8").replace("# 3 · ", "# 3, corrected · "), encoding="utf-8"
    )
    bundle._write_checksums(stick)
    environment = (place / "environment").stat().st_ino
    done = set_up(stick, str(place), home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "packages are there" in done.stdout
    assert (place / "environment").stat().st_ino == environment
    assert (place / "my-course" / "02_baseline.ipynb").read_text() == "my work"
    assert (place / "course" / "results" / "lab" / "02_baseline.json").read_text() == "my record"
    assert "updated     03_batchnorm_dropout.ipynb" in done.stdout


@pytest.mark.full
@pytest.mark.course
@pytest.mark.skipif(os.name == "nt", reason="a Windows machine without a network cannot be made here")
def test_the_real_thing(tmp_path, monkeypatch):
    """A gigabyte of packages from the index that pip is configured for, then a machine without any index."""
    monkeypatch.delenv("MNIST_COURSE_OFFLINE")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(tmp_path), "editables"]
    asked = subprocess.run(pip, env=conftest.USER_ENVIRONMENT, capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip(f"pip has no index here: {asked.stderr.strip().splitlines()[-1]}")
    made = subprocess.run(
        [sys.executable, "-m", "mnist_course.cli", "bundle", str(tmp_path / "stick")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    done = set_up(tmp_path / "stick", home=tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_ready(tmp_path / "home" / "mnist-course", tmp_path / "stick", tmp_path / "home")
