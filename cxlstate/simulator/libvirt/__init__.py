"""libvirt of a simulated machine: rules and words of libvirt 11.3 and QEMU 10, those of Debian 13."""
