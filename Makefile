# Every target sets up its own environment first; a second call does not install again.
PYTHON      ?= python3
VENV        := .venv
BIN         := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY       := $(VENV)/.ready
CONSTRAINTS := --constraint constraints.txt

# uv is faster than pip, so it makes the environment where it is installed.
ifeq ($(shell command -v uv),)
NEW_VENV := $(PYTHON) -m venv $(VENV)
INSTALL  := $(BIN)/python -m pip install
else
NEW_VENV := uv venv --quiet --seed --python $(PYTHON) $(VENV)
INSTALL  := uv pip install --python $(BIN)/python
endif

# The tests of one file stay in one process, because they share what is slow to make.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

# make course DATASET=digits PROFILE=quick SEED=2 RUN=monday
# The shell takes them from its environment: pasted into its commands, a value could be a command.
OPTIONS := $${PROFILE:+--profile "$$PROFILE"} $${DATASET:+--dataset "$$DATASET"} \
           $${SEED:+--seed "$$SEED"} $${FRESH:+--fresh}

# What a student sees first; in the terminal only the address and errors, and nothing of the teacher's nbgrader.
LAB := --LabApp.default_url=/lab/tree/START_HERE.ipynb --log-level=WARN --LabApp.log_level=WARN \
       --ServerApp.jpserver_extensions="{'nbgrader.server_extensions.assignment_list': False, \
       'nbgrader.server_extensions.course_list': False, \
       'nbgrader.server_extensions.formgrader': False, \
       'nbgrader.server_extensions.validate_assignment': False}"

.PHONY: setup course check test faults browser hub lab bench notebooks site lint format help

setup: $(READY)  ## only set up the environment, .venv

course: $(READY)  ## run the five notebooks, write results/course/, print the results table
	$(BIN)/mnist-course run "$${RUN:-course}" $(OPTIONS)

check: $(READY) lint  ## check format, lint and types, and run the fast tests: those that start no kernel and train nothing
	$(PYTEST) -m "not course and not long and not full and not browser"

test: $(READY)  ## run the tests, those with kernels too (offline; with MNIST too, where it is found)
	$(PYTEST)

faults: $(READY)  ## try every fault, also those that take minutes; write results/reference/faults.json and its page
	$(BIN)/python -m pytest tests/faults -m "" --faults results/reference/faults.json
	$(BIN)/mnist-course report reference

browser: $(READY)  ## run the lessons in JupyterLab in a real browser (Chromium); pictures in tests/browser/screenshots/
	$(BIN)/python -m pytest tests/browser -m browser

hub: $(READY)  ## run a class on a JupyterHub on this machine, in Chromium; needs npm
	$(INSTALL) --quiet $(CONSTRAINTS) --editable '.[dev,hub]'
	npm install --silent --no-fund --no-audit --prefix .hub configurable-http-proxy@5.3.0
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) tests/hub -m hub

lab: $(READY)  ## bring the lessons and exercises into my-course/ (or DIR) and open JupyterLab there
	$(BIN)/mnist-course start "$${DIR:-my-course}"
	$(BIN)/jupyter lab --notebook-dir="$${DIR:-my-course}" $(LAB) $(LAB_OPTIONS)

bench: $(READY)  ## measure how fast training is on this machine
	$(BIN)/python -m benchmarks

notebooks: $(READY)  ## run the lessons on MNIST, write their outputs back into notebooks/; write the students' exercises
	$(BIN)/mnist-course notebooks
	$(BIN)/mnist-course assignments release

site: $(READY)  ## build the course's website, docs/_build/html/; it needs no network
	$(BIN)/python -m docs.build

lint: $(READY)  ## check format, style and types, notebooks too
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)  ## correct what lint would report
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# The environment is made from these two files, and again only when one of them changed.
$(READY): pyproject.toml constraints.txt
	@if test -x $(BIN)/python; then $(BIN)/python .ci/check_python.py; else $(PYTHON) .ci/check_python.py; fi
	@echo "Setting up $(VENV): about two minutes, the first time more."
	@test -x $(BIN)/python || $(NEW_VENV)
	$(INSTALL) --quiet $(CONSTRAINTS) --editable '.[dev]'
	@touch $@
