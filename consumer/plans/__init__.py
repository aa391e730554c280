"""Which deployments classify a record, and when its outcome is complete.

``plan`` defines what a plan is, ``single`` is the plan of a service with one model, ``job`` is the
unit of work, ``deployment`` a model with its routing. All of it is pure: ``pipeline`` calls the
plan, and a ``ModelRunner`` runs the model.

Imports consumer.core, routing, output and delivery.
"""
