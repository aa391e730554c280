"""From texts to rows of token ids: tokenising in bounded time, long texts and pairs.

Imports models.core and devices.
"""
