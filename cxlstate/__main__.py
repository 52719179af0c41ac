"""Start of the program: `cxlstate`, or `python -m cxlstate`."""

import signal


def main() -> None:
    """Run the command line. Ctrl-C while libraries are loaded ends the process, without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in the background of a script
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cxlstate.cli import main as run  # noqa: PLC0415  # this is what takes time

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
