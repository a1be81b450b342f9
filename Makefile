# Every target sets up what it needs: python3 (3.11 to 3.13) with its venv module and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FILE ?=
ARGS ?=
# What a user's shell says about other Pythons is not for this one.
unexport PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN
unexport PIP_REQUIREMENT PIP_EDITABLE PIP_CONSTRAINT PIP_NO_BINARY PIP_REQUIRE_HASHES
unexport PIP_REQUIRE_VIRTUALENV
export PIP_USER := 0
# A virtual environment works where it was made, as long as the Python it was made with is there.
MOVED := $(shell [ ! -e $(READY) ] || $(BIN)/python -IS -c 'import os, re, sys; here = os.path.dirname(sys.executable); made = re.search("/.*(?=/python)", open(os.path.join(here, "mnist-study")).read()); sys.exit(not (made and os.path.isdir(made[0]) and os.path.samefile(made[0], here)))' 2>/dev/null || { rm -f $(READY); echo yes; })
# Two processes, each with whole files: module fixtures are studies, made once.
FAST_TESTS := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.DEFAULT_GOAL := help
# `make -j study confirm`: what follows needs what went before.
.NOTPARALLEL:
.PHONY: help setup study smoke baseline confirm ablation promote rollback serve predict audit ui status top digest report lint test test-slow test-faults test-browser check coverage reproduce readme bench lock audit-deps clean clean-stores

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s%s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Make the virtual environment from the hashed lock file

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(f"error: found Python {v[0]}.{v[1]}, expected 3.11 to 3.13; give one with PYTHON=python3.12")'
	@$(if $(MOVED),echo "$(VENV) was made elsewhere or its Python is gone: making it again")
	@echo "Setting up $(VENV): about 2 GB to fetch and unpack, once"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

study: $(READY) ## Run or resume the study in FILE (default experiments/study.toml); ARGS="--trials 100"
	@$(BIN)/mnist-study study "$(or $(FILE),experiments/study.toml)" $(ARGS)

smoke: $(READY) ## A small study on the digits stand-in, under a minute
	@$(BIN)/mnist-study study experiments/smoke.toml --dataset digits $(ARGS)

baseline: $(READY) ## The documented network over many seeds, against its documented numbers
	@$(BIN)/mnist-study baseline $(if $(FILE),"$(FILE)") $(ARGS)

confirm: $(READY) ## Retrain the best configurations and the documented network with fresh seeds
	@$(BIN)/mnist-study confirm $(ARGS)

promote: $(READY) ## Make the confirmed winner champion; ARGS="--run RUN_ID" for another model
	@$(BIN)/mnist-study promote $(ARGS)

rollback: $(READY) ## Make the previous champion champion again
	@$(BIN)/mnist-study rollback $(ARGS)

serve: $(READY) ## The champion behind MLflow's scoring server on 127.0.0.1
	@$(BIN)/mnist-study serve $(ARGS)

predict: $(READY) ## Name the digits in image files; IMAGES="a.png b.jpg"
	@if [ -e "$$IMAGES" ]; then set -- "$$IMAGES"; else eval "set -- $$IMAGES"; fi; \
	    $(BIN)/mnist-study predict $(ARGS) "$$@"

ablation: $(READY) ## The effect of each part of the regularization; ARGS="--seeds 30"
	@$(BIN)/mnist-study ablation $(if $(FILE),"$(FILE)") $(ARGS)

audit: $(READY) ## Check that MLflow, Optuna's storage and the ledger agree
	@$(BIN)/mnist-study audit $(ARGS)

ui: $(READY) ## Browse the runs in MLflow's UI on 127.0.0.1
	@$(BIN)/mnist-study ui $(ARGS)

status: $(READY) ## Progress, best so far, pace and remaining time
	@$(BIN)/mnist-study status $(ARGS)

top: $(READY) ## The best trials with their parameters and runs; ARGS="10"
	@$(BIN)/mnist-study top $(ARGS)

digest: $(READY) ## The identity of what each study found
	@$(BIN)/mnist-study digest $(ARGS)

report: $(READY) ## Rewrite the reports from the stores
	@$(BIN)/mnist-study report $(ARGS)

lint: $(READY) ## ruff, mypy --strict, import-linter and codespell
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell

test: lint ## The checks of `make lint`, then the fast tests
	@$(FAST_TESTS) $(ARGS)

check: test ## The same: what continuous integration runs

test-slow: $(READY) ## The slow tests: kills at every boundary, calibration, a real MLflow server
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-faults: $(READY) ## 200 random kills over one study, and 500 trials in peace: an hour or two
	@$(BIN)/python -m pytest -m faults -s $(ARGS)

test-browser: $(READY) ## The reports in a real browser (Debian's chromium)
	@$(BIN)/python -m pytest -m browser $(ARGS)

coverage: $(READY) ## The fast tests, with the lines and branches that none of them ran
	@$(FAST_TESTS) --cov --cov-report=term $(ARGS)

reproduce: $(READY) ## All published results, in steps that resume: six to eight hours; ARGS="confirm promote"
	@PATH="$(CURDIR)/$(BIN):$$PATH" experiments/reproduce.sh $(ARGS)

readme: $(READY) ## Write the figures of README.md again from experiments/results
	@$(BIN)/python experiments/readme.py $(ARGS)

bench: $(READY) ## Speed and memory beside what they are compared with
	@$(BIN)/python -m mnist_study.bench $(ARGS)

# Versions that are in the file stay unless pyproject.toml forbids them: they decide results.
lock: ## Write requirements.lock again from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --extra postgres --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

# Strict, as a package that could not be looked up is otherwise passed over.
audit-deps: ## Look up known vulnerabilities of the locked packages (needs uv and pypi.org)
	uv tool run pip-audit --requirement requirements.lock --require-hashes --disable-pip --strict \
	    --progress-spinner off $(ARGS)

clean: ## Remove the virtual environment and caches; stores stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build
	rm -f .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-stores: ## Remove all studies under mlruns
	find mlruns -mindepth 1 -not -path mlruns/README.md -delete
