"""The service: reads records, has them classified, writes the results. ``pipeline`` is the loop.

Read ``pipeline`` first, then ``service``, which creates and connects the parts. The packages below
are rooms; the first lines of each say what it is for and what it may import. They depend on each
other in one direction: service, pipeline, observability, kafka, files, testing, batching, plans,
delivery, output, routing, decode, core.
"""
