"""What formats with schemas cost and survive.

- Avro and Protobuf behind Confluent's framing over JSON: the service with a model that does
  nothing, Kafka to Kafka, interleaved rounds of one run.
- An hour without the schema registry on an accelerated clock.
- Mutated frames of every format: each has to have exactly one outcome in bounded time and memory.
- Outputs compared with the bytes of confluent-kafka's own serializers.
"""

import argparse
import asyncio
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks import results_file
from benchmarks.kafka_to_kafka import Encode, as_json, measure, service, warm_up
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.published_schemas import OUTPUTS
from streamlabel.consumer.output.value_writers import OutputFormat, value_writer
from streamlabel.errors import DecodeError
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.labels import LabelSet
from testing import texts
from testing.away_registry import Outage, outage
from testing.confluent_serializers import Confluent, some_result
from testing.kafka_broker import Cluster
from testing.mutated_frames import KINDS, mutated, outcome_of

_FRAME = b"\x00\x00\x00\x00\x07"
_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Post",
    "fields": [{"name": "text", "type": "string"}, {"name": "id", "type": "string"}],
}
# Longest time of one frame, and growth of the process, that count as bounded.
_MOST_S = 2.0
_MOST_BYTES = 512 * 1024 * 1024


def _files() -> descriptor_pb2.FileDescriptorSet:
    file = descriptor_pb2.FileDescriptorProto(name="post.proto", syntax="proto3")
    post = file.message_type.add(name="Post")
    for number, name in enumerate(("text", "id"), start=1):
        post.field.add(
            name=name, number=number, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING, label=1
        )
    return descriptor_pb2.FileDescriptorSet(file=[file])


def _avro() -> Encode:
    parsed = fastavro.parse_schema(_SCHEMA)

    def encode(number: int, text: str) -> bytes:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, parsed, {"text": text, "id": str(number)})
        return _FRAME + stream.getvalue()

    return encode


def _protobuf() -> Encode:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_files().file[0].SerializeToString())
    make = message_factory.GetMessageClass(pool.FindMessageTypeByName("Post"))

    def encode(number: int, text: str) -> bytes:
        value: bytes = make(text=text, id=str(number)).SerializeToString()
        return _FRAME + b"\x00" + value

    return encode


def rates(rounds: int, records: int) -> dict[str, list[float]]:
    """Return texts/s of each round by format."""
    mix = texts.heavy_tailed_mix()
    stream = [mix[i % len(mix)] for i in range(records)]
    found: dict[str, list[float]] = {"json": [], "avro": [], "protobuf": []}
    encoders = {"json": as_json, "avro": _avro(), "protobuf": _protobuf()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "avro").write_text(json.dumps(_SCHEMA))
        (folder / "protobuf").write_bytes(_files().SerializeToString())
        cluster = Cluster.open()
        try:
            warm_up(cluster)
            for number in range(rounds):
                for name, encode in encoders.items():
                    settings: dict[str, Any] = {"model": {"backend": "fake"}}
                    contender = service(cluster, folder, f"{name}{number}", settings)
                    _add_input(folder / f"{name}{number}.yaml", name, folder)
                    run = measure(cluster, contender, stream, encode=encode)
                    found[name].append(run.texts_per_s)
        finally:
            cluster.close()
    return found


def _add_input(path: Path, name: str, folder: Path) -> None:
    import yaml

    if name == "json":
        return
    config = yaml.safe_load(path.read_text())
    config["input"] |= {
        "format": name,
        "framing": "confluent",
        "schema_files": {"7": str(folder / name)},
    }
    path.write_text(yaml.safe_dump(config))


def without_outcome(count: int) -> tuple[dict[str, int], float, int]:
    """Return the failures by kind, the longest time of a frame, and the growth in bytes."""
    failures = dict.fromkeys(KINDS, 0)
    longest_s = 0.0
    for kind in KINDS:
        outcome_of(kind, mutated(kind, 0))  # schemas are compiled, a bomb is built
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in KINDS:
        for seed in range(count):
            frame = mutated(kind, seed)
            began_s = time.thread_time()
            try:
                outcome = outcome_of(kind, frame)
            except Exception:  # noqa: BLE001 what the benchmark looks for
                failures[kind] += 1
                continue
            took_s = time.thread_time() - began_s
            longest_s = max(longest_s, took_s)
            is_one = isinstance(outcome, TextRecord | DecodeError)
            failures[kind] += not is_one or took_s > _MOST_S
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib) * 1024
    return failures, longest_s, grown


def serialised_differently(count: int) -> dict[str, int]:
    """Return by format how many outputs differ from those of confluent-kafka's serializers."""
    plain = MessageEncoder(
        labels=LabelSet(("fine", "rude", "spam")),
        model=ModelIdentity("tiny", "fake", "cpu", "float32", "abc"),
    )
    differing = dict.fromkeys(get_args(OutputFormat), 0)
    for output_format in get_args(OutputFormat):
        writers = {name: value_writer(output_format, name) for name in OUTPUTS}
        theirs = {name: Confluent(output_format, name) for name in OUTPUTS}
        for seed in range(count):
            result = some_result(seed)
            outbounds = result.outputs(plain)
            for name, writer in writers.items():
                message = outbounds[name].value or b""
                ours = writer.write(message, result.record.metadata)
                differing[output_format] += ours != theirs[name].value(json.loads(message))[5:]
    return differing


def _page(
    speeds: Mapping[str, Sequence[float]],
    figures: Mapping[str, float],
    away: Outage,
    failures: Mapping[str, int],
    arguments: argparse.Namespace,
) -> str:
    rows = "\n".join(
        f"| {name} | {statistics.median(each):.0f} |"
        f" {statistics.median(_ratios(each, speeds['json'])):.3f} |"
        for name, each in speeds.items()
    )
    kinds = "\n".join(f"| {name} | {count} |" for name, count in failures.items())
    return (
        f"{arguments.records} texts of the heavy-tailed mix to a model that does nothing, Kafka to"
        f" Kafka, 4 partitions, medians of {arguments.rounds} interleaved rounds; values with a"
        " schema id in front, schemas from files.\n\n"
        f"| format | texts/s | over JSON |\n| --- | ---: | ---: |\n{rows}\n\n"
        f"An hour without the registry, on an accelerated clock: {away.records} records,"
        f" {away.dead_letters} dead letters; {away.decoded_meanwhile} records with known schemas"
        f" decoded meanwhile, {away.requests} requests refused, {away.decoded_after} records with"
        " an unknown schema decoded afterwards.\n\n"
        f"Mutated frames, {arguments.frames} of each kind, without exactly one outcome within"
        f" {_MOST_S:g} s of CPU time (longest {figures['longest_frame_s']:.3f} s; the process grew"
        f" by {figures['mutated_growth_mib']:.0f} MiB; of compressed frames every hundredth is a"
        f" bomb of 64 MiB):\n\n| frames | failures |\n| --- | ---: |\n{kinds}\n\n"
        f"Outputs that differ from confluent-kafka's serializers:"
        f" {figures['serialised_differently']:.0f} of {arguments.outputs} results, each as label"
        " and review in Avro, Protobuf and JSON.\n"
    )


def _ratios(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(ours, base, strict=True)]


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--outputs", type=int, default=1_000)
    arguments = parser.parse_args()
    differing = serialised_differently(arguments.outputs)
    failures, longest_s, grown = without_outcome(arguments.frames)
    away = asyncio.run(outage())
    speeds = rates(arguments.rounds, arguments.records)
    figures = {
        "avro_over_json": statistics.median(_ratios(speeds["avro"], speeds["json"])),
        "protobuf_over_json": statistics.median(_ratios(speeds["protobuf"], speeds["json"])),
        "outage_dead_letters": away.dead_letters,
        "mutated_without_outcome": sum(failures.values()) + (grown > _MOST_BYTES),
        "serialised_differently": sum(differing.values()),
        "longest_frame_s": longest_s,
        "mutated_growth_mib": grown / 2**20,
    }
    results_file.write(
        "formats",
        command=f"python -m benchmarks.formats --rounds {arguments.rounds} --records"
        f" {arguments.records} --frames {arguments.frames} --outputs {arguments.outputs}",
        figures=figures,
        page=_page(speeds, figures, away, failures, arguments),
        details={"texts_per_s": speeds, "failures": failures, "outage": away._asdict()},
        libraries=("fastavro", "protobuf", "confluent-kafka", "aiokafka", "orjson", "cramjam"),
    )


if __name__ == "__main__":
    main()
