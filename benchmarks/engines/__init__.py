"""Our encoders beside other engines for the same models on the same processor."""
