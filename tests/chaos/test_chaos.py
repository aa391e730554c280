"""The short form of the chaos table: each fault at least once, for both deliveries.

Runs mostly wait (for sessions to time out, for brokers to come back), so they share the machine:
first all that strike processes, side by side on one broker; then those that strike the brokers.
The long form is ``python -m benchmarks.chaos``.
"""

import json
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from testing.chaos.place import Place
from testing.chaos.run import Delivery
from testing.chaos.scenarios import BOTH, CONTROLS, SCENARIOS, Row, Scenario, perform
from testing.kafka_broker import KafkaMissingError
from tests.requirements import missing

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.timeout(600)]

# Side by side: more would only slow each other down on two cores.
_AT_ONCE = 5

Key = tuple[str, Delivery]

EVERY: Mapping[str, Scenario] = {**SCENARIOS, **CONTROLS}
ROWS = [
    (name, each)
    for name, scenario in SCENARIOS.items()
    if scenario.short
    for each in scenario.deliveries
]
CALM_ROWS = [row for row in ROWS if not SCENARIOS[row[0]].shakes_broker]
SHAKEN_ROWS = [row for row in ROWS if SCENARIOS[row[0]].shakes_broker]
CONTROL_ROWS = [(name, each) for name, scenario in CONTROLS.items() for each in scenario.deliveries]


class Runs:
    """All selected runs, in a thread; each test waits for its own row."""

    def __init__(self, selected: Sequence[Key], folder: Path) -> None:
        self._rows: dict[Key, Future[Row]] = {key: Future() for key in selected}
        self._folder = folder
        self._seed = random.randrange(10_000)
        self._thread = threading.Thread(target=self._perform_all, name="chaos")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def row(self, key: Key) -> Row:
        """Return what the run showed, once it is over."""
        try:
            return self._rows[key].result()
        except KafkaMissingError as error:
            missing(str(error))

    def _perform_all(self) -> None:
        try:
            with Place.open() as place:
                calm = [key for key in self._rows if not EVERY[key[0]].shakes_broker]
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    for name, delivery in calm:
                        pool.submit(self._perform, place, name, [delivery])
                with ThreadPoolExecutor(2) as pool:
                    pool.submit(self._shake, place)
                    pool.submit(self._shake_three)
        except Exception as error:  # noqa: BLE001 raised by the tests that wait
            for future in self._rows.values():
                if not future.done():
                    future.set_exception(error)

    def _shaking(self, brokers: int) -> list[str]:
        names = dict.fromkeys(name for name, _ in self._rows)
        return [n for n in names if EVERY[n].shakes_broker and EVERY[n].brokers == brokers]

    def _shake(self, place: Place) -> None:
        for name in self._shaking(place.brokers):
            self._perform(place, name, BOTH)

    def _shake_three(self) -> None:
        if names := self._shaking(3):
            try:
                with Place.open(brokers=3) as place:
                    self._shake(place)
            except KafkaMissingError as error:
                for key, future in self._rows.items():
                    if key[0] in names and not future.done():
                        future.set_exception(error)

    def _perform(self, place: Place, name: str, deliveries: Sequence[Delivery]) -> None:
        wanted = {each: self._rows[name, each] for each in deliveries if (name, each) in self._rows}
        try:
            rows = perform(EVERY[name], place, list(wanted), seed=self._seed, folder=self._folder)
        except Exception as error:  # noqa: BLE001 raised by the test that waits
            for future in wanted.values():
                future.set_exception(error)
        else:
            for row in rows:
                with (self._folder / "rows.jsonl").open("a") as kept:  # for who looks for the time
                    kept.write(json.dumps(row.as_dict()) + "\n")
                wanted[row.delivery].set_result(row)


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """Start what the selected tests ask for."""
    here = [item.name for item in request.session.items if item.path == Path(__file__)]
    selected = [
        key
        for key in (*CALM_ROWS, *CONTROL_ROWS, *SHAKEN_ROWS)
        if any(name.endswith(f"[{key[0]}-{key[1]}]") for name in here)
    ]
    with Runs(selected, tmp_path_factory.mktemp("chaos")) as runs:
        yield runs


# In the order in which the runs end.


@pytest.mark.parametrize(("name", "delivery"), CALM_ROWS)
def test_nothing_is_lost_and_nothing_is_doubled_that_may_not_be(
    name: str, delivery: Delivery, runs: Runs
) -> None:
    row = runs.row((name, delivery))
    assert not row.problems, "\n".join(row.problems)


@pytest.mark.parametrize(("name", "delivery"), CONTROL_ROWS)
def test_a_service_that_is_wrong_on_purpose_is_caught(
    name: str, delivery: Delivery, runs: Runs
) -> None:
    row = runs.row((name, delivery))
    assert EVERY[name].is_caught(row.problems), row


@pytest.mark.parametrize(("name", "delivery"), SHAKEN_ROWS)
def test_nothing_is_lost_when_brokers_go(name: str, delivery: Delivery, runs: Runs) -> None:
    row = runs.row((name, delivery))
    assert not row.problems, "\n".join(row.problems)
