# make            the binary, ./agentjail
# make demo       a hostile script in the jail, and what it got
# make test       everything that .ci/run runs
# make vmtest     the kernel tests on Debian 12's kernel, in a virtual machine
# make bench      side by side with firejail, bubblewrap, pasta and slirp4netns
# make fuzz       every fuzz target for FUZZTIME each
# make deps       the Debian packages for all of it

SHELL := /bin/bash
.DEFAULT_GOAL := build
.PHONY: build deps demo test vmtest bench lint fuzz clean

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 30s

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

deps:
	@.ci/deps build demo test

demo: build
	@.ci/deps build demo
	@testdata/demo/run.sh

test: deps
	@.ci/test

vmtest:
	@.ci/deps build
	@.ci/vmtest $(VMTESTS)

bench: build
	@.ci/deps build bench
	@go run -buildvcs=false ./testdata/bench -agentjail ./agentjail $(BENCHFLAGS)

lint:
	@.ci/lint

fuzz:
	@.ci/fuzz $(FUZZTIME)

clean:
	rm -rf agentjail dist .cache
