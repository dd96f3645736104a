"""Helpers of the CURE-Med workbook: the notebooks tell the method, these modules carry it out."""

import os

# A run that may be offline, or about unpublished data, reports to nobody unless its user says so.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Read where torch loads libgomp: threads that spin longer hold the core of those they wait for.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
