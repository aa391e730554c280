"""Fixtures that start a real Kafka, or skip with what is missing."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from testing.kafka_broker import SHORT_LIVED, Cluster, KafkaMissingError, LocalCluster
from tests.requirements import missing

C = TypeVar("C", bound=Cluster)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One real broker for all tests that do not stop it; topics have unique names."""
    yield from _opened(lambda: Cluster.open(java=SHORT_LIVED))


@pytest.fixture
def own_kafka() -> Iterator[LocalCluster]:
    """A separate broker, which the test may kill and restart."""
    yield from _opened(lambda: LocalCluster.start(java=SHORT_LIVED))


@pytest.fixture(scope="module")
def secure_kafka() -> Iterator[LocalCluster]:
    """A broker that also listens with TLS and SASL."""
    yield from _opened(lambda: LocalCluster.start(secure=True, java=SHORT_LIVED))


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[LocalCluster]:
    """Three brokers, for leader and coordinator moves."""
    yield from _opened(lambda: LocalCluster.start(brokers=3, java=SHORT_LIVED))


def _opened(start: Callable[[], C]) -> Iterator[C]:
    try:
        cluster = start()
    except KafkaMissingError as error:
        missing(str(error))
    try:
        yield cluster
    finally:
        cluster.close()
