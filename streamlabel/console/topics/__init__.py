"""Between the topics and the store: review records in, verdicts out.

``reading`` and ``sending`` are the two loops; ``decoding`` and ``ordering`` are pure. May import
the store, and ``consumer``, whose Kafka room has the clients.
"""
