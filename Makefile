# `make help` lists the targets. Each works on a fresh machine and is fast the second time.
# PYTHON=/path/to/python3 selects the Python for .venv; ARGS="..." is passed to pytest or the demo.
BIN := .venv/bin
ARGS ?=

.PHONY: help setup demo test lint clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1:/p' $(firstword $(MAKEFILE_LIST)) | awk -F: '{ printf "%-12s %s\n", $$1, $$2 }'

setup: ## create .venv with pinned versions, and install a C++ compiler if apt-get is permitted
	@.ci/setup

demo: setup ## train, plot and export handwritten digits in some minutes
	@$(BIN)/scff-hw demo $(ARGS)

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/pyright

test: lint ## check style and types, then run all tests except the slow reproductions
	@.ci/tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

clean: ## remove .venv and all generated files except runs/
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find scff_hw tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
