# What a fresh machine needs to build, test and see repoint work. `make` alone lists the targets.

CARGO ?= cargo

.PHONY: help prerequisites pgbouncers build test sim demo bench lint

help:
	@echo 'make prerequisites  install what is missing: a compiler, PostgreSQL, PgBouncer, OpenSSH'
	@echo 'make pgbouncers     build the versions of PgBouncer that the tests need besides'
	@echo 'make build          build the binary'
	@echo 'make test           every test, those against real servers included'
	@echo 'make sim            simulate 20,000 fleets in trouble, and what is broken on purpose (SIM_SEEDS, SIM_SEED)'
	@echo 'make demo           watch a failover (DEMO_KEEP=1: leave the servers running afterwards)'
	@echo 'make bench          measure it against the documented procedure (BENCH_RUNS, BENCH_ONLY)'
	@echo 'make lint           format and clippy'

prerequisites:
	@packaging/prerequisites

# Other versions than the installed one, built from Debian's sources and kept.
pgbouncers: prerequisites
	@packaging/pgbouncer-versions

build:
	$(CARGO) build

# The real servers of two tests at a time leave a small machine enough room to be on time.
test: prerequisites pgbouncers build
	$(CARGO) test --lib --bins --examples
	$(CARGO) test --doc
	$(CARGO) test --test '*' -- --test-threads=2

# Optimised, because it is much: tests/sim.rs says what it does.
sim: prerequisites
	SIM_SEEDS=$${SIM_SEEDS:-20000} $(CARGO) test --profile sim --test sim -- --nocapture

demo: prerequisites
	$(CARGO) build --bin repoint --example demo
	$(CARGO) run --quiet --example demo

# A release build: what is measured is what is installed.
bench:
	@packaging/prerequisites rsync
	$(CARGO) build --release --bin repoint --example bench
	$(CARGO) run --release --quiet --example bench

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
