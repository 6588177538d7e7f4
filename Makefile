# The commands of this house. `make` alone lists them; nothing is hidden in here that cannot be typed by hand.

# Where `make run` keeps its database.
DATA ?= .tenure
# More arguments: for the program with `run` and `bench`, for the test harness with `test` (make test ARGS="--test it").
ARGS ?=
# Say JSON=1 and `make cluster` prints lines for programs and nothing else.
JSON ?=
# More flags for cargo; CI says --locked here.
CARGO_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help run cluster test torture bench lint fmt-check needs

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  DATA=DIR     where `run` keeps its database (now: $(DATA))'
	@echo '  JSON=1       lines for programs instead of a table (cluster)'
	@echo '  ARGS="..."   more arguments for the program (run, cluster, bench) or for cargo test (test)'

run: ## Build for release and put employees to work here: tenure dev, data in DATA
	cargo run --release $(CARGO_FLAGS) --bin tenure -- dev --data "$(DATA)" $(ARGS)

# Nothing but the program writes to stdout: what it prints may be read by another one.
cluster: ## Build for release and start three nodes, PostgreSQL, the sandbox and 100 employees here: tenure cluster demo
	@scripts/test-needs postgresql >&2
	@cargo run --release $(CARGO_FLAGS) --bin tenure -- cluster demo $(if $(JSON),--json) $(ARGS)

# Cargo builds the binary that the integration tests start (CARGO_BIN_EXE_tenure) before it runs them. The other test
# programs still run after one has failed, so that one call shows all that is wrong.
test: needs ## Run every test; installs PostgreSQL and python3 from the system's packages if missing
	cargo test --workspace --no-fail-fast $(CARGO_FLAGS) $(ARGS)

# The seed is printed first; TORTURE_SEED=… repeats the choices.
torture: needs ## Ten minutes of a cluster under load with everything going wrong, and a check of its whole history (TORTURE_SECONDS, TORTURE_SEED)
	TORTURE_SECONDS=$${TORTURE_SECONDS:-600} cargo test --test cluster $(CARGO_FLAGS) torture -- --nocapture

bench: needs ## Build for release and measure the workloads on SQLite and PostgreSQL: tenure bench
	cargo run --release $(CARGO_FLAGS) --bin tenure -- bench $(ARGS)

lint: fmt-check ## Check format, clippy without warnings, and licences and advisories with cargo-deny
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	@if command -v cargo-deny >/dev/null 2>&1; then cargo deny check; \
	else echo 'lint: cargo-deny is not installed, so deny.toml was NOT checked (cargo install --locked cargo-deny)'; fi

fmt-check: ## Check the format alone (a second)
	cargo fmt --all -- --check

needs: ## Install what the tests use from the system's packages, if missing
	@scripts/test-needs
