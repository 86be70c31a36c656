# Everything runs from the virtual environment in .venv, which `make setup` (and every other target) makes and mends.
# PYTHON=/path/to/python3.11 chooses the interpreter that .venv is made with.

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-tensorflow test-gpu-polars test-slow sweep audit null-retrains power creep faults lint bench bench-etl bench-etl-long bench-tensorflow seeds-tensorflow bench-gpu gpu-check gpu-page oracles rosetta ui lock wheel wheel-pythons mutants clean

help:  ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup:  ## make or mend .venv from the lock files
	@scripts/setup

demo: setup  ## from raw purchases to a report of the recommenders
	@.venv/bin/falconer demo

.PHONY: demo-vision figures-vision bench-gpu-vision
demo-vision: setup  ## Fashion-MNIST to a report of a classifier, in minutes
	@scripts/demo-vision

figures-vision: setup  ## the classifiers' measured figures, on a quiet machine (an hour and more)
	@scripts/figures-vision

# A worker that crashed is a failure at once: started anew it would collect and crash again, for hours.
IN_TWO = .venv/bin/pytest -n 2 --dist loadfile --max-worker-restart 0

test: setup  ## system packages, lint, and every test that is not slow
	@scripts/system-packages
	@$(MAKE) --no-print-directory lint
	$(IN_TWO) -m "not slow and not gpu and not benchmark_suite"
	@$(MAKE) --no-print-directory test-gpu-polars
	@$(MAKE) --no-print-directory test-tensorflow

ENGINES = $(addprefix tests/unit/pipelines/etl/test_,engines.py polars_gpu.py features.py filling.py lists.py column_operators.py grouped_operators.py)
test-gpu-polars: setup  ## the engines' tests on the older Polars that cudf-polars needs
	@scripts/gpu-polars --polars build/gpu-polars
	@PYTHONPATH=build/gpu-polars .venv/bin/python -P -c 'import polars; assert polars.__version__.startswith("1.44.")'
	PYTHONPATH=build/gpu-polars $(IN_TWO) -m "not slow and not gpu" $(ENGINES)

test-tensorflow: setup  ## the tests of models on TensorFlow, in processes of their own
	FALCONER_TEST_TENSORFLOW=1 $(IN_TWO) -m "not slow" tests/tensorflow tests/contracts

test-slow: setup  ## the tests that take long
	.venv/bin/pytest -m "slow and not gpu and not benchmark_suite"
	FALCONER_TEST_TENSORFLOW=1 .venv/bin/pytest -m slow tests/tensorflow

sweep: setup  ## every command, killed and refused at every change of a file; prints counts (long)
	.venv/bin/pytest tests/durability -m slow -s

audit: setup  ## what is installed: consistent, as locked, and under which licences
	@.venv/bin/python scripts/audit

null-retrains: setup  ## retrains that differ by their seeds only: how many the verdict promotes
	@.venv/bin/python -m tests.support.retrains null

power: setup  ## the share of better models that the verdict promotes, by how much better they are
	@.venv/bin/python -m tests.support.retrains power

creep: setup  ## a year of models that are each slightly worse
	@.venv/bin/python -m tests.support.retrains creep

faults: setup  ## ten planted faults: from which severity on the verdict stops them
	@.venv/bin/python -m tests.support.retrains faults

.PHONY: month crash-month bench-retraining
bench-retraining: setup  ## the workflow layer of a retrain, status after 1,000 runs, promote and rollback: seconds
	@.venv/bin/python -m tests.benchmarks.retraining

month: setup  ## four weeks of real purchases retrained, one after the other: seconds, steps skipped, disk
	@.venv/bin/python -m tests.support.month

crash-month: setup  ## a small such month, killed at 50 random moments: the same champion, decisions and lists
	@.venv/bin/python -m tests.support.month --small --kills 50

lint: setup  ## style, types and the import rules
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

bench: setup  ## measure speed and memory on this machine
	.venv/bin/pytest tests/benchmarks -m benchmark_suite -s

bench-etl: setup  ## speed and memory of the ETL beside Polars by hand, DuckDB and NVTabular
	.venv/bin/python -m tests.benchmarks.etl_scale all

bench-etl-long: setup  ## 200 million rows with 100 million ids within 4 GB, 45 million wide ones within 6 (a quarter of an hour)
	.venv/bin/python -m tests.benchmarks.etl_scale long

bench-tensorflow: setup  ## samples a second on TensorFlow beside torch and merlin-models' fit
	.venv/bin/python -m tests.benchmarks.tensorflow_speed

seeds-tensorflow: setup  ## the same recipes on torch and TensorFlow with five seeds on ML-1M (minutes)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.benchmarks.tensorflow_seeds

bench-gpu: setup  ## speed of every torch model on a GPU, or in small on a CPU
	.venv/bin/python -m tests.benchmarks.gpu

gpu-check:  ## what holds on this GPU, and how fast; SMALL=1: in small on the CPU
	$(or $(PYTHON),.venv/bin/python) -m tests.gpu_check $(if $(SMALL),--small --out build/gpu)

gpu-page:  ## docs/gpu.md from the figures of every GPU check
	$(or $(PYTHON),.venv/bin/python) -m tests.gpu_check.page

bench-gpu-vision: setup  ## pictures a second of ResNet-50 on a GPU, or in small on a CPU
	.venv/bin/python -m tests.benchmarks.gpu_vision

oracles:  ## environments of other libraries, to compare metrics with (8 GB)
	@scripts/oracles

rosetta: setup oracles  ## compare metrics and layers with those libraries; FALCONER_ACCEPT=1 records what they say
	.venv/bin/pytest tests/golden/test_rosetta.py -m slow
	FALCONER_TEST_TENSORFLOW=1 .venv/bin/pytest tests/tensorflow/test_keras_rs.py -m slow

ui: setup  ## every run in MLflow, on this machine only
	@.venv/bin/falconer ui

lock: setup  ## compile requirements.in into requirements.lock
	@scripts/lock

wheel: setup  ## dist/falconer-*.tar.gz and, built from it, dist/falconer-*.whl, for pip
	.venv/bin/uv build --quiet --no-build-isolation --python .venv/bin/python --out-dir dist

wheel-pythons: setup  ## the wheel on every Python of this machine, in empty environments (minutes)
	.venv/bin/pytest tests/packaging/test_pythons.py -m slow -s

mutants: setup  ## change metrics, judging, statistics and ETL in small ways; which changes no test notices (long)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.mutants

clean:  ## remove caches and what was built; data/, runs/ and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
