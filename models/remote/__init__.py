"""OpenAI-compatible endpoints: one-token answers from ``top_logprobs``, or prompted scores.

Imports models.core, devices, prompts, label_scoring and llm.
"""
