# What is done with crema from a shell; `make` lists it. The native part has a
# Makefile of its own in c_src, which rebar3 and Mix call as well.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build cli demo check-connection test test-fast fuzz chaos bench bench-peers soak docs fmt fmt-check tidy clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  V=1 shows the output of tests while they run. CREMA_LIBRDKAFKA=bundled builds"
	@echo "  with the newest librdkafka instead of the system's; see also scripts/kafka help."

build: ## compile all of it
	@scripts/setup demo
	rebar3 compile

CLI := _build/crema

cli: ## the command line, one file: CLI=path (_build/crema)
	@scripts/setup demo
	@rebar3 compile >/dev/null
	@scripts/build-cli $(CLI)
	@echo "$(CLI): $$($(CLI) --version)"

demo: ## count the words of a text; FILE=path, BOOTSTRAP=host:port of your own
	@scripts/setup demo
	@rebar3 compile
	@examples/demo/run

check-connection: ## what is wrong with one; ARGS="-b host:port -t topic", see scripts/check-connection
	@rebar3 compile >/dev/null
	@scripts/check-connection $(ARGS)

test: ## the tests, on real brokers too; not the sanitizers of all
	@scripts/setup test
	@scripts/test all

test-fast: ## those that need no JVM
	@scripts/setup fast
	@scripts/test fast

fuzz: ## the fuzzers, 10 minutes each; TARGET=name for one, SECONDS=n
	@scripts/setup fuzz
	@scripts/fuzz $(or $(SECONDS),600) $(TARGET)

chaos: ## brokers, connections and applications that fail; SEED=number SECONDS=180
	@scripts/setup test
	@scripts/chaos "$(SEED)" "$(SECONDS)"

bench-peers: ## crema, raw C, franz-go, Java's tools and Python's client on one broker
	@scripts/setup test
	@PEERS=1 bench/run

bench: ## crema and raw C on a real broker, into bench/results; ONLY=produce, FULL=1
	@scripts/setup test
	@bench/run

soak: ## an hour of all kinds of work, and whether anything grows; SECONDS= WARM= LEAK=
	@scripts/setup test
	@SECONDS=$(or $(SECONDS),0) bench/soak/run

docs: ## the API as pages in _build/api, and for h/1 to h/3 of `rebar3 shell`
	@rebar3 compile >/dev/null
	@scripts/api-docs

fmt: ## let the formatters rewrite C and Elixir
	@scripts/setup fast
	@scripts/check --fix

fmt-check: test-check ## only tell what they would rewrite, and other breaches

tidy: ## what clang-tidy says of the C code
	@command -v clang-tidy >/dev/null || { echo "apt-get install clang-tidy" >&2; exit 1; }
	@$(MAKE) --no-print-directory -C c_src tidy

clean: ## remove what was built; the cache of what was fetched stays
	rm -rf _build bench/build bench/c/build priv/crema_drv.so src/port/crema_commands.hrl

# One layer each, for those who work on it.
LAYERS := check c tsan eunit prop ct bundled elixir examples xref dialyzer
.PHONY: $(LAYERS:%=test-%) test-asan test-fuzz test-kafka test-kafka-bundled test-rows test-security dialyzer xref

$(LAYERS:%=test-%): test-%:
	@scripts/setup fast
	@scripts/test $*

test-asan: ## what runs Erlang, on real brokers too, with the driver under the sanitizers
	@scripts/setup test
	@scripts/test asan-eunit asan-prop asan-ct asan-elixir \
	  asan-kafka-4.1.2+asan-kafka-3.9.2+asan-heroku

test-fuzz: ## the fuzzers, 30 seconds
	@scripts/setup fuzz
	@scripts/test fuzz

test-kafka: ## what needs brokers, on both versions of Kafka
	@scripts/setup test
	@scripts/test kafka-4.1.2+kafka-3.9.2+heroku

test-kafka-bundled: ## the same on the newest, with the newest librdkafka
	@scripts/setup test
	@scripts/test kafka-bundled

test-rows: ## the tables of docs/consumer.md on both, with either librdkafka
	@scripts/setup test
	@scripts/test rows-4.1.2 rows-3.9.2 rows-4.1.2-bundled rows-3.9.2-bundled

test-security: ## every way to connect on both, with either librdkafka
	@scripts/setup test
	@scripts/security

dialyzer: test-dialyzer
xref: test-xref
