"""Texts in, predictions out. Knows nothing of Kafka."""
