"""A process that loads "MNIST", as one student of a class does; prints where it came from and its checksums."""

import json
import sys

from mnist_helpers import data
from mnist_helpers.data import _archives

_archives.ARRAY_SHA256["mnist"] = json.loads(sys.argv[1])
arrays, place = data.load_arrays("mnist")
print(
    json.dumps({"place": place, "sha256": {name: _archives.sha256(array) for name, array in arrays.items()}})
)
