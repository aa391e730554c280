"""Devices and the threads that use them: choice, memory, errors.

Imports models.core.
"""
