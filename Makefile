# nucleate. Every CI job is one target; `make check` runs them all.
VENV  ?= .venv
BIN   := $(VENV)/bin
PIP   := $(BIN)/python -m pip --disable-pip-version-check -qq
# The first Python 3.11-3.13 there is. PIP_ARGS can name a package index with CPU builds of torch.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
PIP_ARGS ?=
EXTRA ?= cpu
SOURCES := pyproject.toml hatch_build.py protos/generate.py $(wildcard protos/nucleate/v1/*.proto)

# make demo [IMAGES=dir] [EVAL_IMAGES=dir EVAL_MASKS=dir] [ROBOT_MASKS=dir] [CYCLES=n] [OUT=dir] [PROFILE=cpu] [SEED=n]
CYCLES  ?= 2
OUT     ?= out/demo
PROFILE ?= cpu
SEED    ?= 0
given = $(if $($(2)),$(1) "$($(2))")

# Spinning threads slow training down seventyfold where the cores have other work, too.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup dev demo up down test lint format types imports protos proto bench check clean

help: ## Show the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.setup ## Create .venv with the services and the command nucleate
dev: $(VENV)/.dev ## ... and the tools for tests and checks

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11-3.13 found: install one, or make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: $(SOURCES) | $(BIN)/python
	@echo "setup: installing nucleate[$(EXTRA)] into $(VENV) (a few minutes the first time)"
	@$(PIP) install --upgrade "pip>=25.1"
	@$(PIP) install $(PIP_ARGS) --editable ".[$(EXTRA)]"
	@touch $@

$(VENV)/.dev: $(VENV)/.setup
	@echo "setup: installing the tools for tests and checks"
	@$(PIP) install $(PIP_ARGS) --group dev
	@touch $@

demo: setup ## Un-annotated images to model, score and report: IMAGES= EVAL_IMAGES= EVAL_MASKS= ROBOT_MASKS= CYCLES= OUT=
	@$(BIN)/nucleate demo $(if $(IMAGES),"$(IMAGES)") $(call given,--eval-images,EVAL_IMAGES) $(call given,--eval-masks,EVAL_MASKS) \
	  $(call given,--robot-masks,ROBOT_MASKS) --cycles $(CYCLES) --out "$(OUT)" --profile $(PROFILE) --seed $(SEED)

up: setup ## Start all services as local processes
	@$(BIN)/nucleate up
down: setup ## Stop them
	@$(BIN)/nucleate down

test: dev ## Run all tests
	@$(BIN)/python -m pytest $(ARGS)
lint: dev ## Check style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
format: dev ## Repair style and formatting
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .
types: dev ## Check types
	@$(BIN)/mypy
imports: dev ## Check who may import whom
	@$(BIN)/lint-imports
protos: dev ## Check the protocol's style
	@cd protos && $(abspath $(BIN))/buf lint
proto: dev ## Generate the gRPC stubs again
	@$(BIN)/python protos/generate.py
bench: dev ## Measure what a user waits for
	@$(BIN)/python -m tests.bench.waits
	@$(BIN)/python -m tests.bench.bench_postprocess
	@$(BIN)/python -m tests.bench.bench_metrics
	@$(BIN)/python -m tests.bench.bench_targets
	@$(BIN)/python -m tests.bench.bench_segment
	@$(BIN)/python -m tests.bench.bench_colornorm
	@$(BIN)/python -m tests.bench.bench_synthesis
	@$(BIN)/python -m tests.bench.bench_clicks --nuclei 4 --clicks 4
check: lint types imports protos test ## Everything CI runs

clean: ## Remove caches and results, not .venv
	@rm -rf out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find protos services orchestrator tests -name __pycache__ -type d -prune -exec rm -rf {} +
