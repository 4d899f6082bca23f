"""The runs of a study: their names, seeds and settings, from what its `study.json` asks for.

The runner of studies, the report and `replicate` have to agree on which runs belong to a study.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_helpers import parameters

_LONGEST_NAME = 64  # characters of a run's name, see `parameters`
Grid = dict[str, tuple[int, dict[str, Any]]]  # run name -> its seed and its swept parameters


def grid(seeds: Sequence[int], swept: Mapping[str, Sequence[Any]]) -> Grid:
    """Returns the runs of a study: run name -> its seed and its swept parameters.

    Args:
        seeds: the seeds of the study.
        swept: parameter -> values; the grid is their product with the seeds.

    Raises:
        UserError: a name is too long for a run.
    """
    runs = {}
    for values in itertools.product(*swept.values()):
        setting = dict(zip(swept, values, strict=True))
        for seed in seeds:
            runs[parameters.check("run", _run_name(setting, seed))] = (seed, setting)
    return runs


def _run_name(setting: dict[str, Any], seed: int) -> str:
    """Returns a name that depends on the setting and the seed only, and that no other setting has."""
    parts = [f"{name}-{value}" for name, value in setting.items()]
    name = "_".join([*parts, f"seed-{seed}"])
    has_text = any(isinstance(value, str) for value in setting.values())
    if not has_text and len(name) <= _LONGEST_NAME and re.fullmatch(r"[\w.-]+", name, re.ASCII):
        return name
    # Texts may differ only in what a folder's name cannot hold, or in case, so a hash tells them apart.
    digest = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:10]
    end = f"-{digest}_seed-{seed}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", "_".join(parts))[: _LONGEST_NAME - len(end)] + end


def belonging(runs: Mapping[str, Mapping[str, Mapping[str, Any]]], asked: Mapping[str, Any]) -> list[str]:
    """Returns the names of the runs that belong to a study, in the order of its grid.

    A run belongs to it if it has the name of a run of the grid, and its records name the profile, the seed and the
    parameters of that run. A parameter that a lesson does not have is not in its record.

    Args:
        runs: run name -> lesson -> record.
        asked: the content of `study.json`.
    """
    found = []
    for name, (seed, setting) in grid(asked["seeds"], asked["swept"]).items():
        wanted = {**asked.get("fixed", {}), **setting, "seed": seed}
        wanted |= {"profile": asked["profile"]} if "profile" in asked else {}
        params = [record["params"] for record in runs.get(name, {}).values()]
        is_same = all(of.get(key, value) == value for of in params for key, value in wanted.items())
        found += [name] if params and is_same else []
    return found
