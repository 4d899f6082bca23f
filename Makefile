# Every target sets up its own environment first; a second call does not install again.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# make course DATASET=digits PROFILE=quick SEED=2 RUN=monday
# The shell takes them from its environment: pasted into its commands, a value could be a command.
OPTIONS := $${PROFILE:+--profile "$$PROFILE"} $${DATASET:+--dataset "$$DATASET"} \
           $${SEED:+--seed "$$SEED"} $${FRESH:+--fresh}

.PHONY: setup course test faults browser lab bench notebooks lint format help

setup: $(READY)  ## only set up the environment, .venv

course: $(READY)  ## run the five notebooks, write results/course/, print the results table
	$(BIN)/mnist-course run "$${RUN:-course}" $(OPTIONS)

test: $(READY)  ## pass the tests (offline; checks MNIST too where it is found)
	$(BIN)/python -m pytest

faults: $(READY)  ## try every fault, also those that take minutes; write results/reference/faults.json and the report
	$(BIN)/python -m pytest tests/faults -m "" --faults results/reference/faults.json
	$(BIN)/mnist-course report reference

browser: $(READY)  ## run the lessons in JupyterLab in a real browser (Chromium); pictures in tests/browser/screenshots/
	$(BIN)/python -m pytest -m browser

lab: $(READY)  ## bring the lessons and exercises into my-course/ (or DIR) and open JupyterLab there
	$(BIN)/mnist-course start "$${DIR:-my-course}"
	$(BIN)/jupyter lab --notebook-dir="$${DIR:-my-course}" $(LAB_OPTIONS)

bench: $(READY)  ## measure how fast training is on this machine
	$(BIN)/mnist-course bench

notebooks: $(READY)  ## run the lessons on MNIST, write their outputs back into notebooks/; write the students' exercises
	$(BIN)/mnist-course notebooks
	$(BIN)/mnist-course assignments release

lint: $(READY)  ## check format and lint, notebooks too
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY)  ## mend what lint would complain about
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# The environment is made anew from what stands in these two files, and only when one of them changed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Say which with: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV): about two minutes, the first time more."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
