# The interface of the repository. CI runs the same recipes: .ci/run.

# A Python to use; without it the first usable one of CANDIDATES is taken.
PYTHON ?=
CANDIDATES = $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
# More arguments for serve, test, bench and the like: make test ARGS='-k lease'
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadgroup
# What is checked besides the package, as far as it exists.
CHECKED := src tests tools $(wildcard bench)

.DEFAULT_GOAL := help
.PHONY: help install serve test test-slow interop example-chat soak check fmt bench docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## Make .venv: locked packages, and this one in editable form

serve: $(STAMP) ## Run the server: make serve ARGS='--port 8080'
	$(BIN)/awaken serve $(ARGS)

test: $(STAMP) ## Run the tests, the examples of the docs among them
	$(PYTEST) $(ARGS)

test-slow: $(STAMP) ## Run the tests marked slow
	$(PYTEST) -m slow --timeout 300 $(ARGS)

interop: $(STAMP) ## Drive the stock clients of the protocols; needs Node and npm
	$(PYTEST) -m "not soak" --timeout 300 tests/interop $(ARGS)

example-chat: ## Run the example chat (React, useChat) against make serve; needs Node and npm
	cd examples/chat && npm ci --no-audit --no-fund && npm run dev -- $(ARGS)

soak: $(STAMP) ## Simulate, race and kill servers for an hour, and write docs/soak/report.md
	$(BIN)/python -m tests.soak $(ARGS)

check: $(STAMP) ## Run all static checks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(CHECKED)
	$(BIN)/lint-imports
	$(BIN)/python tools/budgets.py
	$(BIN)/python tools/diagrams.py --check
	$(BIN)/python tools/docs.py --check
	$(BIN)/python tools/site.py --check

fmt: $(STAMP) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(STAMP) ## Run the benchmarks
	$(BIN)/python -m bench $(ARGS)

docs: $(STAMP) ## Write the generated pages of the docs, and build the site in site/
	$(BIN)/python tools/docs.py
	$(BIN)/python tools/diagrams.py
	$(BIN)/python tools/site.py

# The lock is for every platform and Python version that pyproject.toml allows, and names no index.
# Versions stay as they are unless pyproject.toml rules them out; ARGS=--upgrade takes newer ones.
lock: ## Bring requirements.lock up to date with pyproject.toml
	@$(make_venv)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet \
		--output-file requirements.lock $(ARGS)
	@if grep -n '://' requirements.lock; then echo 'requirements.lock names a host' >&2; exit 1; fi

clean: ## Remove .venv, caches and build output
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Hashes are required, so the lock is all that is installed; the package is added without its
# dependencies and without build isolation, which would fetch a build backend that has no hash.
$(STAMP): requirements.lock pyproject.toml
	@$(make_venv)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# A candidate is tried by running it: a version manager may leave a command that only prints an error,
# and some systems ship a Python without venv or ensurepip.
define make_venv
if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	for python in $(CANDIDATES); do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "$$python -m venv .venv"; exec $$python -m venv --clear .venv; \
		fi; \
	done; \
	echo 'No usable Python among: $(CANDIDATES)' >&2; \
	echo 'Needed: Python 3.11 or newer with the modules venv and ensurepip' >&2; \
	echo '(on Debian and Ubuntu the package python3-venv). Name one with: make PYTHON=/path/to/python3' >&2; \
	exit 1; \
fi
endef
