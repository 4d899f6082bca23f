"""Where the course's files are: in a checkout those of the checkout, otherwise those of the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = all((_PACKAGE.parent / name).exists() for name in ("pyproject.toml", "notebooks"))
ROOT = _PACKAGE.parent if IS_CHECKOUT else _PACKAGE / "course"
NOTEBOOKS = ROOT / "notebooks"
REFERENCE = ROOT / "results" / "reference"
