"""Fitting models to labelled texts: heads, layers, one-token answers.

Imports models; nothing imports it but commands, quality and demo.
"""
