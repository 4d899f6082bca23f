"""The package behind the command `mnist-course`: it runs the lessons, reports, grades and hands the course out."""

import sys

# nbformat imports jsonschema. If `rfc3987_syntax` is installed, jsonschema imports it and so builds a grammar of
# internationalised addresses, which takes a second in each process. No format of a notebook has such an address.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
