"""Options of the whole suite."""

from __future__ import annotations


def pytest_addoption(parser):
    parser.addoption(
        "--every-crash",
        action="store_true",
        help="stop the emulated host after every single action, not only after a sample (make lab-crash)",
    )
