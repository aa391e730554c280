"""Makes every alert fire on a real Prometheus, by the fault that it is about, and resolve again.

``prometheus`` runs the server with the rules as shipped, whose durations are scaled; ``stage`` has
what faults need; the ``*_stories`` cause them, one after the other on the same services.
"""
