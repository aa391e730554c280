"""For tests of the review console: a store in memory, and a person with a browser."""
