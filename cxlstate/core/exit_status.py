"""Exit statuses that mean the same of every command."""

from typing import Final

NOT_FOUND: Final = 127
"""Of POSIX sh: there is no such command."""

TIMED_OUT: Final = 124
"""Of coreutils' timeout."""
