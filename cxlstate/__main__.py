"""`python -m cxlstate`."""

from cxlstate.cli import main

main()
