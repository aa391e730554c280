"""The commands of the ``streamlabel`` program, one per file."""
