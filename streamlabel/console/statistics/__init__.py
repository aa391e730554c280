"""What verdicts say about reviewers and about the model: agreement, confusion, accepted error.

Pure functions of the store's rows: no clock, no database, no page.
"""
