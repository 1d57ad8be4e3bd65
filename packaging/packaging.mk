# Packages for those without Rust; included by the Makefile. Everything goes to build/dist.

.PHONY: dist dist-source dist-binary deb test-packages

dist: dist-source dist-binary

# What git tracks, with the crates that it needs: builds without a network.
dist-source:
	packaging/dist.sh source $(VERSION)

# For Linux on x86-64, with a glibc as old as Debian 12's.
dist-binary: doc $(LIBRARY)
	packaging/dist.sh binary $(VERSION)

deb: doc $(LIBRARY)
	@tests/tools/setup.sh deb
	packaging/dist.sh deb $(VERSION)

# Makes fresh Debian 12 and 13 roots; needs root, debootstrap, curl and a Debian mirror.
test-packages:
	@tests/tools/setup.sh packages
	tests/tools/packages.sh $(VERSION)
