# Installed under the environment's etc/ipython/, where every kernel reads it. TensorFlow's C++ code writes
# log lines to file descriptor 2; without this, ipykernel shows them inside the lessons.
c.IPKernelApp.capture_fd_output = False
