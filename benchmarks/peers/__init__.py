"""Alternatives to the service with the same model, each a script in its own environment.

``python -m benchmarks.peers`` compares them with our service. The arguments of a script are Kafka's
addresses, the input topic, the output topic and the model folder; its environment is described by
the requirements file with its name.
"""
