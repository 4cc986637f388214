# The commands that a person types; each sets up what it needs.
.PHONY: run test check setup lock clean
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

run: setup
	$(BIN)/pomona demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not spark and not s3 and not end_to_end"

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m streaming.rehearsal
	touch $@

# Needs uv. No index is written into the file: hashes tell what is meant, wherever it comes from.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --upgrade --output-file requirements.lock

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
