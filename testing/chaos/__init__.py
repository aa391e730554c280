"""Chaos runs: load, faults, and the judgement of what came out, against real brokers.

``scenarios`` names every run and performs it; ``tests.chaos`` runs the short form and
``benchmarks.chaos`` the long one, whose table is stored.
"""
