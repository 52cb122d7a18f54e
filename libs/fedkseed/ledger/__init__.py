"""The ledger: a federation's whole history as integers, changed by pure functions, kept by a store."""
