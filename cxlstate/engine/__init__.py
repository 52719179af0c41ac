"""From a spec and a machine to a plan, and from a plan to a machine that is as the spec says."""
