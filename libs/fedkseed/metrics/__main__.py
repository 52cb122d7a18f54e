"""Writes docs/metrics.md to standard output: `python -m fedkseed.metrics > docs/metrics.md`."""

import sys

from fedkseed.metrics.page import page

sys.stdout.write(page())
