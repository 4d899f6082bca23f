"""Refuses a Python for which TensorFlow has no packages, before an environment is made with it.

Every Python, Python 2 included, must be able to run this file: only then can it say what is wrong.
"""

import platform
import sys
import sysconfig

OTHER_PYTHON = """Name another Python, such as: make PYTHON=python3.12 ...
If there is none, uv installs one: uv venv --seed --python 3.12 .venv, then give the same command again."""
HUB = "The course can be used on a shared server or in the cloud instead: see docs/hubs.md."
MACHINES = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",), "Windows": ("AMD64",)}


def problem():
    """Returns why the course cannot be installed with this Python, and what to do; empty if it can be installed."""
    version = "%d.%d.%d" % tuple(sys.version_info[:3])
    if not (3, 11) <= tuple(sys.version_info[:2]) < (3, 14):
        return "Expected: Python 3.11, 3.12 or 3.13. Received: Python %s.\n%s" % (version, OTHER_PYTHON)
    system, machine = platform.system(), platform.machine()
    if machine not in MACHINES.get(system, ()):
        return "TensorFlow has no packages for this system: %s on %s.\n%s" % (machine, system, HUB)
    kinds = {
        platform.python_implementation(): platform.python_implementation() != "CPython",
        "a 32-bit build": sys.maxsize < 2**32,
        "a build without the global interpreter lock": sysconfig.get_config_var("Py_GIL_DISABLED"),
        "a build for musl": "musl" in str(sysconfig.get_config_var("SOABI")),
    }
    for kind in kinds:
        if kinds[kind]:
            return "TensorFlow has no packages for this kind of Python: %s.\n%s" % (kind, OTHER_PYTHON)
    return ""


if __name__ == "__main__":
    found = problem()
    if found and sys.prefix != getattr(sys, "base_prefix", sys.prefix):
        found += "\nThis is the Python of the environment %s: delete that folder first." % sys.prefix
    sys.exit(found or None)
