# JupyterLab with a student's copy of the course. We have not tried it with Docker: the file follows Docker's
# documentation and passes hadolint, and its commands were run one by one outside a container.
#
#   docker build --tag mnist-course .
#   docker run --rm --publish 127.0.0.1:8888:8888 --volume mnist-course:/home/student/work mnist-course
#
# Open the address that the container prints. The copy and the results stay in the volume mnist-course. A folder with
# MNIST is found with: --volume FOLDER:/data:ro

# The wheel has no solutions of the exercises. Building it in a stage of its own keeps them out of the image.
FROM python:3.11-slim AS wheel
COPY . /course
ENV PIP_CONSTRAINT=/course/constraints.txt
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /course

FROM python:3.11-slim
COPY --from=wheel /course/constraints.txt /wheels/*.whl /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt /tmp/*.whl \
    && useradd --create-home --uid 1000 student \
    && install --directory --owner=student /home/student/work /data
ENV MNIST_DATA_DIR=/data MNIST_COURSE_RESULTS=/home/student/work/results
USER 1000
WORKDIR /home/student/work
VOLUME ["/data", "/home/student/work"]
EXPOSE 8888
CMD ["sh", "-c", "mnist-course start my-course; exec jupyter lab --ip=0.0.0.0 --no-browser --notebook-dir=my-course --LabApp.default_url=/lab/tree/START_HERE.ipynb"]
