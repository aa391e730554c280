"""What reviewers' verdicts change: monitor of the target error, refits, suggestions for labelling.

May import ``streamlabel.quality`` and everything below.
"""
