"""Counts the Python bytecodes of a record in the checkout that it runs in; writes JSON.

    python benchmarks/record_bytecodes.py at_least_once exactly_once with_repeats

``benchmarks.record_cost`` runs it in two checkouts, so it takes only what both have: the in-memory
pipeline of their tests. Counted is everything except the tests and the in-memory ports, with the
metrics that a service has. What happens once a poll, a batch or a delivery cancels out, because the
count of few records is taken from that of many.
"""

import asyncio
import contextlib
import importlib
import inspect
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

_RECORD: Final = b'{"id": "a-%d", "text": "0.95 hello %d"}'
_FEW, _MANY = 128, 384
# The environment of the pipeline, which a service does not have, by both layouts.
_WORLD: Final = ("/tests/", "/consumer/testing/", "/consumer/memory", "/benchmarks/")
_SHOWN: Final = 1.0

_Function = tuple[str, str]


def _prometheus() -> Any:  # noqa: ANN401 it has another module in another checkout
    for name in ("observability.telemetry", "telemetry"):
        with contextlib.suppress(ModuleNotFoundError):
            module = importlib.import_module(f"streamlabel.consumer.{name}")
            return module.PrometheusMetrics(CollectorRegistry())
    raise SystemExit("this checkout has no Prometheus metrics")


@contextlib.contextmanager
def _counting() -> Iterator[Counter[_Function]]:
    """Count bytecodes by file and function. A function without a file is a generated one."""
    seen: Counter[_Function] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 as sys.settrace says
        code = frame.f_code
        if event == "call":
            if any(part in code.co_filename for part in _WORLD):
                return None
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        elif event == "opcode":
            seen[code.co_filename, code.co_qualname] += 1
        return trace

    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(None)


async def _count(records: int, *, transactional: bool, repeats: bool) -> Counter[_Function]:
    module: Any = importlib.import_module("tests.flow.rig")
    module.RecordingMetrics = _prometheus
    options: dict[str, object] = {"transactional": transactional}
    if repeats and "repeats" in inspect.getsource(module.rig):
        options["settings"] = {"repeats": {}}  # as by default
    async with module.rig(**options) as r:
        await r.send_raw(_RECORD % (0, 0))  # what happens once is over
        await r.clock.advance(1)
        with _counting() as seen:
            await r.send_raw(*(_RECORD % (number, number) for number in range(1, records + 1)))
        if len(r.sources("labels")) != records + 1:
            raise SystemExit("not every record was delivered")
    return seen


def _per_record(*, transactional: bool, repeats: bool) -> dict[_Function, float]:
    counts = [
        asyncio.run(_count(records, transactional=transactional, repeats=repeats))
        for records in (_FEW, _MANY)
    ]
    few, many = counts
    return {each: (many[each] - few[each]) / (_MANY - _FEW) for each in many}


def _short(file: str) -> str:
    """Return the path within the consumer, or else the name alone: it is the same everywhere."""
    return file.rpartition("/consumer/")[2] if "/consumer/" in file else Path(file).name


def main() -> None:
    """Write the bytecodes of a record by case, and by function where they are one at least."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found: dict[str, Any] = {}
    for case in sys.argv[1:]:
        by_function = _per_record(
            transactional=case == "exactly_once", repeats=case == "with_repeats"
        )
        named = {
            f"{_short(file)} {function}": round(count, 1)
            for (file, function), count in by_function.items()
            if count >= _SHOWN
        }
        found[case] = {
            "bytecodes": round(sum(by_function.values()), 1),
            "functions": dict(sorted(named.items(), key=lambda each: -each[1])),
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
