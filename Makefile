# lvlab: bare `make` lists what can be made. Everything needed is installed into .venv first.

DATA ?= $(LVLAB_DATA)
RECIPE ?= lab
START ?= scratch
SEED ?= 0
MINUTES ?= 10
SLICES ?= 2000

ifneq ($(DATA),)
ifneq ($(shell test -d "$(DATA)" || echo absent),)
$(error DATA is $(DATA), and there is no such folder)
endif
endif

SUPPORTED := python3.11 python3.12 python3.13 python3 python
PYTHON ?= $(shell for p in $(SUPPORTED); do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
LVLAB := $(BIN)/python -m lvlab
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# uv installs in a third of pip's time. Where it cannot (an index that only a file of pip's names), pip does.
UV := $(BIN)/uv pip install --quiet --python .venv --compile-bytecode --constraint constraints.txt
UV += $(if $(PIP_NO_INDEX),--no-index) $(foreach place,$(PIP_FIND_LINKS),--find-links "$(place)")
UV += $(if $(PIP_INDEX_URL),--default-index "$(PIP_INDEX_URL)")
INSTALL = echo "Installing the pinned packages ($(1)) into .venv …"; { { test -x $(BIN)/uv || $(PIP) uv; } && $(UV) --editable $(1); } || { echo "make: now with pip, which takes longer" >&2; $(PIP) --editable $(1); }
EXTRAS := '.[teach,dev,codecs,report,dicom-seg,nifti,onnx]'
NOTEBOOKS := $(wildcard notebooks/*.py)
PAIRS := $(NOTEBOOKS:.py=.ipynb)

# Paths are only ever quoted shell words: make's own functions would split them at spaces.
CHOSEN = $(shell { $(BIN)/python -c 'import lvlab; print(lvlab.course_folder())' 2>&1 >&3 | tail -n 1 >&2; } 3>&1)
FOLDER = $(eval FOLDER := $(if $(DATA),$(DATA),$(CHOSEN)))$(FOLDER)
WHOLE = $(if $(DATA),--data "$(DATA)") --recipe $(RECIPE) --start $(START) --seed $(SEED)

.DEFAULT_GOAL := help
.PHONY: help install data lab figures report test student handout overview slides site notebooks tensorboard lint pairs pretrain stress card benchmark ablation \
        timings test-all test-kill scale test-browser clean

help:
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} / ## / && /^[a-z-]+:/ {printf "  make %-13s %s\n", $$1, $$2}' \
	  $(firstword $(MAKEFILE_LIST))
	@printf '%s\n' '' \
	  'Variables, such as make figures DATA="my course" START=phantom:' \
	  '  DATA    a course folder (default: the one in data/, else phantom patients made there)' \
	  '  RECIPE  lab (default) or assignment' \
	  '  START   scratch (default) or phantom: go on from the weights that come with lvlab' \
	  '  SEED    0 (default) or any other whole number'

##@ For students
install: .venv/installed  ## make .venv with the pinned packages (needs Python 3.11 to 3.13)

data: install
	@test -n "$(FOLDER)"
	@test -n "$(DATA)" || test -d "$(FOLDER)" || $(LVLAB) phantom --out data/phantom

lab: install  ## open JupyterLab with the notebooks
	$(LVLAB) lab $(if $(DATA),--data "$(DATA)")

figures: install  ## train (where needed) and evaluate: pictures and tables in figures/
	$(LVLAB) figures $(WHOLE)

test: SHARE := -m "not slow"
test: test-all  ## check that everything works: lint, unit tests, every notebook run and compared

##@ For instructors
report: install  ## figures, and the report itself: report.html (one file) and report.pdf in figures/
	$(LVLAB) report $(WHOLE)

student: .venv/course-installed  ## build/student: the notebooks without solutions; build/nbgrader: a course to mark
	rm -rf build/student
	$(BIN)/python -m tools.student --out build/student --course build/nbgrader

handout: .venv/course-installed  ## build/lvlab-course.zip: what to give to students
	$(BIN)/python -m tools.handout

overview: .venv/course-installed  ## build/overview: points and drawn contours of a class; HANDED_IN=folder
	@test -n "$(HANDED_IN)" || { echo "make: name the folder with one folder a student: make overview HANDED_IN=folder" >&2; exit 2; }
	$(BIN)/python -m tools.overview "$(HANDED_IN)" $(if $(DATA),--data "$(DATA)")

slides: install  ## build/slides.pdf: an instructor's slides out of the notebooks, without solutions
	$(BIN)/python -m tools.slides

site: .venv/site-installed  ## build/site: the course as static pages, solutions folded; build/site-student: without them
	$(BIN)/python -m tools.site build/site
	$(BIN)/python -m tools.site build/site-student --students

notebooks: install data  ## build, execute and store every notebook from its .py (after editing one)
	$(BIN)/python -m tools.pairs --edited
	for py in $(NOTEBOOKS); do $(BIN)/jupytext --quiet --to ipynb --update $$py || exit 1; done
	rm -rf build/notebooks
	$(LVLAB) phantom --out build/notebooks/phantom --quiet
	LVLAB_DATA="$(CURDIR)/build/notebooks/phantom" LVLAB_RUNS="$(CURDIR)/build/notebooks/runs" \
	$(BIN)/jupyter nbconvert --to notebook --inplace --execute --ExecutePreprocessor.timeout=900 \
	  --ExecutePreprocessor.record_timing=False $(PAIRS)

tensorboard: install  ## open TensorBoard on the logs of every run
	$(BIN)/tensorboard --logdir runs

##@ For maintainers
lint: install  ## style, imports only inward, type hints
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy --no-error-summary

pairs: install  ## see that every notebook agrees with its .py
	$(BIN)/python -m tools.pairs

pretrain: .venv/pretrain-installed  ## train weights on phantoms only; on a GPU (10 minutes with 16 cores beside it)
	$(BIN)/python -m tools.pretraining --minutes $(MINUTES)

stress: install  ## the shipped weights on the hearts that networks fail on (2 minutes)
	$(BIN)/python -m tools.stress

card: install  ## write docs/model-card.md: the shipped weights' scores and limits (5 minutes; LVLAB_REAL_DATA adds patients)
	$(BIN)/python -m tools.card

benchmark: install data  ## both recipes on one folder: time, Dice, memory, share of the peak (15 minutes)
	$(BIN)/python -m tools.benchmark --data "$(FOLDER)"

ablation: install data  ## change one ingredient of LAB at a time; writes lvlab/teach/ablation.csv (20 minutes)
	$(BIN)/python -m tools.ablation --data "$(FOLDER)"

timings: install  ## measure each notebook's minutes and memory and write them at its head (8 minutes)
	$(BIN)/python -m tools.timings

test-all: .venv/course-installed lint pairs  ## make test, and the tests that are marked slow
	rm -rf build/test
	$(LVLAB) phantom --out build/test/phantom --quiet
	LVLAB_DATA="$(CURDIR)/build/test/phantom" LVLAB_RUNS="$(CURDIR)/build/test/runs" MPLCONFIGDIR="$(CURDIR)/build/mpl" \
	$(BIN)/python -m pytest -q -p no:cacheprovider -n logical --maxprocesses 4 $(SHARE) tests notebooks \
	  --nbval --nbval-current-env --nbval-cell-timeout=900 --nbval-sanitize-with tests/nbval.cfg

test-kill: install  ## kill a training ten times, resume it, and compare (12 minutes)
	$(BIN)/python -m tools.kill

test-browser: .venv/browser-installed  ## viewers and the network's page in a real chromium (skips where there is none)
	MPLCONFIGDIR="$(CURDIR)/build/mpl" $(BIN)/python -m pytest -q -rs -p no:cacheprovider tests/browser/browser_*.py

scale: install  ## segment an archive of phantoms, killed twice on the way: slices/s and memory (docs/scaling.md; SLICES=2000)
	$(BIN)/python -m tools.scale --slices $(SLICES)

clean:  ## remove figures/ and build/ (data/, runs/ and .venv stay)
	rm -rf figures build

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@$(call INSTALL,$(EXTRAS))
	@touch $@

.venv/%-installed: .venv/installed
	@$(call INSTALL,'.[$*]')
	@touch $@
