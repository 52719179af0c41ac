"""The emulated CXL host: see README.md."""
