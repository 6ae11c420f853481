# `make demo` and `make test` do all their set-up themselves.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast lint setup lock models test-lowest bench bench-conversion bench-int8 bench-conversion-full bench-render bench-gpu arm64 test-environment android \
    train-demo train-quarter clean

demo: .venv/ready  ## Convert the trained model to float16 and int8; render a photo; bench both
	$(BIN)/bokeh-convert --demo --quant float16,int8 --output-dir build/demo
	$(BIN)/bokeh-render benchmarks/photos/dandelion.jpg --model build/demo/demo_pynet_int8.tflite \
	    --compare --output build/demo/dandelion.jpg
	$(BIN)/bokeh-bench build/demo/demo_pynet_float16.tflite build/demo/demo_pynet_int8.tflite \
	    --delegate cpu --output-dir build/demo/bench

WITHOUT_TENSORFLOW := $(addprefix tests/benchmarks/test_,bench.py gates.py)
export BOKEH_TESTS_SKIPPED := $(CURDIR)/build/tests-skipped.txt
# Each process that imports TensorFlow takes up to 2 GB.
TEST_PROCESSES ?= 2
IN_PROCESSES := --numprocesses $(TEST_PROCESSES) --dist worksteal
test: .venv/ready .venv-board/ready .venv-tflite-runtime/ready lint test-environment  ## Everything that must hold before a commit
	@rm -f $(BOKEH_TESTS_SKIPPED)
	$(BIN)/pytest $(IN_PROCESSES)
	.venv-board/bin/pytest $(IN_PROCESSES) tests/runtime $(WITHOUT_TENSORFLOW)
	@if [ -x .venv-tflite-runtime/bin/pytest ]; then .venv-tflite-runtime/bin/pytest $(IN_PROCESSES) tests/runtime; fi
	@$(ENVIRONMENT) --summary $(BOKEH_TESTS_SKIPPED)

test-fast: .venv/ready  ## The tests that are not marked slow, some of every package: for use while you work
	BOKEH_TESTS_SKIPPED= BOKEH_TESTS_REQUIRE_ALL= $(BIN)/pytest $(IN_PROCESSES) -m 'not slow'

ENVIRONMENT := PYTHONPATH=android_demo/offline $(BIN)/python tests/environment.py
test-environment: .venv/ready  ## What tests drive: as root it is installed, without root the rest is built
	@mkdir -p build
	$(ENVIRONMENT)

lint: .venv/ready
	$(BIN)/pre-commit run --all-files

setup: .venv/ready .venv-board/ready .venv-tflite-runtime/ready  ## The whole project; a board without TensorFlow; one with tflite-runtime alone

.venv/ready: pyproject.toml constraints.txt
	@echo "setting up .venv (once; about 1 GB to download)"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python $(INSTALL) --editable '.[dev]'
	@touch $@

.venv-board/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-board
	.venv-board/bin/python $(INSTALL) --editable '.[bench]' pytest pytest-randomly pytest-xdist
	@touch $@

# tflite-runtime was built against NumPy 1, and for Python up to 3.11.
.venv-tflite-runtime/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-tflite-runtime
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info > (3, 12))'; then \
	    .venv-tflite-runtime/bin/python -m pip install --quiet --disable-pip-version-check \
	        --editable '.[tflite-runtime]' pytest pytest-randomly pytest-xdist && \
	    .venv-tflite-runtime/bin/python -m pip uninstall --quiet --yes ai-edge-litert; \
	else echo "tflite-runtime has no build for this Python; its tests are left out"; fi
	@touch $@

lock: .venv/ready  ## Renew constraints.txt from pyproject.toml
	$(BIN)/python $(INSTALL) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --upgrade \
	    --no-emit-index-url --no-emit-package backports-strenum --no-annotate --no-header --output-file constraints.txt pyproject.toml

test-lowest: .venv/ready  ## The tests with the oldest versions that pyproject.toml allows
	$(BIN)/python $(INSTALL) uv
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/pytest $(IN_PROCESSES)

bench: .venv/ready  ## The shipped models: latency, fidelity and placement; and how far our clock is to be trusted
	$(BIN)/bokeh-bench --delegate cpu,gpu --threads 1,2 --output-dir build/bench --markdown
	for scheme in float16 int8; do \
	    $(BIN)/bokeh-bench study agreement runtime/bokeh_runtime/models/demo_pynet_$$scheme.tflite; done

bench-conversion: .venv/ready  ## Our files beside other tools'
	$(BIN)/bokeh-bench study conversion

models: .venv/ready  ## The .tflite files that ship with the runtime, from the trained demo model
	$(BIN)/bokeh-convert --demo --quant float16,int8 --output-dir build/models
	mkdir -p runtime/bokeh_runtime/models
	cp build/models/demo_pynet_float16.tflite build/models/demo_pynet_int8.tflite \
	    build/models/demo_pynet.reference.npz runtime/bokeh_runtime/models/

MODEL ?=
PHOTOS ?=
bench-int8: arm64  ## Instructions on a phone's CPU kernels, under QEMU; MODEL=x.h5 PHOTOS=dir for another model
	$(BIN)/bokeh-bench study conversion $(MODEL) --size 128x192 --runs 0 --arm64 \
	    $(if $(PHOTOS),--representative-dataset $(PHOTOS)) \
	    $(foreach scheme,float16 int8 full-integer,--only "bokeh-convert $(scheme)" --only "TFLiteConverter $(scheme)") \
	    --only "litert-quantizer static_wi8_ai8" --only "litert-quantizer dynamic_wi8_afp32"

bench-conversion-full: .venv/ready  ## The same at the paper's width and size: half an hour
	$(BIN)/bokeh-bench study conversion --untrained 1.0 --size 512x768 --runs 0 \
	    $(foreach scheme,float16 dynamic int8 int16x8 full-integer,--only "bokeh-convert $(scheme)") \
	    --only "TFLiteConverter float16" --only "TFLiteConverter dynamic"

arm64: .venv/ready  ## A phone's CPU kernels under QEMU, for `bokeh-bench study arm64`
	$(BIN)/python -m bokeh_bench.devices.arm64.environment build/arm64

android: .venv/ready  ## The Android app, tested, signed and verified, without Gradle: build/android/bokeh-demo.apk
	PYTHONPATH=android_demo/offline $(BIN)/python -m offline_build --output build/android

bench-render: .venv/ready  ## Stages, memory and sharpness of whole photos, at the trained size and at 512 x 768
	$(BIN)/bokeh-convert --demo --quant float16,int8 --size 512x768 --output-dir build/models_512x768
	$(BIN)/bokeh-bench study render --model runtime/bokeh_runtime/models/demo_pynet_float16.tflite \
	    --model build/models_512x768/demo_pynet_float16.tflite --model build/models_512x768/demo_pynet_int8.tflite

bench-gpu: .venv/ready  ## GPU and CPU beside the full model, for every scheme
	$(BIN)/bokeh-bench study gpu

PAIRS ?= ../shared/demo_pairs
train-demo: .venv/ready  ## Train the shipped model again (resumes; see its MODEL_CARD.md)
	$(BIN)/bokeh-train fit $(PAIRS) --output-dir build/train --width 0.125 --no-depth --residual \
	    --head l0 --steps 2400 --batch 2 --crop 192 --short-side 256 --paste 0.3 --seed 1 \
	    --leave-out wolf_plushie
	$(BIN)/bokeh-train evaluate build/train/model.h5 $(PAIRS) --short-side 256 \
	    --sheet build/train/heldout.png

train-quarter: .venv/ready  ## A quarter-width PyNET in the paper's form, trained briefly, to measure int8 on
	$(BIN)/bokeh-train fit $(PAIRS) --output-dir build/quarter --width 0.25 --steps 1600 --batch 4 \
	    --crop 128 --short-side 256 --paste 0.3 --seed 1 --leave-out wolf_plushie

clean:
	rm -rf .venv .venv-board .venv-tflite-runtime .venv-lowest build
