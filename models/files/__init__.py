"""Model folders: their files, whether the model can be used, and its identity.

Imports models.core.
"""
