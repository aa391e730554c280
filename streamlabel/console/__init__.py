"""The review console: people decide about records in review, and their verdicts become messages.

Rooms: ``store`` (tables and transactions), ``topics`` (reviews in, verdicts out), ``access`` (who
may do what), ``web`` (the pages). May import ``consumer``, ``models``, ``config`` and ``errors``.
"""
