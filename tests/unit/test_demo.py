"""The page "Draw a digit" without a browser: parts, networks and errors. tests/browser/test_demo.py opens it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mnist_course import cli, demo
from mnist_course.handout import bundle
from mnist_helpers import _course, _files, results
from mnist_helpers._errors import UserError
from tests.unit.test_teaching import glossary

HERE = Path(demo.__file__).parent
DENSE = {"activation": "linear", "use_bias": True}
NORMALISATION = {"epsilon": 0.5, "scale": True, "center": True}
LAYERS = [
    ("InputLayer", {}),
    ("Rescaling", {"scale": 1 / 255, "offset": 0.25}),
    ("Flatten", {}),
    ("GaussianNoise", {"stddev": 0.3}),
    ("Dense", DENSE | {"use_bias": False}),
    ("BatchNormalization", NORMALISATION),
    ("Activation", {"activation": "relu"}),
    ("Dropout", {"rate": 0.1}),
    ("Dense", DENSE | {"activation": "softmax"}),
]


def weights():
    """Those of `LAYERS`, for 784 pixels, 3 hidden neurons and 10 digits."""
    rng = np.random.default_rng(1)
    vectors = [rng.normal(size=3), rng.normal(size=3), rng.normal(size=3), rng.uniform(1, 2, size=3)]
    arrays = [rng.normal(size=(784, 3)), *vectors, rng.normal(size=(3, 10)), rng.normal(size=10)]
    return [array.astype(np.float16 if array.ndim > 1 else np.float32) for array in arrays]


def save(reference, **layers_of):
    """Writes models in the form of `results.save_compact_model`, without Keras."""
    folder = reference / "models"
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for name, layers in layers_of.items():
        config = {"config": {"layers": [{"class_name": kind, "config": config} for kind, config in layers]}}
        arrays = {f"weight_{number}": array for number, array in enumerate(weights())}
        path = folder / f"{name}.npz"
        np.savez_compressed(path, config=json.dumps(config), **arrays)
        index[name] = {"file": path.name, "sha256": _files.sha256(path), "num_params": 2404}
    _files.write_json(folder / "index.json", index)


@pytest.fixture
def reference(tmp_path, monkeypatch):
    monkeypatch.setattr(_course, "REFERENCE", tmp_path / "reference")
    return tmp_path / "reference"


@pytest.fixture
def page(reference):
    save(reference, **{"own": LAYERS, "strong": LAYERS, "baseline": LAYERS})
    return demo.page()


def script(page, name):
    (text,) = re.findall(rf'<script type="[\w/-]+" id="{name}">(.*?)</script>', page, re.S)
    return text


def test_every_network_of_the_index_has_a_title_and_a_sentence(page):
    """Those that the course knows come first."""
    titles = re.findall(r'<h3 id="title-\d">(.*?)</h3>', page)
    assert titles == ["Baseline", "Strong", "own"]
    assert [network["title"] for network in json.loads(script(page, "descriptions"))] == titles
    assert page.count("A network that was trained in a run of this course.") == 1
    assert page.count("Hidden layers: 3 neurons.\nParameters: 2,404.") == 3
    for _, (title, training) in demo.KNOWN.items():
        assert (f">{title}</h3>" in page) == (training in page) == (title in titles)


def test_the_committed_models_are_known():
    for path in _course.REFERENCE.glob("models/index.json"):
        assert _files.read_json(path).keys() <= demo.KNOWN.keys()
        assert len(demo.page()) < 12_000_000


def test_the_arrays_follow_each_other_in_the_page(page):
    layers = json.loads(script(page, "descriptions"))[0]["layers"]
    assert [layer["kind"] for layer in layers] == ["scale", "dense", "scale", "relu", "dense", "softmax"]
    content = base64.b64decode(script(page, "weights-0"))
    found = []
    for layer in layers:
        if layer["kind"] == "dense":
            parts = (("<f2", layer["rows"] * layer["columns"]), ("<f4", layer["columns"]))
        else:
            parts = (("<f4", layer.get("size", 0)),) * 2
        for kind, count in parts:
            size = np.dtype(kind).itemsize * count
            found.append(np.frombuffer(content[:size], kind))
            content = content[size:]
    assert content == b""
    first, gamma, beta, mean, variance, second, bias = weights()
    scale = gamma / np.sqrt(variance + 0.5)
    expected = [[1 / 255], [0.25], first.ravel(), np.zeros(3), scale, beta - mean * scale, [], []]
    expected += [second.ravel(), bias, [], []]
    for array, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, right, rtol=1e-6)


@pytest.mark.parametrize(
    ("layers", "received"),
    [
        ([*LAYERS[:2], ("Conv2D", {})], "Received: Conv2D."),
        ([("ReLU", {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0})], "Received: ReLU."),
        ([("Activation", {"activation": "sigmoid"})], "Received: sigmoid."),
        ([("Dense", DENSE | {"activation": "tanh"})], "Received: tanh."),
    ],
)
def test_a_network_that_the_page_cannot_compute_is_refused(reference, layers, received):
    save(reference, own=layers)
    with pytest.raises(UserError, match="cannot show the network 'own'") as caught:
        demo.page()
    assert str(caught.value).endswith(received)


def test_without_networks_the_message_says_how_to_make_them(reference, tmp_path):
    for _ in range(2):
        done = CliRunner().invoke(cli.main, ["demo", str(tmp_path / "draw.html")])
        assert (done.exit_code, done.output.count("Error: ")) == (2, 1)
        assert not demo.has_models()
        assert "`mnist-course models reference/seed-1` writes" in done.output
        (reference / "models").mkdir(parents=True, exist_ok=True)  # a folder without an index is none
    save(reference)
    done = CliRunner().invoke(cli.main, ["demo", str(tmp_path / "draw.html")])
    assert done.exit_code == 2
    assert "Expected: at least one model" in done.output
    assert not (tmp_path / "draw.html").exists()


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(b"x"), Path.unlink], ids=["changed", "lost"]
)
def test_a_network_that_is_not_the_recorded_one_is_refused(page, reference, tmp_path, change):
    change(reference / "models" / "strong.npz")
    with pytest.raises(results.MissingLessonError, match=r"strong\.npz"):
        demo.write(tmp_path / "draw.html")
    assert not (tmp_path / "draw.html").exists()


def test_the_command_writes_the_page(page, tmp_path):
    done = CliRunner().invoke(cli.main, ["demo", str(tmp_path / "draw.html")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "draw.html").read_text(encoding="utf-8") == page
    assert f"{tmp_path / 'draw.html'}: 0.1 MB." in done.output


def test_the_networks_come_with_the_course():
    """Where they are missing, other tests compare nothing."""
    assert demo.has_models()
    assert len(_files.read_json(_course.REFERENCE / "models" / "index.json")) >= 3


def test_the_page_needs_nothing_else(page):
    assert page.count("<link") == page.count('<link rel="icon" href="data:image/svg+xml,%3Csvg%20') == 1
    assert not re.search(r"https?:|//\w+\.|\bimport\b|\brequire\b|\bfetch\b|url\(|src=", page)
    assert not re.search(r"(?:{{|{%|{#)(?! )", page.split("<script>")[0])
    assert page.count("</script>") == page.count("<script") == 3 + 3


def test_the_drawing_code_is_that_of_lesson_5(page):
    for name in ("pad.js", "canvas.css"):
        assert Path(_course.__file__).with_name(name).read_text(encoding="utf-8") in page
    assert '{% include "page.css" %}' in (HERE / "draw.html.j2").read_text(encoding="utf-8")  # of the reports


def test_links_lead_to_terms_and_to_the_places_that_the_caller_names(page):
    targets = re.findall(r'<a [^>]*href="([^"]*)"', page)
    assert len(targets) >= 6
    for target in targets:
        assert f'id="{target.removeprefix("#")}"' in page, target
    linked = demo.page(home="index.html", lesson="lessons/05.html", glossary="glossary.html?a=1&b")
    assert '<a href="index.html">MNIST course</a>' in linked
    assert '<a href="lessons/05.html">Lesson 5, Evaluation,</a>' in linked
    assert '<a href="glossary.html?a=1&amp;b">glossary</a>' in linked


def test_the_terms_are_those_of_the_glossary():
    known = glossary()
    for term, meaning in demo.TERMS.items():
        assert known[term][0] == meaning
    assert list(demo.TERMS) == sorted(demo.TERMS, key=str.lower)


def test_every_example_is_on_the_paper_and_is_explained():
    examples = _files.read_json(HERE / "examples.json")
    assert len({example["name"] for example in examples}) == len(examples) >= 10
    for example in examples:
        assert example["text"].endswith((".", "?"))
        assert example.get("digit") in (None, *range(10))
        assert example.get("sliders", {}).keys() <= {"right", "down", "turn", "width"}
        points = np.concatenate(example["strokes"])
        assert points.min() >= 12 and points.max() <= 268  # the pen is 23 pixels wide


def test_the_page_comes_with_a_bundle_only_if_there_are_networks(reference, tmp_path):
    path = tmp_path / "draw.html"
    path.write_text("of an earlier bundle")
    bundle._write_page(path)
    assert not path.exists()
    save(reference, baseline=LAYERS)
    bundle._write_page(path)
    assert "<h1>Draw a digit</h1>" in path.read_text(encoding="utf-8")
    made = {"system": "Linux", "installed_bytes": 1, "python": "3.11"}
    bundle._write_readme(tmp_path, made, ["digits"])
    assert "you can open draw.html in a browser" in (tmp_path / "README.txt").read_text()
    path.unlink()
    bundle._write_readme(tmp_path, made, ["digits"])
    assert "browser" not in (tmp_path / "README.txt").read_text()
