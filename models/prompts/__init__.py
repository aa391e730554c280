"""From a task and a text to a prompt, in which the text can never become a control token.

Imports models.core and tokens.
"""
