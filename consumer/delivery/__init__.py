"""Delivers the outputs of assigned partitions in input order, and tracks which offsets to commit.

Imports consumer.core, routing and output.
"""
