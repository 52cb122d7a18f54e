"""Dashboards of a federation, written by the program: `python -m deploy.grafana` writes deploy/grafana/dashboards/.

What is shown, and why, is in `federation`, `ledger`, `clients` and `servers`, in the words of `dashboard`; `sdk` says the
same to Grafana. The files are the same bytes on every machine.
"""
