# Two commands matter: `make demo` and `make test`. Both build .venv first, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python3.11)
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
CODE := bessai actors training tests tools

.PHONY: help setup setup-dev demo test test-all lint types fmt bench chaos soak docs lock clean

help: ## List these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMPS)/core $(STAMPS)/project ## Build .venv with what `make demo` needs

setup-dev: setup $(STAMPS)/dev ## Build .venv with what `make test` needs as well

demo: setup ## Run a simulated fleet until Ctrl-C; pass options with ARGS="--sites 3 --for 30s"
	@exec $(BIN)/bessai demo $(ARGS)

test: lint types ## Format, lint, types and import contracts, then the tests with coverage
	$(call pytest,and not slow)

test-all: export HYPOTHESIS_PROFILE := search
test-all: lint types ## The same with the tests that take minutes
	$(call pytest,)

lint: setup-dev ## Format, lint and import contracts
	@echo "== format"; $(BIN)/ruff format --check --quiet .
	@echo "== lint"; $(BIN)/ruff check --quiet .
	@echo "== import contracts"; out=$$($(BIN)/lint-imports) || { echo "$$out"; exit 1; }; \
		grep '^Contracts:' <<<"$$out"

types: setup-dev ## Static types
	@echo "== types"; $(BIN)/mypy

fmt: setup-dev ## Format and repair what can be repaired
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup-dev ## Measure; prints one line per benchmark
	@for script in benchmarks/bench_*.py; do $(BIN)/python $$script; done

chaos: setup-dev ## Break everything on purpose, 90 minutes; writes docs/reliability.md; ARGS="--quick"
	@exec $(BIN)/python -m tests.chaos.campaign --report docs/reliability.md $(ARGS)

soak: setup-dev ## 20 sites for 90 minutes, memory watched; writes docs/reliability.md
	@exec $(BIN)/python -m tests.chaos.soak --report docs/reliability.md $(ARGS)

docs: setup-dev ## Regenerate the profile's JSON schema and the page of devices, and check links
	@$(BIN)/python -m bessai.config.schema registry/schema/device_profile.schema.json
	@$(BIN)/python -m bessai.config.devices_doc docs/reference/devices.md
	@$(BIN)/python -m tools.doclinks

lock: setup-dev ## Rewrite requirements/*.lock from what is installed
	@$(BIN)/python -m tools.lock

clean: ## Remove .venv, caches and build results
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis htmlcov .coverage .coverage.*
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "BESSAI needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	@echo "== $(VENV): $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { \
		echo "no virtual environment: on Debian or Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/core: requirements/build.lock requirements/core.lock $(STAMPS)/venv
	$(call install,$(filter %.lock,$^),about a minute and a half, once)

$(STAMPS)/dev: requirements/dev.lock $(STAMPS)/core
	$(call install,$(filter %.lock,$^),half a minute, once)

$(STAMPS)/project: pyproject.toml $(STAMPS)/core
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

# First what may run side by side, one process per core; then, one at a time, what starts a Ray and
# wants the machine for itself. Status 5 is "no such test here".
define pytest
@set +e; run() { $(BIN)/python -m pytest --cov --cov-append "$$@" $(ARGS); }; \
rm -f .coverage .coverage.*; \
echo "== tests, side by side"; \
run -n auto --maxprocesses 8 --cov-report= -m "not ray $(1)"; first=$$?; \
if (( first != 0 && first != 5 )); then exit $$first; fi; \
echo "== tests with a Ray"; \
run --cov-report=term -m "ray $(1)"; second=$$?; \
if (( second == 5 && first == 0 )); then $(BIN)/python -m coverage report; exit 0; fi; \
exit $$second
endef

define install
@SECONDS=0; \
echo "== $(VENV): installing $$(cat $(1) | grep -c ==) packages with fixed versions ($(2)$(if $(3),$(comma)$(3)))"; \
$(PIP) install -qq --no-deps $(patsubst %,--requirement %,$(1)); \
echo "== $(VENV): installed in $$SECONDS s"; \
touch $@
endef
comma := ,
