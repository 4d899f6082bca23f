"""What SECURITY.md promises, held: no pickle, no unchecked model, no open port, no shell string made from input."""

from __future__ import annotations

import ast
import inspect
import ipaddress
import json
import os
import re
import subprocess
import sys
import tomllib

import numpy as np
import psutil
import pytest

from mnist_course import lessons
from mnist_course.run import study
from mnist_helpers import results
from tests.processes import family, kernels, kill_all, until

ROOT = lessons.NOTEBOOKS.parent


def sources() -> dict[str, ast.Module]:
    """Every piece of Python that the project runs for a user, parsed."""
    paths = [*ROOT.glob("mnist_*/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    texts = {str(path): path.read_text() for path in paths}
    for path in lessons.NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                texts[f"{path.name}:{cell['id']}"] = "".join(cell["source"])
    return {name: ast.parse(text) for name, text in texts.items()}


def calls(name: str) -> list[ast.Call]:
    """The calls of a function or method of that name, wherever it comes from."""
    found = []
    for tree in sources().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                found += [node] if called == name else []
    return found


def given(call: ast.Call, argument: str) -> object:
    """The literal value of a keyword argument."""
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == argument), None)


def test_nothing_that_pickles_is_imported_or_called():
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & banned, name
            elif isinstance(node, ast.ImportFrom) and ast.unparse(node) != "from joblib import cpu_count":
                assert (node.module or "").split(".")[0] not in banned, name
    assert not calls("eval") + calls("read_pickle") + calls("enable_unsafe_deserialization")


def test_arrays_are_loaded_without_pickle():
    loads = [call for call in calls("load") if ast.unparse(call.func) in ("np.load", "numpy.load")]
    assert loads
    assert all(given(call, "allow_pickle") is False for call in loads)


def test_arrays_of_objects_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="Python objects, in bad"):
        results.save_arrays(tmp_path, "02_baseline", good=np.zeros(2), bad=np.array([object()]))
    assert not list(tmp_path.iterdir())


def test_models_are_loaded_only_in_safe_mode_and_only_what_matches_its_hash():
    by_keras = [call for call in calls("load_model") if ast.unparse(call.func) == "keras.models.load_model"]
    assert len(by_keras) == 2
    lesson_2, library = sorted(by_keras, key=lambda call: given(call, "safe_mode") is True)
    assert [ast.unparse(word) for word in lesson_2.args] == [
        "path"
    ]  # the file that the line before has saved
    assert given(lesson_2, "safe_mode") is None
    assert given(library, "safe_mode") is True
    assert [given(call, "safe_mode") for call in calls("deserialize_keras_object")] == [True]
    body = inspect.getsource(results.load_model).split('"""')[2]
    assert body.strip().startswith("path = verified_path(folder, entry)\n")
    names = {ast.unparse(call.func) for call in calls("load_model")}
    assert names <= {"keras.models.load_model", "results.load_model"}
    for name in results.IN_ORDER:
        cells = json.loads(results.notebook_path(name).read_text())["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert "models.load_model(" not in code or name == "02_baseline", name


def test_yaml_is_read_as_data():
    assert calls("safe_load")
    assert not [call for call in calls("load") if ast.unparse(call.func).startswith("yaml")]


def test_the_linter_refuses_pickle_and_shell_strings():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["select"]
    assert {"S301", "S302", "S602", "S604", "S605"} <= set(rules)
    assert not [call for call in calls("run") + calls("Popen") if given(call, "shell")]


@pytest.mark.parametrize("value", ['x"; touch PWNED; "', "x'; touch PWNED; '", "`touch PWNED`", "a b", "-x"])
@pytest.mark.parametrize("variable", ["RUN", "PROFILE", "DATASET", "SEED"])
def test_make_hands_on_what_it_was_given_as_it_is(tmp_path, variable, value):
    """A stand-in for the command prints its arguments."""
    value = value.replace("PWNED", str(tmp_path / "pwned"))
    command = tmp_path / "mnist-course"
    command.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    command.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "course", f"BIN={tmp_path}", f"READY={command}", f"{variable}={value}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    option = [] if variable == "RUN" else [f"--{variable.lower()}", value]
    assert json.loads(done.stdout) == ["run", value if variable == "RUN" else "course", *option]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "folder", ["", "a b", "a [b]", "c%25d", "e?f#g", "i{j}", 'x"; touch PWNED; "', "`touch PWNED`", "é"]
)
def test_make_lab_hands_on_its_folder_as_it_is(tmp_path, folder):
    """Programs in place of `mnist-course` and `jupyter` write down their arguments."""
    folder = folder.replace("PWNED", str(tmp_path / "pwned"))
    for name in ("mnist-course", "jupyter"):
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
        program.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "lab", f"BIN={tmp_path}", f"READY={program}", *([f"DIR={folder}"] if folder else [])],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    start, lab = map(json.loads, done.stdout.splitlines())
    folder = folder or "my-course"
    assert start == ["start", folder]
    assert lab[:2] == ["lab", f"--notebook-dir={folder}"]
    assert "--LabApp.default_url=/lab/tree/START_HERE.ipynb" in lab
    assert not (tmp_path / "pwned").exists()


def test_jupyter_is_never_told_to_do_without_its_token():
    texts = [
        ROOT / "Makefile",
        ROOT / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("mnist_*/**/*.py"),
    ]
    for path in texts:
        assert not re.search(
            r"\.token\b|\.password\b|disable_check_xsrf|allow_origin|--ip\b", path.read_text()
        ), path


@pytest.mark.parametrize("name", ["../out.json", "/tmp/out.json", "a/../../out.json"])
def test_names_from_outside_do_not_leave_their_folder(tmp_path, name):
    folder = tmp_path / "run"
    study._write_files(folder, {name: b"sent by a worker"})
    assert (folder / "out.json").read_bytes() == b"sent by a worker"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(results.MissingLessonError):
        results.verified_path(folder / "..", {"file": f"run/{name}", "sha256": ""})


@pytest.mark.course
def test_nothing_listens_beyond_this_machine(tmp_path):
    """A study and a lesson of its, at work: the scheduler, a worker, the runner and the kernel."""
    command = [sys.executable, "-m", "mnist_course.cli", "study", "s", "--seeds", "1", "--only", "02"]
    command += [
        "--profile",
        "quick",
        "--dataset",
        "digits",
        "-p",
        "epochs",
        "10000",
        "--results-dir",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: kernels(family(process.pid)) and list(tmp_path.glob("s/*/.*.running.ipynb")))
        listening = [
            connection.laddr.ip
            for member in family(process.pid)
            for connection in member.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert all(ipaddress.ip_address(address).is_loopback for address in listening)
    finally:
        kill_all(process)
