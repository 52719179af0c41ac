"""How much a machine may say, and how long it may take: bytes and seconds, told in docs/life-cycle.md.

What is over a limit is an error or *unknown*, never a text that was cut.
"""

from __future__ import annotations

_MEBIBYTE = 1 << 20

EXCHANGE = 64 * _MEBIBYTE
"""Most that all answers of one exchange may hold together."""

GRACE = 150
"""Seconds that an exchange may take beyond the sum of its commands' own limits: more than HUNG reads take."""

READ = 10
"""Seconds for one read that is not a command: a file, or all that a pattern matches."""

LONG_READ = 45
"""Seconds for a read that goes through all processes or maps a device."""

HUNG = 5
"""How many reads of an exchange may hang; what is left then is not tried."""

TICK = 5
"""Seconds between two looks at whether a read hangs: how late that may be noticed."""

REPORT = 16 * _MEBIBYTE
"""Most that one action may report."""

CONVERSATION = 256 * _MEBIBYTE
"""Most that all actions of one connection may report together, the words of login scripts included."""

CHATTER = _MEBIBYTE
"""Most that may come before an answer begins: what login scripts say."""

COMPLAINT = 64 << 10
"""Most that is kept of what a program says on standard error."""
