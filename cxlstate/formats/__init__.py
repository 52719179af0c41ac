"""The languages that machines speak, each read and written in one module. Pure."""
