"""What tests and benchmarks share: a real Kafka, small models, texts, and the chaos runs.

``tests`` and ``benchmarks`` import this room and never each other. It is not part of the installed
package: ``streamlabel.testing`` is, with the checks for back ends of others, and
``consumer.testing`` has the ports in memory.
"""
