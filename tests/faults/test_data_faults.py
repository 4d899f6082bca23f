"""Bad networks, bad mirrors, bad folders: correct arrays from elsewhere, or one message; never a bad file left."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from mnist_helpers import data
from mnist_helpers.data import Kind, _download
from tests.faults import mirrors
from tests.faults.mirrors import Mirror

LOAD = Path(__file__).with_name("load_mnist.py")
X_TEST = data.IDX_FILES["x_test"]


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("MNIST_COURSE_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def served(made_up, tmp_path):
    """Folders as mirrors serve them: `"npz"` and `"idx"`, by form."""
    idx = tmp_path / "idx"
    (idx / "mnist").mkdir(parents=True)
    for file in data.IDX_FILES.values():
        os.link(made_up.folder / file, idx / "mnist" / file)
    return {"npz": made_up.npz.parent, "idx": idx}


def cached() -> list[str]:
    """The files in the cache, but for the lock."""
    cache = data.cache_dir()
    files = sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if not path.is_dir())
    return [file for file in files if file != ".download.lock"]


def assert_nothing_left() -> None:
    assert cached() == []
    assert not list(data.cache_dir().glob("*download-*"))


def assert_right(arrays: data.Arrays, made_up) -> None:
    assert data.describe("", **arrays)["sha256"] == made_up.sha256


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), 1)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def bodies(form: str, made_up) -> dict[str, bytes]:
    """Whole and well-formed files that are not MNIST's, as they stand in an npz and as an idx file."""
    right = made_up.arrays
    shape = np.zeros((10_000, 14, 56), np.uint8)
    labels = right["y_test"] + 70
    other = right["x_test"][::-1]
    if form == "idx":
        return {"shape": idx(shape), "labels": idx(labels), "dataset": idx(other)}
    return {
        "shape": npz(**right | {"x_test": shape}),
        "labels": npz(**right | {"y_test": labels}),
        "dataset": npz(**right | {"x_test": other}),
    }


LOGIN = b"<!doctype html><title>Campus network</title><form>Please log in</form>"
FAULTS = [  # what, answer (or the name of a body), words of the message
    ("403", mirrors.status(403), "403"),
    ("404", mirrors.status(404), "404"),
    ("503, for ever", mirrors.status(503), "503"),
    ("a redirect loop", mirrors.redirect_to_itself, "redirects"),
    ("a login page with status 200", mirrors.instead(LOGIN, "text/html; charset=utf-8"), "login page"),
    ("a login page that says it is the file", mirrors.instead(LOGIN), "damaged|no idx file"),
    ("an empty body", mirrors.instead(b""), "damaged|no idx file"),
    ("a body cut at 1 %", mirrors.cut(0.01), "broken|IncompleteRead"),
    ("a body cut at 50 %", mirrors.cut(0.5), "broken|IncompleteRead"),
    ("a body cut at 99 %", mirrors.cut(0.99), "broken|IncompleteRead"),
    ("a cut file, whole for the server, at 50 %", mirrors.cut(0.5, honest=True), "damaged"),
    ("a cut file, whole for the server, at 99 %", mirrors.cut(0.99, honest=True), "damaged"),
    ("one bit flipped", mirrors.one_bit_flipped, "damaged|checksum|cannot be read"),
    ("a valid file of another dataset", "dataset", "checksum differs"),
    ("a valid file of the wrong shape", "shape", "expected uint8|bytes|checksum"),
    ("labels outside 0-9", "labels", "checksum differs"),
    ("one byte after the other", mirrors.byte_by_byte, "too slow"),
    ("a file far over the size limit", mirrors.endless, "larger than"),
]


@pytest.mark.parametrize("form", ["npz", "idx"])
@pytest.mark.parametrize(("what", "answer", "words"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_bad_mirror(fault, monkeypatch, made_up, served, form, what, answer, words):
    monkeypatch.setattr(_download, "_SLOW_SECONDS", 0.5)
    name = "mnist.npz"
    if form == "idx":
        name = data.IDX_FILES["y_test"] if answer == "labels" else X_TEST
    if isinstance(answer, str):
        answer = mirrors.instead(bodies(form, made_up)[answer])
    with (
        fault("mirror", f"{what} ({form})", "a message; then the second mirror's arrays") as row,
        Mirror(served[form], {name: answer}) as bad,
        Mirror(served["npz"]) as good,
    ):
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", bad.url)
        with pytest.raises(data.DatasetNotFoundError, match=words) as caught:
            data.load_arrays("mnist", seconds=60)
        assert bad.requests
        message = str(caught.value)
        for advice in (bad.url, "--dataset digits", "MNIST_DATA_DIR", "mnist-course data fetch mnist"):
            assert advice in message
        assert_nothing_left()
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", f"{bad.url},{good.url}")
        arrays, source = data.load_arrays("mnist", seconds=60)
        assert source.kind is Kind.DOWNLOAD
        assert_right(arrays, made_up)
        assert cached() == ["mnist.npz"]
        row.seen = re.search(words, message)[0] + "; then the second mirror's arrays"


def test_a_mirror_that_is_busy_once(fault, monkeypatch, made_up, served):
    answers = {"mnist.npz": [mirrors.status(503), mirrors.as_it_is]}
    with fault("mirror", "503, then success", "arrays") as row, Mirror(served["npz"], answers) as busy:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", busy.url)
        assert_right(data.load_arrays("mnist")[0], made_up)
        row.seen = f"arrays after {len(busy.requests)} requests"


def test_a_mirror_that_never_answers(fault, monkeypatch, made_up, served):
    with (
        fault("mirror", "accepts and never answers", "the second mirror's arrays") as row,
        socket.create_server(("127.0.0.1", 0)) as silent,
        Mirror(served["npz"]) as good,
    ):
        bad = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", bad)
        with pytest.raises(data.DatasetNotFoundError, match="in the time allowed"):
            data.load_arrays("mnist", seconds=1)
        monkeypatch.setattr(_download, "_READ_SECONDS", 0.5)
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", f"{bad},{good.url}")
        started = time.monotonic()
        assert_right(data.load_arrays("mnist")[0], made_up)
        row.seen = f"the second mirror's arrays after {time.monotonic() - started:.0f} s"


@pytest.mark.parametrize(
    ("what", "url", "words"),
    [
        ("connection refused", "http://127.0.0.1:9", "refused|Max retries"),
        ("no such host", "http://mirror.invalid", "resolve|resolution|time allowed|NameResolution"),
        ("TLS error", "https://", "SSL"),
    ],
)
def test_a_mirror_that_cannot_be_reached(fault, monkeypatch, made_up, served, what, url, words):
    with (
        fault("network", what, "a message; then the second mirror's arrays") as row,
        Mirror(served["npz"]) as good,
    ):
        bad = good.url.replace("http://", "https://") if url == "https://" else url
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", bad)
        with pytest.raises(data.DatasetNotFoundError, match=words) as caught:
            data.load_arrays("mnist", seconds=20)
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", f"{bad},{good.url}")
        assert_right(data.load_arrays("mnist", seconds=60)[0], made_up)
        row.seen = re.search(words, str(caught.value))[0] + "; then the second mirror's arrays"


def _load(made_up, mirror: str, **options) -> subprocess.Popen:
    """Starts a process that loads the dataset, with this test's cache."""
    command = [*options.pop("before", []), sys.executable, str(LOAD), json.dumps(made_up.sha256)]
    environment = os.environ | {"MNIST_COURSE_MIRRORS": mirror}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def _told(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_no_network_at_all(fault, made_up):
    apart = ["unshare", "--net"] if os.name == "posix" and os.geteuid() == 0 else ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made on this machine")
    with fault("network", "no network at all", "a message") as row:
        process = _load(made_up, "http://127.0.0.1:9,http://mirror.invalid", before=apart)
        _, err = process.communicate(timeout=60)
        assert process.returncode
        assert "--dataset digits" in err
        row.seen = f"{re.search('Failed to resolve|unreachable', err)[0]}, and what to do"
        assert_nothing_left()


# --- the cache ---


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_in_the_cache(fault, monkeypatch, made_up, served, share):
    with (
        fault("cache", f"a file cut at {share:.0%} by an earlier kill", "fresh arrays") as row,
        Mirror(served["npz"]) as good,
    ):
        data.cache_dir().mkdir(parents=True)
        body = made_up.npz.read_bytes()
        (data.cache_dir() / "mnist.npz").write_bytes(body[: int(share * len(body))])
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", good.url)
        arrays, source = data.load_arrays("mnist")
        assert_right(arrays, made_up)
        assert source.kind is Kind.DOWNLOAD
        assert data.load_arrays("mnist")[1].kind is Kind.CACHE
        row.seen = "downloaded again, kept"


def test_what_a_killed_download_left_is_cleared(fault, monkeypatch, made_up, served):
    with fault("cache", "a half-finished download folder", "cleared") as row, Mirror(served["npz"]) as good:
        left = data.cache_dir() / "download-abc"
        left.mkdir(parents=True)
        (left / "mnist.npz").write_bytes(b"half")
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", good.url)
        data.load_arrays("mnist")
        assert cached() == ["mnist.npz"]
        row.seen = "cleared by the next download"


def test_a_read_only_cache(fault, made_up, served, read_only):
    with (
        fault("cache", "read-only", "arrays, not kept, and it is said") as row,
        Mirror(served["npz"]) as good,
    ):
        data.cache_dir().mkdir(parents=True)
        told = _told(_load(made_up, good.url, before=read_only(data.cache_dir())))
        assert told["sha256"] == made_up.sha256
        assert told["kind"] == Kind.NOT_KEPT.name
        assert cached() == []
        row.seen = told["source"]


def test_a_cache_that_is_a_file(fault, monkeypatch, made_up, served):
    with fault("cache", "its folder is a file", "arrays, not kept") as row, Mirror(served["npz"]) as good:
        data.cache_dir().parent.mkdir(parents=True)
        data.cache_dir().write_text("somebody's notes")
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", good.url)
        arrays, source = data.load_arrays("mnist")
        assert_right(arrays, made_up)
        assert data.cache_dir().read_text() == "somebody's notes"
        row.seen = str(source)


@pytest.mark.skipif(os.name != "posix", reason="file sizes are limited with the resource module")
def test_a_full_disk_while_downloading(fault, made_up, served):
    import resource

    with fault("cache", "full disk while downloading", "a message, nothing left") as row:
        limit = made_up.npz.stat().st_size // 2
        with Mirror(served["npz"]) as good:
            process = _load(
                made_up,
                good.url,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            )
            _, err = process.communicate(timeout=60)
        assert process.returncode
        assert "File too large" in err  # what the system says of this limit; of a full disk: No space left
        assert "--dataset digits" in err
        assert_nothing_left()
        row.seen = "File too large, and what to do; nothing left"


def test_a_cache_on_a_path_with_blanks_and_other_letters(fault, monkeypatch, made_up, served, tmp_path):
    with fault("cache", "blanks and letters like ü, 数 in its path", "arrays") as row:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "Übung 数 mit Leerzeichen"))
        with Mirror(served["npz"]) as good:
            monkeypatch.setenv("MNIST_COURSE_MIRRORS", good.url)
            assert_right(data.load_arrays("mnist")[0], made_up)
        assert data.load_arrays("mnist")[1].kind is Kind.CACHE
        row.seen = "downloaded and found again"


# --- MNIST_DATA_DIR ---


class Payload:
    """Unpickled, it would leave a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def _pickled_npz(folder: Path, made_up) -> None:
    evil = np.array([Payload(str(folder / "unpickled"))], dtype=object)
    np.savez(folder / "mnist.npz", **made_up.arrays | {"y_test": evil}, allow_pickle=True)
    pickle.loads(pickle.dumps(evil[0]))  # noqa: S301 (our own: it shows that loading would leave the file)
    (folder / "unpickled").unlink()


def _three_of_four(folder: Path, made_up) -> None:
    for file in list(data.IDX_FILES.values())[:3]:
        os.link(made_up.folder / file, folder / file)


@pytest.mark.parametrize(
    ("what", "make", "words"),
    [
        ("missing", lambda folder, made_up: folder.rmdir(), "no such folder"),
        ("empty", lambda folder, made_up: None, "neither mnist.npz nor the four idx files"),
        ("three of the four files", _three_of_four, "t10k-labels-idx1-ubyte.gz missing"),
        ("pickled objects inside an npz", _pickled_npz, "received object"),
    ],
)
def test_a_bad_data_dir(fault, monkeypatch, made_up, served, tmp_path, what, make, words):
    folder = tmp_path / "data dir"
    folder.mkdir()
    make(folder, made_up)
    with fault("MNIST_DATA_DIR", what, "a message; else the arrays of a mirror") as row:
        monkeypatch.setenv("MNIST_DATA_DIR", str(folder))
        with pytest.raises(data.DatasetNotFoundError, match=words):
            data.load_arrays("mnist", download=False)
        with Mirror(served["npz"]) as good:
            monkeypatch.setenv("MNIST_COURSE_MIRRORS", good.url)
            assert_right(data.load_arrays("mnist")[0], made_up)
        assert not (folder / "unpickled").exists()
        row.seen = f"{words}; then the mirror's arrays"


# --- a class that begins at the same moment ---


@pytest.mark.parametrize("students", [5, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.parametrize("killed", [False, True], ids=["all live", "the one that downloads is killed"])
def test_a_class_loads_at_the_same_moment(fault, made_up, served, students, killed):
    def slowly(handler, body):
        mirrors.send(handler, body[: len(body) // 2], length=len(body))
        time.sleep(120 if killed and len(mirror.requests) == 1 else 1)
        handler.wfile.write(body[len(body) // 2 :])

    what = f"{students} processes load at once" + (", the one that downloads is killed" if killed else "")
    with (
        fault("class", what, f"{students - killed} times right arrays, one download") as row,
        Mirror(served["npz"], {"mnist.npz": slowly}) as mirror,
    ):
        processes = [_load(made_up, mirror.url) for _ in range(students)]
        if killed:
            victim = _downloading(processes, mirror)
            victim.kill()
            victim.communicate()
            processes.remove(victim)
        told = [_told(process) for process in processes]
        assert all(entry["sha256"] == made_up.sha256 for entry in told)
        assert len(mirror.requests) == 1 + killed
        assert cached() == ["mnist.npz"]
        assert not list(data.cache_dir().glob("*download-*"))
        row.seen = f"{len(told)} times right arrays, {len(mirror.requests)} requests"


def _downloading(processes: list[subprocess.Popen], mirror: Mirror) -> subprocess.Popen:
    end = time.monotonic() + 60
    while not mirror.requests:
        assert time.monotonic() < end, "nobody asked the mirror"
        time.sleep(0.05)
    port = mirror.requests[0][1]
    for process in processes:
        for connection in psutil.Process(process.pid).net_connections():
            if connection.laddr.port == port:
                return process
    raise AssertionError("nobody holds the connection")
