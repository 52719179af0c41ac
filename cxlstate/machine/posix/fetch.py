"""Download what is missing of a file. Run on the machine itself, where it has python3 and no curl.

`python3 -c PROGRAM FILE SECONDS`, with the URL on standard input. The statuses are curl(1)'s. Nothing
but the standard library of any Python 3.7 may be used here.
"""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

PARTIAL, REFUSED, CANNOT_WRITE, STALLED, CANNOT_RESUME, FAILED = 18, 22, 23, 28, 33, 56
_PARTIAL_CONTENT, _NOT_SATISFIABLE = 206, 416


class SameScheme(urllib.request.HTTPRedirectHandler):
    """Never to anything but HTTP, and never from HTTPS to less."""

    def redirect_request(  # noqa: PLR0913, PLR0917  # it is how the library calls it
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request."""
        if not newurl.startswith(("https:",) if req.type == "https" else ("https:", "http:")):
            raise urllib.error.HTTPError(req.full_url, code, "it leads to another scheme", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, path: str, patience: float) -> int:
    """Ask for what is behind the end of the file, and add it. The status to end with."""
    part = Path(path)
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)  # noqa: S310  # the scheme was checked before
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.build_opener(SameScheme).open(request, timeout=patience) as response:
            begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if have and not (response.status == _PARTIAL_CONTENT and begins):
                return CANNOT_RESUME
            return add(response, part)
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT_RESUME if have and error.code == _NOT_SATISFIABLE else REFUSED
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{error}\n")
        return STALLED if "timed out" in str(error) else FAILED


def add(response: Any, part: Path) -> int:
    """Everything that comes, at the end of the file."""
    announced, came = response.headers.get("Content-Length"), 0
    with part.open("ab", buffering=0) as file:
        while True:
            block = memoryview(response.read1(1 << 16))
            if not block:
                break
            came += len(block)
            try:
                while block:
                    block = block[file.write(block) :]
            except OSError as error:
                sys.stderr.write(f"{error}\n")
                return CANNOT_WRITE
    return PARTIAL if announced and came < int(announced) else 0


if __name__ == "__main__":
    sys.exit(fetch(sys.stdin.read(), sys.argv[1], float(sys.argv[2])))
