PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Versions of torch and other libraries; empty: the newest that pip finds.
CONSTRAINTS := constraints/pinned.txt
# Test files and folders, or pytest options; empty: all tests.
TESTS :=
# Tests of what depends most on torch, torchvision and Lightning. CI runs them with the newest versions only: there is no
# time to run them twice. The slow tests of these folders run with the pinned versions.
NEWEST := tests/callbacks tests/commands tests/records tests/training tests/workloads

VALLEY := sgd momentum nag adagrad adadelta rmsprop adam amsgrad nadam radam adabelief adabound amsbound \
	lookahead_momentum lookahead_radam

.PHONY: help demo docs gallery test test-newest test-others slow lint types check matrix package benchmark crowded-valley gpu overhead clean
help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# Rebuilt whenever setup.cfg changes; used by every target. Python compiles modules when they are imported: most never are.
$(VENV)/installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile $(CONSTRAINTS:%=--constraint %) --editable '.[dev]'
	@touch $@

demo: $(VENV)/installed  ## Train digits to its target
	# One thread: a second one does not help such a small model, and slows it down on a busy machine.
	OMP_NUM_THREADS=1 $(BIN)/algoperf fit --config digits

docs: $(VENV)/installed  ## Build the documentation into docs/_build/html
	rm -rf docs/reference/generated
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going -d docs/_build/doctrees docs docs/_build/html
	@touch docs/_build/built

gallery: $(VENV)/installed  ## Execute the notebooks of the documentation and save their outputs
	OMP_NUM_THREADS=1 $(BIN)/python docs/execute_gallery.py

# Tests in one file share fixtures, so each file runs in one process. One thread each: the models are small.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: $(VENV)/installed  ## Run all tests except the slow ones
	$(PYTEST) -m 'not slow' $(TESTS)

test-newest:  ## Run the tests in NEWEST with constraints/newest.txt, in a separate environment
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=constraints/newest.txt TESTS='$(NEWEST)'

test-others:  ## Run all other tests except the slow ones
	$(MAKE) test TESTS='$(NEWEST:%=--ignore=%)'

slow: $(VENV)/installed  ## Run the slow tests: kills and resumes, several ranks, training to tiny targets
	$(PYTEST) -m slow $(TESTS)

lint: $(VENV)/installed  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed  ## Check types
	$(BIN)/mypy

check: lint types docs demo test slow  ## Run lint, types, docs, demo and all tests, as CI does

matrix:  ## Run the tests with the oldest and the newest versions of torch and other libraries, in separate environments
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints/oldest.txt
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=

package: $(VENV)/installed  ## Build the source distribution and the wheel into dist/, and check both
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

benchmark: $(VENV)/installed  ## Run the whole benchmark at laptop size, with a report; resumes after an interruption
	$(BIN)/algoperf data tiny --all --data-dir data
	$(BIN)/algoperf tune --suite tiny --submission adamw nesterov --search-space tiny --studies 1 --trials 2 \
		--data-dir data --output runs/tiny --option jobs=2
	$(BIN)/algoperf score runs/tiny --output report

# Checkpoints would take longer than these trials; only the last evaluation counts.
crowded-valley: $(VENV)/installed  ## Run the Crowded Valley study on two small problems, with a report; resumes after an interruption
	$(BIN)/algoperf data tiny fmnist_2c2d --data-dir data
	OMP_NUM_THREADS=1 $(BIN)/algoperf tune --suite crowded-valley quadratic_deep fmnist_2c2d_tiny --budget small \
		--submission $(VALLEY:%=valley_%) --data-dir data --output runs/crowded_valley --option jobs=2 \
		-- --time_budget.eval_period 100 --recorder.checkpoint false
	$(BIN)/algoperf final runs/crowded_valley --output crowded_valley_report

gpu: $(VENV)/installed  ## Run tests and figures on a GPU; ARGS='--device cpu --small' tries the script without a GPU
	$(BIN)/python tests/gpu/run_gpu.py --output gpu $(ARGS)

overhead: $(VENV)/installed  ## Measure the cost of a step against plain Lightning and a bare loop
	$(BIN)/python tests/benchmarks/step_overhead.py

clean:  ## Remove all build outputs
	rm -rf .venv .venv-oldest .venv-newest build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		docs/_build docs/reference/generated
