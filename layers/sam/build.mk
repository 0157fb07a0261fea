# What SAM asks for: layer and functions of VERSION, each in ARTIFACTS_DIR. SAM runs this in a copy of the folder, so the repository is found by this
# file's own place. LAYER_OPTIONS=--no-bytecode in the shell goes without the Python that would compile.
ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))../..)
LAYER_OPTIONS ?=

# `make setup`'s Python, or the first one that is here; it runs the build, and need not be of VERSION.
PYTHON ?= $(firstword $(wildcard $(ROOT)/.venv/bin/python) $(foreach name,python3 python3.13 python3.12 python3.11,$(shell command -v $(name))))

.PHONY: build-MxnetLayer build-PredictFunction build-BatchFunction
build-MxnetLayer: PART := layers.build
build-PredictFunction build-BatchFunction: PART := layers.function
build-MxnetLayer build-PredictFunction build-BatchFunction:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed to build the layer. Install one: apt-get install python3 python3-venv" >&2; exit 1; }
	@cd "$(ROOT)" && "$(PYTHON)" -m $(PART) --python $(VERSION) --out "$(abspath $(ARTIFACTS_DIR))" $(LAYER_OPTIONS)
