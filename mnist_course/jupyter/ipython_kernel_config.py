# Installed under the environment's etc/ipython/, where every kernel reads it. TensorFlow's C++ code writes
# log lines to file descriptor 2; without this, ipykernel shows them inside the lessons.
c.IPKernelApp.capture_fd_output = False

# On a hub, many kernels share a machine, and each may use a few of the cores that it sees.
try:
    from mnist_course import cores

    cores.limit_threads_to_quota()
except Exception:  # too many threads are slow; a kernel that does not start is worse
    pass
