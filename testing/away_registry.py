"""An hour without the schema registry on an accelerated clock, for benchmarks and tests."""

import asyncio
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.registry.opening import RegistryDecoder
from streamlabel.errors import DecodeError
from testing.mutated_frames import good

__all__ = ["Outage", "outage"]

_HOUR_S = 3600.0
_SCHEMA = {
    "type": "record",
    "name": "Change",
    "fields": [
        {
            "name": "after",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Row",
                    "fields": [{"name": "id", "type": "long"}, {"name": "text", "type": "string"}],
                },
            ],
        },
        {
            "name": "source",
            "type": {
                "type": "record",
                "name": "Source",
                "fields": [{"name": "ts_ms", "type": "long"}],
            },
        },
        {"name": "op", "type": "string"},
    ],
}


class Outage(NamedTuple):
    """What an hour without the registry came to.

    Attributes:
        records: read, before, during and after it.
        dead_letters: of them.
        decoded_meanwhile: records with known schemas that were decoded during the hour.
        decoded_after: records with unknown schemas, once the registry was back.
        requests: during the hour.
    """

    records: int
    dead_letters: int
    decoded_meanwhile: int
    decoded_after: int
    requests: int


class _Clock:
    """Time that passes as soon as somebody waits."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_s(self) -> float:
        return self.passed_s

    def epoch_ms(self) -> int:
        return int(self.passed_s * 1000)

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds
        await asyncio.sleep(0)


class _Registry:
    """Answers over real HTTP with one schema under every id; 503 while it is away."""

    def __init__(self, clock: _Clock) -> None:
        self.away_until_s = 0.0
        self.refused = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_away = clock.now_s() < registry.away_until_s
                registry.refused += is_away
                self.send_response(503 if is_away else 200)
                self.end_headers()
                if not is_away:
                    self.wfile.write(json.dumps({"schema": json.dumps(_SCHEMA)}).encode())

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def outage(*, polls: int = 20, size: int = 50) -> Outage:
    """Read records of one schema for an hour without the registry, then one of another schema.

    Args:
        polls: before the hour and during it.
        size: records of a poll.
    """
    clock = _Clock()
    with _Registry(clock) as registry:
        settings = InputSettings.model_validate(
            {"format": "debezium", "framing": "confluent", "registry": {"url": registry.url}}
        )
        decoder = RegistryDecoder(settings, clock)
        before = await _read(decoder, _records(7, size) * polls)
        registry.away_until_s = clock.now_s() + _HOUR_S
        meanwhile = await _read(decoder, _records(7, size) * polls)
        after = await _read(decoder, _records(8, size))  # returns when the registry is back
        if clock.now_s() < _HOUR_S:
            raise AssertionError("the hour has not passed. This is a bug.")
        everything = [*before, *meanwhile, *after]
        return Outage(
            records=len(everything),
            dead_letters=sum(isinstance(each, DecodeError) for each in everything),
            decoded_meanwhile=sum(isinstance(each, TextRecord) for each in meanwhile),
            decoded_after=sum(isinstance(each, TextRecord) for each in after),
            requests=registry.refused,
        )


def _records(schema_id: int, count: int) -> list[SourceRecord]:
    value = b"\x00" + schema_id.to_bytes(4) + good("debezium_avro")[5:]
    return [SourceRecord(Position("t", 0, i), None, value, (), 0, 0.0) for i in range(count)]


async def _read(
    decoder: RegistryDecoder, records: Sequence[SourceRecord]
) -> list[TextRecord | DecodeError]:
    await decoder.prefetch(records)
    return [_outcome(decoder, record) for record in records]


def _outcome(decoder: RegistryDecoder, record: SourceRecord) -> TextRecord | DecodeError:
    try:
        return decoder.decode(record)
    except DecodeError as error:
        return error
