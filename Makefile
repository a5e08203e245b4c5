# Each target stands alone: on a fresh machine it makes the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OLDEST := $(VENV)-oldest
OLDEST_TESTS := $(addprefix tests/test_,model.py data.py reader.py tokenizer.py metric.py config.py record.py files.py)
PIP_INSTALL := python -m pip install --quiet --disable-pip-version-check
PIP_LOCKED := $(PIP_INSTALL) --require-hashes --no-deps
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --no-emit-index-url --custom-compile-command 'make lock'
DEMO := runs/pronounce
WORDS := sequence attention knowledge robot michelle

.DEFAULT_GOAL := help
.PHONY: help install lock oldest demo test fuzz sanitize faults hostile docs notebooks check clean

help:  ## List what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

install: $(INSTALLED)  ## Make the environment in $(VENV), with the tested versions

# First what builds packages, then all others but PyTorch, each with the hash of its file; then PyTorch and this package.
$(INSTALLED): pyproject.toml constraints.txt requirements-build.lock requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP_LOCKED) -r requirements-build.lock
	$(BIN)/$(PIP_LOCKED) --no-build-isolation -r requirements.lock
	$(BIN)/$(PIP_INSTALL) --no-build-isolation -c constraints.txt -e ".[dev]"
	@touch $@

# PyTorch is left out: which of its builds is right depends on the machine, and the CPU builds are not on every index.
lock:  ## Write the lock files anew after a change of constraints.txt (needs uv)
	$(COMPILE) --no-deps --no-emit-package torch -o requirements.lock constraints.txt
	printf '%s\n' editables hatchling setuptools setuptools-scm | $(COMPILE) -c constraints.txt -o requirements-build.lock -

oldest: $(OLDEST)/.installed  ## Run a selection of the tests with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n 0 -W default $(OLDEST_TESTS)

$(OLDEST)/.installed: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/oldest.py $(PINS) > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/$(PIP_INSTALL) -c $(OLDEST)/constraints.txt -e ".[dev]"
	@touch $@

demo: $(DEMO)/metrics.json  ## Train a model that pronounces English words (4 minutes), and try it
	@printf '\nHow the model pronounces words:\n\n'
	@printf '%s\n' $(WORDS) | $(BIN)/seq2att translate $(DEMO) | \
	    for word in $(WORDS); do read -r sounds; printf '  %-12s %s\n' "$$word" "$$sounds"; done
	@printf '\nWhere it looked while it spoke:\n\n'
	@$(BIN)/seq2att show $(DEMO) knowledge
	@printf '\nNow type\n\n'
	@printf '  %s\n' "source $(BIN)/activate" "seq2att translate $(DEMO)" "seq2att train reverse" "seq2att list"

# A finished run is kept; an interrupted one goes on where it stopped.
$(DEMO)/metrics.json: | $(INSTALLED)
	$(BIN)/seq2att train pronounce

test: $(INSTALLED)  ## Run every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

fuzz: $(INSTALLED)  ## Draw 2,500 settings, anew each time (10 minutes)
	SEQ2ATT_EXAMPLES=2500 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_settings_fuzz.py

sanitize: $(INSTALLED)  ## Fuzz the native functions under AddressSanitizer (skipped where there is none)
	$(BIN)/python -m tests.sanitize

faults: $(INSTALLED)  ## Kill runs at every write, let every write fail, and compare how they end (40 minutes)
	$(BIN)/python -m tests.faults

hostile: $(INSTALLED)  ## Load 2,200 damaged and hostile bundles: one line or a right answer (4 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.hostile

docs: $(INSTALLED)  ## Write the generated pages docs/errors.md and docs/reference.md
	$(BIN)/python docs/generate.py

notebooks: $(INSTALLED)  ## Write the lessons as Jupyter notebooks into docs/notebooks
	$(BIN)/python docs/notebooks.py

check: $(INSTALLED)  ## Lint, format, types and arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## Remove the environment and caches, not the runs
	rm -rf $(VENV) $(OLDEST) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
