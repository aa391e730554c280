"""The outputs of a record: labels, reviews and dead letters, encoded as bytes.

Imports consumer.core, decode (the rules for JSON) and routing.
"""
