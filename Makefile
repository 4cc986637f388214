# The commands that a person types; each sets up what it needs.
.PHONY: run test chaos compat check audit setup bench jar lock clean
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

run: setup
	$(BIN)/pomona demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Kills, rubbish, faults and full disks for an hour or more; `make test` has a short form of each.
chaos: setup
	$(BIN)/python -m pytest -s tests/chaos

# What a cluster runs, against the Spark and Delta Lake of EMR's releases: all tests that start Spark. PAIRS=3.5 takes
# one of them, TESTS=tests/batch_pca/test_refit.py some of the tests.
PAIRS := 4.0 3.5
TESTS := -m "spark or s3"
compat: $(PAIRS:%=.venv-compat-%/.ready)
	set -e; for pair in $(PAIRS); do .venv-compat-$$pair/bin/python -m pytest -n 2 --dist loadfile $(TESTS); done

# Only PySpark, Py4J and Delta Lake are its own: all else is that of .venv, as a cluster has it too.
.venv-compat-%/.ready: requirements-compat-%.lock .venv/.ready
	$(PYTHON) -m venv --without-pip --clear $(@D)
	$(BIN)/python -c "import sysconfig as s; print('import site; site.addsitedir(%r)' % s.get_path('purelib'))" \
		> $$($(@D)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/beside.pth
	$(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	$(@D)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(@D)/bin/python -m streaming.ingest.warmup
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not spark and not s3 and not end_to_end"

# SIZE=full takes the numbers that the targets ask for; IMAGES=folder takes your own, in folders named after their label.
SIZE := quick
bench: setup .venv/.bench
	$(BIN)/python -m benchmarks --size $(SIZE) $(if $(IMAGES),--images "$(IMAGES)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

# Delta's log store for S3, built from java/ with a JDK: needed only after a change there.
jar: setup
	$(BIN)/python java/build.py

# Asks the package index for the advisories of each pin: it needs the network, and a pin that is not known there fails too.
LOCKS := requirements.lock requirements-bench.lock requirements-audit.lock
EXCEPTIONS = $(shell sed -n 's/^\([A-Z][A-Za-z0-9-]*\) .*/--ignore-vuln \1/p' audit-exceptions.txt)
audit: setup .venv/.audit
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off $(EXCEPTIONS) $(LOCKS:%=-r %)

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m streaming.ingest.warmup
	touch $@

# The same pins as in requirements.lock, and the peers' packages beside them.
.venv/.bench: requirements-bench.lock .venv/.ready
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-bench.lock
	touch $@

.venv/.audit: requirements-audit.lock .venv/.ready
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-audit.lock
	touch $@

# Needs uv. No index is written into the file: hashes tell what is meant, wherever it comes from.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --upgrade --output-file requirements.lock
	uv pip compile pyproject.toml --extra bench --extra openvino --constraint requirements.lock --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade \
		--output-file requirements-bench.lock
	echo 'pip-audit>=2.10' | uv pip compile - --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade --output-file requirements-audit.lock
	set -e; for pair in "4.0 4.0.2 4.0.0" "3.5 3.5.6 3.3.2"; do set -- $$pair; \
		grep -v -e '^pyspark==' -e '^py4j==' -e '^delta-spark==' -e '^ ' requirements.lock | sed 's/ \\$$//' > .compat.in; \
		printf 'pyspark==%s\ndelta-spark==%s\n' $$2 $$3 | uv pip compile - --constraint .compat.in --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade \
		--output-file requirements-compat-$$1.lock; rm .compat.in; done

clean:
	rm -rf .venv .venv-compat-* .mypy_cache .pytest_cache .ruff_cache build *.egg-info
