"""A process that loads "MNIST", as one student of a class does; prints where it came from and its checksums."""

import json
import sys

from mnist_helpers import data

data._ARRAY_SHA256["mnist"] = json.loads(sys.argv[1])
arrays, place = data.load_arrays("mnist")
print(json.dumps({"place": place, "sha256": {name: data._sha256(array) for name, array in arrays.items()}}))
