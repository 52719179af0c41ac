"""Options of the whole suite."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser):
    parser.addoption(
        "--every-crash",
        action="store_true",
        help="stop the emulated host after every single action, not only after a sample (make lab-crash)",
    )
    parser.addoption(
        "--whole-corpus",
        action="store_true",
        help="all of libvirt's own test files and all pairs of words, not only a sample (make corpus)",
    )
