"""Helpers of the CURE-Med workbook: the notebooks tell the method, these modules carry it out."""

import os

# A run that may be offline, or about unpublished data, reports to nobody unless its user says so.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
