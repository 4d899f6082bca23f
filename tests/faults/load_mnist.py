"""A process that loads "MNIST", as one student of a class does; prints where it came from and its checksums."""

import dataclasses
import json
import sys

from mnist_helpers import data

made_up = dataclasses.replace(data.DATASETS["mnist"], array_sha256=json.loads(sys.argv[1]))
data.DATASETS["mnist"] = made_up
arrays, source = data.load_arrays("mnist")
described = data.describe("mnist", **arrays)
print(json.dumps({"kind": source.kind.name, "source": str(source), "sha256": described["sha256"]}))
