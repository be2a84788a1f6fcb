# Each target sets up what it needs in .venv and leaves everything inside the checkout.
# A Python of 3.10 to 3.12 is looked for; choose one with `make test PYTHON=python3.11`.
SUPPORTED = import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where Debian's package puts the images, or where `make fashion` unpacked it; a user's own place reaches it too.
FASHION_MNIST ?= $(firstword $(wildcard /usr/share/datasets/fashion-mnist $(CURDIR)/.cache/fashion/usr/share/datasets/fashion-mnist))
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
# Every program that a test starts would compile the library anew. What is installed is compiled when it is first used,
# a quarter of it, and not by pip.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart fashion test test-all lint pages docs bench bench-pipeline bench-imagenet bench-scaling bench-export beside-timm ablations dry-run clean

quickstart: $(VENV)/ready  ## train, validate and predict on the digits that come with scikit-learn
	$(RUN) examples/quickstart.py

fashion: $(VENV)/ready  ## train halonet_mini and halonet_26t on Fashion-MNIST: FASHION_MNIST=DIR, or Debian's package
	$(RUN) examples/fashion.py

test: lint  ## the tests; what CI runs
	$(RUN) -m pytest -n 2 --dist worksteal --basetemp=.pytest_tmp

test-all: lint  ## and every model beside its peer in both of MindSpore's modes and on native kernels
	$(RUN) -m pytest -n 2 --dist worksteal --basetemp=.pytest_tmp --thorough

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

pages: $(VENV)/ready  ## the pages and pictures of docs/ that come from the code
	$(RUN) docs/scripts/generate.py

docs: $(VENV)/ready  ## the site, into site/; a broken link or an undocumented public name fails
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

bench: $(VENV)/ready $(VENV)-torch/ready $(VENV)-keras/ready $(VENV)-onnx/ready  ## speed and memory beside every peer, into benchmarks/RESULTS.md
	TORCHINDUCTOR_CACHE_DIR=$(CURDIR)/.cache/inductor $(RUN) benchmarks/bench.py \
		--torch_python $(VENV)-torch/bin/python --keras_python $(VENV)-keras/bin/python \
		--onnx_python $(VENV)-onnx/bin/python

bench-pipeline: $(VENV)/ready $(VENV)-mindcv/ready  ## images/s of the input pipeline beside MindCV's
	$(RUN) benchmarks/pipeline.py --peer_python $(VENV)-mindcv/bin/python

bench-imagenet: $(VENV)/ready $(VENV)-torch/ready $(VENV)-mindcv/ready  ## what a data set of ImageNet's size costs, into benchmarks/imagenet/RESULTS.md
	$(RUN) benchmarks/imagenet_scale.py --torch_python $(VENV)-torch/bin/python \
		--mindcv_python $(VENV)-mindcv/bin/python

bench-scaling: $(VENV)/ready  ## images/s on 1 and 2 processes, beside perfect scaling; needs mpirun
	$(RUN) benchmarks/scaling.py

bench-export: $(VENV)/ready  ## size and images/s of exported models, under MindSpore and onnxruntime
	$(RUN) benchmarks/exported.py

beside-timm: $(VENV)/ready $(VENV)-torch/ready  ## losses, top-1 and cost of the same training in PyTorch: FASHION_MNIST=DIR
	TORCHINDUCTOR_CACHE_DIR=$(CURDIR)/.cache/inductor $(RUN) benchmarks/beside_timm/beside_timm.py --torch_python $(VENV)-torch/bin/python $(if $(FASHION_MNIST),--data_dir $(FASHION_MNIST))

ablations: $(VENV)/ready  ## what halos and the place of attention are worth on Fashion-MNIST: FASHION_MNIST=DIR
	$(RUN) benchmarks/ablations/ablations.py $(if $(FASHION_MNIST),--data_dir $(FASHION_MNIST))

dry-run: $(VENV)/ready $(VENV)-mindcv/ready  ## every graph compiled by MindSpore's Ascend and GPU backends, into docs/compiled.md
	$(RUN) -m dry_run.sweep --peer_python $(VENV)-mindcv/bin/python

$(VENV)-torch/ready: requirements/bench.txt
	$(PYTHON) -m venv --clear $(VENV)-torch
	$(VENV)-torch/bin/pip install --quiet --requirement requirements/bench.txt
	$(VENV)-torch/bin/pip install --quiet --no-deps timm==1.0.31 halonet-pytorch==0.0.5
	touch $@

$(VENV)-keras/ready: requirements/bench-keras.txt
	$(PYTHON) -m venv --clear $(VENV)-keras
	$(VENV)-keras/bin/pip install --quiet --requirement requirements/bench-keras.txt
	touch $@

$(VENV)-onnx/ready: requirements/bench-onnx.txt
	$(PYTHON) -m venv --clear $(VENV)-onnx
	$(VENV)-onnx/bin/pip install --quiet --requirement requirements/bench-onnx.txt
	touch $@

$(VENV)-mindcv/ready: requirements/bench-mindcv.txt
	$(PYTHON) -m venv --clear $(VENV)-mindcv
	$(VENV)-mindcv/bin/pip install --quiet --requirement requirements/bench-mindcv.txt
	touch $@

$(VENV)/ready: requirements/test.txt pyproject.toml setup.py
	@test -n "$(PYTHON)" || { echo "needs Python 3.10, 3.11 or 3.12: make $(MAKECMDGOALS) PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "$(PYTHON) is not Python 3.10, 3.11 or 3.12"; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --no-compile --requirement requirements/test.txt
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-torch $(VENV)-keras $(VENV)-onnx $(VENV)-mindcv .cache .pytest_tmp .mypy_cache build site *.egg-info runs/digits runs/fashion_mini runs/fashion_26t data/digits
