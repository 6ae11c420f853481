# `make demo` and `make test` do all their set-up themselves.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast npu lint setup lock models test-lowest docs tables figures figures-slow figures-demo figures-quarter crop pictures arm64 test-environment android web release \
    train-demo train-student train-student-quarter train-int8-aware train-int8-aware-free train-quarter clean

demo: .venv/ready  ## Convert the trained model to float16 and int8; render a photo; bench both
	$(BIN)/bokeh-convert --demo --quant float16,int8 --output-dir build/demo
	$(BIN)/bokeh-render benchmarks/photos/dandelion.jpg --model build/demo/demo_pynet_int8.tflite \
	    --compare --output build/demo/dandelion.jpg
	$(BIN)/bokeh-bench build/demo/demo_pynet_float16.tflite build/demo/demo_pynet_int8.tflite \
	    --delegate cpu --output-dir build/demo/bench

# Without hostile_models: TensorFlow's own interpreter takes Flex operators.
OF_THE_INTERPRETER := $(patsubst %,tests/runtime/test_%.py,delegates foreign_models model tflite_file value_range)
INTERPRETER_VENVS := .venv-board .venv-tflite-runtime .venv-tensorflow-2.16
WITHOUT_TENSORFLOW := $(addprefix tests/benchmarks/test_,bench.py regression.py)
export BOKEH_TESTS_SKIPPED := $(CURDIR)/build/tests-skipped.txt
# Each process that imports TensorFlow takes up to 2 GB.
TEST_PROCESSES ?= 2
IN_PROCESSES := --numprocesses $(TEST_PROCESSES) --dist worksteal
test: .venv/ready $(INTERPRETER_VENVS:%=%/ready) lint test-environment  ## Everything that must hold before a commit
	@rm -f $(BOKEH_TESTS_SKIPPED)
	$(BIN)/pytest $(IN_PROCESSES)
	.venv-board/bin/pytest $(IN_PROCESSES) tests/runtime $(WITHOUT_TENSORFLOW)
	@if [ -x .venv-tflite-runtime/bin/pytest ]; then .venv-tflite-runtime/bin/pytest $(IN_PROCESSES) tests/runtime; fi
	@if [ -x .venv-tensorflow-2.16/bin/pytest ]; then \
	    .venv-tensorflow-2.16/bin/pytest --quiet -m 'not slow' $(OF_THE_INTERPRETER); fi
	@if [ -x .venv-npu/bin/pytest ]; then .venv-npu/bin/pytest $(IN_PROCESSES) tests/npu; fi
	@$(ENVIRONMENT) --summary $(BOKEH_TESTS_SKIPPED)

npu: .venv-npu/ready  ## Qualcomm's compiler and emulator and Intel's OpenVINO, in an environment of their own, and their tests
	BOKEH_TESTS_SKIPPED= .venv-npu/bin/pytest $(IN_PROCESSES) tests/npu

test-fast: .venv/ready  ## The tests that are not marked slow, some of every package: for use while you work
	BOKEH_TESTS_SKIPPED= BOKEH_TESTS_REQUIRE_ALL= $(BIN)/pytest $(IN_PROCESSES) -m 'not slow'

ENVIRONMENT := PYTHONPATH=android_demo/offline $(BIN)/python tests/environment.py
test-environment: .venv/ready  ## What tests drive: as root it is installed, without root the rest is built
	@mkdir -p build
	$(ENVIRONMENT)

lint: .venv/ready
	$(BIN)/pre-commit run --all-files

setup: .venv/ready $(INTERPRETER_VENVS:%=%/ready)  ## The whole project; a board without TensorFlow; older interpreters

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

# The interpreter of older apps, also of ours. TensorFlow 2.16.1 was built for Python up to 3.12; its NumPy is 1.
TENSORFLOW_2_16 := tensorflow$(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),-cpu)==2.16.1
.venv-tensorflow-2.16/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-tensorflow-2.16
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info > (3, 13))'; then \
	    .venv-tensorflow-2.16/bin/python -m pip install --quiet --disable-pip-version-check \
	        --editable . '$(TENSORFLOW_2_16)' 'numpy<2' pytest pytest-randomly pytest-xdist && \
	    .venv-tensorflow-2.16/bin/python -m pip uninstall --quiet --yes ai-edge-litert; \
	else echo "TensorFlow 2.16.1 has no build for this Python; its tests are left out"; fi
	@touch $@

# Qualcomm's libraries are built for x86-64 Linux and Python 3.11 or later.
.venv-npu/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import platform, sys; \
	    sys.exit(sys.version_info < (3, 11) or sys.platform != "linux" or platform.machine() != "x86_64")' || \
	    { echo "make npu needs Linux on x86-64 and Python 3.11 or later"; exit 1; }
	@echo "setting up .venv-npu: the libraries of Qualcomm and Intel are under their own licences (docs/npu.md)"
	$(PYTHON) -m venv --clear .venv-npu
	.venv-npu/bin/python $(INSTALL) --editable '.[bench,convert,npu-openvino,npu-qualcomm]' \
	    jsonschema pytest pytest-randomly pytest-xdist
	@touch $@

lock: .venv/ready  ## Renew constraints.txt from pyproject.toml
	$(BIN)/python $(INSTALL) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --extra npu-openvino --extra npu-qualcomm --upgrade \
	    --no-emit-index-url --no-emit-package backports-strenum --no-annotate --no-header --output-file constraints.txt pyproject.toml

test-lowest: .venv/ready  ## The tests with the oldest versions that pyproject.toml allows
	$(BIN)/python $(INSTALL) uv
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/pytest $(IN_PROCESSES)

models: .venv/ready  ## The .tflite files that ship with the runtime, from the trained demo models
	$(BIN)/bokeh-convert --demo --quant float16,int8 --output-dir build/models
	$(BIN)/bokeh-convert --demo student --quant int8 --output-dir build/models
	mkdir -p runtime/bokeh_runtime/models
	cp build/models/demo_pynet_float16.tflite build/models/demo_pynet_int8.tflite \
	    build/models/demo_student_int8.tflite build/models/demo_pynet.reference.npz runtime/bokeh_runtime/models/
	cd runtime/bokeh_runtime/models && sha256sum *.tflite > $(CURDIR)/android_demo/offline/models.sha256

web: .venv/ready  ## The pages for browsers, with LiteRT.js, and their wheel: build/web (needs Node.js)
	$(BIN)/python web/build.py --wheel

arm64: .venv/ready  ## A phone's CPU kernels under QEMU, for `bokeh-bench study arm64`
	$(BIN)/python -m bokeh_bench.devices.arm64.environment build/arm64

android: .venv/ready  ## The Android app, tested, signed and verified, without Gradle: build/android/bokeh-demo.apk; MODELS=out/ for your own
	PYTHONPATH=android_demo/offline $(BIN)/python -m offline_build --output build/android $(if $(MODELS),--models $(MODELS))

release: android web  ## What a release consists of, with hashes: build/release
	rm -rf build/release
	$(BIN)/python -m build --outdir build/release .
	cp build/android/bokeh-demo.apk build/web/bokeh_tflite_web-*.whl build/release
	cd build/release && sha256sum * > SHA256SUMS && cat SHA256SUMS

PAIRS ?= ../shared/demo_pairs
docs: .venv/ready  ## The documentation as a site, build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --quiet --strict

# The tables of figures in README.md and docs/. Each comes from docs/figures/NAME.json, and
# `make figures/NAME` measures it anew, on a machine that does nothing else.
FIGURES := shipped-models agreement-float16 agreement-int8 conversion rendering gpu web student input-noise
FIGURES_SLOW := student-arm64 conversion-arm64 conversion-full conversion-quarter conversion-quarter-arm64 detail-fusion npu students
figures: $(FIGURES:%=docs/figures/%.json) tables  ## Measure the tables that are missing: a quarter of an hour
figures-slow: $(FIGURES_SLOW:%=docs/figures/%.json) tables  ## Those that take hours, need training (conversion-quarter*) or the training photos

tables: .venv/ready  ## Write the tables in README.md and docs/ from docs/figures
	$(BIN)/python -m bokeh_bench.doc_tables README.md docs/*.md

OUTPUT = docs/figures/$*.json
STUDY = $(BIN)/bokeh-bench study
# QUARTER_PHOTOS: a folder of photos with depth maps to calibrate the quarter-width model on, which it was not trained
# on; without it, the bundled photos with a synthetic depth map. HELD_OUT: photos with depth maps that neither training
# nor calibration has seen.
QUARTER ?= build/quarter/model.h5
QUARTER_PHOTOS ?=
QUARTER_OPTIONS = $(QUARTER) $(if $(QUARTER_PHOTOS),--representative-dataset $(QUARTER_PHOTOS))
HELD_OUT ?= $(wildcard $(PAIRS))
HELD_OUT_OPTIONS = $(if $(HELD_OUT),--photos $(HELD_OUT))
ARM64_OPTIONS = --size 128x192 --runs 0 --arm64 --profile cortex-a76 --profile neoverse-n2 \
    $(foreach scheme,float16 dynamic int8 full-integer,--only "bokeh-convert $(scheme)" --only "TFLiteConverter $(scheme)") \
    --only "litert-quantizer static_wi8_ai8" --only "litert-quantizer dynamic_wi8_afp32"
OTHER_INTERPRETER = $(addprefix --interpreter-python ,$(wildcard .venv-tensorflow-2.16/bin/python))
SHIPPED = runtime/bokeh_runtime/models/demo_pynet
# Without a GPU, Debian's Vulkan device in software.
SWIFTSHADER := $(wildcard /usr/lib/chromium/vk_swiftshader_icd.json)
GPU_TABLES := figures/gpu docs/figures/gpu.json
ifneq ($(SWIFTSHADER),)
ifeq ($(wildcard /dev/dri/render*),)
$(GPU_TABLES): export VK_ICD_FILENAMES := $(SWIFTSHADER)
$(GPU_TABLES): export XDG_RUNTIME_DIR := /tmp
endif
endif
MEASURE_shipped-models = $(BIN)/bokeh-bench --delegate cpu --threads 1,2 --output-dir build/figures/$* && \
    cp build/figures/$*/report.json $(OUTPUT)
DEMO_H5 := convert/bokeh_convert/demo/demo_pynet.h5
# $(call CONVERT_STUDENT,OPTIONS): teacher and student, to build/figures/NAME.
CONVERT_STUDENT = $(BIN)/bokeh-convert --demo --quant float32,int8 $1 --output-dir build/figures/$* && \
    $(BIN)/bokeh-convert --demo student --quant float16,int8 $1 --output-dir build/figures/$*
STUDENT_FILES = $(addprefix build/figures/$*/demo_,pynet_float32.tflite pynet_int8.tflite student_float16.tflite student_int8.tflite)
# The photos that the demo model was not trained on.
HELD_OUT_PHOTOS = $(foreach name,$(shell awk '$$3 == "heldout" {print $$1}' $(PAIRS)/pairs.tsv),$(PAIRS)/$(name)_sharp.jpg)
MEASURE_student = $(call CONVERT_STUDENT) && mkdir -p build/figures/$*/photos && cp $(HELD_OUT_PHOTOS) build/figures/$*/photos && \
    $(BIN)/bokeh-bench $(STUDENT_FILES) --source $(DEMO_H5) --photos build/figures/$*/photos --delegate cpu --threads 1 \
    --output-dir build/figures/$*/bench && cp build/figures/$*/bench/report.json $(OUTPUT)
MEASURE_student-arm64 = $(MAKE) arm64 && $(call CONVERT_STUDENT,--size 128x192) && \
    $(BIN)/bokeh-bench $(STUDENT_FILES) --device arm64:cortex-a76 \
    --output-dir build/figures/$*/bench && cp build/figures/$*/bench/report.json $(OUTPUT)
# Folders of `make train-student`, train-student-quarter, train-int8-aware and train-int8-aware-free.
STUDENTS ?= $(addprefix build/,student student-quarter int8-aware int8-aware-free)
MEASURE_students = $(STUDY) students $(STUDENTS) --output $(OUTPUT)
MEASURE_agreement-float16 = $(STUDY) agreement $(SHIPPED)_float16.tflite --output $(OUTPUT)
MEASURE_agreement-int8 = $(STUDY) agreement $(SHIPPED)_int8.tflite --output $(OUTPUT)
MEASURE_conversion = $(STUDY) conversion $(HELD_OUT_OPTIONS) $(OTHER_INTERPRETER) --output $(OUTPUT)
MEASURE_conversion-arm64 = $(MAKE) arm64 && $(STUDY) conversion $(HELD_OUT_OPTIONS) $(ARM64_OPTIONS) --output $(OUTPUT)
MEASURE_conversion-quarter = $(STUDY) conversion $(QUARTER_OPTIONS) $(HELD_OUT_OPTIONS) $(OTHER_INTERPRETER) \
    --output $(OUTPUT)
MEASURE_conversion-quarter-arm64 = $(MAKE) arm64 && \
    $(STUDY) conversion $(QUARTER_OPTIONS) $(HELD_OUT_OPTIONS) $(ARM64_OPTIONS) --output $(OUTPUT)
MEASURE_conversion-full = $(STUDY) conversion --untrained 1.0 --size 512x768 --runs 0 --output $(OUTPUT) \
    $(foreach scheme,float16 dynamic int8 full-integer,--only "bokeh-convert $(scheme)") \
    --only "TFLiteConverter float16" --only "TFLiteConverter dynamic"
# The name tells the larger files from those that ship.
LARGER := build/figures/512x768/demo_pynet
MEASURE_rendering = $(BIN)/bokeh-convert --demo --quant float16,int8 --size 512x768 --output-dir build/figures/512x768 && \
    mv $(LARGER)_float16.tflite $(LARGER)_512x768_float16.tflite && mv $(LARGER)_int8.tflite $(LARGER)_512x768_int8.tflite && \
    $(STUDY) render --model $(SHIPPED)_float16.tflite --model $(LARGER)_512x768_float16.tflite \
    --model $(LARGER)_512x768_int8.tflite --output $(OUTPUT)
MEASURE_npu = $(MAKE) .venv-npu/ready && .venv-npu/bin/bokeh-bench study npu --output $(OUTPUT)
MEASURE_gpu = $(STUDY) gpu --output $(OUTPUT)
MEASURE_input-noise = $(STUDY) input-noise --output $(OUTPUT)
MEASURE_web = $(MAKE) web && $(STUDY) web --output $(OUTPUT)
MEASURE_detail-fusion = $(STUDY) detail-fusion $(PAIRS) --output $(OUTPUT)
MEASURE = $(or $(MEASURE_$*),$(error figures/$*: there are $(FIGURES) $(FIGURES_SLOW)))

docs/figures/%.json: | .venv/ready
	mkdir -p docs/figures
	$(MEASURE)

figures-demo: figures/conversion figures/conversion-arm64  ## int8 beside other schemes and converters: the demo model
figures-quarter: figures/conversion-quarter figures/conversion-quarter-arm64  ## The same: the model of train-quarter

figures/%: .venv/ready
	mkdir -p docs/figures
	$(MEASURE)
	$(MAKE) tables

crop: .venv/ready  ## The picture of a blurred background in README.md: docs/crop.png
	$(STUDY) crop --picture docs/crop.png

pictures: .venv/ready  ## Other pictures of the documentation, with the models that ship (needs Chromium)
	$(BIN)/python docs/draw_pictures.py

train-demo: .venv/ready  ## Train the shipped model again (resumes; see its MODEL_CARD.md)
	$(BIN)/bokeh-train fit $(PAIRS) --output-dir build/train --width 0.125 --no-depth --residual \
	    --head l0 --steps 2400 --batch 2 --crop 192 --short-side 256 --paste 0.3 --seed 1 \
	    --leave-out wolf_plushie
	$(BIN)/bokeh-train evaluate build/train/model.h5 $(PAIRS) --short-side 256 \
	    --sheet build/train/heldout.png

PHOTOS ?= build/photos
STUDENT_HELD_OUT ?=
train-student: .venv/ready  ## Distill the shipped student again, from PHOTOS=DIR (resumes; see STUDENT_CARD.md)
	$(BIN)/bokeh-train distill $(DEMO_H5) --photos $(PHOTOS) --output-dir build/student \
	    --residual-blocks 1 --crops 2400 --views 300 --steps 4000 --whole-steps 800 --int8-aware --int8-steps 1600 \
	    --evaluations 8 $(if $(STUDENT_HELD_OUT),--held-out $(STUDENT_HELD_OUT))

train-student-quarter: .venv/ready  ## A student of the quarter-width model, likewise, in a few hours
	$(BIN)/bokeh-train distill $(QUARTER) --photos $(PHOTOS) --output-dir build/student-quarter \
	    --residual-blocks 1 --crops 1600 --views 240 --steps 2400 --whole-steps 400 --int8-aware --int8-steps 2000 \
	    --evaluations 8 $(if $(STUDENT_HELD_OUT),--held-out $(STUDENT_HELD_OUT))

# $(call FINETUNE,NAME,OPTIONS): the demo model trained on, to build/NAME.
FINETUNE = $(BIN)/bokeh-train finetune $(DEMO_H5) --photos $(PHOTOS) --output-dir build/$1 --crops 2400 --views 300 \
    --patience 5 $2 $(if $(STUDENT_HELD_OUT),--held-out $(STUDENT_HELD_OUT))
train-int8-aware: .venv/ready  ## The demo model trained on with the rounding of int8, likewise, in an hour
	$(call FINETUNE,int8-aware,--steps 1000 --evaluations 12)

train-int8-aware-free: .venv/ready  ## The same with nothing that holds it to what it drew, to compare with
	$(call FINETUNE,int8-aware-free,--steps 1400 --evaluations 14 --int8-learning-rate 1e-4 --feature-weight 0 --frozen-below 0)

train-quarter: .venv/ready  ## A quarter-width PyNET in the paper's form, to measure int8 on: 2600 steps, an hour
	$(BIN)/bokeh-train fit $(PAIRS) --output-dir build/quarter --width 0.25 --steps 2600 --batch 4 \
	    --crop 128 --short-side 256 --paste 0.3 --seed 1 --leave-out wolf_plushie

clean:
	rm -rf .venv .venv-lowest .venv-npu $(INTERPRETER_VENVS) build web/node_modules
