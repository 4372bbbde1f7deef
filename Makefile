# Each target sets up what it needs: a virtual environment with the project in it.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo proof test check lint types layers tests bench fmt

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(READY) ## make the virtual environment

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY) ## data, pretraining, benchmark and report on the built-in world, a few minutes
	$(RUN) -m data_tools shapes --output data/shapes --pairs 12000 --seed 0
	$(RUN) -m training.train --config training/recipes/shapes_cpu.yaml --run runs/demo
	$(RUN) -m eval report runs/demo

proof: $(READY) ## each objective with and without on the built-in world, an hour or more on two cores
	$(RUN) -m benchmarks.proof

test: $(READY) ## what CI runs: set up, lint, types, layers, tests
	$(MAKE) check

check: lint types layers tests ## the same without the set-up

lint:
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check

types:
	$(RUN) -m mypy

layers:
	$(VENV)/bin/lint-imports

tests:
	OMP_NUM_THREADS=1 $(RUN) -m pytest --quiet --numprocesses 2 --dist loadfile

bench: $(READY) ## performance, side by side with the peers
	for name in loss loader data_tools eval retrieval gpu; do $(RUN) benchmarks/$$name.py || exit 1; done

fmt: ## format the code
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format
