import base64
import json
import re
import time

import numpy as np
import pytest

from mnist_course.reports import run_report
from mnist_helpers import results

HISTORY = {"accuracy": [0.5, 0.9], "val_accuracy": [0.6, 0.8], "loss": [1.5, 0.25], "val_loss": [1.0, 0.5]}


@pytest.fixture
def folder(tmp_path):
    """A made-up run with a hostile name: what a report shows must stay text."""
    folder = results.run_folder("<script>alert(1)</script>&".replace("/", ""), tmp_path)
    dataset = {"name": "digits", "shapes": {}, "sha256": {}}
    params = {"profile": "quick", "seed": 3, "epochs": 2, "run": "x", "data_dir": "/secret"}
    trained = {
        "num_params": 1234,
        "val_accuracy": 0.8,
        "val_loss": 0.5,
        "train_seconds": 1.25,
        "history": HISTORY,
    }
    tested = {"test_accuracy": 0.75, "test_loss": 0.6, "test_accuracy_low": 0.7, "test_accuracy_high": 0.8}
    models = {
        "01_data_exploration": {"nearest_mean": {"num_params": 7840, "val_accuracy": 0.7}},
        "02_baseline": {"baseline": trained},
        "03_batchnorm_dropout": {"plain": trained},
        "04_tuning": {"tuned": trained},
        "05_evaluation": {
            "baseline": tested,
            "plain": tested,
            "tuned": tested,
            "nearest_mean": {"test_accuracy": 0.5},
        },
    }
    for lesson in results.LESSONS:
        more = (
            {"confusion_matrix": np.eye(10, dtype=int), "conclusion": "A <b>sentence</b>."}
            if lesson[:2] == "05"
            else {}
        )
        results.save_record(
            folder,
            lesson,
            params=params,
            dataset=dataset,
            models=models[lesson],
            started=time.perf_counter(),
            **more,
        )
    run_report.write_report(folder)
    return folder


def test_summary_has_a_row_per_model_with_the_promised_fields(folder):
    rows = json.loads((folder / "summary.json").read_text())
    assert [row["model"] for row in rows] == ["nearest_mean", "baseline", "plain", "tuned"]
    for row in rows:
        assert tuple(row) == results.ROW_FIELDS
    assert rows[0]["val_loss"] is None
    assert rows[1] == {
        "lesson": "02_baseline",
        "model": "baseline",
        "dataset": "digits",
        "profile": "quick",
        "seed": 3,
        "num_params": 1234,
        "train_seconds": 1.25,
        "val_accuracy": 0.8,
        "val_loss": 0.5,
        "test_accuracy": 0.75,
        "test_loss": 0.6,
        "test_accuracy_low": 0.7,
        "test_accuracy_high": 0.8,
    }


def test_html_is_self_contained_and_escapes_what_it_shows(folder):
    html = (folder / "report.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "A &lt;b&gt;sentence&lt;/b&gt;." in html
    sources = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', html)
    assert len(sources) == 4
    for source, description in sources:
        assert base64.b64decode(source.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
        assert "(digits)" in description
    assert not re.search(r'(src|href)="http', html)


def test_markdown_shows_table_figures_settings_versions_and_times(folder):
    text = (folder / "report.md").read_text()
    assert "| baseline | 1,234 | 1.2 s | 80.00% | 0.5000 | 75.00% | 70.00% to 80.00% | 0.6000 |" in text
    assert "| nearest_mean | 7,840 | – | 70.00% | – | 50.00% | – to – | – |" in text
    for figure in ("accuracy", "loss", "test_accuracy", "confusion_matrix"):
        assert f"]({figure}.png)" in text
        assert (folder / f"{figure}.png").stat().st_size > 1000
    assert "| epochs | 2 |" in text
    assert "/secret" not in text
    assert "tensorflow 2." in text
    assert re.search(r"\| 02_baseline \| – \| [\d.]+ s \| – \| [\d.]+ GiB \|", text)


def test_terminal_table_is_aligned(folder):
    lines = run_report.text_table(json.loads((folder / "summary.json").read_text())).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[:2] == ["model", "parameters"]


def test_a_table_of_sentences_is_set_to_the_left_and_keeps_its_bars(tmp_path):
    numbers = {"title": "Numbers", "columns": ["model", "n"], "rows": [["tuned", 3]]}
    sentences = {
        "title": "Sentences",
        "columns": ["a", "b"],
        "rows": [["one", "left | right"]],
        "is_text": True,
    }
    more = {"title": "t", "conclusion": "", "versions": {}, "machine": {}}
    page = run_report.write_page(tmp_path, draw=dict, tables=[numbers], details=[sentences], **more)
    text = (tmp_path / "report.md").read_text()
    assert "| model | n |\n|---|---:|\n| tuned | 3 |\n" in text
    assert "| a | b |\n|---|---|\n| one | left \\| right |\n" in text
    html = page.read_text()
    assert html.index("Numbers") < html.index("<table>") < html.index("Sentences")
    assert html.index("Sentences") < html.index('<table class="text">')
