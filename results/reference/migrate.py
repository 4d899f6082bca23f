"""Brings the committed records to the names of this version; nothing that was measured is changed.

Kept until the reference results are made again. From the course's folder: `python results/reference/migrate.py`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_helpers import _files, results

_RECORD_KEYS = {"stage": "lesson"}
_STUDY_KEYS = {"stages": "lessons"}
_RECIPES = {"ours": "fast_recipe", "stock": "keras_default", "dropout_512": "keras_mnist_mlp"}


def _renamed(content: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in content.items()}


def _renamed_architecture(machine: dict[str, Any]) -> dict[str, Any]:
    """In older records, `processor` is the architecture (`x86_64`); now it is the processor's model name."""
    return machine if "architecture" in machine else _renamed(machine, {"processor": "architecture"})


def migrate(folder: Path) -> list[Path]:
    """Renames the keys of all records, studies and the benchmark below `folder`.

    Returns:
        The files that were changed.
    """
    changed = []
    for path in sorted(folder.rglob("*.json")):
        before = _files.read_json(path)
        after = before
        if path.stem in results.LESSONS:
            after = _renamed(before, _RECORD_KEYS)
            after["machine"] = _renamed_architecture(after["machine"])
            after["sha256"] = results.fingerprint(after)
        elif path.name == "study.json":
            after = _renamed(before, _STUDY_KEYS)
        elif path.name == "summary.json":
            after = _summary(before)
        elif path.name == "bench.json":
            after = before | {"time_to_target": _renamed(before["time_to_target"], _RECIPES)}
        if after != before:
            _files.write_json(path, after)
            changed.append(path)
    return changed


def _summary(content: Any) -> Any:
    """A row per model in a run's summary, an entry per model in a study's."""
    if isinstance(content, dict):
        return {
            _RECORD_KEYS.get(key, _STUDY_KEYS.get(key, key)): _summary(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_summary(value) for value in content]
    return content


if __name__ == "__main__":
    for changed_path in migrate(Path(__file__).resolve().parent):
        print(changed_path)
