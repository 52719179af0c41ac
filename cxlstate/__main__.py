"""Start of the program: `cxlstate`, or `python -m cxlstate`."""

import signal
import sys

from cxlstate.machine import early


def main() -> None:
    """Run the command line. Ctrl-C while libraries are loaded ends the process, without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in the background of a script
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    early.begin(sys.argv[1:])
    try:
        from cxlstate.cli import main as run  # noqa: PLC0415  # this is what takes time

        signal.signal(signal.SIGINT, before)
        run()
    finally:
        early.dismiss()


if __name__ == "__main__":
    main()
