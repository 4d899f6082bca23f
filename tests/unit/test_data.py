import dataclasses
import functools
import gzip
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage
from sklearn.datasets import load_digits

from mnist_course import cli
from mnist_helpers import data, parameters, results
from mnist_helpers._errors import UserError
from mnist_helpers.data import Kind, _archives, _download

# --- training and test images, of the embedded digits ---


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
    whole = data.load_arrays("digits")[0]
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


@pytest.mark.parametrize("sizes", [{}, {"num_train": 100, "num_validation": 50}])
def test_a_final_training_also_takes_the_validation_images_which_come_last(sizes, capsys):
    (x, y), (x_val, y_val) = data.load_training("digits", seed=3, refit_on_all=0, **sizes)
    assert "validation scores have no meaning" not in capsys.readouterr().out
    (x_all, y_all), (x_same, y_same) = data.load_training("digits", seed=3, refit_on_all=1, **sizes)
    assert "validation scores have no meaning" in capsys.readouterr().out
    assert np.array_equal(x_same, x_val) and np.array_equal(y_same, y_val)  # the split does not change
    assert np.array_equal(x_all, np.concatenate([x, x_val]))
    assert np.array_equal(y_all, np.concatenate([y, y_val]))
    assert x_all.dtype == y_all.dtype == np.uint8


def test_a_final_training_takes_no_more_images_for_validation_than_for_training():
    """Otherwise the first half of the training images, on which lesson 4 searches, would hold validation images."""
    sizes = {"num_train": 100, "num_validation": 101, "seed": 1}
    with pytest.raises(ValueError, match=r"refit_on_all.*num_train=100, num_validation=101"):
        data.load_training("digits", refit_on_all=1, **sizes)
    assert len(data.load_training("digits", **sizes)[1][0]) == 101


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
    arrays = data.load_arrays("digits")[0]
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


def test_digits_that_were_changed_are_not_given_to_the_next_one_who_asks():
    first = data.load_arrays("digits")[0]
    first["x_test"][:] = 0
    assert data.load_arrays("digits")[0]["x_test"].any()


def test_digits_are_centred_by_mass_in_a_20_pixel_box():
    x = data.load_arrays("digits")[0]["x_train"].astype(float)
    rows = (x.sum(axis=2) * np.arange(28)).sum(axis=1) / x.sum(axis=(1, 2))
    columns = (x.sum(axis=1) * np.arange(28)).sum(axis=1) / x.sum(axis=(1, 2))
    assert np.abs(rows - 13.5).max() <= 0.6
    assert np.abs(columns - 13.5).max() <= 0.6
    heights = [np.ptp(np.flatnonzero(image.any(axis=1))) + 1 for image in x]
    assert max(heights) <= 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dataset": "minst"}, ["Unknown dataset", "'minst'", "digits", "idx files", "mean 'mnist'?"]),
        ({"dataset": "minst", "data_dir": "."}, ["Unknown dataset", "mean 'mnist'?"]),
        ({"dataset": ""}, ["Unknown dataset", "''"]),
        ({"dataset": "digits", "num_train": 2000}, ["do not fit", "at most 1437", "num_train=2000"]),
        ({"dataset": "digits", "num_validation": 5}, ["at least 10", "num_validation=5"]),
        ({"dataset": "digits", "num_train": -1}, ["num_train=-1"]),
        ({"dataset": "digits", "num_train": 10**12}, ["num_train=1000000000000"]),
        ({"dataset": "digits", "num_train": 0.5}, ["whole number", "num_train=0.5"]),
        ({"dataset": "digits", "num_train": 100.0}, ["whole number", "num_train=100.0"]),
        ({"dataset": "digits", "num_validation": "200"}, ["whole number", "num_validation='200'"]),
        ({"dataset": "digits", "num_validation": None}, ["whole number", "num_validation=None"]),
        ({"dataset": "digits", "seed": -1}, ["whole number", "seed=-1"]),
        ({"dataset": "digits", "seed": 1.5}, ["whole number", "seed=1.5"]),
        ({"dataset": "digits", "seed": 2**32}, ["whole number", "seed=4294967296"]),
        ({"dataset": "digits", "seed": None}, ["whole number", "seed=None"]),
        ({"dataset": None}, ["Unknown dataset", "None"]),
        ({"dataset": 5}, ["Unknown dataset", "5"]),
        ({"dataset": "x" * 300}, ["Unknown dataset"]),
        ({"dataset": "a\0b"}, ["Unknown dataset"]),
        ({"dataset": "/" + "x" * 300}, ["cannot be used as dataset", "too long"]),
        ({"dataset": "/a\0b"}, ["zero byte"]),
        ({"dataset": "~nobody-of-this-name/mnist"}, ["~nobody-of-this-name/mnist", "home directory"]),
        (
            {"dataset": "mnist"},
            ["MNIST_DATA_DIR", "not set", "mnist-course data fetch mnist", "--dataset digits"],
        ),
    ],
)
def test_wrong_requests_are_refused_in_words(arguments, words):
    """R15: each of them is one line in a notebook, not a traceback."""
    with pytest.raises(UserError) as caught:
        data.load_training(**{"seed": 1} | arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("dataset", ["minst", None, 5, "x" * 300, "/" + "x" * 300, "./nowhere", "/a\0b"])
def test_the_test_images_of_no_dataset_are_refused_in_words(dataset):
    with pytest.raises(UserError):
        data.load_test(dataset)
    with pytest.raises(UserError):
        data.resolve_dataset(dataset)
    with pytest.raises(UserError):
        data.resolve_dataset("mnist", data_dir="x" * 300)
    assert data.label_errors(dataset).empty


def test_whole_numbers_of_numpy_are_taken():
    (x_train, _), (x_val, _) = data.load_training(
        "digits", num_train=np.int64(100), num_validation=np.uint8(50), seed=np.int32(1)
    )
    assert (len(x_train), len(x_val)) == (100, 50)


@pytest.mark.parametrize("value", [[1, 2], [[1], [2, 3]], 5, None, "text", np.array([object()])])
def test_only_arrays_are_described(value):
    with pytest.raises(UserError, match="x: expected a NumPy array of numbers"):
        data.describe("mine", x=value)


def test_auto_takes_the_digits_where_mnist_cannot_be_had_and_says_so(capsys):
    assert data.resolve_dataset("auto") == ("digits", "")
    said = capsys.readouterr().out
    assert "MNIST was not found" in said
    assert said.count("dataset: digits") == 1


def test_describe_tells_arrays_apart():
    (x, y), _ = data.load_training("digits", seed=1)
    described = data.describe("digits", x=x, y=y)
    assert described["shapes"] == {"x": [1198, 28, 28], "y": [1198]}
    assert described["sha256"]["x"] == hashlib.sha256(x.tobytes()).hexdigest()
    assert data.describe("digits", x=x[::-1])["sha256"]["x"] != described["sha256"]["x"]


# --- batches in another order in each epoch ---


def orders(x, y, seed, epochs=3):
    """Checks that images, positions and labels belong together; returns the order of each epoch."""
    found = []
    made = data.shuffled_batches((x, np.arange(len(x))), y, 16, seed)
    for _ in range(epochs):
        batches = [((images.numpy(), rows.numpy()), labels.numpy()) for (images, rows), labels in made]
        assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
        for (images, rows), labels in batches:
            assert images.dtype == labels.dtype == np.uint8
            assert np.array_equal(images, x[rows])
            assert np.array_equal(labels, y[rows])
        found.append(np.concatenate([rows for (_, rows), _ in batches]).tolist())
    return found


def test_each_epoch_has_every_image_once_in_another_order():
    (x, y), _ = data.load_training("digits", seed=1)
    x, y = x[:50], y[:50]
    first, *others = orders(x, y, seed=1)
    assert all(sorted(order) == list(range(50)) for order in (first, *others))
    assert len({tuple(order) for order in (first, *others, range(50))}) == 4
    assert orders(x, y, seed=1) == [first, *others]
    assert orders(x, y, seed=2, epochs=1) != [first]


def test_fit_shuffles_arrays_once_and_these_batches_in_each_epoch():
    """If Keras begins to shuffle arrays in each epoch, lesson 2 and stronger_networks need other texts."""
    import keras
    import tensorflow as tf

    class Seen(keras.Model):
        def train_step(self, batch):
            tf.py_function(lambda rows: seen.extend(rows.numpy().ravel().tolist()), [batch[0]], [])
            return {"loss": tf.zeros(())}

    def epochs(*arguments, **more):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((1,))
        model = Seen(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
        seen.clear()
        model.fit(*arguments, epochs=2, verbose=0, **more)
        return seen[:20], seen[20:]

    seen, x = [], np.arange(20.0)[:, None]
    first, second = epochs(x, x, batch_size=5)
    assert first == second != sorted(first)
    first, second = epochs(data.shuffled_batches(x, x, 5, 1), shuffle=False)
    assert first != second
    assert sorted(first) == sorted(second) == x.ravel().tolist()


# --- the table of datasets ---


def test_the_checksums_are_right():
    """Also where MNIST is not: a wrong digit would refuse every copy, and everybody would get the digits."""
    evaluated = Path(__file__).parents[2] / "results" / "reference" / "seed-1" / "05_evaluation.json"
    recorded = json.loads(evaluated.read_text())["dataset"]
    assert recorded["name"] == "mnist"
    mnist, fashion = data.DATASETS["mnist"], data.DATASETS["fashion_mnist"]
    assert mnist.array_sha256 == recorded["sha256"] | {
        "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    }
    assert fashion.archive_md5 == {  # as in the README of Fashion-MNIST
        "x_train": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "y_train": "25c81989df183df01b3e8a0aad5dffbe",
        "x_test": "bef4ecab320f06d8554ea6380940ec79",
        "y_test": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    assert mnist.mirrors[0] == (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ("mnist.npz",),
    )
    assert mnist.mirrors[1][0] == "https://ossci-datasets.s3.amazonaws.com/mnist/"


def test_a_row_of_the_table_is_all_that_a_dataset_needs():
    assert set(data.DATASETS) == set(data.NAMES)
    assert ("auto", *data.NAMES) == parameters.DATASETS
    for name, row in data.DATASETS.items():
        assert row.name == name
        assert row.licence.endswith("\n")
        checksums = row.array_sha256 or row.archive_md5 or {}
        assert set(checksums) == (set(data.IDX_FILES) if row.mirrors else set())
        for base, files in row.mirrors:
            assert base.startswith("http")
            assert base.endswith("/")
            assert files in ((f"{name}.npz",), tuple(data.IDX_FILES.values()))


# --- files on this machine ---


def test_reads_the_four_idx_files(made_up):
    arrays, source = data.load_arrays("mnist", data_dir=made_up.folder)
    assert source.kind is Kind.DATA_DIR
    for name, array in made_up.arrays.items():
        assert np.array_equal(arrays[name], array)


def test_reads_idx_files_that_are_not_gzipped(made_up, tmp_path):
    for file in data.IDX_FILES.values():
        with gzip.open(made_up.folder / file) as zipped:
            (tmp_path / file.removesuffix(".gz")).write_bytes(zipped.read())
    # A browser that unpacks what it saves leaves the name as it was.
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "train-labels-idx1-ubyte.gz")
    arrays, _ = data.load_arrays("mnist", data_dir=tmp_path)
    assert all(np.array_equal(arrays[name], array) for name, array in made_up.arrays.items())


def test_reads_the_npz(made_up):
    arrays, _ = data.load_arrays("mnist", data_dir=made_up.npz.parent)
    assert np.array_equal(arrays["x_test"], made_up.arrays["x_test"])


def test_search_order(made_up, monkeypatch, tmp_path):
    """data_dir before the course's cache, before Keras' cache; MNIST_DATA_DIR where data_dir is not given."""
    keras_cache = tmp_path / "keras" / "datasets"
    keras_cache.mkdir(parents=True)
    shutil.copy(made_up.npz, keras_cache)
    assert data.load_arrays("mnist")[1].kind is Kind.KERAS_CACHE
    data.cache_dir().mkdir(parents=True)
    shutil.copy(made_up.npz, data.cache_dir())
    assert data.load_arrays("mnist")[1].kind is Kind.CACHE
    monkeypatch.setenv("MNIST_DATA_DIR", str(made_up.folder))
    assert data.load_arrays("mnist")[1].kind is Kind.ENVIRONMENT
    assert data.load_arrays("mnist", data_dir=made_up.npz.parent)[1].kind is Kind.DATA_DIR


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
        (_truncate, "train-images-idx3-ubyte.gz is damaged"),
        (_other_images, "checksum differs"),
        (_swapped_shapes, "expected uint8 \\(60000, 28, 28\\), received uint8 \\(10000, 28, 28\\)"),
        (_login_page, "not an idx file of uint8: it begins with b'<htm'"),
        (_missing, "t10k-labels-idx1-ubyte.gz missing"),
        (_only_damaged_npz, "mnist.npz is damaged, or it is another file"),
        (_pickle_npz, "expected uint8 .* received object"),
    ],
)
def test_damaged_folders_are_refused_with_the_reason(made_up, tmp_path, damage, words):
    folder = tmp_path / "damaged folder ü"
    shutil.copytree(made_up.folder, folder, ignore=shutil.ignore_patterns("npz"))
    damage(folder)
    with pytest.raises(data.DatasetNotFoundError, match=words):
        data.load_arrays("mnist", data_dir=folder)


def test_fashion_mnist_is_not_taken_from_mnists_files(made_up):
    with pytest.raises(data.DatasetNotFoundError, match="checksum differs"):
        data.load_arrays("fashion_mnist", data_dir=made_up.folder)


# --- files as other programs leave them (R9) ---


@pytest.fixture
def small(made_up, tmp_path, monkeypatch):
    """A small dataset, taken for MNIST, and a function that writes its files; fast enough for many layouts."""
    arrays = write_own(tmp_path / "small", made_up)
    monkeypatch.setattr(_archives, "SHAPES", {name: array.shape for name, array in arrays.items()})
    sha256 = data.describe("", **arrays)["sha256"]
    row = dataclasses.replace(data.DATASETS["mnist"], array_sha256=sha256)
    monkeypatch.setitem(data.DATASETS, "mnist", row)

    def lay_out(folder, *forms):
        for form in forms:
            for file in data.IDX_FILES.values():
                path = folder / form(file.removesuffix(".gz"))
                path.parent.mkdir(parents=True, exist_ok=True)
                content = (tmp_path / "small" / file).read_bytes()
                path.write_bytes(content if ".gz" in path.name.lower() else gzip.decompress(content))
        return arrays

    return lay_out


LAYOUTS = {
    "dots": [lambda file: file.replace("-idx", ".idx")],
    "dots, gzipped": [lambda file: file.replace("-idx", ".idx") + ".gz"],
    "the second download of a browser": [lambda file: f"{file} (1).gz"],
    "another browser's": [lambda file: f"{file}-2.gz"],
    "wget's": [lambda file: f"{file}.gz.1"],
    "copied in a cloud": [lambda file: f"Copy of {file}.gz"],
    "copied on Windows": [lambda file: f"{file} - Copy.gz"],
    "upper case": [lambda file: f"{file}.gz".upper()],
    "upper case, unpacked": [lambda file: file.upper()],
    "test for t10k": [lambda file: file.replace("t10k", "test") + ".gz"],
    "EMNIST's names": [lambda file: f"emnist-digits-{file.replace('t10k', 'test')}.gz"],
    "without idx": [lambda file: file.partition("-idx")[0] + ".gz"],
    "only idx": [lambda file: file.replace("images-", "").replace("labels-", "")],
    "each in a folder of its name": [lambda file: f"{file}/{file}"],
    "each in a folder, with a dot": [lambda file: f"{file.replace('-idx', '.idx')}/{file}"],
    "Kaggle's archive": [lambda file: file.replace("-idx", ".idx"), lambda file: f"{file}/{file}"],
    "torchvision": [lambda file: f"MNIST/raw/{file}", lambda file: f"MNIST/raw/{file}.gz"],
    "raw": [lambda file: f"raw/{file}"],
    "a folder of the dataset's": [lambda file: f"mnist/{file}.gz"],
    "an unpacked archive": [lambda file: f"archive/{file}"],
    "two archives deep": [lambda file: f"archive/mnist data/{file}.gz"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_idx_files_are_found_by_pattern_and_content(small, tmp_path, monkeypatch, layout):
    folder = tmp_path / "here"
    arrays = small(folder, *LAYOUTS[layout])
    (folder / "README.md").write_text("test labels and train images")
    found, source = data.load_arrays("mnist", data_dir=folder, download=False)
    assert source.kind is Kind.DATA_DIR
    assert source.folder == folder
    assert list(source.files) == list(data.IDX_FILES)
    assert all(path.is_file() for path in source.files.values())
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    monkeypatch.delitem(data.DATASETS, "mnist")  # as a dataset of the user's own
    assert data.resolve_dataset(str(folder)) == ("here", str(folder))
    assert np.array_equal(data.load_test("here", data_dir=folder)[0], arrays["x_test"])


@pytest.mark.parametrize(
    "file",
    ["mnist (1).npz", "MNIST.NPZ", "mnist-copy.npz", "data.npz", "datasets/mnist.npz", "a/b/mnist.npz"],
)
def test_an_npz_is_found_by_its_content(small, tmp_path, file):
    arrays = small(tmp_path / "unused", str)
    (tmp_path / "here" / file).parent.mkdir(parents=True)
    np.savez(tmp_path / "here" / "imdb.npz", x_train=np.zeros(3), y_train=np.zeros(3))
    np.savez(tmp_path / "right", **arrays)
    (tmp_path / "right.npz").rename(tmp_path / "here" / file)
    found, source = data.load_arrays("mnist", data_dir=tmp_path / "here", download=False)
    assert set(source.files.values()) == {tmp_path / "here" / file}
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_a_damaged_copy_beside_a_good_one_does_no_harm(small, tmp_path):
    arrays = small(tmp_path / "here", lambda file: f"{file} (1).gz")
    (tmp_path / "here" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b cut short")
    (tmp_path / "here" / "mnist.npz").write_bytes(b"")
    for dataset in ("mnist", str(tmp_path / "here")):
        found, source = data.load_arrays(dataset, data_dir=tmp_path / "here", download=False)
        assert source.files["x_train"].name == "train-images-idx3-ubyte (1).gz"
        assert np.array_equal(found["x_train"], arrays["x_train"])


def _two_datasets(folder, small):
    small(folder, lambda file: f"KMNIST/raw/{file}", lambda file: f"MNIST/raw/{file}")


def _letters_and_digits(folder, small):
    small(folder, lambda file: f"emnist-digits-{file}.gz")
    labels = folder / "emnist-digits-train-labels-idx1-ubyte.gz"
    with gzip.open(labels) as file:
        content = file.read()
    with gzip.open(str(labels).replace("digits", "letters"), "wb") as file:
        file.write(content[:-1] + b"\0")


def _an_archive(folder, small):
    folder.mkdir()
    (folder / "archive.zip").write_bytes(b"PK")
    (folder / "pictures").mkdir()


def _many_files(folder, small):
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.png").write_bytes(b"")


def _one_missing(folder, small):
    small(folder, lambda file: file.replace("-idx", ".idx"))
    (folder / "train-labels.idx1-ubyte").unlink()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_two_datasets, ["files of several datasets, in KMNIST/raw, MNIST/raw", "give one of these"]),
        (_letters_and_digits, ["emnist-digits-train-labels-idx1-ubyte.gz and emnist-letters", "differ"]),
        (_an_archive, ["The folder holds: archive.zip, pictures/"]),
        (_many_files, ["The folder holds: 00.png, 01.png", "11.png and 18 more"]),
        (_one_missing, ["train-labels-idx1-ubyte.gz missing", "The folder holds: t10k-images.idx3-ubyte, "]),
        (lambda folder, small: folder.mkdir(), ["The folder holds: nothing"]),
    ],
)
def test_a_folder_that_is_refused_is_listed(small, tmp_path, make, words):
    make(tmp_path / "here", small)
    with pytest.raises(UserError) as caught:
        data.resolve_dataset(str(tmp_path / "here"))
    for word in words:
        assert word in str(caught.value)
    if make not in (_two_datasets, _letters_and_digits):  # MNIST's checksums would tell which is MNIST
        with pytest.raises(data.DatasetNotFoundError) as caught:
            data.load_arrays("mnist", data_dir=tmp_path / "here", download=False)
        assert words[-1] in str(caught.value)


# --- relative paths, and ~ (R2) ---


@pytest.mark.parametrize("written", ["{}", "./{}", "../here/{}/", "~/{}", "~/x/../{}"])
@pytest.mark.parametrize("place", ["data_dir", "dataset", "MNIST_DATA_DIR", "KERAS_HOME"])
def test_a_path_is_expanded_where_it_enters(small, tmp_path, monkeypatch, place, written):
    inside = "datasets/" if place == "KERAS_HOME" else ""
    small(tmp_path / "here" / "data", lambda file: f"{inside}{file}")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    monkeypatch.chdir(tmp_path / "here")
    path = written.format("data")
    options = {"data_dir": path} if place == "data_dir" else {}
    if place.isupper():
        monkeypatch.setenv(place, path)
    _, source = data.load_arrays(path if place == "dataset" else "mnist", download=False, **options)
    assert source.folder == tmp_path / "here" / "data" / inside
    if place in ("data_dir", "dataset"):
        dataset, data_dir = data.resolve_dataset(path if place == "dataset" else "mnist", **options)
        assert (dataset, data_dir) == ("mnist", str(tmp_path / "here" / "data"))
        record = {
            "params": {"dataset": path if place == "dataset" else "mnist"},
            "dataset": {"name": "mnist"},
        }
        record["params"]["data_dir"] = options.get("data_dir", "")
        assert data.dataset_of_record(record) == ("mnist", data_dir)
    else:  # a run's kernels work in another folder
        before = os.environ[place]
        CliRunner().invoke(cli.main, ["data"])
        assert os.environ[place] == str(tmp_path / "here" / "data") != before


# --- pixels that are not MNIST's (R6) ---


SMALL_RANGE, BRIGHT, BLANK = "small range of pixel values", "bright background", "are blank"
PIXELS = {
    "as they should be": (lambda x: x, []),
    "noise": (lambda x: np.random.default_rng(1).integers(0, 256, x.shape), []),
    "only black and white": (lambda x: (x > 127) * 255, []),
    "a little paler": (lambda x: x * 0.7, []),
    "0 and 1": (lambda x: x > 127, ["(typically 0 to 1)", "255 * (x - 0) / (1 - 0)"]),
    "0 to 16": (lambda x: x / 16, [SMALL_RANGE]),
    "0 to 102": (lambda x: x / 2.5, ["(typically 0 to 101)"]),
    "little contrast": (lambda x: 100 + x / 8, ["(typically 100 to 131)", "255 * (x - 100) / (131 - 100)"]),
    "white background": (lambda x: 255 - x, [BRIGHT, "255 - x"]),
    "grey paper": (lambda x: 200 - 0.7 * x, [BRIGHT]),
    "1 is the background": (lambda x: x <= 127, [SMALL_RANGE, BRIGHT]),
    "every third image inverted": (
        lambda x: np.where(np.arange(len(x))[:, None, None] % 3, x, 255 - x),
        [BRIGHT],
    ),
    "every third image 0 and 1": (
        lambda x: np.where(np.arange(len(x))[:, None, None] % 3, x, x > 127),
        [SMALL_RANGE],
    ),
    "all zero": (lambda x: 0 * x, ["60 of 60 test images are blank"]),
    "all equal": (lambda x: 0 * x + 7, [BLANK]),
    "one blank image": (
        lambda x: x * (np.arange(len(x)) > 0)[:, None, None],
        ["1 of 60 test images are blank"],
    ),
}


@pytest.fixture(scope="module")
def few_digits():
    arrays, _ = data.load_arrays("digits")
    return {name: array[: 60 if name.endswith("test") else 300] for name, array in arrays.items()}


@pytest.mark.parametrize("what", PIXELS)
@pytest.mark.parametrize("part", ["both", "test only"])
def test_pixels_that_are_not_mnists_are_said(made_up, tmp_path, capsys, few_digits, what, part):
    change, words = PIXELS[what]
    arrays = few_digits
    changed = {"x_test": change(arrays["x_test"]), "x_train": arrays["x_train"]}
    if part == "both":
        changed["x_train"] = change(arrays["x_train"])
    folder = tmp_path / "mine"
    write_own(folder, made_up, **arrays | changed)
    for say in (
        lambda: data.resolve_dataset(str(folder)),
        lambda: data.load_training(str(folder), seed=1),
        lambda: data.load_test(folder),
        lambda: print(CliRunner().invoke(cli.main, ["data", "check", str(folder)]).output),
    ):
        say()
        told = capsys.readouterr().out
        for word in words:
            assert word in told
        assert "test images" in told or not words
        assert ("train images" in told) == bool(words and part == "both")
        for word in {SMALL_RANGE, BRIGHT, BLANK} if not words else ():
            assert word not in told


# --- a folder with another dataset ---


def write_own(folder, made_up, **changed):
    """Writes a small dataset of MNIST's format and returns its arrays: 20 training and 4 test images a class."""
    generator = np.random.default_rng(1)
    arrays = {}
    for part, number in (("train", 200), ("test", 40)):
        arrays[f"x_{part}"] = generator.integers(0, 256, (number, 28, 28), np.uint8)
        arrays[f"y_{part}"] = np.arange(number, dtype=np.uint8) % 10
    arrays |= {name: np.asarray(array, np.uint8) for name, array in changed.items()}
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        made_up.write_idx(folder / data.IDX_FILES[name], array)
    return arrays


def test_a_folder_is_a_dataset_of_its_own_name(made_up, tmp_path, capsys):
    arrays = write_own(tmp_path / "kmnist", made_up)
    name, data_dir = data.resolve_dataset(str(tmp_path / "kmnist"))
    assert (name, data_dir) == ("kmnist", str(tmp_path / "kmnist"))
    assert capsys.readouterr().out == "dataset: kmnist\n"
    (x_train, y_train), (x_val, y_val) = data.load_training(name, seed=1, data_dir=data_dir)
    assert (len(x_train), len(x_val)) == (167, 33)
    together = {(x.tobytes(), y) for x, y in zip([*x_train, *x_val], [*y_train, *y_val], strict=True)}
    assert together == {(x.tobytes(), y) for x, y in zip(arrays["x_train"], arrays["y_train"], strict=True)}
    for x_test, y_test in (data.load_test(name, data_dir=data_dir), data.load_test(data_dir)):
        assert np.array_equal(x_test, arrays["x_test"])
        assert np.array_equal(y_test, arrays["y_test"])


def test_a_folder_is_given_as_people_write_paths(made_up, tmp_path, monkeypatch):
    write_own(tmp_path / "home" / "kmnist", made_up)
    write_own(tmp_path / "here" / "digits", made_up)
    (tmp_path / "here" / "letters").symlink_to(tmp_path / "home" / "kmnist")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    for given, name, folder in [
        ("~/kmnist", "kmnist", "home/kmnist"),
        ("../home/kmnist/", "kmnist", "home/kmnist"),
        ("letters", "letters", "here/letters"),
        ("./digits", "folder-digits", "here/digits"),
    ]:
        assert data.is_folder(given)
        assert data.resolve_dataset(given) == (name, str(tmp_path / folder))
        assert parameters.check("dataset", given) == given
    assert data.resolve_dataset("digits") == ("digits", "")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("kmnist", "kmnist"),
        ("EMNIST digits (2017)", "EMNIST-digits-2017"),
        ("mnist", "folder-mnist"),
        ("MNIST", "folder-MNIST"),
        ("fashion-mnist", "folder-fashion-mnist"),
        ("auto", "folder-auto"),
        (".hidden", "hidden"),
        ("数字", "folder"),
        ("x" * 200, "x" * 56),
    ],
)
def test_a_folders_name_is_a_plain_name_and_never_a_known_datasets(made_up, tmp_path, folder, name):
    write_own(tmp_path / folder, made_up)
    resolved, data_dir = data.resolve_dataset(str(tmp_path / folder))
    assert resolved == name
    assert parameters.check("run", name) == name
    assert len(data.load_test(name, data_dir=data_dir)[0]) == 40


def test_a_folder_with_mnist_itself_is_mnist_whatever_its_name(made_up):
    name, data_dir = data.resolve_dataset(str(made_up.folder))
    assert (name, data_dir) == ("mnist", str(made_up.folder))
    assert np.array_equal(data.load_test(name, data_dir=data_dir)[1], made_up.arrays["y_test"])


def test_two_folders_of_one_name_are_told_apart(made_up, tmp_path):
    described = []
    for parent in ("a", "b"):
        changed = {"x_train": np.ones((200, 28, 28))} if parent == "b" else {}
        write_own(tmp_path / parent / "mine", made_up, **changed)
        name, data_dir = data.resolve_dataset(str(tmp_path / parent / "mine"))
        described.append(data.describe(name, **data.load_arrays(name, data_dir=data_dir)[0]))
    a, b = described
    assert a["name"] == b["name"] == "mine"
    assert {key for key in a["sha256"] if a["sha256"][key] != b["sha256"][key]} == {"x_train"}
    folder, lesson_names = results.run_folder("mixed"), results.LESSONS[:2]
    for lesson, used in zip(lesson_names, described, strict=True):
        results.save_record(
            folder, lesson, params={"seed": 1}, dataset=used, models={}, started=time.perf_counter()
        )
    with pytest.raises(results.MissingLessonError, match="used different images"):
        results.load_records(folder, lesson_names)


def test_a_later_lesson_finds_what_an_earlier_one_used(made_up, tmp_path, monkeypatch):
    write_own(tmp_path / "mine", made_up)
    monkeypatch.chdir(tmp_path)
    for dataset, data_dir, name, again in [
        ("mine", "", "mine", str(tmp_path / "mine")),
        ("./mine", "", "mine", str(tmp_path / "mine")),
        ("auto", "/where/mnist/is", "mnist", "/where/mnist/is"),
        ("auto", "", "digits", ""),
    ]:
        record = {"params": {"dataset": dataset, "data_dir": data_dir}, "dataset": {"name": name}}
        assert data.dataset_of_record(record) == (name, again)
        assert data.dataset_of_record(record, data_dir="/moved") == (name, "/moved")


def _no_file(folder, write):
    (folder / "t10k-images-idx3-ubyte.gz").unlink()


def _no_folder(folder, write):
    shutil.rmtree(folder)


def _html(folder, write):
    (folder / "train-images-idx3-ubyte.gz").write_text("<html>Please log in, and then some</html>")


def _empty_file(folder, write):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"")


def _labels_for_images(folder, write):
    shutil.copy(folder / "t10k-labels-idx1-ubyte.gz", folder / "t10k-images-idx3-ubyte.gz")


def _floats(folder, write):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(struct.pack(">HBB3I", 0, 0x0D, 3, 1, 28, 28))


def _cut_short(folder, write):
    header = struct.pack(">HBB1I", 0, 8, 1, 40)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(header + bytes(39))


def _too_long(folder, write):
    header = struct.pack(">HBB1I", 0, 8, 1, 40)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(header + bytes(41))


def _huge(folder, write):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3))


def _larger_images(folder, write):
    write("t10k-images-idx3-ubyte.gz", np.zeros((40, 32, 32), np.uint8))


def _letters(folder, write):
    write("t10k-labels-idx1-ubyte.gz", np.arange(40, dtype=np.uint8) % 26)


def _more_labels(folder, write):
    write("train-labels-idx1-ubyte.gz", np.arange(201, dtype=np.uint8) % 10)


def _no_seven(folder, write):
    labels = np.arange(200, dtype=np.uint8) % 10
    labels[labels == 7] = 1
    labels[7] = 7
    write("train-labels-idx1-ubyte.gz", labels)


def _no_test_image(folder, write):
    write("t10k-labels-idx1-ubyte.gz", np.zeros(0, np.uint8))
    write("t10k-images-idx3-ubyte.gz", np.zeros((0, 28, 28), np.uint8))


def _pickle(folder, write):
    np.save(folder / "x.npy", np.array([object()]))
    (folder / "x.npy").rename(folder / "train-images-idx3-ubyte.gz")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_file, "t10k-images-idx3-ubyte.gz missing"),
        (_no_folder, "no such folder"),
        (_html, "begins with b'<htm', expected b'.x00.x00.x08.x03'"),
        (_empty_file, "train-labels-idx1-ubyte.gz is damaged.*not an idx file"),
        (_labels_for_images, "t10k-images-idx3-ubyte.gz is damaged, or it is another file: not an idx file"),
        (_floats, "not an idx file of uint8"),
        (_cut_short, "its header promises 40 bytes, it holds only 39"),
        (_too_long, "its header promises 40 bytes, it holds more"),
        (_huge, "at most 2147483648 bytes"),
        (_larger_images, r"x_test: expected uint8 \(40, 28, 28\), received uint8 \(40, 32, 32\)"),
        (_letters, "the test label 25"),
        (_more_labels, "200 train images and 201 train labels"),
        (_no_seven, "1 of class 7 among the train labels, at least 2 needed"),
        (_no_test_image, "0 of class 0, .* 0 of class 9 among the test labels"),
        (_pickle, "begins with b'.x93NUM'"),
    ],
)
def test_a_folder_that_lessons_could_not_use_is_refused_with_the_reason(made_up, tmp_path, damage, words):
    folder = tmp_path / "mine"
    write_own(folder, made_up)
    damage(folder, lambda file, array: made_up.write_idx(folder / file, array))
    with pytest.raises(
        ValueError, match=r"mine.*Expected: .*28x28.*Received: .*give another folder"
    ) as caught:
        data.resolve_dataset(str(folder))
    assert re.search(words, str(caught.value))


def test_a_header_is_not_trusted_with_memory(made_up, tmp_path, monkeypatch):
    """Of a gzip bomb, one byte more than promised is read."""
    write_own(tmp_path / "mine", made_up)
    with gzip.open(tmp_path / "mine" / "t10k-labels-idx1-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(struct.pack(">HBB1I", 0, 8, 1, 40))
        for _ in range(64):
            file.write(bytes(2**20))
    read = []
    real = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(size) or real(self, size))
    with pytest.raises(ValueError, match="it holds more"):
        data.resolve_dataset(str(tmp_path / "mine"))
    assert read[-1] == 41


def test_two_folders_for_one_dataset_are_refused(made_up, tmp_path):
    write_own(tmp_path / "mine", made_up)
    with pytest.raises(ValueError, match=r"Two folders.*Received: .*mine.*other.*Leave one out"):
        data.resolve_dataset(str(tmp_path / "mine"), data_dir=tmp_path / "other")
    # In JupyterLab, the cell that settles the dataset may be run twice.
    assert data.resolve_dataset(str(tmp_path / "mine"), data_dir=tmp_path / "mine")[0] == "mine"


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"num_train": 190, "num_validation": 20}, "at most 200 together"),
        ({"num_validation": 5}, "at least 10"),
        (
            {"num_train": 10, "num_validation": 20},
            "num_train=10 is too small.*0 of class 9.*Set num_train higher",
        ),
    ],
)
def test_a_split_that_a_folder_is_too_small_for_is_refused(made_up, tmp_path, sizes, words):
    labels = np.arange(200) % 10
    labels[np.flatnonzero(labels == 9)[2:]] = 0
    write_own(tmp_path / "mine", made_up, y_train=labels)
    with pytest.raises(ValueError, match=words):
        data.load_training(str(tmp_path / "mine"), seed=1, **sizes)


# --- labels that people rejected ---


def test_label_errors_are_the_fifteen_of_mnist_and_none_elsewhere():
    table = data.label_errors("mnist")
    columns = ["index", "label", "suggestion", "votes_label", "votes_suggested", "votes_neither"]
    assert list(table.columns) == columns
    assert all(table.dtypes == np.int64)
    assert len(table) == 15
    assert table["index"].is_monotonic_increasing
    assert table["index"].is_unique
    assert table["index"].between(0, 9999).all()
    assert table["label"].between(0, 9).all()
    assert table["suggestion"].between(-1, 9).all()
    assert (table["label"] != table["suggestion"]).all()
    votes = table.filter(like="votes")
    assert (votes.sum(axis=1) == 5).all()
    assert (votes["votes_label"] <= 2).all()
    assert ((table["suggestion"] >= 0) == (votes["votes_suggested"] >= 3)).all()
    for other in ("digits", "fashion_mnist", "kmnist", "folder-mnist"):
        empty = data.label_errors(other)
        assert list(empty.columns) == columns
        assert all(empty.dtypes == np.int64)
        assert empty.empty


@pytest.mark.mnist
def test_label_errors_have_the_labels_of_the_test_set(mnist):
    table = data.label_errors("mnist")
    assert np.array_equal(mnist["y_test"][table["index"]], table["label"])


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
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

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
    cache = data.cache_dir()
    found = sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())
    return [file for file in found if file != ".download.lock"]


def test_downloads_once_and_then_finds_its_cache(made_up, online, monkeypatch):
    with _Server(made_up.folder) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        arrays, source = data.load_arrays("mnist")
        assert source.kind is Kind.DOWNLOAD
        assert np.array_equal(arrays["x_train"], made_up.arrays["x_train"])
        assert _files_in_cache() == sorted(f"mnist/{file}" for file in data.IDX_FILES.values())
        server.requests.clear()
        assert data.load_arrays("mnist")[1].kind is Kind.CACHE
        assert server.requests == []


def test_a_cache_can_be_served_to_others(made_up, online, monkeypatch, tmp_path):
    """What a teacher's laptop has in its cache, any web server can hand on."""
    shared = tmp_path / "shared"
    shutil.copytree(made_up.folder, shared / "mnist", ignore=shutil.ignore_patterns("npz"))
    with _Server(shared) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url + "/")
        assert data.load_arrays("mnist")[1].kind is Kind.DOWNLOAD


def test_second_mirror_is_taken_where_the_first_is_bad(made_up, online, monkeypatch, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    with _Server(bad) as first, _Server(made_up.npz.parent) as second:
        first.answers = {"/mnist.npz": b"<html>Welcome to the campus network. Please log in.</html>"}
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", f"{first.url}, {second.url}")
        assert data.load_arrays("mnist")[1].kind is Kind.DOWNLOAD
        assert first.requests
        assert _files_in_cache() == ["mnist.npz"]


def test_a_busy_mirror_is_asked_again(made_up, online, monkeypatch):
    with _Server(made_up.npz.parent) as server:
        server.answers = {"/mnist.npz": [503]}
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        assert data.load_arrays("mnist")[1].kind is Kind.DOWNLOAD
        assert server.requests == ["/mnist.npz", "/mnist.npz"]


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>", b"PK\x03\x04" + bytes(1000)])
def test_bad_downloads_leave_nothing_and_say_what_came(made_up, online, monkeypatch, tmp_path, body):
    empty = tmp_path / "empty"
    empty.mkdir()
    with _Server(empty) as server:
        server.answers = {"/mnist.npz": body}
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        with pytest.raises(data.DatasetNotFoundError, match=r"mnist\.npz.*damaged") as caught:
            data.load_arrays("mnist")
        assert "404" in str(caught.value)
    assert _files_in_cache() == []


def test_a_download_that_is_far_too_large_is_stopped(made_up, online, monkeypatch):
    monkeypatch.setattr(_download, "_MAX_BYTES", 10_000)
    with _Server(made_up.npz.parent) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        with pytest.raises(data.DatasetNotFoundError, match="larger than 10000 bytes"):
            data.load_arrays("mnist")
    assert _files_in_cache() == []


def test_a_server_that_never_answers_costs_no_more_than_the_time_allowed(online, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(data.DatasetNotFoundError, match="in the time allowed"):
            data.load_arrays("mnist", seconds=1.5)
        assert time.monotonic() - started < 4


def test_auto_settles_in_its_time_behind_a_dead_proxy(online, monkeypatch):
    assert data._AUTO_SECONDS <= 15  # of the 20 s promised; the rest is for reading what was found
    monkeypatch.setattr(data, "_AUTO_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("NO_PROXY", "")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert data.resolve_dataset("auto") == ("digits", "")
        assert time.monotonic() - started < 7


def test_offline_asks_no_server(made_up, monkeypatch):
    with _Server(made_up.folder) as server:
        monkeypatch.setenv("MNIST_COURSE_MIRRORS", server.url)
        with pytest.raises(data.DatasetNotFoundError, match="MNIST_COURSE_OFFLINE"):
            data.load_arrays("mnist")
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


# --- a drawing of one's own ---


def a_drawing(height=280, width=280, rows=slice(40, 240), columns=slice(100, 130), paper=255, ink=0):
    drawing = np.full((height, width), paper, np.uint8)
    drawing[rows, columns] = ink
    return drawing


@pytest.mark.parametrize(
    "drawing",
    [
        a_drawing(),
        a_drawing(rows=slice(10, 20), columns=slice(10, 270)),
        a_drawing(height=60, width=400, rows=slice(5, 50), columns=slice(350, 390)),
        a_drawing(paper=200, ink=90),
        a_drawing(height=2, width=2, rows=slice(1), columns=slice(1)),
        a_drawing(rows=slice(None), columns=slice(140)),
    ],
    ids=["tall", "flat", "small and far right", "pale on grey paper", "one pixel", "to the edges"],
)
def test_a_drawing_is_brought_to_the_format_of_mnist(drawing):
    image = data.to_mnist_format(drawing)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    assert image.max() == 255
    rows, columns = np.nonzero(image)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert np.abs(np.array(ndimage.center_of_mass(image)) - 13.5).max() <= 0.5


@pytest.mark.parametrize(("rows", "columns"), [(200, 50), (100, 200), (180, 180)])
def test_a_drawing_keeps_its_proportions(rows, columns):
    image = data.to_mnist_format(a_drawing(rows=slice(20, 20 + rows), columns=slice(30, 30 + columns)))
    height, width = (np.ptp(indices) + 1 for indices in np.nonzero(image))
    assert height / width == pytest.approx(rows / columns, rel=0.1)


def test_nothing_of_a_lopsided_drawing_is_lost_or_wrapped_round():
    drawing = a_drawing(rows=slice(230, 250), columns=slice(20, 260))
    drawing[20:250, 20:24] = 0
    drawing[230:250, 20:120] = 0
    image = data.to_mnist_format(drawing)
    rows, columns = np.nonzero(image)
    assert np.ptp(rows) + 1 <= 20
    assert np.ptp(columns) + 1 <= 20


def test_an_mnist_like_image_on_paper_comes_back_nearly_as_it_was():
    """The digits were made by the same recipe, so drawing them large must bring them back."""
    for image in data.load_training("digits", seed=1)[0][0][:20]:
        large = np.kron(255 - image, np.ones((10, 10), np.uint8))
        back = data.to_mnist_format(large).astype(float)
        shifts = [np.roll(back, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        assert max(np.corrcoef(image.ravel(), shifted.ravel())[0, 1] for shifted in shifts) > 0.9


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (np.full((28, 28), 255, np.uint8), "There is no ink"),
        (np.zeros((28, 28), np.uint8), "There is no ink"),
        (np.zeros((28, 28)), "Received: float64, shape"),
        (np.zeros((1, 28, 28), np.uint8), r"Received: uint8, shape \(1, 28, 28\)"),
        ([[0, 1]], "Received: list"),
    ],
)
def test_what_is_no_drawing_is_refused(drawing, message):
    with pytest.raises(ValueError, match=message):
        data.to_mnist_format(drawing)
