# `make demo`, `make test` and the others make their environment themselves: Python 3.11+, uv where it is there, pip otherwise.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
INSTALL = $(if $(UV),uv pip install --quiet --python .venv/bin/python,.venv/bin/python -m pip install --quiet --disable-pip-version-check)

# The page that certifies in the browser needs npm once; everything else does without.
STATIC = @if command -v npm >/dev/null; then $(MAKE) --no-print-directory static; else echo 'no npm: no make static'; fi

.PHONY: demo space static lint check test test-all docs models-check soundness bench format clean
.DEFAULT_GOAL := demo

demo: .venv/.demo  ## certified predictions for a few pictures with the embedded models
	@.venv/bin/zoo samples .venv/samples
	@echo 'Pictures drawn for this package, from no data set:'
	@echo 'zoo predict liresnet-l4w32-cifar10-jpeg75 airplane.png automobile.png ship.png truck.png --epsilon 36/255'
	@cd .venv/samples && \
	../bin/zoo predict liresnet-l4w32-cifar10-jpeg75 airplane.png automobile.png ship.png truck.png --epsilon 36/255
	@echo && echo 'zoo predict 2c2f-mnist digit-*.png --epsilon 0.3'
	@cd .venv/samples && ../bin/zoo predict 2c2f-mnist digit-*.png --epsilon 0.3

space: .venv/.space  ## the Gradio app, opened in a browser where there is a display; the page without uploads where npm is there
	$(STATIC)
	.venv/bin/python -m space.app --open

static: space/static/ort  ## ONNX Runtime Web from npm, checked, for the page that certifies in the browser

space/static/ort: space/ort.sh
	space/ort.sh
	@touch $@

# A worker that has nothing left takes tests of the other's; byte code is kept, or each process compiles torch for seconds.
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= .venv/bin/pytest -n 2 --dist worksteal

test: lint  ## format, lint and the first tier of tests: every module, every rule, ten mutants of the proof
	$(PYTEST) -m 'not slow'

test-all: check  ## what CI runs: types too, all tests, with all mutants, the demo in Chromium, foreign clients and servers
	$(STATIC)
	$(PYTEST)

lint: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

check: lint  ## format, lint and types
	.venv/bin/pyright

docs: .venv/.docs  ## the documentation as pages in build/site, warnings being errors
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

models-check: .venv/.dev  ## every published folder proved, rendered and measured again; needs the test splits
	OMP_NUM_THREADS=1 .venv/bin/python -m export.check

soundness: .venv/.dev  ## a search for counter-examples to every published certificate; needs the test splits, takes hours
	OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.soundness

BENCHES = peers graph bounds growth engines imagenet serve space threads liplt training performance
bench: .venv/.dev  ## what docs/performance.md says, measured again: an hour on idle cores
	for name in $(BENCHES); do .venv/bin/python -m benchmarks.$$name || exit 1; done

format: .venv/.dev  ## what ruff can mend, in place
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv space/static/ort

.venv/bin/python:
	$(if $(UV),uv venv --quiet --seed --python $(PYTHON) .venv,$(PYTHON) -m venv .venv)

.venv/.demo: pyproject.toml | .venv/bin/python
	$(INSTALL) -e '.[onnx]'
	@touch $@

.venv/.space: pyproject.toml | .venv/bin/python
	$(INSTALL) -e '.[space,torch]'
	@touch $@

.venv/.docs: pyproject.toml | .venv/bin/python
	$(INSTALL) -e '.[docs]'
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(INSTALL) -e '.[dev]'
	@touch $@ .venv/.demo .venv/.space .venv/.docs
