"""The worker process, which owns the device: the service's side, its own, and their protocol.

Imports models.core.
"""
