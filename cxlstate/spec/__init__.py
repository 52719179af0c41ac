"""YAML text → data with positions → validated resources."""
