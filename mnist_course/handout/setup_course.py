"""Sets a machine up for the MNIST course, from this folder and without a network.

    python3 setup_course.py [FOLDER]

Everything that it makes is in FOLDER (default: ~/mnist-course); nothing is written here. The same command
continues an interrupted set-up; with a newer bundle, it updates the course. `mnist-course bundle` copies this file.

Any Python 3 must be able to run it, because it says which Python is needed: it uses the standard library only, and
no syntax newer than Python 3.6.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent
# In FOLDER: the bundle that it was set up from, and whether that is complete.
MARK = ".mnist-course-setup.json"
CHECKSUMS = "SHA256SUMS"
DESCRIPTION = "bundle.json"
_ENTRIES = {"implementation", "python", "python_at_least", "system", "machine", "packages", "installed_bytes"}
_LAB = """#!/bin/sh
# Opens the MNIST course in JupyterLab.
here=$(cd "$(dirname "$0")" && pwd)
unset PYTHONPATH PYTHONHOME
if [ -d "$here/data" ]; then export MNIST_DATA_DIR="$here/data"; fi
exec "$here/environment/bin/python" -m jupyterlab --notebook-dir="$here/my-course" \\
    --LabApp.default_url=/lab/tree/START_HERE.ipynb --log-level=WARN --LabApp.log_level=WARN "$@"
"""
_LAB_WINDOWS = """@echo off
rem Opens the MNIST course in JupyterLab.
set PYTHONPATH=
set PYTHONHOME=
if exist "%~dp0data" set "MNIST_DATA_DIR=%~dp0data"
"%~dp0environment\\Scripts\\python.exe" -m jupyterlab --notebook-dir="%~dp0my-course" ^
  --LabApp.default_url=/lab/tree/START_HERE.ipynb --log-level=WARN --LabApp.log_level=WARN %*
"""


class RefusedError(Exception):
    """A condition is not met; nothing was written."""


class FailedError(Exception):
    """A step failed; the same command continues."""


def main():
    """Reads the command line and sets up; returns the exit status: 0 done, 1 failed, 2 refused, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "folder", nargs="?", default="~/mnist-course", metavar="FOLDER", help="default: ~/mnist-course"
    )
    folder = parser.parse_args().folder
    again = "Give the same command again: it continues where it stopped."
    try:
        set_up(folder)
    except RefusedError as error:
        return _say(f"Error: {error}", 2)
    except FailedError as error:
        return _say(f"Error: {error}\n{again}", 1)
    except OSError as error:
        return _say(f"Error: {error}. {again}", 1)
    except KeyboardInterrupt:
        return _say(f"Interrupted. {again}", 130)
    return 0


def _say(message, status):
    print(message, file=sys.stderr)
    return status


def set_up(folder):
    """Sets the course up in a folder.

    Args:
        folder: a path as typed; `~` is the user's home.

    Raises:
        RefusedError: the machine, the bundle or the folder does not fit; nothing was written.
        FailedError: a step failed.
    """
    made_for = _description()
    check_python(made_for)
    folder = check_folder(folder, made_for["installed_bytes"])
    print(f"1 of 4: checking the files of {BUNDLE}", flush=True)
    check_files()
    check_wheels()
    print(f"2 of 4: copying the course and its data to {folder}", flush=True)
    mark = _mark(folder)
    with _locked(folder):
        _fill(folder, mark)


def _fill(folder, mark):
    for name in ("course", "data"):
        if (BUNDLE / name).is_dir():
            _copy(BUNDLE / name, folder / name)
    number = len(list((BUNDLE / "wheelhouse").glob("*.whl")))
    if mark.get("ready") and _python(folder).exists():
        print(f"3 of 4: the {number} packages are there", flush=True)
    else:
        print(f"3 of 4: installing {number} packages; this takes some minutes", flush=True)
        install(folder, number)
        _write_mark(folder, dict(mark, ready=True))
    print("4 of 4: your lessons, and a look at the machine (half a minute)", flush=True)
    _run(folder, "-m", "mnist_course.cli", "start", str(folder / "my-course"))
    lab = _write_lab(folder)
    _examine(folder)
    print(f"\nEverything is ready. To open the course, now and on any other day:\n\n    {lab}\n")


# --- checks ---


def _description():
    try:
        (BUNDLE / CHECKSUMS).read_bytes()  # written last
        description = json.loads((BUNDLE / DESCRIPTION).read_text(encoding="utf-8"))
        if not (isinstance(description, dict) and description.keys() >= _ENTRIES):
            raise ValueError(f"entries are missing in {DESCRIPTION}")
        return description
    except (OSError, ValueError) as error:
        advice = "Copy the whole folder again, or make it again with: mnist-course bundle"
        raise RefusedError(f"{BUNDLE} is not a complete bundle ({error}). {advice}") from error


def check_python(made_for):
    """Compares this machine and its Python with the ones that the packages are for.

    Raises:
        RefusedError: they differ.
    """
    system, machine = platform.system(), platform.machine()
    if (system, machine) != (made_for["system"], made_for["machine"]):
        bundle = "This bundle is for {system} ({machine})".format(**made_for)
        advice = "Ask for a bundle that was made on a machine like yours."
        raise RefusedError(f"{bundle}; this machine is {system} ({machine}). {advice}")
    version = "{}.{}".format(*sys.version_info[:2])
    if (version, platform.python_implementation()) != (made_for["python"], made_for["implementation"]):
        name = "python" + made_for["python"]
        other = shutil.which(name)
        hint = "It is on this machine:" if other else "Install it, then:"
        bundle = "This bundle is for {implementation} {python}".format(**made_for)
        this = f"this is {platform.python_implementation()} {platform.python_version()}"
        raise RefusedError(f"{bundle}; {this}. {hint} {other or name} {Path(__file__).name}")

    least = made_for["python_at_least"]
    if sys.version_info[:3] < tuple(int(part) for part in least.split(".")):
        needed = f"The packages of this bundle need Python {least} or a newer {version}"
        raise RefusedError(f"{needed}; this is {platform.python_version()}. Install a newer {version}.")


def check_folder(folder, installed_bytes):
    """Returns the absolute path of the folder to set up in.

    Args:
        folder: a path as typed.
        installed_bytes: size of the complete course, in bytes.

    Raises:
        RefusedError: something else is in it, it cannot be written, or the disk is full.
    """
    folder = Path(folder).expanduser().resolve()
    if folder == BUNDLE or BUNDLE in folder.parents:
        raise RefusedError(f"{folder} is in the bundle itself. Give another folder.")
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"{folder} is a file. Give another folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise RefusedError(f"{folder} holds other things. Give a new folder.")
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not (nearest.is_dir() and os.access(str(nearest), os.W_OK)):
        raise RefusedError(f"{nearest} cannot be written. Give another folder.")
    free = shutil.disk_usage(str(nearest)).free
    if not (folder / MARK).is_file() and free < installed_bytes:
        room = f"{free / 1e9:.1f} GB free, and {installed_bytes / 1e9:.1f} GB are needed"
        raise RefusedError(f"The disk of {nearest} has {room}. Free some space, or give another folder.")
    return folder


def check_files():
    """Compares the sha256 of every file of the bundle.

    Raises:
        RefusedError: files are missing or damaged; the error message names them.
    """
    bad = []
    lines = (BUNDLE / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        expected, name = line.split("  ", 1)
        try:
            good = _sha256(BUNDLE / name) == expected
        except OSError:
            good = False
        if not good:
            bad.append(name)
        _progress(f"{number} of {len(lines)} files", last=number == len(lines))
    if bad:
        names = ", ".join(bad[:5] + ["..."] * (len(bad) > 5))
        advice = "Copy the whole folder again, to another stick if it happens twice."
        raise RefusedError(f"Missing or damaged in this bundle: {names}. {advice}")


def check_wheels():
    """Checks with the bundle's pip that every package fits this system: its C library, or its macOS.

    Raises:
        RefusedError: some packages do not fit.
    """
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(_pip_wheel()))
    from pip._vendor.packaging.tags import sys_tags
    from pip._vendor.packaging.utils import parse_wheel_filename

    known = frozenset(sys_tags())
    wheels = sorted(path.name for path in (BUNDLE / "wheelhouse").glob("*.whl"))
    bad = [name for name in wheels if not known & parse_wheel_filename(name)[3]]
    if bad:
        problem = f"This system is too old, or of another kind, for {len(bad)} of the packages"
        advice = "Ask for a bundle that was made on a machine like yours."
        raise RefusedError("{}: {}. {}".format(problem, ", ".join(bad[:3]), advice))


def _pip_wheel():
    return next((BUNDLE / "wheelhouse").glob("pip-*.whl"))


def _sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(2**20), b""):
            digest.update(chunk)
    return digest.hexdigest()


# --- writing ---


def _mark(folder):
    """Marks the folder as ours before anything else is written; returns the content of the mark."""
    packages = json.loads((BUNDLE / DESCRIPTION).read_text(encoding="utf-8"))["packages"]
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        mark = {}
    if not isinstance(mark, dict) or mark.get("packages") != packages:
        mark = {"packages": packages, "ready": False}
    folder.mkdir(parents=True, exist_ok=True)
    _write_mark(folder, mark)
    return mark


@contextlib.contextmanager
def _locked(folder):
    """Locks the folder; the system releases the lock when the process ends, in whatever way."""
    with (folder / (MARK + ".lock")).open("w") as lock:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            advice = "Wait until it has ended, or give another folder."
            raise RefusedError(f"Another set-up is using {folder}. {advice}") from error
        yield


def _copy(source, target):
    """Copies a folder; the copies can be changed and deleted, even if the bundle is read-only."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(exist_ok=True)
        else:
            shutil.copyfile(str(path), str(copy))


def _write_mark(folder, mark):
    partial = folder / (MARK + ".partial")
    partial.write_text(json.dumps(mark), encoding="utf-8")
    partial.replace(folder / MARK)


def _python(folder):
    return folder / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(folder, number):
    """Makes a new environment and installs the course and its packages, from the wheelhouse only.

    Args:
        folder: the folder to set up in.
        number: the number of packages, for the progress.

    Raises:
        FailedError: pip failed.
    """
    environment = folder / "environment"
    # Without pip: Debian's Python has none to put in, and the wheelhouse has one.
    venv.create(str(environment), clear=True, symlinks=os.name != "nt")
    wheelhouse = ["--no-index", "--find-links", str(BUNDLE / "wheelhouse"), "--quiet"]
    _run(folder, str(_pip_wheel() / "pip"), "install", *wheelhouse, "pip")
    packages = ["--constraint", "course/constraints.txt", "--editable", "./course"]
    installed = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))
    log = folder / "setup.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(_python(folder)), "-m", "pip", "install", *wheelhouse, *packages],
            cwd=str(folder),
            env=_environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                done = len(list(installed.glob("*.dist-info")))
                _progress(f"{min(done, number)} of {number} packages")
                time.sleep(1)
        finally:
            process.terminate()
            process.wait()
    _progress("", last=True)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise FailedError("The packages were not installed ({}):\n{}".format(log, "\n".join(lines[-5:])))
    log.unlink()


def _environment(folder):
    """Returns environment variables without the user's settings of pip and Python, and with the bundle's data."""
    ours = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PIP_", "PYTHON")) and key not in ("VIRTUAL_ENV", "MNIST_COURSE_RESULTS")
    }
    if (folder / "data").is_dir():
        ours["MNIST_DATA_DIR"] = str(folder / "data")
    return dict(ours, PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONNOUSERSITE="1")


def _run(folder, *arguments):
    """Runs the new environment's Python and shows what it prints."""
    command = [str(_python(folder)), *arguments]
    done = subprocess.run(command, cwd=str(folder), env=_environment(folder), check=False)
    if done.returncode:
        raise FailedError("This step failed (see above): {}".format(" ".join(arguments)))


def _examine(folder):
    """Runs the course's doctor, which trains for five seconds."""
    command = [str(_python(folder)), "-m", "mnist_course.cli", "doctor", "--offline"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "universal_newlines": True}
    done = subprocess.run(command, cwd=str(folder), env=_environment(folder), check=False, **pipes)
    if done.returncode:
        found = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
        reason = "\n".join(found) or done.stderr
        raise FailedError(f"The course is set up, but may not run on this machine:\n{reason}")


def _write_lab(folder):
    lab = folder / ("course-lab.bat" if os.name == "nt" else "course-lab")
    lab.write_text(_LAB_WINDOWS if os.name == "nt" else _LAB, encoding="utf-8")
    lab.chmod(0o755)
    return lab


def _progress(text, last=False):
    """Shows the progress of a step on one line of a terminal."""
    if sys.stdout.isatty():
        print(f"\r        {text:<40}", end="\n" if last else "", flush=True)


if __name__ == "__main__":
    sys.exit(main())
