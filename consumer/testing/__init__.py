"""In-memory broker, record source and sink with faults on demand, for tests of pipelines.

Imports consumer.core.
"""
