"""Kafka in, Kafka out, and the flow between. Start reading at ``pipeline``."""
