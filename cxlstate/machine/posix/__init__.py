"""Machines that speak POSIX sh and coreutils, whatever carries the words to them."""
