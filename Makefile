# Each target sets up .venv by itself, with pip, and then does one thing. pip runs again only if something that it
# installs has changed.
#
#   make train            train a small network on real digits: accuracy, train.png, times    (ARGS="--seeds 5")
#   make test             run the test suite                                                  (ARGS="-k conv -x")
#   make nightly          20,000 hostile calls with a new seed, every allocation failed once, gigabytes: half an hour
#   make bench            time against the NumPy reference and the libraries found in .venv   (ARGS="--set convolution")
#   make lint             ruff, mypy, clang-format, codespell
#   make docs             draw the figures of docs/ again and run every block of the pages
#   make wheel            build dist/ and wheelhouse/, and look into them as somebody who installs them
#   make driver           every operation of the core without Python, against the reference loops
#   make asan             the test suite with AddressSanitizer and UndefinedBehaviorSanitizer   (ARGS="-k conv -x")
#   make tsan             the driver with ThreadSanitizer                             (DRIVER_ARGS="--only winograd")
#   make fuzz             fuzz the shape arithmetic                                           (FUZZ_SECONDS=3600)
#   make aarch64          the driver for 64-bit ARM, under emulation
#   make warnings         build with GCC and Clang, warnings as errors
#   make clean            remove .venv and whatever the other targets made

PYTHON ?= python3
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet
STAMPS := $(VENV)/stamps
SOURCES := CMakeLists.txt pyproject.toml $(shell find cpp python -type f ! -name "*.pyc" ! -name "*.so")
CPP_FILES := $(shell find cpp tests/native -name '*.cpp' -o -name '*.hpp')

.PHONY: train test nightly bench lint docs wheel clean
.DELETE_ON_ERROR:

train: $(STAMPS)/train
	$(RUN) examples/train.py $(ARGS)

test: $(STAMPS)/test $(STAMPS)/train
	$(RUN) -m pytest $(ARGS)

nightly: $(STAMPS)/test
	$(RUN) -m pytest -m large $(ARGS)
	$(RUN) -m pytest tests/test_hostile.py --hypothesis-profile=nightly $(ARGS)

bench: $(STAMPS)/bench
	$(RUN) -m bench.run $(ARGS)

lint: $(STAMPS)/lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/clang-format --dry-run --Werror $(CPP_FILES)
	$(VENV)/bin/codespell

docs: $(STAMPS)/test $(STAMPS)/train
	$(RUN) docs/figures.py
	$(RUN) -m pytest tests/test_docs.py $(ARGS)

# Where the system lets us, without network: a build fetches nothing. The wheel is made from the sdist.
OFFLINE := $(shell unshare --map-root-user --net test -w . 2>/dev/null && echo unshare --map-root-user --net)
wheel: $(STAMPS)/test $(STAMPS)/wheel
	rm -rf dist wheelhouse
	$(OFFLINE) $(RUN) -m build --no-isolation --outdir dist .
	PATH="$(abspath $(VENV))/bin:$$PATH" $(RUN) -m auditwheel repair --wheel-dir wheelhouse dist/*.whl
	$(RUN) -m pytest -m wheel tests/test_wheel.py $(ARGS)

clean:
	rm -rf $(VENV) build dist wheelhouse train.png .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

include tests/native/targets.mk

# ---- the environment: a stamp for the interpreter, one for the package, one for each extra in pyproject.toml ----

$(STAMPS)/venv:
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/package: $(SOURCES) | $(STAMPS)/venv
	@echo "building and installing convpool (about a minute)"
	$(PIP) install .
	@touch $@

# The package is installed by now, so this adds the list of requirements and leaves the package alone.
$(STAMPS)/train $(STAMPS)/test $(STAMPS)/bench $(STAMPS)/lint $(STAMPS)/wheel: $(STAMPS)/%: $(STAMPS)/package
	$(PIP) install 'convpool[$*]'
	@touch $@
