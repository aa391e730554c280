"""The benchmarks: ``python -m benchmarks.NAME`` writes ``results/NAME.json`` and ``NAME.md``."""
