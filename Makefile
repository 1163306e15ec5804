# lvlab: `make help` lists what can be made. Everything needed is installed into .venv first.

DATA ?=
RECIPE ?= lab
SEED ?= 0

SUPPORTED := python3.11 python3.12 python3.13 python3 python
PYTHON ?= $(shell for p in $(SUPPORTED); do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
LVLAB := $(BIN)/python -m lvlab
FOLDER = $(if $(DATA),$(DATA),$(shell $(BIN)/python -c 'import lvlab; print(lvlab.course_folder())'))
RUN = runs/$(RECIPE)-$(notdir $(patsubst %/,%,$(FOLDER)))
NOTEBOOKS := $(wildcard notebooks/*.py)
PAIRS := $(NOTEBOOKS:.py=.ipynb)

.DEFAULT_GOAL := install
.PHONY: student site timings help install ablation benchmark pretrain lab data figures test lint pairs notebooks tensorboard clean test-kill test-browser

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "  Variables: DATA=a course folder (default: the one in data/, else the phantom), RECIPE=lab or assignment, SEED=0"

install: .venv/installed  ## make .venv with the pinned packages (needs Python 3.11 to 3.13)

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[teach,dev,codecs]'
	@touch $@

data: install  ## write the phantom course folder, where data/ holds no course folder yet
	@test -n "$(DATA)" || test -d "$(FOLDER)" || $(LVLAB) phantom --out data/phantom

lab: install data  ## open JupyterLab with the notebooks
	$(if $(DATA),LVLAB_DATA="$(abspath $(DATA))") $(BIN)/jupyter lab --notebook-dir=. notebooks/01_explore_data.ipynb

figures: install data  ## train (where needed), evaluate, and write every figure and table into figures/
	$(LVLAB) train --data "$(FOLDER)" --out "$(RUN)" --recipe $(RECIPE) --seed $(SEED) --if-needed
	$(LVLAB) figures --run "$(RUN)" --data "$(FOLDER)" --out figures

test: .venv/course-installed lint pairs  ## lint, pair check, unit tests, and every notebook run and compared
	rm -rf build/test
	$(LVLAB) phantom --out build/test/phantom --quiet
	LVLAB_DATA="$(CURDIR)/build/test/phantom" LVLAB_RUNS="$(CURDIR)/build/test/runs" MPLCONFIGDIR="$(CURDIR)/build/mpl" \
	$(BIN)/python -m pytest -q -p no:cacheprovider tests notebooks \
	  --nbval --nbval-current-env --nbval-cell-timeout=900 --nbval-sanitize-with tests/nbval.cfg

test-kill: install  ## kill a training ten times with SIGKILL, resume it, and compare (about twelve minutes)
	$(BIN)/python -m tools.kill

test-browser: install  ## the viewers in a real JupyterLab and a real chromium (skips where there is none)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[teach,dev,browser]'
	MPLCONFIGDIR="$(CURDIR)/build/mpl" $(BIN)/python -m pytest -q -rs -p no:cacheprovider tests/browser/browser_viewers.py

lint: install
	$(BIN)/ruff check --quiet .

pairs: install
	$(BIN)/python tools/pairs.py

notebooks: install data  ## build, execute and store every notebook from its .py (after editing one)
	for py in $(NOTEBOOKS); do $(BIN)/jupytext --quiet --to ipynb --update $$py || exit 1; done
	rm -rf build/notebooks
	$(LVLAB) phantom --out build/notebooks/phantom --quiet
	LVLAB_DATA="$(CURDIR)/build/notebooks/phantom" LVLAB_RUNS="$(CURDIR)/build/notebooks/runs" \
	$(BIN)/jupyter nbconvert --to notebook --inplace --execute --ExecutePreprocessor.timeout=900 \
	  --ExecutePreprocessor.record_timing=False $(PAIRS)

pretrain: install  ## train the shipped weights anew, on phantoms only (about an hour)
	$(BIN)/python -m tools.pretraining

benchmark: install data  ## both recipes on one folder: time ratio, Dice, memory, share of the machine's peak (about 15 minutes)
	$(BIN)/python -m tools.benchmark --data "$(FOLDER)"

ablation: install data  ## change one ingredient of LAB at a time; writes docs/ablation.csv (about 20 minutes)
	$(BIN)/python -m tools.ablation --data "$(FOLDER)"

.venv/course-installed: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[course]'
	@touch $@

student: .venv/course-installed  ## build/student: the notebooks without solutions and outputs, and a course for nbgrader
	rm -rf build/student
	$(BIN)/python -m tools.student --out build/student

site: .venv/course-installed  ## build/site: the course as static pages, with stored outputs and folded solutions
	$(BIN)/python docs/site/build.py build/site

timings: install  ## measure minutes and memory of each notebook and tell them at its head (about eight minutes)
	$(BIN)/python -m tools.timings

tensorboard: install  ## open TensorBoard on the logs of every run
	$(BIN)/tensorboard --logdir runs

clean:  ## remove figures/ and build/ (data/, runs/ and .venv stay)
	rm -rf figures build
