"""Routes of predictions, and the guard against too many dead letters: thresholds, audit, guard.

Imports consumer.core and the calibration of models.
"""
