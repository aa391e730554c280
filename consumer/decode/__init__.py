"""Decodes records into texts, or raises why a record has none. Pure.

Imports consumer.core.
"""
