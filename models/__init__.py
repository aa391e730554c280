"""Texts in, predictions out. Knows nothing of Kafka.

Each sub-package states in its first lines what it is for and what it may import.
"""
