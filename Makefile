# make            the binary, ./agentjail
# make attack     the attack suite, ./agentjail-attack, for ./agentjail attack
# make demo       a hostile script in the jail, and what it got
# make test       everything that .ci/run runs
# make soak       crash, leak and load tests in their long form, SOAK=1h
# make agents     real agents in the jail, against a model server on loopback
# make vmtest     the kernel tests on Debian 12's kernel, in a virtual machine
# make bench      side by side with firejail, bubblewrap, pasta and slirp4netns,
#                 to docs/benchmarks.md; BENCHFLAGS='-only start,exec' for parts
# make fuzz       every fuzz target for FUZZTIME each
# make deps       the Debian packages for all of it

SHELL := /bin/bash
.DEFAULT_GOAL := build
.PHONY: build attack deps demo test soak vmtest bench lint fuzz clean agents

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 30s
AGENTS   ?= ../shared/agents

export CGO_ENABLED = 1
# seccomp: libcontainer's and our filters. netgo, osusergo: no resolver or NSS of
# glibc, which a static program can't load. runc_nocriu, urfave_cli_no_docs: no
# checkpoints and no manual pages from the flags, smaller.
export TAGS    = seccomp netgo osusergo runc_nocriu urfave_cli_no_docs
export LDFLAGS = -s -w -linkmode external -extldflags -static -X main.version=$(VERSION)

# VCS stamping fails in a checkout that another user owns; the version is VERSION.
build:
	@.ci/deps build
	go build -trimpath -buildvcs=false -tags "$(TAGS)" -ldflags "$(LDFLAGS)" -o agentjail .
	@.ci/check-binary agentjail

# A program of its own, so that no attack is in the one that people trust. Pure Go:
# it runs in the jail, where other libraries are.
attack: build
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o agentjail-attack ./testdata/attack
	@.ci/check-binary agentjail-attack

deps:
	@.ci/deps build demo test $(if $(CI),browser)

demo: build
	@.ci/deps build demo
	@testdata/demo/run.sh

test: deps
	@SOAK= .ci/test

soak: deps
	@SOAK=$(or $(SOAK),1h) .ci/test

vmtest:
	@.ci/deps build
	@.ci/vmtest $(VMTESTS)

agents: build
	@.ci/agents "$(AGENTS)"

bench: build
	@.ci/deps build bench
	@go run -buildvcs=false ./testdata/bench -agentjail ./agentjail $(or $(BENCHFLAGS),-markdown docs/benchmarks.md)

lint:
	@.ci/lint

fuzz:
	@.ci/fuzz $(FUZZTIME)

clean:
	rm -rf agentjail agentjail-attack dist .cache
