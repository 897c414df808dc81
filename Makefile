# `make help` lists what there is. Nothing here needs more than Go and, for demo,
# stacks, test, torture and bench, root on Debian or Ubuntu: they install the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

PREFIX   ?= /usr/local
BIN      := bin
DIST     ?= dist
IDLE_AFTER ?=
DESTDIR  ?=
KILLS    ?= 200
FUZZTIME ?= 10s
RUNS     ?= 30000
PKG      ?= ./...
ONLY     ?=
ADDRESS  ?= 127.0.0.1:8085
LOAD     ?= --cpu 8 --io 4

# Where documentation is installed. docs/RELIABILITY.md is about the tests, which are not.
DOC     = $(PREFIX)/share/doc/activationd
SHARE   = $(PREFIX)/share/activationd
DOCS   := $(filter-out docs/RELIABILITY.md,$(wildcard docs/*.md)) $(wildcard docs/*.yaml)

# Debian 12's debhelper knows the units of packages only in /lib. The daemon of root reads
# its configuration in /etc, wherever it is installed.
UNITDIR    ?= $(if $(filter /usr,$(PREFIX)),,$(PREFIX))/lib/systemd/system
SYSCONFDIR ?= /etc

# Where shells look for what completes command lines. Debian's zsh has a directory for packages.
BASH_COMPLETIONS ?= $(PREFIX)/share/bash-completion/completions
ZSH_COMPLETIONS  ?= $(PREFIX)/share/zsh/site-functions
FISH_COMPLETIONS ?= $(PREFIX)/share/fish/vendor_completions.d

# What people call, and what these call.
COMMANDS := activationd atctl
HELPERS  := activationd-spawn atctl-lab atctl-tls atctl-top atwrap

ifndef VERSION
VERSION  := $(shell scripts/version)
endif
# The time that stands for the time of the build, in what is built.
ifndef SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH := $(shell scripts/version --time)
endif
export SOURCE_DATE_EPOCH

# Whole-program tests and measurements are run by targets of their own.
UNITS = $(shell go list ./... | grep -vE '/(test|bench)(/|$$)')

GOLANGCI_LINT_VERSION := 2.15.0

# Time-outs end tests that hang. They judge nothing: the machine may be slow or busy.
HANGS := -timeout 2h

# As root in CI everything can be installed, so no test may be skipped.
NO_SKIPS := $(if $(CI),$(if $(filter 0,$(shell id -u)),-no-skips))
ROOT     := $(filter 0,$(shell id -u))
TIMES    :=
GOTEST    = go run ./scripts/gotest $(NO_SKIPS) $(if $(TIMES),-times '$(TIMES)') $(HANGS)

.PHONY: help build atwrap atctl manual demo panel panel-pictures test test-all test-loaded test-short test-lab test-vm test-arm64 test-deb-all test-upgrade test-at stacks stack-broker stack-micro stack-builds unit whole bench torture mutants lint vet shellcheck fuzz clean install install-at install-at-only deb image install-deps

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r t d; do printf '%-12s %s\n' "$$t" "$$d"; done

build: atwrap atctl ## the programs, static, into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.buildVersion=$(VERSION)' -o '$(BIN)/' $(patsubst %,./cmd/%,$(filter-out atctl atwrap,$(COMMANDS) $(HELPERS)))

# The wrapper begins at an entry of its own, see supervisor/wrapper/idle.go.
atwrap: ## the wrapper's program only; IDLE_AFTER=N: it becomes idle after N ns without an event
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags idle -ldflags '-s -w -E activationd/supervisor/wrapper.entry -checklinkname=0 $(IDLE_AFTER:%=-X activationd/supervisor/wrapper.idleAfter=%)' -o '$(BIN)/' ./cmd/atwrap

# atctl begins at an entry of its own, too, see internal/direct.
atctl: ## the program atctl only
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags early -ldflags '-s -w -X main.buildVersion=$(VERSION) -E activationd/internal/direct.entry' -o '$(BIN)/' ./cmd/atctl

demo: build ## two overlapping reservations on real switches, checked; about a minute
	@scripts/install-deps demo
	@scripts/demo/run

panel: build ## the web panel with a week of a made-up laboratory, at 127.0.0.1:8085, until Ctrl-C
	@go run ./scripts/panel -bin '$(BIN)' -address '$(ADDRESS)'

panel-pictures: build ## the pictures of docs/panel.md, by Chromium
	@go run ./scripts/panel -bin '$(BIN)' -address '$(ADDRESS)' -pictures docs/pictures

test: TIMES := $(BIN)/test-times
test: install-deps lint build unit whole ## all tests; each part ends with the skipped tests and the slowest ones so far

test-all: export ACTIVATIOND_TESTS := all
test-all: test ## the same, and some tests try everything instead of a part that a seed chooses

test-loaded: ## make test beside busy processes: LOAD='--cpu 8 --io 4'
ifneq ($(ROOT),)
	@scripts/install-deps loaded
endif
	@stress-ng --quiet $(LOAD) --temp-path "$${TMPDIR:-/tmp}" & load=$$!; trap 'kill "$$load"' EXIT; $(MAKE) test

test-short: vet ## what needs no root and little time
	go run ./scripts/gotest -short $(HANGS) ./...

test-lab: ## the laboratory's work on real switches and routers
ifneq ($(ROOT),)
	@scripts/install-deps lab
endif
	$(GOTEST) -race -count=1 ./device ./test/lab

test-vm: ## a whole machine: its clock is set, its power is cut between any two flushes; half an hour, SEED=N again
ifneq ($(ROOT),)
	@scripts/install-deps vm
endif
	$(GOTEST) -count=1 ./test/vm -args -all -seed=$(or $(SEED),0)

test-arm64: ## what is for arm64: the packages, and the wrapper and its supervisor under an emulator; ten minutes
ifneq ($(ROOT),)
	@scripts/install-deps arm64 deb
endif
	ACTIVATIOND_TESTS=all $(GOTEST) -count=1 -run Arm64 ./supervisor ./scripts

test-deb-all: ## the Debian packages, installed, upgraded and removed on a small Debian that boots
ifneq ($(ROOT),)
	@scripts/install-deps deb
endif
	ACTIVATIOND_TESTS=all $(GOTEST) -count=1 ./test/deb

test-upgrade: ## this build opens the state of an older one, in OLD=DIR, while its runs go on
	go test ./test -run '^TestOldState$$' -count=1 -v $(HANGS) -args -old='$(abspath $(OLD))'

test-at: ## at's grammar of times, tried on the real at; RUNS=30000 timespecs, others each time unless SEED is given
ifneq ($(ROOT),)
	@scripts/install-deps at
endif
	go run ./scripts/gotest $(if $(ROOT),-no-skips) $(HANGS) -count=1 ./schedule/timespec -args -at-runs=$(RUNS) -at-seed=$(or $(SEED),0)

STACKS := broker micro builds

stacks: $(STACKS:%=stack-%) ## the example stacks, each with its whole story

stack-broker: build ## a broker of virtual desktops: apache2, PostgreSQL, Redis and its own services, checked
	@scripts/install-deps stacks
	@examples/stacks/run broker

stack-micro: build ## a tree of microservices that .env files declare, behind nginx, checked
	@scripts/install-deps stacks
	@examples/stacks/run micro

stack-builds: build ## a build farm: pools that fetch and compile, live events, a scheduler, a monitor, checked
	@scripts/install-deps stacks
	@examples/stacks/run builds

install-deps:
ifneq ($(ROOT),)
	@scripts/install-deps test
else
	@echo 'not root: what needs root or what is not installed will be skipped'
endif

# Most tests of some packages wait for processes and devices, so several packages run
# at once even where there are few processors.
unit:
	$(if $(TIMES),@rm -f '$(TIMES)')
	$(GOTEST) -race -p 4 $(UNITS)
	$(GOTEST) ./activation -args -store=strict
	$(GOTEST) -run '^TestRandomHistories$$' ./queue/broker

# Machines that are emulated are slow: beside browsers they would be too slow for what they try.
whole: build
	$(GOTEST) -count=1 -p 2 ./test ./test/harness ./test/lab
	$(GOTEST) -count=1 ./test/vm
	$(GOTEST) -count=1 ./test/deb

bench: build ## the table of speeds, beside the programs that people use today; AGAINST=DIR: beside another build; SPLIT=1: with a spawner
ifneq ($(ROOT),)
	@scripts/install-deps bench
endif
	go run ./bench $(if $(SPLIT),-split) $(if $(AGAINST),-against '$(AGAINST)')

torture: build ## kill -9 of the daemon, KILLS=200 times, under load
	go test ./test -run '^TestTorture' -count=1 -v $(HANGS) -args -kills=$(KILLS)

mutants: ## puts one fault at a time into the code: tests must find each; ONLY=REGEXP
	go run ./scripts/mutants '$(ONLY)'

lint: vet shellcheck bin/golangci-lint-$(GOLANGCI_LINT_VERSION) ## gofmt, go vet, shellcheck, golangci-lint
	bin/golangci-lint-$(GOLANGCI_LINT_VERSION) run --allow-parallel-runners ./...

vet:
	gofmt -l . | { ! grep .; }
	go vet ./...
	go vet -tags idle ./supervisor/wrapper
	GOARCH=arm64 go vet -tags idle ./supervisor/wrapper
	go vet -tags early ./internal/direct
	GOARCH=arm64 go vet -tags early ./internal/direct

bin/golangci-lint-$(GOLANGCI_LINT_VERSION):
	@rm -f bin/golangci-lint-*
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI_LINT_VERSION)
	@mv bin/golangci-lint $@

shellcheck:
	@if command -v shellcheck >/dev/null; then \
		scripts/shell-files | xargs -0 shellcheck && echo 'shellcheck: ok'; \
	else echo 'shellcheck: not installed, skipped'; test -z '$(NO_SKIPS)'; fi

fuzz: ## each fuzz target for FUZZTIME (10s)
	scripts/fuzz $(FUZZTIME) $(PKG)

# Programs for another machine cannot describe themselves here, so those for this machine do.
HOST    = $(shell go env GOHOSTARCH)
HOSTBIN = $(BIN)$(if $(filter $(HOST),$(or $(GOARCH),$(shell go env GOARCH))),,/host)

manual: build ## the manual pages, of the texts in docs/ and of the programs, into bin/man
	rm -rf '$(BIN)/man'
	[[ '$(HOSTBIN)' == '$(BIN)' ]] || $(MAKE) --no-print-directory build GOARCH='$(HOST)' BIN='$(HOSTBIN)'
	GOARCH='$(HOST)' go run -trimpath ./scripts/manual -doc '$(DOC)' -share '$(SHARE)' '$(BIN)/man' '$(HOSTBIN)'

install: build manual ## into $(DESTDIR)$(PREFIX)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/libexec/activationd' '$(DESTDIR)$(SHARE)/scripts' '$(DESTDIR)$(UNITDIR)' \
		'$(DESTDIR)$(PREFIX)/lib/sysusers.d' '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d' '$(DESTDIR)$(SYSCONFDIR)/activationd' '$(DESTDIR)$(SYSCONFDIR)/needrestart/conf.d'
	install $(COMMANDS:%='$(BIN)/%') '$(DESTDIR)$(PREFIX)/bin'
	install $(HELPERS:%='$(BIN)/%') '$(DESTDIR)$(PREFIX)/libexec/activationd'
	install scripts/activate scripts/deactivate '$(DESTDIR)$(SHARE)/scripts'
	install -m 644 scripts/units/* '$(DESTDIR)$(UNITDIR)'
	install -m 644 scripts/system/activationd.sysusers '$(DESTDIR)$(PREFIX)/lib/sysusers.d/activationd.conf'
	install -m 644 scripts/system/activationd.tmpfiles '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/activationd.conf'
	install -m 644 scripts/system/activationd.needrestart '$(DESTDIR)$(SYSCONFDIR)/needrestart/conf.d/activationd.conf'
	sed -i 's|/usr/bin/|$(PREFIX)/bin/|; s|/usr/libexec/|$(PREFIX)/libexec/|' '$(DESTDIR)$(UNITDIR)'/activationd* '$(DESTDIR)$(SYSCONFDIR)/needrestart/conf.d/activationd.conf'
	[[ -e '$(DESTDIR)$(SYSCONFDIR)/activationd/activationd.yaml' ]] || { \
		install -m 644 scripts/system/activationd.yaml '$(DESTDIR)$(SYSCONFDIR)/activationd' && \
		sed -i 's|schema=|&$(SHARE)/|; s|/usr/share/|$(PREFIX)/share/|' '$(DESTDIR)$(SYSCONFDIR)/activationd/activationd.yaml'; }
	install -d '$(DESTDIR)$(PREFIX)/share/man'
	cp -dR --preserve=mode '$(BIN)/man/'man? '$(DESTDIR)$(PREFIX)/share/man'
	install -d '$(DESTDIR)$(DOC)/examples/labs' '$(DESTDIR)$(DOC)/examples/nginx' \
		'$(DESTDIR)$(DOC)/examples/prometheus' '$(DESTDIR)$(DOC)/examples/grafana' '$(DESTDIR)$(DOC)/examples/munin'
	install -m 644 docs/*.schema.json '$(DESTDIR)$(SHARE)'
	install -m 644 LICENSE $(DOCS) '$(DESTDIR)$(DOC)'
	install -D -m 644 -t '$(DESTDIR)$(DOC)/pictures' docs/pictures/*.png
	install -m 644 examples/labs/* '$(DESTDIR)$(DOC)/examples/labs'
	install -D -m 644 -t '$(DESTDIR)$(DOC)/examples/systemd' examples/systemd/*
	install -m 644 examples/prometheus/*.yml '$(DESTDIR)$(DOC)/examples/prometheus'
	install examples/munin/activationd_ '$(DESTDIR)$(DOC)/examples/munin'
	install -m 644 examples/grafana/*.json '$(DESTDIR)$(DOC)/examples/grafana'
	install -m 644 examples/nginx/*.* '$(DESTDIR)$(DOC)/examples/nginx'
	install examples/nginx/upstreams '$(DESTDIR)$(DOC)/examples/nginx'
	sed -i -E 's|^( *# yaml-language-server: .schema=)(.*/)?|\1$(SHARE)/|; s|\((\w+\.schema\.json)\)|(../../activationd/\1)|; s|\.\./\.\./docs/|../../|; s|\.\./examples/|examples/|' \
		$(patsubst docs/%,'$(DESTDIR)$(DOC)/%',$(DOCS)) '$(DESTDIR)$(DOC)'/examples/labs/*
	install -d '$(DESTDIR)$(BASH_COMPLETIONS)' '$(DESTDIR)$(ZSH_COMPLETIONS)' '$(DESTDIR)$(FISH_COMPLETIONS)'
	install -m 644 cmd/atctl/completion/atctl.bash '$(DESTDIR)$(BASH_COMPLETIONS)/atctl'
	install -m 644 cmd/atctl/completion/atctl.zsh '$(DESTDIR)$(ZSH_COMPLETIONS)/_atctl'
	install -m 644 cmd/atctl/completion/atctl.fish '$(DESTDIR)$(FISH_COMPLETIONS)/atctl.fish'
	ln -sf atctl '$(DESTDIR)$(BASH_COMPLETIONS)/activationd'
	ln -sf atctl.fish '$(DESTDIR)$(FISH_COMPLETIONS)/activationd.fish'

install-at: install ## at, atq, atrm and batch, too: links to atctl, beside it
	$(MAKE) --no-print-directory install-at-only

# After install, which makes what this copies.
install-at-only:
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(BASH_COMPLETIONS)' '$(DESTDIR)$(PREFIX)/share/man'
	for name in at atq atrm batch; do \
		ln -sf atctl '$(DESTDIR)$(PREFIX)/bin/'$$name && \
		ln -sf atctl '$(DESTDIR)$(BASH_COMPLETIONS)/'$$name || exit; \
	done
	cp -dR --preserve=mode '$(BIN)/man/at/man1' '$(DESTDIR)$(PREFIX)/share/man'
	[[ -e '$(DESTDIR)$(SYSCONFDIR)/at.allow' || -e '$(DESTDIR)$(SYSCONFDIR)/at.deny' ]] || \
		install -D -m 644 scripts/system/at.deny '$(DESTDIR)$(SYSCONFDIR)/at.deny'

deb: ## the Debian packages of VERSION, into DIST=dist; GOARCH=arm64: for arm64
ifneq ($(ROOT),)
	@scripts/install-deps deb
endif
	scripts/deb '$(VERSION)' '$(DIST)'

# What an image has besides activationd, see scripts/image-parts.
PARTS ?= /var/cache/activationd-image

image: build ## the image of a container, an OCI layout in a tar file, into DIST=dist; GOARCH=arm64: for arm64
	scripts/image-parts '$(or $(GOARCH),$(HOST))' '$(PARTS)'
	GOARCH='$(HOST)' go run -trimpath ./scripts/image -bin '$(BIN)' -parts '$(PARTS)/$(or $(GOARCH),$(HOST))' -arch '$(or $(GOARCH),$(HOST))' \
		-version '$(VERSION)' -o '$(DIST)/activationd_$(VERSION)_$(or $(GOARCH),$(HOST)).oci.tar'

clean: ## what make made
	rm -rf bin dist
