"""JupyterHub for a class on one Linux machine, where each student has an account with a password.

As root, install the course with the hub, into an environment that students can read, and the hub's proxy with npm
(Node.js 20 or newer). The environment contains no solutions; the repository does, so students must not read it.

    python3 -m venv /opt/mnist-course
    /opt/mnist-course/bin/pip install --constraint constraints.txt '.[hub]'
    npm install --global configurable-http-proxy@5

Copy this file, change what is written in capitals, and start the hub as root, in a folder that only root can read,
since the hub keeps its database and its keys there:

    mkdir --mode 700 /srv/jupyterhub && cd /srv/jupyterhub
    /opt/mnist-course/bin/jupyterhub --config /path/to/jupyterhub_config.py

`docs/hubs.md` explains the settings. `tests/hub` starts a hub with this file.
"""

import sys
from pathlib import Path

DATA = "/data/mnist"  # holds MNIST; students can read it and cannot write to it
CORES_PER_STUDENT = 2
IDLE_SECONDS = 7200  # after this time without use, a kernel is ended; longer than a class, see docs/hubs.md

BIN = Path(sys.executable).parent  # of the environment that holds JupyterHub and the course

# Students reach the hub through a web server with HTTPS on the same machine, which passes requests on to here.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# The accounts and passwords of the machine. An account that is not for the hub gets no shell and no password.
c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.default_url = "/lab/tree/my-course/START_HERE.ipynb"
c.Spawner.http_timeout = 180  # seconds until a server answers; at the beginning of a class, all start at once

# Runs as the student, before the server starts. No other account can read what the server and its kernels write.
# `mnist-course start` makes or updates the student's copy; it never overwrites a file that the student has changed.
START_SERVER = """
umask 077
export MNIST_COURSE_RESULTS="$HOME/mnist-results"
export JUPYTER_RUNTIME_DIR="$(mktemp -d)"
mnist-course start "$HOME/my-course" >"$HOME/.mnist-course-start.log" 2>&1 || true
exec jupyterhub-singleuser "$@"
"""
c.Spawner.cmd = ["/bin/sh", "-c", START_SERVER, "start-server"]
c.Spawner.environment = {
    "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
    "MNIST_DATA_DIR": DATA,
    "MNIST_COURSE_OFFLINE": "1",
    "LOKY_MAX_CPU_COUNT": str(
        CORES_PER_STUDENT
    ),  # limits the threads of each kernel and command of the course
}
c.Spawner.args = [
    # Kernels talk through sockets in JUPYTER_RUNTIME_DIR, which is the student's own. Its path is short, as sockets
    # need. If kernels talked through ports, every account of this machine could read what they print.
    "--KernelManager.transport=ipc",
    f"--MappingKernelManager.cull_idle_timeout={IDLE_SECONDS}",
    "--MappingKernelManager.cull_interval=60",
    "--MappingKernelManager.cull_connected=True",  # also if the notebook is still open in a browser
    f"--ServerApp.shutdown_no_activity_timeout={IDLE_SECONDS}",  # then the server ends, too
]
