"""Deployments that are announced to all members of a group: their messages.

Pure. Imports consumer.batching (the limits of a canary) and consumer.plans.
"""
