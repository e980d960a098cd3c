PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install train test test-slow lint types docs notebooks release-check bench clean

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## Install into .venv.

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		(echo "$(PYTHON) is older than Python 3.11: run make PYTHON=python3.11 (or newer)"; exit 1)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(STAMP) ## Meta-train MAML on the point robot (a minute on two free cores).
	$(BIN)/metarl train maml-point-robot

# Compiling takes most of the time of these tests, on one core, and optimising most of that of compiling.
test: $(STAMP) ## Run the tests, on all cores.
	XLA_FLAGS="--xla_backend_optimization_level=0 $(XLA_FLAGS)" $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-slow: $(STAMP) ## Run the learning tests, which take long.
	$(BIN)/python -m pytest -m slow

lint: $(STAMP) ## Check the style.
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## Check the types.
	@rm -rf .venv/types && mkdir -p .venv/types/metarl_jax
	@cd .venv/types/metarl_jax && ln -s ../../../metarl_jax/* ../../../envs ../../../experiments .
	$(BIN)/pyright

docs: $(STAMP) ## Build the documentation site: build/site/index.html.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: $(STAMP) ## Run the notebooks at full size, into build/notebooks.
	@mkdir -p build/notebooks
	for page in docs/notebooks/*.py; do \
		$(BIN)/jupytext --to ipynb --execute --output build/notebooks/$$(basename $$page .py).ipynb $$page || exit 1; \
	done

release-check: $(STAMP) ## Build the package and try it in fresh environments.
	$(BIN)/python tests/release_check.py

bench: $(STAMP) ## Measure the throughput of the meta-step.
	$(BIN)/metarl bench maml-point-robot

clean: ## Remove the virtual environment and caches; runs stay.
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
