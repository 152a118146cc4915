# What a fresh machine needs to build, test and see repoint work. `make` alone lists the targets.

CARGO ?= cargo

.PHONY: help prerequisites build test demo lint

help:
	@echo 'make prerequisites  install what is missing: a compiler, PostgreSQL, PgBouncer, OpenSSH'
	@echo 'make build          build the binary'
	@echo 'make test           every test, those against real servers included'
	@echo 'make demo           watch a failover (DEMO_KEEP=1: leave the servers running afterwards)'
	@echo 'make lint           format and clippy'

prerequisites:
	@packaging/prerequisites

build:
	$(CARGO) build

# The real servers of two tests at a time leave a small machine enough room to be on time.
test: prerequisites build
	$(CARGO) test --lib --bins --examples
	$(CARGO) test --doc
	$(CARGO) test --test '*' -- --test-threads=2

demo: prerequisites
	$(CARGO) build --bin repoint --example demo
	$(CARGO) run --quiet --example demo

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
