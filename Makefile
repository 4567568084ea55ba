# Two commands are a developer's life: `make demo` shows it, `make test` proves it. Both set themselves up.
.PHONY: demo test chaos lint setup clean

demo: setup
	.venv/bin/evermq demo

# Tests start processes by the hundred. Where nobody may write bytecode down, each would compile all of the code anew.
test: export PYTHONDONTWRITEBYTECODE =
test: setup
	tools/setup power trace engines
	@echo "==> style (ruff)"
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	@echo "==> types (mypy --strict)"
	.venv/bin/mypy
	@echo "==> tests"
	.venv/bin/pytest -n 3 --durations=10

chaos: setup
	tools/setup engines
	@failed=0; \
	.venv/bin/pytest -m chaos -v --durations=10 || failed=1; \
	echo "==> the fault matrix: what is not in docs/internals/faults.jsonl yet, or did not pass"; \
	.venv/bin/python -m evermq.drills.matrix docs/internals/faults.jsonl || failed=1; \
	exit $$failed

setup:
	tools/setup

lint: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist demo-report
