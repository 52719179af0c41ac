"""From `connect` in a spec to a machine: one module for reading, one for writing."""
