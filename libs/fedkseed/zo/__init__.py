"""Zeroth-order training of the parameters of a torch model; objectives are passed in."""
