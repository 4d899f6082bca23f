"""For CI: too few passed tests, or a skipped test that this machine should run, is a failure.

python -m pytest -p tests.required --at-least 900
"""

import os

import pytest

# What a machine may lack. Everything else must be there: packages, Chromium, a git checkout, pip, nbgrader.
ALLOWED = (
    "no network namespace can be made on this machine",
    "an administrator who may not mount",
    "no small file system can be mounted",
    "no namespaces for ordinary accounts here",
    "with one core there is nothing to limit",
    "pip has no index here",
    "no accounts can be made here that can run this Python",
    "PyTorch is not installed",
    "JAX is not installed",
)
MNIST = "MNIST is not on this machine"
PROBLEMS = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    parser.addoption("--at-least", type=int, default=1, metavar="N", help="fail if fewer than N tests pass")


def problems(passed: int, least: int, skipped: list[tuple[str, str]], has_mnist: bool) -> list[str]:
    """Returns what is wrong with a run.

    Args:
        passed: the number of tests that passed.
        least: the number that must pass.
        skipped: name and reason of each skipped test.
        has_mnist: whether MNIST was given, so that no test may miss it.
    """
    allowed = ALLOWED if has_mnist else (*ALLOWED, MNIST)
    return [f"{passed} tests passed. Expected: at least {least}."] * (passed < least) + [
        f"{name} was skipped, and CI needs it: {reason}"
        for name, reason in skipped
        if not reason.startswith(allowed)
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker of pytest-xdist
        return
    skipped = [
        (report.nodeid, report.longrepr[2].removeprefix("Skipped: "))
        for report in reporter.stats.get("skipped", [])
    ]
    passed, least = len(reporter.stats.get("passed", [])), session.config.getoption("at_least")
    found = problems(passed, least, skipped, "MNIST_DATA_DIR" in os.environ)
    session.config.stash[PROBLEMS] = found
    if found and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    for problem in terminalreporter.config.stash.get(PROBLEMS, []):
        terminalreporter.write_line(f"REQUIRED: {problem}", red=True)
