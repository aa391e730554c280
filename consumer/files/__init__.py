"""Text files as record source and record sink.

Imports consumer.core, decode and output.
"""
