"""The settings of the service: types, sources, validation, and example files."""
