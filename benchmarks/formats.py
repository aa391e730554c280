"""What formats with schemas cost and survive.

- Avro and Protobuf behind Confluent's framing over JSON: the service with a model that does
  nothing, Kafka to Kafka, interleaved rounds of one run.
- An hour without the schema registry on an accelerated clock.
- Mutated frames of every format: each has to have exactly one outcome in bounded time and memory.
- Outputs compared with the bytes of confluent-kafka's own serializers.
- Parquet files through the program and through actors of Ray.

    python -m benchmarks.formats [--only speed|mutated|outage|outputs|bulk]

Parts that are not run keep their stored results, each with the commit that it was measured on.
"""

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final, get_args

import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks import results_file
from benchmarks.formats_bulk import bulk
from benchmarks.kafka_to_kafka import Encode, as_json, measure, service, warm_up
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.published_schemas import OUTPUTS
from streamlabel.consumer.output.value_writers import OutputFormat, value_writer
from streamlabel.errors import DecodeError
from streamlabel.models.core.classifier import ModelIdentity
from streamlabel.models.core.labels import LabelSet
from testing import texts
from testing.away_registry import outage
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


_Part = tuple[dict[str, float], str, Mapping[str, Any]]


def _speed(asked: argparse.Namespace) -> _Part:
    speeds = rates(asked.rounds, asked.records)
    ratios = {name: _ratios(each, speeds["json"]) for name, each in speeds.items()}
    rows = "\n".join(
        f"| {name} | {statistics.median(each):.0f} | {statistics.median(ratios[name]):.3f} |"
        for name, each in speeds.items()
    )
    page = (
        f"{asked.records} texts of the heavy-tailed mix to a model that does nothing, Kafka to"
        f" Kafka, 4 partitions, medians of {asked.rounds} interleaved rounds; values with a"
        " schema id in front, schemas from files.\n\n"
        f"| format | texts/s | over JSON |\n| --- | ---: | ---: |\n{rows}\n"
    )
    figures = {
        "avro_over_json": statistics.median(ratios["avro"]),
        "protobuf_over_json": statistics.median(ratios["protobuf"]),
    }
    return figures, page, {"texts_per_s": speeds}


def _ratios(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(ours, base, strict=True)]


def _mutated(asked: argparse.Namespace) -> _Part:
    failures, longest_s, grown = without_outcome(asked.frames)
    kinds = "\n".join(f"| {name} | {count} |" for name, count in failures.items())
    figures = {
        "mutated_without_outcome": sum(failures.values()) + (grown > _MOST_BYTES),
        "longest_frame_s": longest_s,
        "mutated_growth_mib": grown / 2**20,
    }
    page = (
        f"Mutated frames, {asked.frames} of each kind, without exactly one outcome within"
        f" {_MOST_S:g} s of CPU time (longest {longest_s:.3f} s; the process grew"
        f" by {grown / 2**20:.0f} MiB; of compressed frames every hundredth is a"
        f" bomb of 64 MiB):\n\n| frames | failures |\n| --- | ---: |\n{kinds}\n"
    )
    return figures, page, {"failures": failures}


def _outage(_asked: argparse.Namespace) -> _Part:
    away = asyncio.run(outage())
    page = (
        f"An hour without the registry, on an accelerated clock: {away.records} records,"
        f" {away.dead_letters} dead letters; {away.decoded_meanwhile} records with known schemas"
        f" decoded meanwhile, {away.requests} requests refused, {away.decoded_after} records with"
        " an unknown schema decoded afterwards.\n"
    )
    return {"outage_dead_letters": away.dead_letters}, page, away._asdict()


def _outputs(asked: argparse.Namespace) -> _Part:
    differing = serialised_differently(asked.outputs)
    page = (
        f"Outputs that differ from confluent-kafka's serializers: {sum(differing.values())} of"
        f" {asked.outputs} results, each as label and review in Avro, Protobuf and JSON.\n"
    )
    return {"serialised_differently": sum(differing.values())}, page, differing


_PARTS: Final[dict[str, Callable[[argparse.Namespace], _Part]]] = {
    "speed": _speed,
    "outage": _outage,
    "mutated": _mutated,
    "outputs": _outputs,
    "bulk": lambda asked: bulk(asked.bulk_rounds, asked.bulk_records),
}


def main() -> None:
    """Run the parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=_PARTS, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--bulk-rounds", type=int, default=3)
    parser.add_argument("--bulk-records", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--outputs", type=int, default=1_000)
    asked = parser.parse_args()
    stored = results_file.RESULTS / "formats.json"
    parts: dict[str, Any] = json.loads(stored.read_text())["parts"] if stored.exists() else {}
    for name, part in _PARTS.items():
        if name in (asked.only or _PARTS):
            figures, page, runs = part(asked)
            parts[name] = {
                "figures": figures,
                "page": page,
                "runs": runs,
                "commit": _commit(),
                "date": datetime.now(UTC).date().isoformat(),
                "cpu": results_file.hardware()["cpu"],
            }
    _write({name: parts[name] for name in _PARTS if name in parts})


def _write(parts: Mapping[str, Any]) -> None:
    measured = "\n".join(
        f"- {name}: {part['date']}, {part['cpu']}, commit {part['commit'][:10]}"
        for name, part in parts.items()
    )
    pages = "\n".join(part["page"] for part in parts.values())
    results_file.write(
        "formats",
        command="python -m benchmarks.formats",
        figures={k: v for part in parts.values() for k, v in part["figures"].items()},
        page=f"Measured:\n\n{measured}\n\n{pages}",
        details={"parts": parts},
        libraries=(
            "fastavro",
            "protobuf",
            "confluent-kafka",
            "aiokafka",
            "orjson",
            "cramjam",
            "ray",
        ),
    )


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
