"""Micro-batching, failure isolation, and the limits of what is in flight.

Imports consumer.core and plans.
"""
