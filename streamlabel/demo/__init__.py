"""The demo: the real service on an embedded broker, with sample texts written for the project."""
