"""Schemas of a registry, and the decoders that need them. May import decode and core."""
