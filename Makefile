# The front door. Every target does its own set-up; only git, make and root (or sudo) are needed on Debian 12 or 13.
OUT     := $(CURDIR)/out
TARGET  := x86_64-unknown-linux-musl
PROGRAM := $(OUT)/etcd-bootstrapper
CARGO   := tools/cargo.sh
VM      := tests/vm.sh
MINUTES ?= 30
# minimal, or in a directory of its own: cloud-init, the image with that in it; debug, the one for labs, whose root logs in by ssh
# with the keys of the file DEBUG_SSH_KEYS.
FLAVOUR ?= minimal
IMAGE   := $(OUT)$(if $(filter-out minimal,$(FLAVOUR)),/$(FLAVOUR))

.PHONY: help run test soak bench check program image iso lock packer clean

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

run: image ## boot three machines from one user-data and show the cluster they became
	@$(VM) run

test: ## everything that is not soak; prints the ten slowest tests
	@since=$$(date +%s) && $(MAKE) --no-print-directory check && SINCE=$$since tests/run.sh

# A quarter of the time is the model's and a quarter is the parsers': both leave more when they are finished. A gibibyte
# takes minutes, and so do the image with cloud-init and the one for labs.
soak: iso ## the long tests for MINUTES=n, going on where the last ones ended; tables in docs/soak.md
	@$(CARGO) test --quiet -p bootstrap-plan --test soak -- --minutes $$(($(MINUTES) / 4))
	@[ $(MINUTES) -lt 20 ] || ETCD_BOOTSTRAPPER_MIB=1024 $(CARGO) test --quiet --test it -- a_learner_behind_a_slow_link
	@[ $(MINUTES) -lt 20 ] || { $(MAKE) --no-print-directory image FLAVOUR=cloud-init; }
	@[ $(MINUTES) -lt 20 ] || tests/debug.sh
	@tests/fuzz/run.sh $$(($(MINUTES) / 4))
	@$(VM) soak --minutes $$(($(MINUTES) - $(MINUTES) / 4 * 2))

bench: setup ## ratios against what one would do by hand, side by side in one run; BENCH=boot, metadata, restore...
	@$(if $(filter-out boot,$(or $(BENCH),all)),$(CARGO) test --release --quiet --test bench -- $(BENCH))
	@$(if $(filter boot,$(or $(BENCH),boot)),$(MAKE) --no-print-directory image && $(MAKE) --no-print-directory image FLAVOUR=cloud-init)
	@$(if $(filter boot,$(or $(BENCH),boot)),$(VM) bench)

check: setup ## formatting, lints and fences
	@$(CARGO) fmt --check
	@$(CARGO) clippy --quiet --all-targets --all-features -- -D warnings
	@# Those are not among all targets, as no test run starts them.
	@$(CARGO) clippy --quiet --all-features --test bench --test soak -- -D warnings

lock: program ## the newest packages into image/packages.lock, and what changed into CHANGELOG.md
	@BOOTSTRAPPER_BIN=$(PROGRAM) image/lock.sh write

program: setup ## the static program, out/etcd-bootstrapper
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(CARGO) build --quiet --release --target $(TARGET) --bin etcd-bootstrapper
	@mkdir -p $(OUT) && cmp -s target/$(TARGET)/release/etcd-bootstrapper $(PROGRAM) || \
	  cp target/$(TARGET)/release/etcd-bootstrapper $(PROGRAM)

image: program ## the disk image, out/etcd-bootstrapper_<version>.raw; FLAVOUR=cloud-init for out/cloud-init
	@BOOTSTRAPPER_BIN=$(PROGRAM) image/build.sh --flavour $(FLAVOUR) --out $(IMAGE)

iso: image ## the installation medium of that image, out/etcd-bootstrapper_<version>.iso
	@image/iso.sh $(IMAGE)

packer: program ## the image through Packer: assembled, booted as a gate, checksummed
	@OUT=$(IMAGE) BOOTSTRAPPER_BIN=$(PROGRAM) IMAGE_FLAVOUR=$(FLAVOUR) packer/packer.sh validate
	@OUT=$(IMAGE) BOOTSTRAPPER_BIN=$(PROGRAM) IMAGE_FLAVOUR=$(FLAVOUR) packer/packer.sh build

.PHONY: setup
setup:
	@tools/setup.sh

clean: ## what this repository built; the cache outside of it stays
	@rm -rf $(OUT) && $(CARGO) clean
