"""Helpers of the CURE-Med workbook: the notebooks tell the method, these modules carry it out."""

__version__ = "0.1.0"
