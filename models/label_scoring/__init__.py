"""Predictions from the log-probabilities of answers, the same for every engine. Pure.

Imports models.core and prompts.
"""
