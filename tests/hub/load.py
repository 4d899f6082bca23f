"""How long a training takes if N users of a hub start it at the same time.

    python -m tests.hub.load                     -> results/hub-load/: hub-load.json, hub-load.png, a page
    python -m tests.hub.load --users 1,2,4,8 --profile class --dataset mnist

Each simulated user has a server of the hub, a copy of the lessons and a kernel, as a student has, but no browser:
the cells of lesson 2 are sent to the kernel through the hub, one after the other. All users wait before the first
cell that trains, and start it together. A number of users that would need more memory than is free is left out; the
record and the page say so.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import psutil
import websocket

from mnist_course.lessons import profiles
from mnist_course.reports import page
from mnist_helpers import plots, results
from tests import measurements
from tests.browser.conftest import with_values
from tests.hub import hub as hubs

LESSON = "02_baseline"
NAME = "hub-load"
_CELL_SECONDS = 3600
_FIRST_GUESS_BYTES = 2 * 10**9  # of a user, until one was measured


class Kernel:
    """A kernel of a user, reached through the hub."""

    def __init__(self, hub: hubs.Hub, user: hubs.User, folder: str):
        session = {"name": LESSON, "path": f"{folder}/{LESSON}.ipynb", "type": "notebook"}
        started = hub.request(
            "post", f"user/{user.name}/api/sessions", json=session | {"kernel": {"name": "python3"}}
        )
        path = f"user/{user.name}/api/kernels/{started['kernel']['id']}/channels"
        url = f"{hub.url.replace('http', 'ws', 1)}{path}"
        self._socket = websocket.create_connection(url, header=hub.headers, timeout=_CELL_SECONDS)

    def run(self, source: str) -> float:
        """Runs a cell; returns its seconds.

        Raises:
            RuntimeError: the cell raised an error.
        """
        started = time.perf_counter()
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        header |= {"username": "", "session": "", "date": datetime.now().astimezone().isoformat()}
        content = {"code": source, "silent": False, "store_history": True, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell"}
        self._socket.send(json.dumps(message | {"content": content | {"allow_stdin": False}}))
        while True:
            answer = json.loads(self._socket.recv())
            if (
                answer["msg_type"] == "execute_reply"
                and answer["parent_header"]["msg_id"] == header["msg_id"]
            ):
                break
        if answer["content"]["status"] != "ok":
            raise RuntimeError(
                f"{answer['content'].get('ename')}: {answer['content'].get('evalue')}\n{source}"
            )
        return time.perf_counter() - started

    def close(self) -> None:
        """Closes the connection; the kernel runs on."""
        self._socket.close()


def measure(count: int, parameters: dict[str, Any], *, cores: int, data_dir: str) -> list[dict[str, float]]:
    """Lets `count` users run lesson 2's training at once, on a hub of their own.

    Args:
        count: how many.
        parameters: of the lesson.
        cores: that each may use.
        data_dir: folder of the data files; empty if none is needed.

    Returns:
        Of each user: `training_seconds`, `lesson_seconds` without the wait for the others, and
        `memory_bytes`, the largest during the training, of server and kernel.
    """
    names, password = [f"mnist-load-{number}" for number in range(1, count + 1)], uuid.uuid4().hex
    place = Path(tempfile.mkdtemp(prefix="hub-"))
    place.chmod(0o755)
    for folder in ("home", "hub"):
        (place / folder).mkdir()
    environment = {"LOKY_MAX_CPU_COUNT": str(cores), "MNIST_DATA_DIR": data_dir}
    try:
        with hubs.users(names, place / "home", password) as users:
            hub = hubs.Hub(place / "hub", users, password=password, environment=environment)
            try:
                return _run_class(hub, users, parameters)
            finally:
                hub.end()
    finally:
        shutil.rmtree(place)


def _run_class(
    hub: hubs.Hub, users: Sequence[hubs.User], parameters: dict[str, Any]
) -> list[dict[str, float]]:
    ready, done = threading.Barrier(len(users)), threading.Event()
    with ThreadPoolExecutor(len(users) + 1) as threads:
        for _ in threads.map(hub.start_server, users):
            pass
        memory = threads.submit(_largest_memory, hub, users, done)
        try:
            measured = list(threads.map(lambda user: _run_lesson(hub, user, parameters, ready), users))
        finally:
            done.set()
    return [
        seconds | {"memory_bytes": largest}
        for seconds, largest in zip(measured, memory.result(), strict=True)
    ]


def _run_lesson(
    hub: hubs.Hub, user: hubs.User, parameters: dict[str, Any], ready: threading.Barrier
) -> dict[str, float]:
    content = hub.request("get", f"user/{user.name}/api/contents/my-course/{LESSON}.ipynb")["content"]
    kernel, training, lesson = Kernel(hub, user, "my-course"), 0.0, 0.0
    try:
        for cell in content["cells"]:
            if cell["cell_type"] != "code":
                continue
            source, trains = cell["source"], ".fit(" in cell["source"]
            if "parameters" in cell["metadata"].get("tags", []):
                source = with_values(source, parameters)
            if trains and not training:
                ready.wait(_CELL_SECONDS)
            seconds = kernel.run(source)
            training += seconds * trains
            lesson += seconds
    except BaseException:
        ready.abort()  # the others would wait for this user
        raise
    finally:
        kernel.close()
    return {"training_seconds": training, "lesson_seconds": lesson}


def _largest_memory(hub: hubs.Hub, users: Sequence[hubs.User], done: threading.Event) -> list[int]:
    largest = [0] * len(users)
    while not done.wait(2):
        largest = [max(before, hub.memory_bytes(user)) for before, user in zip(largest, users, strict=True)]
    return largest


def summary(users: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns how many users there were, and their median, shortest and longest training and largest memory."""
    seconds = [user["training_seconds"] for user in users]
    return {
        "users": len(users),
        "median_seconds": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "lesson_seconds": statistics.median(user["lesson_seconds"] for user in users),
        "memory_bytes": max(user["memory_bytes"] for user in users),
    }


def table(record: dict[str, Any]) -> page.Table:
    """Returns the record as a table."""
    rows = [
        [
            point["users"],
            page.number(point["median_seconds"], ".1f", " s"),
            page.interval(point["low"], point["high"], ".1f", " s"),
            page.number(point["lesson_seconds"], ".1f", " s"),
            page.number(point["memory_bytes"], ",.0f", " MB", 1e-6),
        ]
        for point in record["points"]
    ]
    machine = record["machine"]
    note = (
        f"Profile {record['profile']}, {record['dataset']}, {record['cores']} cores for each user; "
        f"{machine['processor'] or machine['architecture']}, {machine['cores']} cores. The training is both "
        "trainings of lesson 2, which all users start together. Memory: the largest of a user's server and kernel."
    )
    if record["left_out"]:
        note += (
            f" Left out, because the memory was too small: {', '.join(map(str, record['left_out']))} users."
        )
    columns = ["users at once", "training, median", "range", "whole lesson, median", "memory for each"]
    return page.Table("Lesson 2 on a hub", columns, rows, note)


def figure(record: dict[str, Any]) -> plots.DescribedFigure:
    """Draws the seconds of a training against the number of users, and users times the seconds of one."""
    points, colors = record["points"], plots.COLORS
    count = [point["users"] for point in points]
    median = [point["median_seconds"] for point in points]
    drawn, axes = plots.single_axes(6.5, 3.8)
    below = [point["median_seconds"] - point["low"] for point in points]
    above = [point["high"] - point["median_seconds"] for point in points]
    axes.errorbar(
        count, median, (below, above), fmt="-o", color=colors[0], capsize=3, label="median and range"
    )
    first = median[0] / count[0]
    axes.plot([0, count[-1]], [0, first * count[-1]], "--", color=colors[1], label="users × time of one user")
    title = f"Training of lesson 2 on a hub with {record['machine']['cores']} cores"
    axes.set(title=title, xlabel="users at once", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    axes.set_xticks(count)
    axes.legend()
    words = [f"{users} at once: {seconds:.1f} s" for users, seconds in zip(count, median, strict=True)]
    return plots.described(drawn, f"{title}.", words)


def conclusion(record: dict[str, Any]) -> str:
    """Returns in words what the most users waited, compared with the fewest."""
    first, last = record["points"][0], record["points"][-1]
    return (
        f"The training takes {first['median_seconds']:.1f} s with {first['users']} at once and "
        f"{last['median_seconds']:.1f} s with {last['users']} at once: "
        f"{last['median_seconds'] / first['median_seconds']:.1f} times as long (medians)."
    )


def write(folder: Path, record: dict[str, Any]) -> Path:
    """Writes the record, its picture and its page; returns the path of the page."""
    words, drawn = conclusion(record), figure(record)
    return measurements.write(
        folder,
        NAME,
        record,
        title="Many users of a hub",
        conclusion=words,
        table=table(record),
        figure=drawn,
    )


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    parts = value.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"Expected: whole numbers from 1, such as 1,2,4. Received: {value!r}.")
    return sorted({int(part) for part in parts})


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--users", default="1,2", callback=_numbers, metavar="N,N", help="Numbers of users at once.")
@click.option("--profile", default="quick", type=click.Choice(sorted(profiles())), help="Of the lesson.")
@click.option("--dataset", default="digits", type=click.Choice(["digits", "mnist"]))
@click.option("--cores", default=2, type=click.IntRange(1), metavar="N", help="That each user may use.")
@click.option("--into", default=f"results/{NAME}", type=click.Path(path_type=Path), help="Folder to write.")
def main(users: list[int], profile: str, dataset: str, cores: int, into: Path) -> None:
    """Measure how long lesson 2's training takes if several users of a hub start it at once."""
    data_dir = os.environ.get("MNIST_DATA_DIR", "")
    if dataset == "mnist" and not data_dir:
        raise click.UsageError("--dataset mnist: set MNIST_DATA_DIR to a folder that holds MNIST.")
    if problem := hubs.missing():
        raise click.UsageError(problem)
    parameters = profiles()[profile] | {"profile": profile, "dataset": dataset, "run": "load"}
    record: dict[str, Any] = {"lesson": LESSON, "profile": profile, "dataset": dataset, "cores": cores}
    record |= {"date": datetime.now().date().isoformat(), "machine": results.machine()}
    record |= {"accounts": hubs.has_accounts(), "points": [], "left_out": []}
    each: float = _FIRST_GUESS_BYTES
    for count in users:
        free = psutil.virtual_memory().available
        if count * each * 1.1 > free:
            record["left_out"].append(count)
            click.echo(
                f"{count} users: left out, {count * each * 1e-9:.1f} GB are needed, {free * 1e-9:.1f} GB are free"
            )
            continue
        point = summary(measure(count, parameters, cores=cores, data_dir=data_dir))
        each = point["memory_bytes"]
        record["points"].append(point)
        click.echo(f"{count} users: {point['median_seconds']:.1f} s, {each * 1e-6:,.0f} MB each")
        write(into, record)  # after each, since the next may take long
    if not record["points"]:
        raise click.ClickException("Nothing was measured: the memory is too small for one user.")
    report = write(into, record)
    click.echo(f"{table(record).text()}\n{conclusion(record)}\nReport: {report}")


if __name__ == "__main__":
    main()
