"""What systemctl(1) shows of units."""

from __future__ import annotations

from datetime import datetime


def since(text: str) -> int:
    """Seconds since the epoch of a time stamp, as it is shown with TZ=UTC; 0: never in this boot.

    `--timestamp=unix` would be easier to read, but needs systemd 251 (Ubuntu 22.04 has 249, RHEL 8 has 239).
    ValueError for another form.
    """
    if text in ("", "n/a"):
        return 0
    _, date, time, zone = text.split()
    if zone != "UTC":
        raise ValueError(f"a time in {zone}")
    return int(datetime.fromisoformat(f"{date} {time}+00:00").timestamp())
