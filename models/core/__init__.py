"""The classifier contract, labels, probabilities, the clock, and the registration of back ends.

Imports config and errors only.
"""
