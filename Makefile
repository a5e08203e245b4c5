# Each target stands alone: on a fresh machine it makes the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := runs/pronounce

.DEFAULT_GOAL := help
.PHONY: help install demo test check clean

help:  ## List what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

install: $(INSTALLED)  ## Make the environment in $(VENV), with the tested versions

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(INSTALLED)  ## Train a model that pronounces English words (4 minutes), and try it
	$(BIN)/seq2att train pronounce run=$(DEMO)
	@echo
	@echo "How the model pronounces a few words:"
	@for word in sequence attention knowledge robot michelle; do \
	    printf '  %-12s' "$$word"; echo "$$word" | $(BIN)/seq2att translate $(DEMO); done
	$(BIN)/seq2att show $(DEMO) knowledge

test: $(INSTALLED)  ## Run every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

check: $(INSTALLED)  ## Lint, format, types and arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## Remove the environment and caches, not the runs
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
