"""Migrations of the console's database: ``versions`` has one module for each."""
