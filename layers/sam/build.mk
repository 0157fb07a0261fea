# What SAM asks for: the layer of VERSION and ARCHITECTURE, and the functions of VERSION, each in ARTIFACTS_DIR. SAM runs this in a copy of the folder, so
# the repository is found by the Makefile's own place, ROOT. LAYER_OPTIONS=--no-bytecode in the shell goes without the Python that would compile.
LAYER_OPTIONS ?=

# `make setup`'s Python, or the first one that is here, is new enough and has pip; it runs the build, and need not be of VERSION.
WILL_DO := -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))'
ifndef PYTHON
  PYTHON := $(shell for python in "$(ROOT)/.venv/bin/python" python3 python3.13 python3.12 python3.11; do \
	"$$python" $(WILL_DO) >/dev/null 2>&1 && { echo "$$python"; break; }; done)
endif

OUT := $(if $(filter /%,$(firstword $(ARTIFACTS_DIR))),,$(CURDIR)/)$(ARTIFACTS_DIR)

.PHONY: build-MxnetLayer build-PredictFunction build-BatchFunction
build-MxnetLayer: PART := layers.build --architecture $(ARCHITECTURE)
build-PredictFunction build-BatchFunction: PART := layers.function
build-MxnetLayer build-PredictFunction build-BatchFunction:
	@"$(PYTHON)" $(WILL_DO) >/dev/null 2>&1 || { echo "Python 3.11, 3.12 or 3.13 is needed to build the layer, with pip. Install one (pyenv install 3.12, or apt-get install python3.12 python3-pip), or name it: PYTHON=/path/to/python3.12 sam build" >&2; exit 1; }
	@cd "$(ROOT)" && "$(PYTHON)" -m $(PART) --python $(VERSION) --out "$(OUT)" $(LAYER_OPTIONS)
