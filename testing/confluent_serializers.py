"""Outputs as confluent-kafka's own serializers write them, for comparing with ours."""

import random
from typing import Any, NamedTuple

import orjson
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pool, message_factory

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.published_schemas import (
    OutputName,
    PublishedName,
    avro_schema,
    json_schema,
    proto_file,
)
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.output.value_writers import OutputFormat
from streamlabel.consumer.routing.decision import Decision
from streamlabel.models.core.classifier import Prediction

__all__ = ["Confluent", "SomeResult", "some_result"]

_TEXTS = ("Hello", "Grüße, 世界 😀", 'a "quote"\n', "x" * 500)


class Confluent:
    """Confluent's serializer of one output in one format, with its mock registry."""

    def __init__(self, output_format: OutputFormat, name: PublishedName) -> None:
        self._format = output_format
        registry = SchemaRegistryClient.new_client({"url": f"mock://{output_format}-{name}"})
        self._context = SerializationContext(name, MessageField.VALUE)
        self._make: Any = None
        if output_format == "avro":
            schema = orjson.dumps(avro_schema(name)).decode()
            self._serializer = AvroSerializer(registry, schema)
        elif output_format == "protobuf":
            pool = descriptor_pool.DescriptorPool()
            pool.AddSerializedFile(proto_file(name))
            found = pool.FindMessageTypeByName(f"streamlabel.v1.{name.capitalize()}")
            self._make = message_factory.GetMessageClass(found)
            conf = {"use.deprecated.format": False}
            self._serializer = ProtobufSerializer(self._make, registry, conf)
        else:
            self._serializer = JSONSerializer(json_schema(name), registry)

    def value(self, message: dict[str, Any]) -> bytes:
        """Return a message, given as our JSON, as the serializer writes it."""
        if self._format != "json_schema" and "metadata" in message:
            metadata = message["metadata"]
            text = None if metadata is None else orjson.dumps(metadata).decode()
            message = {**message, "metadata": text}
        if self._format == "protobuf":
            message = self._make(**_present(message))
        written: bytes = self._serializer(message, self._context)
        return written


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _present(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


class SomeResult(NamedTuple):
    """A result of a model."""

    record: TextRecord
    prediction: Prediction
    decision: Decision
    timings: Timings

    def outputs(self, encoder: MessageEncoder) -> dict[OutputName, Outbound]:
        """Return the result as a label and as a review."""
        label = encoder.label(
            self.record, self.prediction, self.decision, self.timings, topic="labels"
        )
        return {"label": label, "review": self.review(encoder)}

    def review(self, encoder: MessageEncoder, *, limit_bytes: int = 1_000_000) -> Outbound:
        """Return the result as a review."""
        return encoder.review(
            self.record,
            self.prediction,
            self.decision,
            self.timings,
            topic="review",
            limit_bytes=limit_bytes,
        )


def some_result(seed: int) -> SomeResult:
    """Return a result of a model with three labels."""
    choose = random.Random(seed)
    parts = [choose.random() + 1e-9 for _ in range(3)]
    probabilities = tuple(part / sum(parts) for part in parts)
    best = max(probabilities)
    name = ("fine", "rude", "spam")[probabilities.index(best)]
    metadata = choose.choice([None, b'{"user":7}', b'"x"', b"[1,2.5,null]"])
    source = SourceRecord(
        Position("texts", choose.randrange(8), seed), b"k", b"v", (), choose.randrange(2**41), 1.0
    )
    record = TextRecord(source, f"id-{seed}", choose.choice(_TEXTS), 0, metadata)
    decision = Decision(
        "copy", name, (name,), best, choose.random(), 0.8,
        choose.choice([(), ("low_confidence",), ("low_margin", "truncated")]), probabilities,
    )  # fmt: skip
    prediction = Prediction(probabilities, truncated=choose.random() < 0.5)
    timings = Timings(choose.randrange(2**41), choose.random() * 100, choose.random() * 100)
    return SomeResult(record, prediction, decision, timings)
