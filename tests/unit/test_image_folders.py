"""Folders with other test images: which images they hold, that `--dataset` takes them, which files are refused."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np
import pytest
from click.testing import CliRunner

from mnist_course import cli, image_folders
from mnist_helpers import data
from mnist_helpers._errors import UserError
from tests.unit.test_test_set import PAGE

IMAGES, LABELS = image_folders.QMNIST_MD5


@pytest.fixture(autouse=True)
def mnist_training(monkeypatch):
    """MNIST's training images, made up: each shows its number; its test images do not exist."""
    numbers = np.arange(60_000)
    images = np.zeros((60_000, 28, 28), np.uint8)
    images[:, 5, 5:7] = np.stack([numbers // 256, numbers % 256], axis=1)
    labels = (numbers % 10).astype(np.uint8)
    arrays = {"x_train": images, "y_train": labels}
    load_arrays = data.load_arrays

    def load(name, **options):
        return (arrays, None) if name == "mnist" else load_arrays(name, **options)

    monkeypatch.setattr(data, "load_arrays", load)


def numbers_of(images):
    return 256 * images[:, 5, 5].astype(int) + images[:, 5, 6]


def read(folder, part):
    return data._load(str(folder), None, part)


def test_the_images_of_the_confirmation_are_those_that_were_never_validation_images(tmp_path):
    text = image_folders.write_confirmation(tmp_path / "confirmation")
    assert "50,000 training images and 10,000 test images" in text
    assert f"--dataset {tmp_path / 'confirmation'}" in text
    permutation = np.random.RandomState(20261127).permutation(60_000)
    x_test, y_test = read(tmp_path / "confirmation", "test")
    x_train, y_train = read(tmp_path / "confirmation", "train")
    tested, trained = numbers_of(x_test), numbers_of(x_train)
    assert sorted(tested) == sorted(permutation[10_000:20_000])
    assert not set(tested) & set(permutation[:10_000])
    assert sorted([*tested, *trained]) == list(range(60_000))
    assert (np.diff(trained) > 0).all() and (np.diff(tested) > 0).all()
    assert (y_test == tested % 10).all() and (y_train == trained % 10).all()
    assert "CC BY-SA 3.0" in (tmp_path / "confirmation" / "mnist_licence.txt").read_text()


def test_the_permutation_is_that_of_the_recipes_page():
    """numpy promises that RandomState keeps its numbers."""
    permutation = np.random.RandomState(image_folders._PERMUTATION_SEED).permutation(60_000)
    digest = hashlib.sha256(permutation[image_folders._CONFIRMED].astype("<i4").tobytes()).hexdigest()
    assert digest == "d446822add03527d057bc22a0c89acbadf714b23377d8bf56edf0f8772f1f6e2"


def write_qmnist(folder, monkeypatch, first=9, num_images=60_000):
    """Writes files in QMNIST's format, with checksums that the module knows."""
    folder.mkdir()
    images = np.zeros((num_images, 28, 28), np.uint8)
    numbers = np.arange(num_images)
    images[:, 5, 5:7] = np.stack([numbers // 256, numbers % 256], axis=1)
    labels = np.zeros((num_images, 8), ">i4")
    labels[:, 0] = (numbers + first) % 10
    labels[:, 1:] = [4, 2_300, 17, 48, 3, 70_000, 1]
    md5 = {}
    for name, array, kind in ((IMAGES, images, 8), (LABELS, labels, 0x0C)):
        header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
        content = gzip.compress(header + array.tobytes(), 1)
        (folder / name).write_bytes(content)
        md5[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(image_folders, "QMNIST_MD5", md5)


def test_the_test_images_of_qmnist_are_those_that_mnist_does_not_have(tmp_path, monkeypatch):
    write_qmnist(tmp_path / "downloads", monkeypatch)
    text = image_folders.write_qmnist(tmp_path / "downloads", tmp_path / "qmnist")
    assert "60,000 training images and 50,000 test images" in text
    x_test, y_test = read(tmp_path / "qmnist", "test")
    assert numbers_of(x_test).tolist() == list(range(10_000, 60_000))
    assert y_test.dtype == np.uint8
    assert (y_test == (numbers_of(x_test) + 9) % 10).all()
    x_train, y_train = read(tmp_path / "qmnist", "train")
    assert numbers_of(x_train).tolist() == list(range(60_000))
    assert (y_train == np.arange(60_000) % 10).all()


def test_other_files_than_qmnists_are_refused(tmp_path, monkeypatch):
    write_qmnist(tmp_path / "downloads", monkeypatch, num_images=20)
    labels = tmp_path / "downloads" / LABELS
    content = labels.read_bytes()
    labels.write_bytes(content[:-1])
    with pytest.raises(UserError, match=rf"{LABELS} is not the file .*md5 differs.*Download it again"):
        image_folders.write_qmnist(tmp_path / "downloads", tmp_path / "qmnist")
    labels.unlink()
    with pytest.raises(UserError, match=rf"{LABELS} is missing\. Expected: .*Do not unpack them"):
        image_folders.write_qmnist(tmp_path / "downloads", tmp_path / "qmnist")
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


def test_a_folder_that_exists_is_kept(tmp_path, monkeypatch):
    write_qmnist(tmp_path / "downloads", monkeypatch, num_images=20)
    for command in (["confirmation"], ["qmnist", str(tmp_path / "downloads")]):
        result = CliRunner().invoke(cli.main, ["data", *command, str(tmp_path / "downloads")])
        assert result.exit_code == 2
        assert "Expected: a folder that does not exist yet" in result.output
    assert sorted(path.name for path in (tmp_path / "downloads").iterdir()) == sorted([IMAGES, LABELS])


def test_a_folder_is_complete_or_absent(tmp_path, monkeypatch):
    compress, files = gzip.compress, []

    def fail(*arguments, **options):
        files.append(arguments)
        if len(files) == 3:
            raise KeyboardInterrupt
        return compress(*arguments, **options)

    monkeypatch.setattr(gzip, "compress", fail)
    with pytest.raises(KeyboardInterrupt):
        image_folders.write_confirmation(tmp_path / "new" / "confirmation")
    assert not list((tmp_path / "new").iterdir())


def test_the_page_on_the_test_set_names_the_module():
    assert "its test images are loaded with them and not used" in PAGE
