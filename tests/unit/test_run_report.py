"""A run's report, and the tables and pages of all reports."""

import base64
import json
import math
import re
import shutil
import time

import numpy as np
import pandas as pd
import pytest

from mnist_course.reports import page, run_report
from mnist_course.reports.page import Table
from mnist_helpers import _files, plots, results
from mnist_helpers._errors import UserError

HISTORY = {"accuracy": [0.5, 0.9], "val_accuracy": [0.6, 0.8], "loss": [1.5, 0.25], "val_loss": [1.0, 0.5]}


@pytest.fixture(scope="module")
def _reported(tmp_path_factory):
    """A made-up run with a hostile name: what a report shows must stay text."""
    base = tmp_path_factory.mktemp("runs")
    folder = results.run_folder("<script>alert(1)</script>&".replace("/", ""), base)
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


@pytest.fixture
def folder(_reported, tmp_path):
    return shutil.copytree(_reported, tmp_path / "runs" / _reported.name)


def test_optional_notebooks_have_their_models_figures_and_times(folder):
    trained = {"num_params": 9, "val_accuracy": 0.9, "val_loss": 0.1, "train_seconds": 2, "history": HISTORY}
    tested = {"test_accuracy": 0.99, "test_accuracy_low": 0.98, "test_accuracy_high": 1, "test_loss": 0.01}
    last = results.load_record(folder, "05_evaluation")
    last["models"]["strong"] = tested
    for lesson, models, more in (
        ("stronger_networks", {"strong": trained}, {}),
        ("05_evaluation", last["models"], {name: last[name] for name in ("confusion_matrix", "conclusion")}),
        ("trust", {}, {}),
    ):
        results.save_record(
            folder,
            lesson,
            params=last["params"],
            dataset=last["dataset"],
            models=models,
            started=time.perf_counter(),
            **more,
        )
    page = run_report.write_report(folder).read_text()
    rows = json.loads((folder / "summary.json").read_text())
    assert [(row["lesson"], row["model"]) for row in rows][3:] == [
        ("04_tuning", "tuned"),
        ("stronger_networks", "strong"),
    ]
    assert (rows[-1]["val_accuracy"], rows[-1]["test_accuracy"]) == (0.9, 0.99)
    assert "strong" in (folder / "report.md").read_text()
    assert page.count(">stronger_networks<") == page.count(">trust<") == 1  # the table of times
    assert "partial" not in page
    figures = run_report._figures(run_report.records_of(folder))
    assert "strong" in figures["test_accuracy"].description  # its record of lesson 5 is not lost
    assert "strong" in figures["accuracy"].description


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
    assert "| nearest_mean | 7,840 | – | 70.00% | – | 50.00% | – | – |" in text
    for figure in ("accuracy", "loss", "test_accuracy", "confusion_matrix"):
        assert f"]({figure}.png)" in text
        assert (folder / f"{figure}.png").stat().st_size > 1000
    assert "| epochs | 2 |" in text
    assert "/secret" not in text
    assert "tensorflow 2." in text
    assert re.search(r"\| 02_baseline \| – \| [\d.]+ s \| – \| [\d.]+ GiB \|", text)


def test_terminal_table_is_aligned(folder):
    table = run_report.results_table(json.loads((folder / "summary.json").read_text()))
    title, *lines = table.text().splitlines()
    assert title == "Results"
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[:2] == ["model", "parameters"]


def test_the_page_says_when_it_was_made_and_links_to_the_notebooks(folder):  # P3
    (folder / "02_baseline.ipynb").write_text("{}")
    change_record(folder, "05_evaluation", date="2026-11-24T10:12:13+00:00")
    html = run_report.write_report(folder).read_text()
    assert "Made on 2026-11-24 10:12 UTC." in html
    assert '<td><a href="02_baseline.ipynb">02_baseline</a></td>' in html
    text = (folder / "report.md").read_text()
    assert "| [02_baseline](02_baseline.ipynb) |" in text
    assert "03_batchnorm_dropout.ipynb" not in html + text  # there is no such notebook
    older = {"python": "3.11.7", "system": "Linux", "architecture": "x86_64", "cores": 2}
    change_record(folder, "05_evaluation", date=None, machine=older)  # a record of an earlier version
    html = run_report.write_report(folder).read_text()
    assert "Made on" not in html and "Python 3.11.7, Linux x86_64, 2 cores." in html


def change_record(folder, lesson, **changes):
    record = json.loads((folder / f"{lesson}.json").read_text()) | changes
    record = {key: value for key, value in record.items() if value is not None}
    _files.write_json(folder / f"{lesson}.json", record | {"sha256": results.fingerprint(record)})


@pytest.mark.parametrize("missing", [(5,), (1,), (1, 5), (2, 3, 4), (1, 2, 3, 4), (2, 3, 4, 5)])
def test_a_partial_run_has_a_report(folder, missing, monkeypatch):
    monkeypatch.setattr(plots.DescribedFigure, "png", lambda self: b"PNG")
    names = [results.LESSONS[number - 1] for number in missing]
    for name in names:
        (folder / f"{name}.json").unlink()
    text = run_report.write_report(folder).with_suffix(".md").read_text()
    assert f"Lessons without a record: {', '.join(names)}." in text
    assert ("sentence" in text) == (5 not in missing)
    models = {row["model"] for row in json.loads((folder / "summary.json").read_text())}
    assert models >= ({"baseline"} if not {2, 5} <= set(missing) else {"nearest_mean"})
    assert models == set(pd.read_csv(folder / "runs.csv")["model"])


def test_a_run_without_any_record_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no records of lessons 01_data_exploration"):
        run_report.write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_runs_csv_is_what_results_table_returns(folder):  # P5
    table = results.table(str(folder))
    back = pd.read_csv(folder / "runs.csv")
    pd.testing.assert_frame_equal(back, table)
    assert table["model"].tolist() == ["nearest_mean", "baseline", "plain", "tuned"]
    assert (table["run"] == folder.name).all()
    assert table.loc[1, ["epochs", "test_accuracy", "train_seconds"]].tolist() == [2, 0.75, 1.25]
    for column in (
        "lesson_seconds",
        "peak_memory_bytes",
        "date",
        "python",
        "tensorflow",
        "keras",
        "numpy",
        "cores",
    ):
        assert table[column].notna().all(), column
    assert "data_dir" not in table and "/secret" not in (folder / "runs.csv").read_text()


def test_a_folder_of_runs_becomes_one_table(folder):  # P5
    base = folder.parent
    for name in ("seed-10", "seed-9", "study/seed-1", ".hidden"):
        shutil.copytree(folder, base / name, ignore=shutil.ignore_patterns("0[345]*", "*.png"))
    change_record(base / "seed-9", "02_baseline", params={"profile": "class", "seed": 9, "units": 16})
    table = results.table(base)
    order = table["run"].drop_duplicates().tolist()
    assert order == [folder.name, "seed-9", "seed-10", "study/seed-1"]
    assert table.loc[table["model"] == "baseline", "seed"].tolist() == [3, 9, 3, 3]
    assert table.loc[(table["run"] == "seed-9") & (table["model"] == "baseline"), "units"].tolist() == [16]
    assert results.table(base / "study")["run"].unique().tolist() == ["seed-1"]
    assert results.table(base / ".hidden" / "empty").empty


# --- tables and pages ---

PAGE = {"title": "t", "conclusion": ""}


def test_a_table_of_sentences_is_left_aligned(tmp_path):
    numbers = Table("Numbers", ["model", "n"], [["tuned", 3]])
    sentences = Table("Sentences", ["a", "b"], [["one", "left | right"]], is_text=True)
    html = page.write_page(tmp_path, tables=[numbers], details=[sentences], **PAGE).read_text()
    text = (tmp_path / "report.md").read_text()
    assert "## Numbers\n\n| model | n |\n|---|---:|\n| tuned | 3 |\n" in text
    assert "| a | b |\n|---|---|\n| one | left \\| right |\n" in text
    assert html.index("Numbers") < html.index("<table>") < html.index("Sentences")
    assert html.index("Sentences") < html.index('<table class="text">')


@pytest.mark.parametrize(
    ("cell", "markdown", "html"),
    [
        ("a|b", r"a\|b", "a|b"),
        ("*x*", r"\*x\*", "*x*"),
        ("_x_ but a_b", r"\_x\_ but a_b", "_x_ but a_b"),
        ("`x` [y](z)", r"\`x\` \[y\](z)", "`x` [y](z)"),
        ("<b>&amp;", r"\<b>\&amp;", "&lt;b&gt;&amp;amp;"),
        ("p < 0.05 & more", "p < 0.05 & more", "p &lt; 0.05 &amp; more"),
        ("two\nlines", "two lines", "two\nlines"),
        ("back\\slash", r"back\\slash", "back\\slash"),
        (None, "–", "–"),
        (float("nan"), "–", "–"),
        (pd.NA, "–", "–"),
        (0, "0", "0"),
        ("", "", ""),
        (page.Link("a b", "a b%#?\"'.ipynb"), "[a b](a%20b%25%23%3F%22%27.ipynb)", None),
        (page.Link("x", "javascript:alert(1)"), "[x](javascript%3Aalert%281%29)", None),
    ],
)
def test_a_cell_is_shown_as_plain_text_in_every_form(cell, markdown, html):
    table = Table("T|<i>", ["c<"], [[cell]], note="*n* <u>")
    assert table.markdown() == f"## T\\|\\<i>\n\n| c< |\n|---|\n| {markdown} |\n\n\\*n\\* \\<u>"
    shown = html if html is not None else f'<a href="{markdown.split("(")[1][:-1]}">{cell.text}</a>'
    assert f"<td>{shown}</td>" in table.html()
    assert "<h2>T|&lt;i&gt;</h2>" in table.html() and "<p>*n* &lt;u&gt;</p>" in table.html()
    assert len(table.text().splitlines()) == 3


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, ".2f", "–"),
        (math.nan, ".2f", "–"),
        (math.inf, ".2%", "–"),
        (-math.inf, "+.2f", "–"),
        (np.float64("nan"), ".1f", "–"),
        (pd.NA, ".1f", "–"),
        (-0.0001, "+.2f", "+0.00"),
        (-0.0, ".4f", "0.0000"),
        (-0.006, "+.2f", "-0.01"),
        (0.0, "+.2f", "+0.00"),
        (1e300, ",.0f", "1e+300"),
        (-3e18, "+.2f", "-3e+18"),
        (535_818, ",.0f", "535,818"),
        (0.98291, ".2%", "98.29%"),
    ],
)
def test_numbers_are_formatted_in_one_way(value, form, text):
    assert page.number(value, form) == text


def test_an_interval_needs_both_ends():
    assert page.interval(0.1, 0.25, ".0%") == "10% to 25%"
    assert page.interval(None, 0.25, ".0%") == page.interval(0.1, math.nan, ".0%") == "–"
    assert page.interval(-0.0001, 0.01, "+.1f", scale=100) == "+0.0 to +1.0"


def test_a_page_links_to_the_other_pages_of_its_folder(tmp_path):  # P4
    page.write_page(tmp_path, "faults & more", tables=[], **PAGE)
    (tmp_path / "alone.html").write_text("")
    html = page.write_page(tmp_path, tables=[], **PAGE).read_text()
    assert '<a href="faults%20%26%20more.html">faults &amp; more</a>' in html
    assert "- [faults & more](faults%20%26%20more.md)" in (tmp_path / "report.md").read_text()
    assert "alone" not in html and "Figures" not in html
