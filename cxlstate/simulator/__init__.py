"""A machine in a folder, with the rules of the real one. What it models is told in `docs/simulator.md`."""
