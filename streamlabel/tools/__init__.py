"""Tools besides the service: classify a file, check before the start, embed in a program.

Imports consumer and models; only commands and the public interface import it.
"""
