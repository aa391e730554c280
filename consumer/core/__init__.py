"""What all rooms share: records, ports, metric definitions, waiting.

Imports config, errors and ``models.core`` only.
"""
