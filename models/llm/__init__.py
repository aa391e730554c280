"""Language models on transformers: one-token answers and prompted scores.

Imports core, devices, files, tokens, encoder (padding), prompts and label_scoring.
"""
