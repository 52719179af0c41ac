"""Desired state for hosts with CXL memory and the virtual machines on them."""

__version__ = "0.1.0"
