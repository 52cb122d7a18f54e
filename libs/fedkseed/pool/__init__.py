"""The seed pool: K shared directions, exact on every machine. Importing this package imports neither numba nor torch."""
