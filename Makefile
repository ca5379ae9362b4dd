# `make help` lists the targets. Each does all it needs on a fresh machine and is quick the second time.
# PYTHON=/path/to/python3 chooses the Python that .venv is made with; ARGS="..." is handed on to pytest or the demo.
BIN := .venv/bin
ARGS ?=

.PHONY: help setup demo test lint clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1:/p' $(firstword $(MAKEFILE_LIST)) | awk -F: '{ printf "%-12s %s\n", $$1, $$2 }'

setup: ## create .venv with everything pinned, and a C++ compiler where apt-get may install one
	@.ci/setup

demo: setup ## learn, plot and export real digits in some minutes
	@$(BIN)/scff-hw demo $(ARGS)

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/pyright

test: lint ## check style and types, then run every test but the slow reproductions
	@.ci/tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

clean: ## remove .venv and everything that can be made again; runs/ stays
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find scff_hw tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
