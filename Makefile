# Commands for users and contributors. `make` lists them; each target installs what it needs into .venv.
SHELL := bash
.SHELLFLAGS := -e -o pipefail -c
.DEFAULT_GOAL := help
# Container images often set it, and then every Python process compiles its modules again: the tests take longer.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help install run test test-long test-fast check lint format chaos compat docs dist bench audit jar jar-hashes lock setup clean

# The first supported Python on PATH, newest last: 3.11 is what EMR's archive uses and what is tested most.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && { echo $$python; break; }; done)
BIN := .venv/bin
# --no-deps: the lock file names every package, so pip does not have to resolve anything.
# --no-compile: Python compiles what it imports; compiling everything takes a minute.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --no-compile --no-deps --progress-bar off
# Shows what pip is doing, one line per package and per large download.
SHOW := | awk '/^Collecting/ { print "      " $$2 } /Downloading .* MB\)/ { print "        downloading " $$3, $$4 } \
	/^Installing/ { print "      unpacking" } { fflush() }'

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

install: .venv/.ready ## Install Pomona into .venv, without development packages

run: .venv/.ready ## Install, then run the whole pipeline on generated images
	$(BIN)/pomona demo
	@$(BIN)/python -m streaming.ingest.warmup

test: setup ## Run all but the long tests (12 minutes); T=path/to/test.py or T=path::name runs some, long ones too
	$(BIN)/python -m pytest $(if $(T),$(T),$(PARALLEL) -m "not long")
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

test-long: setup ## Run the tests marked long (15 to 20 minutes); CI runs them after make test
	$(BIN)/python -m pytest $(PARALLEL) -m long

test-fast: setup ## Run the tests that need neither Spark nor TensorFlow (a minute)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(FAST)" $(T)
FAST := not slow and not spark and not s3 and not end_to_end

# mypy uses one core; the output of each target is printed when it ends.
check: setup ## Run before each commit: lint, types, import contracts, fast tests
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint test-fast

lint: setup ## Check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## Format the code and sort imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

chaos: setup ## Run kills, faults, fuzzing and full disks in their long form (an hour or more)
	$(BIN)/python -m pytest -s tests/chaos

# PAIRS=3.5 selects one pair of Spark and Delta Lake, TESTS=tests/batch_pca some of the tests.
PAIRS := 4.0 3.5
TESTS := -m "spark or s3"
compat: $(PAIRS:%=.venv-compat-%/.ready) ## Run the Spark tests on the Spark and Delta Lake versions of EMR
	for pair in $(PAIRS); do .venv-compat-$$pair/bin/python -m pytest -n 2 --dist loadfile $(TESTS); done

docs: setup ## Build the documentation site into build/site
	$(BIN)/mkdocs build --strict

dist: setup ## Build wheel and sdist into dist/
	$(BIN)/python -m build --no-isolation --outdir dist .

# SIZE=full for the published figures; IMAGES=folder for your own images, in folders named after their label.
SIZE := quick
bench: setup .venv/.bench ## Compare speed with other tools and write BENCHMARKS.md
	$(BIN)/python -m benchmarks --size $(SIZE) $(if $(IMAGES),--images "$(IMAGES)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

LOCKS := requirements.lock requirements-dev.lock requirements-bench.lock requirements-audit.lock
EXCEPTIONS = $(shell sed -n 's/^\([A-Z][A-Za-z0-9-]*\) .*/--ignore-vuln \1/p' audit-exceptions.txt)
audit: setup .venv/.audit ## Look up known vulnerabilities of every locked package (needs the network)
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off $(EXCEPTIONS) $(LOCKS:%=-r %)

jar: setup ## Build the Delta log store for S3 from java/ (needs a JDK)
	$(BIN)/python java/build.py

jar-hashes: setup ## Update the SHA-256 of every jar, after a change of their versions (needs the network)
	$(BIN)/python java/hash_jars.py

setup: .venv/.ready .venv/.dev .venv/.warm ## Install the development environment into .venv

.venv/.ready: requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Pomona needs Python 3.11, 3.12 or 3.13, and none is on PATH: install one, or run 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'" >&2; exit 1; }
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) is not a command: run 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'" >&2; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1 || true), and Pomona needs Python 3.11, 3.12 or 3.13: run 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module: install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "[1/3] Creating .venv with $$($(PYTHON) --version): a few seconds"
	@$(PYTHON) -m venv .venv
	@echo "[2/3] Installing the packages of requirements.lock: 1.3 GB to download, 3.2 GB on disk, 1 to 2 minutes"
	@awk '/^[a-z]/ { spark = /^(pyspark|py4j)==/ } { print > (spark ? ".venv/spark.lock" : ".venv/rest.lock") }' requirements.lock
	@( $(PIP) --require-hashes -r .venv/spark.lock && { $(BIN)/python -m streaming.spark.jars || true; } ) $(SHOW) & spark=$$!; \
		$(PIP) --require-hashes -r .venv/rest.lock $(SHOW); wait $$spark
	@echo "[3/3] Installing Pomona into .venv: a few seconds"
	@$(PIP) --quiet --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.ready
	@echo "Installing the development packages of requirements-dev.lock: 0.3 GB to download, 1.1 GB on disk, 1 minute"
	@$(PIP) --require-hashes -r requirements-dev.lock $(SHOW)
	@touch $@

.venv/.warm: .venv/.ready
	@$(BIN)/python -m streaming.ingest.warmup
	@touch $@

# The versions of requirements-dev.lock, and the packages of the tools that Pomona is compared with.
.venv/.bench: requirements-bench.lock .venv/.dev
	@echo "Installing the packages of requirements-bench.lock: 0.4 GB on disk"
	@$(PIP) --require-hashes -r requirements-bench.lock $(SHOW)
	@touch $@

.venv/.audit: requirements-audit.lock .venv/.dev
	@echo "Installing pip-audit with the packages of requirements-audit.lock"
	@$(PIP) --quiet --require-hashes -r requirements-audit.lock
	@touch $@

# Only PySpark, Py4J and Delta Lake are its own; everything else comes from .venv, as on a cluster.
.venv-compat-%/.ready: requirements-compat-%.lock .venv/.ready .venv/.dev
	@echo "Installing the packages of $< into $(@D)"
	$(BIN)/python -m venv --without-pip --clear $(@D)
	$(BIN)/python -c "import sysconfig as s; print('import site; site.addsitedir(%r)' % s.get_path('purelib'))" \
		> $$($(@D)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/beside.pth
	$(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	$(@D)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(@D)/bin/python -m streaming.ingest.warmup
	touch $@

# Needs uv. No index is written into the files: the hashes identify the packages.
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --upgrade
lock: ## Update the lock files (needs uv)
	$(COMPILE) pyproject.toml --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) pyproject.toml --extra bench --extra openvino --constraint requirements-dev.lock --output-file requirements-bench.lock
	echo 'pip-audit>=2.10' | $(COMPILE) - --constraint requirements-dev.lock --output-file requirements-audit.lock
	for pair in "4.0 4.0.2 4.0.0" "3.5 3.5.6 3.3.2"; do set -- $$pair; \
		grep -v -e '^pyspark==' -e '^py4j==' -e '^delta-spark==' -e '^ ' requirements.lock | sed 's/ \\$$//' > .compat.in; \
		printf 'pyspark==%s\ndelta-spark==%s\n' $$2 $$3 | $(COMPILE) - --constraint .compat.in --no-annotate \
		--output-file requirements-compat-$$1.lock; rm .compat.in; done

clean: ## Remove everything that the targets above create
	rm -rf .venv .venv-compat-* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info
