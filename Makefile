# Two commands, and all that they need is Python 3.11 or newer with venv: make demo, make test.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq --constraint constraints.txt --editable

.PHONY: help demo demo-text docs docs-check test test-long test-pythons lint bench bench-peers measure attacks thresholds soak clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    install what tasks need, and show an honest group and a cheat"
	@echo "make demo-text   the same for text: seven machines, and one that declares a card that it does not have"
	@echo "make test    install what development needs, and run every check and test"
	@echo "make test-long   the tests that take long, which make test leaves out"
	@echo "make test-pythons   the tests that need no torch, on Python 3.12 and 3.13: PYTHONS='...' for others"
	@echo "make docs    build the documentation site into site/"
	@echo "make docs-check   before a release: look at the site in a browser, and follow each tutorial in a new environment"
	@echo "make bench   run the benchmarks and print their timings"
	@echo "make measure what honest machines and cheats make of the trained models: tables, and pictures in docs (an hour)"
	@echo "make attacks run every cheat, and print how often each passes (an hour); it goes on where it was stopped, as"
	@echo "             attacks.jsonl says: PICTURES=10 for fewer"
	@echo "make thresholds   calibrate the small model, and draw what two thresholds let through (an hour); it goes on where it"
	@echo "             was stopped, as thresholds.jsonl says"
	@echo "make soak    kill, fill, damage and edit ledgers, and print what was lost; SHARE=0.1 for a tenth of it"
	@echo "             a million damaged inputs for each reader are part of it: INPUTS=1000 for fewer; it goes on where it was"
	@echo "             stopped, as soak-readers.json says; Ray Data judges groups in an environment of its own"
	@echo "make bench-peers   make the tables of hashes beside other libraries, one of them in an environment of its own"
	@echo "make clean   remove the environment and everything that was generated"
	@echo
	@echo "PYTHON=python3.12 chooses an interpreter, VENV=folder another place for the environment."
	@echo "On Linux without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves gigabytes."

demo: $(VENV)/.installed-run
	@$(BIN)/crynux-validate demo --out demo-output

demo-text: $(VENV)/.installed-run
	@$(BIN)/crynux-validate demo --kind text --out demo-output

# The checks that take seconds come first, and the count of passed tests last. Two processes on two cores: one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --no-loadscope-reorder

test: lint
	@$(PYTEST) -m "not long"

test-long: $(VENV)/.installed-dev
	@$(PYTEST) -m long

# The tests that need no torch, on other interpreters. One that is not there is named, and left out.
PYTHONS ?= python3.12 python3.13

test-pythons:
	@for python in $(PYTHONS); do \
		$$python -c "" 2>/dev/null || { echo "== $$python is not there: its tests are skipped"; continue; }; \
		echo "== $$($$python -V)"; \
		at=$(VENV)-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		[ -x $$at/bin/python ] || $$python -m venv $$at || exit; \
		$$at/bin/python -m pip --disable-pip-version-check install -qq -c constraints.txt --editable '.[checks]' || exit; \
		OMP_NUM_THREADS=1 $$at/bin/python -m pytest -q -n 2 --no-loadscope-reorder -m "not torch and not long" \
			--deselect tests/test_docs.py::test_document --deselect tests/test_docs.py::test_example || exit; \
	done

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; false; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; false; }
	@echo "ruff, mypy and import contracts: no problems"

docs: $(VENV)/.installed-dev
	@$(INSTALL) '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build >$(VENV)/docs.log 2>&1 || { cat $(VENV)/docs.log; false; } # --quiet would not count warnings
	@echo "open site/index.html"

docs-check: docs
	@$(BIN)/python -m tools.check_site site
	@$(BIN)/python -m tools.follow_tutorials

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest benchmarks -q --benchmark-enable --benchmark-only --benchmark-columns=min,median,iqr,rounds

measure: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.distances --plot docs/distances.png --sheet docs/cheats.png
	@$(BIN)/python -m benchmarks.divergence --plot docs/divergence.png

PICTURES ?= 40
attacks: $(VENV)/.installed-dev
	@$(BIN)/python -m attacks --pictures $(PICTURES) --save attacks.jsonl

thresholds: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.thresholds --save thresholds.jsonl --plot docs/thresholds.png

SHARE ?= 1
soak: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory $(RAY)/.installed || echo "ray could not be installed: the part with Ray Data is skipped" >&2
	@CRYNUX_VALIDATE_RAY=$(RAY)/bin/python $(BIN)/python -m benchmarks.soak --share $(SHARE) $(if $(INPUTS),--inputs $(INPUTS)) --notes soak-readers.json

# Ray Data runs an example; it brings many packages, and starts servers.
RAY := $(VENV)-ray

$(RAY)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m venv $(RAY)
	@$(RAY)/bin/python -m pip --disable-pip-version-check install -qq -c constraints.txt --editable '.[ray]'
	@touch $@

# The peer perception asks for an older release of a library that development needs.
PEERS := $(VENV)-peers

bench-peers: $(VENV)/.installed-dev $(PEERS)/.installed
	@$(INSTALL) '.[bench]'
	@CRYNUX_VALIDATE_BENCHMARK_PEERS=$(PEERS)/bin/python $(BIN)/python -m benchmarks.table

$(PEERS)/.installed: | $(BIN)/python
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install -qq 'perception==0.9.3' 'numpy==2.4.6' 'pillow==13.0.0'
	@touch $@

clean:
	@rm -rf $(VENV) $(VENV)-3.* $(PEERS) $(RAY) demo-output soak-readers.json attacks.jsonl thresholds.jsonl dist build .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .benchmarks .import_linter_cache
	@find src tests benchmarks examples attacks -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that an extra is installed; a change of what is asked for installs again.
$(VENV)/.installed-run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing crynux-validate with the extras image, text and sql into $(VENV); the first time takes minutes"
	@$(INSTALL) '.[image,text,sql]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing crynux-validate for development into $(VENV); the first time takes minutes"
	@$(INSTALL) '.[dev]'
	@touch $(VENV)/.installed-run $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv. Install it (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
