"""Observability of a running service: logs, metrics, health, drift.

Imports consumer.core, batching, routing and output.
"""
