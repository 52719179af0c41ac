"""Words of a spec that several kinds take, since kinds do not import each other."""
