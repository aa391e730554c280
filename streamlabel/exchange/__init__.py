"""Verdicts to and from other tools: Label Studio, Argilla, the EU's transparency database.

Pure functions between ``VerdictMessage`` and the JSON of each tool; no file, topic or database.
"""
