"""From texts to rows of token ids: tokenising in bounded time, and the long-text policy.

Imports models.core and devices.
"""
