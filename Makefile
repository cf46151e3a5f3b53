# The front door for people. There is no logic here: it lives in xtask/ (Rust), and for what must happen
# before anything can be compiled in xtask/setup.sh.

.PHONY: help demo run test check gen bench deb
.NOTPARALLEL:

help: ## show this list
	@sed -n 's/^\([a-z]*\):.* ## /  make \1\t/p' Makefile | expand -t 18

demo: ## build and run the hub with a small fleet of virtual boards (data in data/demo)
	xtask/setup.sh run
	cargo build --release --locked --package motehub
	target/release/motehub demo --data data/demo

run: ## build and run the hub alone (data in data/hub, http on 8080, mqtt on 1883, this machine only)
	xtask/setup.sh run
	cargo build --release --locked --package motehub
	target/release/motehub serve --data data/hub --http 127.0.0.1:8080 --mqtt 127.0.0.1:1883

test: ## everything that must pass: what CI runs, its set-up included
	xtask/setup.sh test
	cargo xtask test

check: ## the quick part of it, for before a commit: format, lints, tidy, unit tests
	cargo xtask check

gen: ## write the generated files again: OpenAPI, the dashboard's API types, the command-line reference
	cargo xtask gen

bench: ## measure the hub beside mosquitto, and one to three nodes beside SQLite (some minutes)
	xtask/setup.sh bench
	cargo build --release --locked --package motehub --package bench
	target/release/bench
	target/release/bench nodes

deb: ## make the Debian package: program, units of hub and gateways, guide (in target/deb)
	xtask/setup.sh run
	cargo xtask deb
