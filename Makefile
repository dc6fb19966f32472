# SPDX-License-Identifier: GPL-2.0
#
#   make            build thop-switch.ko and thop-server.ko
#   make demo       see it work: five virtual machines, real nginx, real requests
#   make test       everything that is tested
#
# KDIR   the kernel build tree (default: the running kernel's)
# OUT    where to put what is built (default: here)

KVER := $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

# The compiler that built the kernel, when it is here under its name.
KCC := $(shell sed -n 's/^CONFIG_CC_VERSION_TEXT="*\([^ "]*\).*/\1/p' "$(KDIR)/include/config/auto.conf" 2>/dev/null)
KARGS := $(if $(shell command -v $(KCC) 2>/dev/null),CC=$(KCC) HOSTCC=$(KCC))

modules:
	@sh scripts/check-kdir "$(KDIR)"
	$(MAKE) -C "$(KDIR)" M="$(CURDIR)" $(if $(OUT),MO="$(OUT)") $(KARGS) modules

clean:
	$(MAKE) -C "$(KDIR)" M="$(CURDIR)" $(if $(OUT),MO="$(OUT)") clean

demo:
	qemu-test/demo

test:
	scripts/test

.PHONY: modules clean demo test
