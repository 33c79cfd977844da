# Needs python3 (3.11 or later), git and make; uses uv when it is on PATH. `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

DEMO_ARGS ?=
TEST_ARGS ?=

# Two environments, so that neither command undoes the other's: the product alone, and the product with the guards.
RUN := .venv-run
DEV := .venv
PINS := pyproject.toml uv.lock scripts/environment.sh requirements/run.txt requirements/dev.txt

.PHONY: help demo test check parts bench reference lock clean

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

demo: $(RUN)/.ready ## play the whole story with real parts, then keep the dashboard up (DEMO_ARGS="--no-serve" ends)
	@$(RUN)/bin/customhouse demo $(DEMO_ARGS)

test: $(DEV)/.ready ## run the tests (TEST_ARGS="-k name"); parts that are missing are skipped with the reason
	@$(DEV)/bin/pytest -n auto --dist loadfile $(TEST_ARGS)

check: $(DEV)/.ready ## run the guards: format, lint, types, directions of import, dependencies, spelling
	@PATH="$(CURDIR)/$(DEV)/bin:$$PATH" scripts/check.sh

parts: ## install the real parts that some tests need (a Kubernetes control plane, opa, gator, conftest, kustomize, helm …)
	@scripts/parts.sh

bench: $(DEV)/.ready ## time it, as ratios to a peer in the same run
	@$(DEV)/bin/python benchmarks/run.py

reference: $(DEV)/.ready ## write the pages of docs/reference that are made from the code
	@$(DEV)/bin/python scripts/reference.py

lock: ## resolve the dependencies anew (needs uv) and export the pinned lists that pip reads
	@uv lock
	@scripts/export_requirements.sh

clean: ## remove the environments and caches of this folder
	@rm -rf $(RUN) $(DEV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache

$(RUN)/.ready: $(PINS)
	@scripts/environment.sh run $(RUN)

$(DEV)/.ready: $(PINS)
	@scripts/environment.sh dev $(DEV)
