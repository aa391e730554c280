"""The commands of the ``streamlabel`` program, one a file."""
