# SPDX-License-Identifier: GPL-2.0
#
#   make                   build thop-switch.ko and thop-server.ko
#   make modules_install   install them for that kernel
#   make demo              see it work: five virtual machines, real nginx, real requests
#   make test              everything that is tested
#   make test-faults       servers, networks and modules that fail under load (15 minutes)
#   make test-sockets      the kernel tests with first_segment=0: a socket at the switch for every connection
#   make test-wan          the kernel tests, and some more, with a client that is far away: 80 ms, 10 Mbit/s, losses
#   make test-debug        the kernel tests on a kernel with KASAN, lockdep and more
#   make test-kcsan        those that stress most on a kernel that watches for races of data
#   make test-odd-machines settings, packet filters, routes and Web servers of all kinds; an hour, before a release
#   make soak              an hour of traffic and faults on the debug kernel; SECONDS=N for another time
#   make bench             what it costs, beside others: all that follows, and docs/performance.md says what it means
#   make bench-dispatch    what choosing a route and a server costs
#   make bench-lard        a simulation of caches behind each policy
#   make bench-forward     what forwarding a segment costs, beside a flowtable, IPVS and plain routing
#   make bench-scaling     what two processors forward, beside what one does
#   make bench-chain       what requests cost client, switch and server together, beside HAProxy, nginx and IPVS
#   make bench-web         what they cost the switch
#   make bench-wan         how long responses take to a client that is far away, beside HAProxy and IPVS
#   make bench-profile     which functions that is
#   make lint              formatting and clippy only
#   make fmt               format the Rust files
#   make clean             remove what make has built
#
# KDIR   the kernel build tree (default: the running kernel's)
# OUT    where to put what is built (default: here)

KVER := $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

# The compiler that built the kernel, when it is here under its name. Clang's begins with its vendor's.
KCC := $(shell sed -nE -e 's/^CONFIG_CC_VERSION_TEXT="*[A-Za-z ]*(clang) version .*/\1/p' \
	-e 't' -e 's/^CONFIG_CC_VERSION_TEXT="*([^ "]*).*/\1/p' "$(KDIR)/include/config/auto.conf" 2>/dev/null)
KARGS := $(if $(shell command -v $(KCC) 2>/dev/null),CC=$(KCC) HOSTCC=$(KCC))
KMAKE = $(MAKE) -C "$(KDIR)" M="$(CURDIR)" $(if $(OUT),MO="$(OUT)") $(KARGS)

modules:
	@sh scripts/check-kdir "$(KDIR)"
	$(KMAKE) modules

modules_install clean:
	$(KMAKE) $@

demo:
	@qemu-test/demo

test:
	@scripts/test

test-faults:
	@scripts/test faults

test-sockets:
	@scripts/test sockets

test-wan:
	@scripts/test wan

test-debug:
	@scripts/test debug-all

test-kcsan:
	@scripts/test kcsan

test-odd-machines:
	@scripts/test odd-machines

SECONDS ?= 3600
soak:
	@scripts/soak --seconds $(SECONDS)

bench: bench-all
bench-all bench-dispatch bench-lard bench-forward bench-scaling bench-chain bench-web bench-wan bench-profile:
	@scripts/bench $(@:bench-%=%)

lint:
	@scripts/test format lint

fmt:
	@scripts/fmt

help:
	@sed -n 's/^#   //p; s/^# \([A-Z]\)/\1/p; /^$$/q' Makefile | sed '/SPDX/d'

.PHONY: modules modules_install clean demo test test-faults test-sockets test-wan test-debug test-kcsan test-odd-machines soak bench bench-all \
	bench-dispatch bench-lard bench-forward bench-scaling bench-chain bench-web bench-wan bench-profile lint fmt help
