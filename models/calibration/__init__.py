"""Calibrated probabilities from a model's scores, and thresholds for a target error.

Imports models.core.
"""
