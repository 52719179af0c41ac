"""Asking and telling libvirt: the only home of libvirt-python, which is loaded when it is needed."""
