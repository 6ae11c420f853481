# `make demo` and `make test` do all their set-up themselves.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint setup lock test-lowest bench-conversion bench-int8 bench-conversion-full arm64 \
    train-demo train-quarter clean

demo: .venv/ready  ## Convert the shipped model to float16 and int8; draw both beside the full model
	$(BIN)/bokeh-convert --demo --quant float16,int8 --output-dir build/demo

test: .venv/ready .venv-board/ready lint  ## Everything that must hold before a commit
	$(BIN)/pytest
	.venv-board/bin/pytest tests/runtime

lint: .venv/ready
	$(BIN)/pre-commit run --all-files

setup: .venv/ready .venv-board/ready  ## Both environments: the whole project; a board without TensorFlow

.venv/ready: pyproject.toml constraints.txt
	@echo "setting up .venv (once; about 1 GB to download)"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python $(INSTALL) --editable '.[dev]'
	@touch $@

.venv-board/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-board
	.venv-board/bin/python $(INSTALL) --editable . pytest pytest-randomly
	@touch $@

lock: .venv/ready  ## Renew constraints.txt from pyproject.toml
	$(BIN)/python $(INSTALL) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --all-extras --upgrade \
	    --no-emit-index-url --no-emit-package backports-strenum --no-annotate --no-header --output-file constraints.txt pyproject.toml

test-lowest: .venv/ready  ## The tests with the oldest versions that pyproject.toml allows
	$(BIN)/python $(INSTALL) uv
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/pytest

bench-conversion: .venv/ready  ## Our files beside other tools'
	$(BIN)/python -m bokeh_bench conversion

MODEL ?=
PHOTOS ?=
bench-int8: arm64  ## Instructions on a phone's CPU kernels, under QEMU; MODEL=x.h5 PHOTOS=dir for another model
	$(BIN)/python -m bokeh_bench conversion $(MODEL) --size 128x192 --runs 0 --arm64 \
	    $(if $(PHOTOS),--representative-dataset $(PHOTOS)) \
	    $(foreach scheme,float16 int8 full-integer,--only "bokeh-convert $(scheme)" --only "TFLiteConverter $(scheme)") \
	    --only "litert-quantizer static_wi8_ai8" --only "litert-quantizer dynamic_wi8_afp32"

bench-conversion-full: .venv/ready  ## The same at the paper's width and size: half an hour
	$(BIN)/python -m bokeh_bench conversion --untrained 1.0 --size 512x768 --runs 0 \
	    $(foreach scheme,float16 dynamic int8 int16x8 full-integer,--only "bokeh-convert $(scheme)") \
	    --only "TFLiteConverter float16" --only "TFLiteConverter dynamic"

arm64: .venv/ready  ## A phone's CPU kernels under QEMU, for `python -m bokeh_bench arm64`
	$(BIN)/python -m bokeh_bench.arm64.environment build/arm64

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
	rm -rf .venv .venv-board .venv-lowest build
