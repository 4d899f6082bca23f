"""A JupyterHub on loopback, with the configuration that teachers get, and accounts for its users."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import requests

from tests import processes

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "docs" / "jupyterhub_config.py"
PROXY = ROOT / ".hub" / "node_modules" / ".bin" / "configurable-http-proxy"
_MADE_BY = "made by the tests of mnist-course"  # the comment of an account
_STARTED = 180  # seconds for the hub, or for a user's server


class User(NamedTuple):
    """Someone who can log in.

    Attributes:
        name: what is typed at the login.
        home: the home folder.
        account: the account that the user's processes run as.
    """

    name: str
    home: Path
    account: str


def missing() -> str:
    """Returns what this machine lacks for a hub, and the remedy; empty if nothing is missing."""
    if not (Path(sys.executable).parent / "jupyterhub").is_file():
        return "no JupyterHub here: make hub"
    return "" if PROXY.is_file() else "no configurable-http-proxy here: make hub"


@functools.cache
def has_accounts() -> bool:
    """Returns whether accounts can be made here that can run this Python and read this course.

    They cannot if, for example, Python is in the home folder of root.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("useradd", "userdel", "chpasswd", "runuser"))):
        return False
    program = "import jupyterhub.singleuser, mnist_course.cli"
    command = ["runuser", "-u", "nobody", "--", sys.executable, "-c", program]
    return subprocess.run(command, cwd="/", capture_output=True).returncode == 0


@contextlib.contextmanager
def users(names: Sequence[str], folder: Path, password: str) -> Iterator[list[User]]:
    """Makes users with empty home folders in `folder`; at the end, their accounts are deleted.

    Each is an account of the operating system where `has_accounts()`; otherwise only a name with a home folder, and
    all processes run as the account that runs the tests.
    """
    if not has_accounts():
        made = [User(name, folder / name, getpass.getuser()) for name in names]
        for user in made:
            user.home.mkdir(mode=0o700)
        yield made
        return
    made = [User(name, folder / name, name) for name in names]
    with contextlib.ExitStack() as stack:
        for user in made:
            _delete_account(user.name)  # left by a run that was killed
            stack.callback(_delete_account, user.name)
            options = ["--comment", _MADE_BY, "--create-home", "--home-dir", str(user.home)]
            subprocess.run(["useradd", *options, "--shell", "/bin/bash", user.name], check=True)
            subprocess.run(["chpasswd"], input=f"{user.name}:{password}", text=True, check=True)
        yield made


def _delete_account(name: str) -> None:
    """Deletes an account that `users` made; any other account of that name is an error."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return
    if entry.pw_gecos != _MADE_BY:
        raise RuntimeError(f"The account {name} was not made by these tests. Expected: a name that is free.")
    subprocess.run(["userdel", "--force", name], check=True, capture_output=True)


class Hub:
    """A hub that runs with `docs/jupyterhub_config.py` and a few other settings.

    Attributes:
        url: where it listens; it ends with a slash.
        log: the file with all that the hub and the users' servers print.
    """

    def __init__(
        self,
        folder: Path,
        users: Sequence[User],
        *,
        password: str,
        environment: Mapping[str, str] | None = None,
        arguments: Mapping[str, object] | None = None,
    ):
        """Starts it.

        Args:
            folder: an empty folder for its files.
            users: who can log in.
            password: the password of all of them.
            environment: variables of the users' servers that differ from the configuration's.
            arguments: options of the users' servers that differ from the configuration's, where each has a value.
        """
        folder.chmod(0o700)
        self.log = folder / "hub.log"
        self._token = secrets.token_hex(32)
        public, internal, proxy = _free_ports(3)
        self.url = f"http://127.0.0.1:{public}/"
        settings = {
            "JupyterHub.bind_url": self.url,
            "JupyterHub.hub_bind_url": f"http://127.0.0.1:{internal}",
            "ConfigurableHTTPProxy.api_url": f"http://127.0.0.1:{proxy}",
            "ConfigurableHTTPProxy.command": [str(PROXY)],
            "ConfigurableHTTPProxy.should_start": True,
            "JupyterHub.services": [{"name": "tests", "api_token": self._token}],
            "JupyterHub.load_roles": [
                {
                    "name": "tests",
                    "services": ["tests"],
                    "scopes": ["admin:users", "admin:servers", "access:servers"],
                }
            ],
        }
        if not has_accounts():
            settings |= _without_accounts(users, password)
        config = folder / "config.py"
        config.write_text(_config(settings, environment or {}, arguments or {}), encoding="utf-8")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", str(config)],
                cwd=folder,
                env=kept | {"HOME": str(folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            processes.until(self._answers, _STARTED)
        except BaseException:
            self.end()
            raise

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}hub/health", timeout=5).ok
        return False

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Asks the hub, or the server of a user, as an administrator's program does; returns what is answered.

        Args:
            method: such as `"get"`.
            path: such as `"hub/api/users"`.
            options: as of `requests.request`.
        """
        options = {"headers": self.headers, "timeout": _STARTED} | options
        answer = requests.request(method, f"{self.url}{path}", **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self._token}"}

    def is_ready(self, user: User) -> bool:
        """Returns whether the server of a user has started; that it could not start is an error."""
        time.sleep(0.5)  # the hub has other things to do than to answer
        answer = self.request("get", f"hub/api/users/{user.name}")
        assert answer["server"] or answer["pending"], self.log.read_text()
        return bool(answer["server"])

    def start_server(self, user: User) -> None:
        """Starts the server of a user, without a browser."""
        self.request("post", f"hub/api/users/{user.name}")
        self.request("post", f"hub/api/users/{user.name}/server")
        processes.until(lambda: self.is_ready(user), _STARTED)

    def processes_of(self, user: User) -> list[psutil.Process]:
        """Returns the server of a user and all that it has started."""
        found = []
        for process in processes.family(self._process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.environ().get("JUPYTERHUB_USER") == user.name:
                    found.append(process)
        return found

    def memory_bytes(self, user: User) -> int:
        """Returns the memory of a user's processes; what several share is divided among them (PSS)."""
        total = 0
        for process in self.processes_of(user):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def end(self) -> None:
        """Ends the hub, its proxy, and all servers and kernels."""
        family = processes.family(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            for process in processes.alive(family):
                process.kill()
            self._process.wait()
            processes.until_gone(family)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [opened.getsockname()[1] for opened in sockets]


def _without_accounts(users: Sequence[User], password: str) -> dict[str, Any]:
    """Returns settings for users who are only names: one password, and processes of this account."""
    (folder,) = {user.home.parent for user in users}
    return {
        "JupyterHub.authenticator_class": "dummy",
        "DummyAuthenticator.password": password,
        "JupyterHub.spawner_class": "simple",
        "SimpleLocalProcessSpawner.home_dir_template": f"{folder}/{{username}}",
    }


def _config(
    settings: Mapping[str, Any], environment: Mapping[str, str], arguments: Mapping[str, object]
) -> str:
    """Returns a configuration that loads the teacher's, then sets what differs.

    A variable or an option of a user's server that the teacher's configuration does not have stops the hub.
    """
    lines = [f"load_subconfig({str(CONFIG)!r})"]
    lines += [f"c.{name} = {value!r}" for name, value in settings.items()]
    lines += [
        f"assert {set(environment)!r} <= set(c.Spawner.environment)",
        f"c.Spawner.environment.update({dict(environment)!r})",
    ]
    for name, value in arguments.items():
        lines += [
            f"(place,) = [n for n, given in enumerate(c.Spawner.args) if given.split('=')[0] == {name!r}]",
            f"c.Spawner.args[place] = {f'{name}={value}'!r}",
        ]
    if os.geteuid() == 0 and not has_accounts():
        lines += ["c.Spawner.args.append('--allow-root')"]
    return "\n".join(lines) + "\n"
