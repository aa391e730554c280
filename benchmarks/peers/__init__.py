"""Other ways from Kafka through the same model to Kafka, each a script in its own environment.

``python -m benchmarks.peers`` runs them against our service. A script is called with Kafka's
addresses, the topic of the texts, the topic of the answers and the model folder, and gets the
environment that the requirements file of its name describes.
"""
