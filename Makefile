# What a developer needs, by name: `make help`. Plain GNU make and sh.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made

# -qq: only pip's errors are shown; the steps themselves are announced.
PIP = $(BIN)/python -m pip --disable-pip-version-check install -qq

# The scripts that build the real checkpoints and data, and the folder they build into.
EDGEPLM_SHARED ?= ../shared/assets
ASSETS_DIR = $(if $(EDGEPLM_ASSETS),$(EDGEPLM_ASSETS),$(CURDIR)/.assets)
# Names of single assets to build; empty means all.
ASSETS ?=

# More words for pytest, as in: make test-fast PYTEST_ARGS="-k parity"
PYTEST_ARGS ?=
# The environment of a test run: the assets, wherever they are.
WITH_ASSETS = if [ -d "$(ASSETS_DIR)" ]; then EDGEPLM_ASSETS="$(ASSETS_DIR)"; export EDGEPLM_ASSETS; fi
# One torch thread a worker: two workers with two threads each would fight for two cores.
RUN_FAST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)
RUN_SLOW = $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

SPELLED = edgeplm runtime export tests benchmarks docs Makefile pyproject.toml $(wildcard *.md)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv demo check format test test-fast assets bench wheel clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

venv: $(STAMP) ## Build .venv with every tool and both sides of EdgePLM, editable; instant when up to date
	@:

$(STAMP): pyproject.toml constraints.txt
	@echo "venv: building $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "venv: pip"
	@$(PIP) -c constraints.txt "pip>=25.1"
	@echo "venv: torch (the largest download)"
	@# By itself and with its exact version: a bare `torch` may bring several GB of CUDA libraries.
	@$(PIP) -c constraints.txt torch==2.13.0
	@echo "venv: EdgePLM with the extras cpu, openvino, train (export in it) and bench, and the tools"
	@$(PIP) -c constraints.txt -e '.[cpu,openvino,train,bench]' --group dev
	@touch $@
	@echo "venv: done; $(BIN)/edgeplm is ready"

demo: venv ## Run the demonstration: a checkpoint becomes a bundle and answers without torch
	@echo "demo: docs/demo/demo.py"
	@$(BIN)/python docs/demo/demo.py

check: venv ## Lint, formatting, types, import contracts and spelling
	@echo "check: ruff check"
	@$(BIN)/ruff check
	@echo "check: ruff format"
	@$(BIN)/ruff format --check
	@echo "check: mypy"
	@$(BIN)/mypy
	@echo "check: import contracts"
	@$(BIN)/lint-imports
	@echo "check: spelling"
	@$(BIN)/codespell $(SPELLED)
	@echo "check: all good"

format: venv ## Format the code and apply the safe lint fixes
	@echo "format: ruff"
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

test: venv assets ## Run all tests: the default ones on two workers, then the slow ones by themselves
	@$(WITH_ASSETS); failed=0; \
	echo "test: the default tests"; \
	$(RUN_FAST) || failed=1; \
	if grep -rqs --include='*.py' 'mark\.slow' tests; then \
		echo "test: the slow tests"; \
		$(RUN_SLOW) || failed=1; \
	fi; \
	exit $$failed

test-fast: venv ## Run the default tests, without the slow ones and without building assets
	@$(WITH_ASSETS); echo "test: the default tests"; $(RUN_FAST)

assets: venv ## Build the real checkpoints and data into $EDGEPLM_ASSETS (default .assets); nothing when all is there
	@if [ -f "$(EDGEPLM_SHARED)/build_text.py" ]; then \
		echo "assets: building into $(ASSETS_DIR)"; \
		$(BIN)/python "$(EDGEPLM_SHARED)/build_text.py" --out "$(ASSETS_DIR)" $(ASSETS); \
	else \
		echo "assets: no build_text.py in $(EDGEPLM_SHARED): nothing built; the tests that need assets say which"; \
	fi

bench: venv ## Run every benchmark in turn: a table on the screen, a JSON under benchmarks/results
	@$(WITH_ASSETS); for script in benchmarks/[a-z]*.py; do \
		name=$$(basename "$$script" .py); \
		echo "bench: $$name"; $(BIN)/python -m "benchmarks.$$name" || exit 1; \
	done

wheel: venv ## Build the sdist and the wheel into dist/
	@echo "wheel: building into dist/"
	@$(BIN)/python -m build
	@ls -l dist

clean: ## Remove build outputs and caches; .venv and .assets stay
	@echo "clean: build outputs and caches"
	@rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find edgeplm runtime export tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
