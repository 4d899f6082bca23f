"""How many threads a kernel starts. TensorFlow counts all cores of the machine, not only the ones it may use."""

from __future__ import annotations

import os

from mnist_helpers._errors import UserError

_LIMITS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def usable_cores() -> int:
    """Returns how many cores this process may keep busy: its affinity, and its container's quota rounded up.

    `LOKY_MAX_CPU_COUNT` in the environment lowers the answer.

    Raises:
        UserError: that variable is not a number.
    """
    from joblib import cpu_count

    try:
        return cpu_count()
    except ValueError as error:
        raise UserError(
            "LOKY_MAX_CPU_COUNT in the environment has a wrong value. Expected: a whole number of cores. "
            f"Received: {os.environ.get('LOKY_MAX_CPU_COUNT')!r}."
        ) from error


def limit_threads(threads: int) -> None:
    """Sets how many threads each child process, and each library imported from now on, may start."""
    os.environ.update(dict.fromkeys(_LIMITS, str(threads)))


def limit_threads_to_quota() -> None:
    """Limits threads where this process may not use all cores; a limit that is set already is kept.

    Called before TensorFlow is imported.
    """
    unset = [name for name in _LIMITS if name not in os.environ]
    if not unset:
        return
    cores = usable_cores()
    if cores >= (os.cpu_count() or 1):
        return
    os.environ.update(dict.fromkeys(unset, str(cores)))
    if "OMP_NUM_THREADS" in unset:  # joblib has imported NumPy, which has started its threads by now
        import threadpoolctl

        threadpoolctl.threadpool_limits(cores)
