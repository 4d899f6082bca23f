import functools
import gzip
import hashlib
import http.server
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mnist_helpers import data

# --- the two doors, on the embedded digits ---


@pytest.mark.parametrize(
    ("num_train", "num_validation", "expected"),
    [(0, 0, (1198, 239)), (1000, 200, (1000, 200)), (0, 500, (937, 500)), (100, 0, (100, 239))],
)
def test_training_sizes_types_and_ranges(num_train, num_validation, expected):
    (x_train, y_train), (x_val, y_val) = data.load_training(
        "digits", num_train=num_train, num_validation=num_validation, seed=3
    )
    assert (len(x_train), len(x_val)) == expected
    for x, y in ((x_train, y_train), (x_val, y_val)):
        assert x.shape == (len(y), 28, 28)
        assert x.dtype == y.dtype == np.uint8
        assert x.min() == 0
        assert x.max() > 200
        assert set(y) == set(range(10))


def test_split_is_disjoint_complete_and_stratified():
    whole = data.find("digits")[0]
    (x_train, y_train), (x_val, y_val) = data.load_training("digits", seed=1)
    images = sorted(image.tobytes() for image in np.concatenate([x_train, x_val]))
    assert images == sorted(image.tobytes() for image in whole["x_train"])
    assert not {image.tobytes() for image in x_train} & {image.tobytes() for image in x_val}
    shares = [np.bincount(y, minlength=10) / len(y) for y in (y_train, y_val)]
    assert np.abs(shares[0] - shares[1]).max() < 0.005


def test_split_is_fixed_by_the_seed():
    first, again, other = (data.load_training("digits", seed=seed)[1][0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_test_images_are_others_than_the_training_images():
    x_test, y_test = data.load_test("digits")
    (x_train, _), (x_val, _) = data.load_training("digits", seed=1)
    assert x_test.shape == (360, 28, 28)
    assert np.bincount(y_test).min() >= 34
    seen = {image.tobytes() for image in np.concatenate([x_train, x_val])}
    assert not any(image.tobytes() in seen for image in x_test)


def test_digits_are_scikit_learns_with_their_labels_in_mnists_format():
    """Shrunk back to 8x8, each image is most like the original that has its label."""
    bunch = load_digits()
    arrays = data.find("digits")[0]
    x = np.concatenate([arrays["x_train"], arrays["x_test"]])
    y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    assert len(x) == len(bunch.images) == 1797
    assert np.array_equal(np.bincount(y), np.bincount(bunch.target))
    ink = np.array([[image.sum() / 255 * 16 / 6.25] for image in x])
    originals = bunch.images.reshape(len(x), -1)
    for digit in range(10):
        mine, theirs = ink[y == digit].mean(), originals[bunch.target == digit].sum(axis=1).mean()
        assert mine == pytest.approx(theirs, rel=0.02)
    means = np.stack([x[y == digit].mean(axis=0) for digit in range(10)])
    # A zero is empty in its middle, a one is not.
    assert means[0][13:15, 13:15].mean() < 60 < means[1][13:15, 13:15].mean()


def test_digits_are_centred_by_mass_in_a_20_pixel_box():
    x = data.find("digits")[0]["x_train"].astype(float)
    rows = (x.sum(axis=2) * np.arange(28)).sum(axis=1) / x.sum(axis=(1, 2))
    columns = (x.sum(axis=1) * np.arange(28)).sum(axis=1) / x.sum(axis=(1, 2))
    assert np.abs(rows - 13.5).max() <= 0.6
    assert np.abs(columns - 13.5).max() <= 0.6
    heights = [np.ptp(np.flatnonzero(image.any(axis=1))) + 1 for image in x]
    assert max(heights) <= 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dataset": "minst"}, ["Unknown dataset", "'minst'", "digits"]),
        ({"dataset": "digits", "num_train": 2000}, ["do not fit", "at most 1437", "num_train=2000"]),
        ({"dataset": "digits", "num_validation": 5}, ["at least 10", "num_validation=5"]),
        ({"dataset": "digits", "num_train": -1}, ["num_train=-1"]),
        (
            {"dataset": "mnist"},
            ["MNIST_DATA_DIR", "not set", "mnist-course data fetch mnist", "--dataset digits"],
        ),
    ],
)
def test_wrong_requests_are_refused_in_words(arguments, words):
    with pytest.raises((ValueError, data.DatasetNotFoundError)) as caught:
        data.load_training(**arguments, seed=1)
    for word in words:
        assert word in str(caught.value)


def test_auto_takes_the_digits_where_mnist_cannot_be_had_and_says_so(capsys):
    assert data.resolve("auto") == "digits"
    said = capsys.readouterr().out
    assert "MNIST was not found" in said
    assert said.count("dataset: digits") == 1


def test_describe_tells_arrays_apart():
    (x, y), _ = data.load_training("digits", seed=1)
    described = data.describe("digits", x=x, y=y)
    assert described["shapes"] == {"x": [1198, 28, 28], "y": [1198]}
    assert described["sha256"]["x"] == hashlib.sha256(x.tobytes()).hexdigest()
    assert data.describe("digits", x=x[::-1])["sha256"]["x"] != described["sha256"]["x"]


# --- files on this machine ---


def test_reads_the_four_idx_files(made_up):
    arrays, place = data.find("mnist", data_dir=made_up.folder)
    assert place == "found in data_dir"
    for name, array in made_up.arrays.items():
        assert np.array_equal(arrays[name], array)


def test_reads_the_npz(made_up):
    arrays, _ = data.find("mnist", data_dir=made_up.npz.parent)
    assert np.array_equal(arrays["x_test"], made_up.arrays["x_test"])


def test_search_order(made_up, monkeypatch, tmp_path):
    """data_dir before the course's cache, before Keras' cache; MNIST_DATA_DIR where data_dir is not given."""
    keras_cache = tmp_path / "keras" / "datasets"
    keras_cache.mkdir(parents=True)
    shutil.copy(made_up.npz, keras_cache)
    assert data.find("mnist")[1] == "found in Keras' cache"
    data.cache_dir().mkdir(parents=True)
    shutil.copy(made_up.npz, data.cache_dir())
    assert data.find("mnist")[1] == "found in the course's cache"
    monkeypatch.setenv("MNIST_DATA_DIR", str(made_up.folder))
    assert data.find("mnist")[1] == "found in MNIST_DATA_DIR"
    assert data.find("mnist", data_dir=made_up.npz.parent)[1] == "found in data_dir"


def _truncate(folder):
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:1000])


def _other_images(folder):
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        content = file.read()
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz", "wb") as file:
        file.write(content[:-1] + b"\x09" if content[-1:] != b"\x09" else content[:-1] + b"\x08")


def _swapped_shapes(folder):
    shutil.copy(folder / "t10k-images-idx3-ubyte.gz", folder / "train-images-idx3-ubyte.gz")


def _login_page(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_text("<html>Please log in</html>")


def _missing(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()


def _only_damaged_npz(folder):
    for file in folder.iterdir():
        file.unlink()
    (folder / "mnist.npz").write_bytes(b"PK\x03\x04 not an archive")


def _pickle_npz(folder):
    for file in folder.iterdir():
        file.unlink()
    np.savez(folder / "mnist.npz", **{name: np.array([object()]) for name in data.IDX_FILES})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "damaged"),
        (_other_images, "checksum differs"),
        (_swapped_shapes, "no idx file of shape"),
        (_login_page, "damaged or no gzip file"),
        (_missing, "t10k-labels-idx1-ubyte.gz missing"),
        (_only_damaged_npz, "damaged or no archive"),
        (_pickle_npz, "Object arrays cannot be loaded"),
    ],
)
def test_damaged_folders_are_refused_with_the_reason(made_up, tmp_path, damage, words):
    folder = tmp_path / "damaged folder ü"
    shutil.copytree(made_up.folder, folder, ignore=shutil.ignore_patterns("npz"))
    damage(folder)
    with pytest.raises(data.DatasetNotFoundError, match=words):
        data.find("mnist", data_dir=folder)


def test_fashion_mnist_is_not_taken_from_mnists_files(made_up):
    with pytest.raises(data.DatasetNotFoundError, match="checksum differs"):
        data.find("fashion_mnist", data_dir=made_up.folder)


# --- downloads, from a server on loopback ---


class _Server:
    """A mirror: serves a folder, counts requests; paths in `answers` get a status or a body instead."""

    def __init__(self, folder):
        self.requests, self.answers = [], {}
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                answer = outer.answers.get(self.path)
                if isinstance(answer, list):
                    answer = answer.pop(0) if answer else None
                if isinstance(answer, int):
                    self.send_error(answer)
                elif isinstance(answer, bytes):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                else:
                    super().do_GET()

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=folder)
        )
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def online(monkeypatch):
    monkeypatch.delenv("MNIST_COURSE_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "*")


def _files_in_cache():
    return sorted(
        str(path.relative_to(data.cache_dir())) for path in data.cache_dir().rglob("*") if path.is_file()
    )


def test_downloads_once_and_then_finds_its_cache(made_up, online, monkeypatch):
    with _Server(made_up.folder) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        arrays, place = data.find("mnist")
        assert place == "downloaded"
        assert np.array_equal(arrays["x_train"], made_up.arrays["x_train"])
        assert _files_in_cache() == sorted(f"mnist/{file}" for file in data.IDX_FILES.values())
        server.requests.clear()
        assert data.find("mnist")[1] == "found in the course's cache"
        assert server.requests == []


def test_a_cache_can_be_served_to_others(made_up, online, monkeypatch, tmp_path):
    """What a teacher's laptop has in its cache, any web server can hand on."""
    shared = tmp_path / "shared"
    shutil.copytree(made_up.folder, shared / "mnist", ignore=shutil.ignore_patterns("npz"))
    with _Server(shared) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url + "/")
        assert data.find("mnist")[1] == "downloaded"


def test_second_mirror_is_taken_where_the_first_is_bad(made_up, online, monkeypatch, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    with _Server(bad) as first, _Server(made_up.npz.parent) as second:
        first.answers = {"/mnist.npz": b"<html>Welcome to the campus network. Please log in.</html>"}
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", f"{first.url}, {second.url}")
        assert data.find("mnist")[1] == "downloaded"
        assert first.requests
        assert _files_in_cache() == ["mnist.npz"]


def test_a_busy_mirror_is_asked_again(made_up, online, monkeypatch):
    with _Server(made_up.npz.parent) as server:
        server.answers = {"/mnist.npz": [503]}
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        assert data.find("mnist")[1] == "downloaded"
        assert server.requests == ["/mnist.npz", "/mnist.npz"]


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>", b"PK\x03\x04" + bytes(1000)])
def test_bad_downloads_leave_nothing_and_say_what_came(made_up, online, monkeypatch, tmp_path, body):
    empty = tmp_path / "empty"
    empty.mkdir()
    with _Server(empty) as server:
        server.answers = {"/mnist.npz": body}
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        with pytest.raises(data.DatasetNotFoundError, match=r"mnist\.npz.*damaged") as caught:
            data.find("mnist")
        assert "404" in str(caught.value)
    assert _files_in_cache() == []
    assert not list(data.cache_dir().iterdir())


def test_a_download_that_is_far_too_large_is_stopped(made_up, online, monkeypatch):
    monkeypatch.setattr(data, "_MAX_DOWNLOAD_BYTES", 10_000)
    with _Server(made_up.npz.parent) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        with pytest.raises(data.DatasetNotFoundError, match="larger than 10000 bytes"):
            data.find("mnist")
    assert _files_in_cache() == []


def test_a_server_that_never_answers_costs_no_more_than_the_time_allowed(online, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(data.DatasetNotFoundError, match="in the time allowed"):
            data.find("mnist", seconds=1.5)
        assert time.monotonic() - started < 4


def test_auto_settles_in_its_time_behind_a_dead_proxy(online, monkeypatch):
    assert data._AUTO_SECONDS <= 15  # of the 20 s promised; the rest is for reading what was found
    monkeypatch.setattr(data, "_AUTO_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("NO_PROXY", "")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert data.resolve("auto") == "digits"
        assert time.monotonic() - started < 7


def test_offline_asks_no_server(made_up, monkeypatch):
    with _Server(made_up.folder) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        with pytest.raises(data.DatasetNotFoundError, match="MNIST_COURSE_OFFLINE"):
            data.find("mnist")
        assert server.requests == []


# --- MNIST itself ---


@pytest.mark.mnist
def test_mnist_is_mnist(mnist):
    """Counts that everybody can look up: LeCun's page, and Keras' documentation of the first labels."""
    assert np.bincount(mnist["y_train"]).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert mnist["y_train"][:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist["y_test"][:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist["x_train"].mean() == pytest.approx(33.318, abs=0.001)
