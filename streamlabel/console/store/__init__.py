"""The database of the console: items, leases, verdicts, the audit log and the outbox.

``api`` says what it promises, ``items`` has its values. Knows neither HTTP nor Kafka, and reads no
clock: the time is an argument of every call.
"""
