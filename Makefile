# make help lists the targets.
SHELL := /bin/sh
PORT ?= 3000
VENV := .venv
BIN = $(VENV)/bin
BUILT := build/archives

# The first Python of a version that MXNet runs on; PYTHON=… names another.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)

# `make test PYTHON=python3.12` where .venv has another Python: an environment beside it, .venv-3.12, unless VENV names one. Where no such program
# runs (pyenv's stand on PATH for versions that are not chosen, and refuse), pyenv's newest of that name does.
NAMED := $(if $(filter command environment,$(origin PYTHON)),$(PYTHON))
version_of = $(shell sed -n 's/^version = \([0-9]*\.[0-9]*\).*/\1/p' $(1)/pyvenv.cfg 2>/dev/null)
ifneq ($(NAMED),)
  PYENVS := $(shell ls -d $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/*/bin/$(NAMED) 2>/dev/null | sort -rV)
  override PYTHON := $(or $(shell for p in $(NAMED) $(PYENVS); do $$p -c pass 2>/dev/null && { echo $$p; break; }; done),$(NAMED))
  ASKED := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
  ifneq ($(and $(ASKED),$(filter-out $(ASKED),$(call version_of,.venv))),)
    VENV := .venv-$(ASKED)
  endif
endif

# The libraries that MXNet's wheel lacks: on Lambda in /opt/lib, here in build/lib.
export LD_LIBRARY_PATH := $(CURDIR)/build/lib:$(LD_LIBRARY_PATH)

CODE := handler archives local_emulator layers benchmarks tests

# SAM's tools, in an environment of their own: their pins and the project's do not go together.
TOOLS := build/sam-tools

# What `make layers` builds; LAYERS=3.12 builds one, ARCH=arm64 those for arm64, LAYER_OPTIONS=--no-bytecode goes without the Python that would compile.
LAYERS ?= 3.11 3.12 3.13
ARCH ?= x86_64
LAYER_OPTIONS ?=

.PHONY: FORCE help setup asked-python sam-tools port-is-free run demo-batch test test-slow test-versions test-layers test-arm64 layer-here versions check format archives layers sam-local bench bench-batch bench-power clean
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(VENV)/installed build/lib/libquadmath.so.0 ## virtual environment, MXNet, the two libraries that its wheel lacks

# An environment that is there already says nothing of the Python that was asked for.
asked-python:
ifneq ($(NAMED),)
	@[ "$(ASKED)" ] || { echo "PYTHON=$(NAMED): no such program, or it does not run" >&2; exit 1; }
	@there="$(call version_of,$(VENV))"; [ "$${there:-$(ASKED)}" = "$(ASKED)" ] \
		|| { echo "$(VENV) has Python $$there, and PYTHON=$(NAMED) is $(ASKED): name another VENV, or none" >&2; exit 1; }
endif

$(VENV)/installed: requirements.txt requirements-dev.txt layers/install.py | asked-python
	@if [ -z "$(PYTHON)" ]; then found=$$(python3 --version 2>/dev/null || echo "no python3"); \
		echo "Python 3.11, 3.12 or 3.13 is needed; here is: $$found. Install one (apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi
	@echo "Setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) layers/install.py $(VENV) requirements.txt requirements-dev.txt
	@touch $@

build/lib/libquadmath.so.0: layers/native_libraries.py | $(VENV)/installed
	@$(BIN)/python layers/native_libraries.py build/lib
	@touch $@

SMALL := $(BUILT)/digits_lenet.model $(BUILT)/char_cnn.model
$(BUILT)/digits_lenet.model: $(wildcard archives/digits_lenet/*.py archives/digits_lenet/*.json) | setup
	@$(BIN)/python -m archives.digits_lenet.build --out $(BUILT)
	@touch $@

$(BUILT)/char_cnn.model: $(wildcard archives/char_cnn/*.py archives/char_cnn/*.toml archives/char_cnn/*.json) | setup
	@$(BIN)/python -m archives.char_cnn.build --out $(BUILT)
	@touch $@

# The large one that the benchmark serves; `make archives` builds the others.
$(BUILT)/alexnet_hybrid.model: $(wildcard archives/alexnet_hybrid/*.py) archives/alexnet_build.py | setup
	@$(BIN)/python -m archives.alexnet_hybrid.build --out $(BUILT)
	@touch $@

# Before anything is set up, so that nobody waits for minutes to be told.
port-is-free:
	@$(or $(PYTHON),true) -c 'import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", $(PORT)))' 2>/dev/null \
		|| [ $$? -ne 1 ] || { echo "Port $(PORT) on 127.0.0.1 cannot be listened on (taken, or not a port of yours). Choose another one: make run PORT=3001" >&2; exit 1; }

run: port-is-free setup $(SMALL) ## build the example archives, serve them on PORT (3000), send one request, keep serving
	@$(BIN)/python -m local_emulator start-api --port $(PORT) \
		--models digits_lenet=$(BUILT)/digits_lenet.model char_cnn=$(BUILT)/char_cnn.model \
		--example digits_lenet=archives/digits_lenet/sample.png

demo-batch: setup $(SMALL) ## land pictures and texts in a bucket on this machine, and show the predictions that land in another
	@$(BIN)/python -m local_emulator.demo_batch --images digits_lenet=build/data/digits_test --texts char_cnn=archives/char_cnn/sample.jsonl \
		--models digits_lenet=$(BUILT)/digits_lenet.model char_cnn=$(BUILT)/char_cnn.model

# Files of tests on every CPU.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

test: setup $(SMALL) ## all tests but the slow ones; PYTHON=python3.12 on that Python
	@$(BIN)/python -m pytest -q -m "not slow" $(PARALLEL) \
		--junitxml=build/tests/$(patsubst .%,%,$(notdir $(VENV))).xml

sam-tools: $(TOOLS)/installed ## sam, cfn-lint and a linter of policies, which the slow tests hold template.yaml against

$(TOOLS)/installed: tests/template/requirements.txt layers/install.py | setup
	@$(BIN)/python layers/install.py $(TOOLS) tests/template/requirements.txt
	@touch $@

test-slow: setup sam-tools $(SMALL) ## the slow tests: large archives, AWS's own emulator beside ours, template.yaml through SAM
	@$(BIN)/python -m pytest -q -m slow $(PARALLEL)

test-layers: layers setup $(SMALL) ## the layers: NumPy's own tests, what each rule of removal leaves, and the tests with real nets against each
	@$(BIN)/python -m pytest -q -m slow $(PARALLEL) tests/layer
	@$(BIN)/python -m layers.suite

# What of the tests with real nets a merge runs against one layer; test-layers runs all of them against each.
QUICK := tests/examples tests/cold_path tests/archive_tool tests/mxnet_import/test_names.py tests/contract/test_predictor_nets.py

layer-here: setup $(SMALL) ## the layer for the Python of .venv, and some tests with real nets against it
	@version=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
		&& $(MAKE) --no-print-directory layers LAYERS=$$version && $(BIN)/python -m layers.suite --python $$version $(QUICK)

test-arm64: setup $(SMALL) $(LAYERS:%=build/layers/%-arm64/layer.zip) ## the arm64 layers on an emulated processor, with a Python fetched from Debian
	@$(BIN)/python -m layers.arm64_python
	@$(BIN)/python -m pytest -q -m slow tests/layer/test_arm64.py tests/layer/test_closed_and_small.py -k "arm64"

test-versions: setup $(SMALL) ## the same tests on the other Python versions that are found here
	@$(BIN)/python -m layers.other_versions

versions: test test-versions test-layers ## all of these, and what they said in docs/versions.md
	@$(BIN)/python -m layers.versions

check: setup ## formatter, linter, strict typing, import rules, tests
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy $(CODE)
	@PYTHONPATH=handler:. $(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: setup ## format the code
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix --quiet $(CODE) || true

archives: setup $(SMALL) ## build the large example archives too
	@for name in alexnet_imperative alexnet_hybrid alexnet_pretrained; do $(BIN)/python -m archives.$$name.build --out $(BUILT) || exit 1; done

layers: $(LAYERS:%=build/layers/%$(if $(filter-out x86_64,$(ARCH)),-$(ARCH))/layer.zip) ## the Lambda layers for Python 3.11, 3.12 and 3.13, in build/layers/, each with a report

LAYER_SOURCES := requirements.txt $(wildcard layers/*.py layers/*.c layers/*.md) $(shell find handler -name '*.py') build/layers/made-of
build/layers/%/layer.zip: $(LAYER_SOURCES) | setup
	@$(BIN)/python -m layers.build --python $* $(LAYER_OPTIONS)

build/layers/%-arm64/layer.zip: $(LAYER_SOURCES) | setup
	@$(BIN)/python -m layers.build --python $* --architecture arm64 $(LAYER_OPTIONS)

# Changes when other options are given, or a file of the handler's is gone, which its time stamp cannot tell any more.
build/layers/made-of: FORCE
	@mkdir -p $(@D)
	@{ echo '$(LAYER_OPTIONS)'; find handler layers -name '*.py' | sort; } > $@.draft
	@cmp -s $@.draft $@ && rm $@.draft || mv $@.draft $@

FORCE:

sam-local: setup sam-tools $(BUILT)/digits_lenet.model ## build the template with SAM and have `sam local` answer events and a picture; needs Docker
	@$(BIN)/python -m layers.sam_local

bench: setup $(BUILT)/char_cnn.model $(BUILT)/alexnet_hybrid.model ## cold starts and warm times against their rivals, and what is reached (some minutes, on a quiet machine)
	@benchmarks/setup_naive.sh build/bench/naive
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.cold_start

bench-batch: setup $(BUILT)/char_cnn.model ## batches against the bare net and single invocations, and their memory (some minutes, on a quiet machine)
	@benchmarks/setup_naive.sh build/bench/naive
	@$(BIN)/python -m benchmarks.batch

bench-power: setup $(SMALL) $(BUILT)/alexnet_hybrid.model ## latency and cost at each memory size of Lambda, as root (some minutes, on a quiet machine)
	@benchmarks/setup_naive.sh build/bench/naive
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.power

clean: ## remove what was built; .venv stays
	rm -rf build
