"""A back end and a format for Streamlabel, as an example of both."""
