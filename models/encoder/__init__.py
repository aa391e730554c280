"""BERT-type encoders with a classification head: packed where the results are exact, else padded.

Imports models.core, devices, files and tokens.
"""
