"""What we use of aiokafka's internals is there, and does what is expected of it."""

import ast
import asyncio
import inspect
import subprocess
import sys
import tomllib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import (
    PidAndEpoch,
    TransactionManager,
    TransactionState,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.structs import OffsetAndMetadata

from streamlabel.consumer.kafka import SUPPORTED, refuse_other_version
from streamlabel.consumer.kafka.aiokafka_internals import (
    batch_queues,
    connections,
    error_table,
    group,
    transactions,
)
from streamlabel.errors import ConfigError
from tests.doubles import settle

ROOT = Path(__file__).parents[4]
PACKAGE = ROOT / "consumer" / "kafka" / "aiokafka_internals"
P0 = TopicPartition("texts", 0)


# The version.


def is_refused(installed: str) -> bool:
    try:
        refuse_other_version(installed)
    except ConfigError:
        return True
    return False


@pytest.mark.parametrize("installed", ["0.14.0", "0.14.1", "0.14.12", "0.14.0rc1"])
def test_the_series_whose_internals_are_known_is_accepted(installed: str) -> None:
    assert not is_refused(installed)


@pytest.mark.parametrize(
    "installed", ["0.13.9", "0.15.0", "0.15.0.dev1", "1.14.0", "0.140.0", "0.1.4", "0"]
)
def test_any_other_version_is_refused_with_what_to_install(installed: str) -> None:
    with pytest.raises(ConfigError, match=r"pip install 'aiokafka>=0\.14,<0\.15'") as refused:
        refuse_other_version(installed)
    assert f"aiokafka {installed} is installed" in str(refused.value)
    assert refused.value.exit_code == 2


def test_what_is_accepted_is_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"aiokafka{SUPPORTED}" in project["dependencies"]
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    [pin] = [line.removeprefix("aiokafka==") for line in pins if line.startswith("aiokafka==")]
    refuse_other_version(pin)
    refuse_other_version()


def test_the_service_refuses_another_version_before_it_imports_it() -> None:
    """Its import may fail, with an error that says nothing about versions."""
    program = (
        "import sys, importlib.metadata as metadata\n"
        "known = metadata.version\n"
        "metadata.version = lambda name: '0.13.0' if name == 'aiokafka' else known(name)\n"
        "sys.modules['aiokafka'] = None\n"
        "sys.argv = ['streamlabel', 'run', '--set', 'model.backend=fake']\n"
        "from streamlabel.__main__ import main\n"
        "main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stderr
    said = " ".join(run.stderr.split())
    assert "aiokafka 0.13.0 is installed" in said
    assert "aiokafka>=0.14,<0.15" in said
    assert "Traceback" not in said


# What there is.


class Real:
    """One of each class whose internals are used, none of them connected."""

    def __init__(self) -> None:
        self.consumer = AIOKafkaConsumer(group_id="group", enable_auto_commit=False)
        self.client: AIOKafkaClient = self.consumer._client
        self.coordinator = GroupCoordinator(self.client, self.consumer._subscription)
        self.fetcher = Fetcher(self.client, self.consumer._subscription)
        self.connection = AIOKafkaConnection("localhost", 9092)
        self.producer = AIOKafkaProducer(transactional_id="name")
        self.accumulator: MessageAccumulator = self.producer._message_accumulator
        self.manager: TransactionManager = self.producer._txn_manager
        self.sender: Sender = self.producer._sender
        self.builder: BatchBuilder = self.producer.create_batch()
        self.batch: Any = None

    async def start(self) -> None:
        """Let the consumer and the producer have what ``start`` gives them, and queue a batch."""
        self.manager.set_pid_and_epoch(7, 1)
        self.manager.begin_transaction()
        self.builder.append(timestamp=None, key=None, value=b"x")
        await self.accumulator.add_batch(self.builder, P0, 1)
        [self.batch] = self.accumulator._batches[P0]

    async def stop(self) -> None:
        """Leave no task and no error that nobody has looked at."""
        tasks = [self.coordinator._coordination_task, self.fetcher._fetch_task]
        if self.sender.sender_task is not None:
            tasks.append(self.sender.sender_task)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self.consumer._closed = self.producer._closed = True


@pytest.fixture
async def real() -> AsyncIterator[Real]:
    real = Real()
    await real.start()
    yield real
    await real.stop()


# Owner, name and type; a function stands for its arguments.
PRIVATE: list[tuple[str, str, Any]] = [
    ("consumer", "_client", AIOKafkaClient),
    ("consumer", "_coordinator", NoneType),  # before start
    ("consumer", "_fetcher", NoneType),
    ("coordinator", "_send_req", ["request"]),
    ("coordinator", "_do_heartbeat", []),
    ("coordinator", "_do_commit_offsets", ["assignment", "offsets"]),
    ("client", "_conns", dict),
    ("client", "_sasl_plain_password", NoneType),  # without SASL
    ("connection", "_requests", deque),
    ("connection", "_writer", NoneType),  # before it is open
    ("connection", "_sasl_oauth_token_provider", NoneType),
    ("producer", "_message_accumulator", MessageAccumulator),
    ("producer", "_txn_manager", TransactionManager),
    ("producer", "_sender", Sender),
    ("accumulator", "_batches", defaultdict),
    ("accumulator", "_batch_ttl", float),
    ("accumulator", "_waiter_future", asyncio.Future),
    ("batch", "_builder", BatchBuilder),
    ("batch", "_drain_waiter", asyncio.Future),
    ("manager", "_pid_and_epoch", PidAndEpoch),
    ("manager", "_sequence_numbers", defaultdict),
    ("manager", "_transaction_waiter", asyncio.Future),
]
# Not private by name, but of classes that are.
HIDDEN: list[tuple[str, str, Any]] = [
    ("coordinator", "member_id", str),
    ("coordinator", "coordinator_id", NoneType),  # not known yet
    ("coordinator", "request_rejoin", []),
    ("coordinator", "ensure_coordinator_known", []),
    ("coordinator", "coordinator_dead", []),
    ("fetcher", "error_future", asyncio.Task),
    ("accumulator", "drain_by_nodes", ["ignore_nodes", "muted_partitions"]),
    ("accumulator", "fail_all", ["exception"]),
    ("batch", "future", asyncio.Future),
    ("batch", "retry_count", int),
    ("builder", "size", []),
    ("manager", "transactional_id", str),
    ("manager", "producer_id", int),
    ("manager", "producer_epoch", int),
    ("manager", "is_in_transaction", []),
    ("manager", "error_transaction", ["exc"]),
    ("sender", "sender_task", NoneType),  # before start
    ("connection", "connected", []),
    ("connection", "authenticator_oauth", []),
]
AWAITED = {"_send_req", "_do_heartbeat", "_do_commit_offsets", "ensure_coordinator_known"}


@pytest.mark.parametrize(("owner", "name", "shape"), [*PRIVATE, *HIDDEN])
def test_aiokafka_has_what_is_used(real: Real, owner: str, name: str, shape: Any) -> None:  # noqa: ANN401
    found = getattr(getattr(real, owner), name)
    if isinstance(shape, list):
        assert list(inspect.signature(found).parameters) == shape
        assert inspect.iscoroutinefunction(found) == (name in AWAITED)
    else:
        assert isinstance(found, shape)


def private_names(source: str) -> set[str]:
    """Attributes of others that begin with an underscore, also by name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            found |= {str(arg.value) for arg in node.args[1:2] if isinstance(arg, ast.Constant)}
    return {name for name in found if name.startswith("_") and not name.endswith("__")}


def test_every_private_name_is_checked_here() -> None:
    used = set[str]().union(*(private_names(path.read_text()) for path in PACKAGE.glob("*.py")))
    assert used == {name for _, name, _ in PRIVATE}


# What it does.


async def test_a_consumer_has_a_client_and_gets_the_rest_at_its_start(real: Real) -> None:
    assert group.client_of(real.consumer) is real.client
    assert group.coordinator_id(real.consumer) is None
    source = inspect.getsource(AIOKafkaConsumer.start)
    assert "self._coordinator = GroupCoordinator(" in source
    assert "self._fetcher = Fetcher(" in source


async def test_heartbeats_pass_what_is_put_around_requests(real: Real) -> None:
    asked: list[object] = []

    class Answer:
        error_code = 0

    async def exchange(_send: group.Send, request: object) -> Answer:
        asked.append(request)
        return Answer()

    group.around_requests(real.coordinator, exchange)
    assert await group.send_heartbeat(real.coordinator) is True
    assert [type(request) for request in asked] == [HeartbeatRequest]
    assert await group.ask_coordinator(real.coordinator, "question")
    assert asked[1:] == ["question"]


async def test_offsets_of_others_are_committed_in_one_request(real: Real) -> None:
    asked: list[object] = []

    class Answer:
        topics = (("texts", [(0, 0)]),)

    async def exchange(_send: group.Send, request: object) -> Answer:
        asked.append(request)
        return Answer()

    group.around_requests(real.coordinator, exchange)
    await group.store_for_others(real.coordinator, {P0: OffsetAndMetadata(5, "id")})
    assert [type(request) for request in asked] == [OffsetCommitRequest]


async def test_the_group_is_asked_through_the_consumer(real: Real) -> None:
    real.consumer._coordinator = real.coordinator
    assert group.coordinator_of(real.consumer) == real.coordinator
    assert not group.is_member(real.consumer)
    real.coordinator.member_id = "me"
    assert group.is_member(real.consumer)
    group.request_rejoin(real.consumer)
    assert real.coordinator._rejoin_needed_fut.done()
    real.coordinator.coordinator_id = 3
    assert group.coordinator_id(real.consumer) == 3
    real.coordinator.coordinator_id = None
    real.consumer._coordinator = None


async def test_a_fetcher_ends_with_its_task(real: Real) -> None:
    real.consumer._fetcher = real.fetcher
    assert not group.fetcher_has_ended(real.consumer)
    real.fetcher._fetch_task.cancel()
    await asyncio.wait([real.fetcher._fetch_task])
    assert group.fetcher_has_ended(real.consumer)


def test_no_topic_has_the_partition_that_is_asked_for_its_errors() -> None:
    assert group.no_partition("texts") == TopicPartition("texts", 2**31 - 1)


def test_each_consumer_has_a_memory_of_its_own() -> None:
    first, second = group.sticky_assignor(), group.sticky_assignor()
    assert first is not second
    assert StickyPartitionAssignor.on_assignment.__self__ is StickyPartitionAssignor
    assert first.on_assignment.__self__ is first


async def test_the_oldest_request_is_what_a_connection_owes(real: Real) -> None:
    real.client._conns[(1, ConnectionGroup.DEFAULT)] = real.connection
    assert connections.connections_of(real.client) == [real.connection]
    found = connections.connection_to(real.client, 1, ConnectionGroup.DEFAULT)
    assert found is not None
    assert found is real.connection
    assert connections.connection_to(real.client, 1, ConnectionGroup.COORDINATION) is None
    assert connections.oldest_request(real.connection) is None
    future = asyncio.get_running_loop().create_future()
    found._requests.extend([(4, "first", future), (5, "second", future)])
    assert connections.oldest_request(real.connection) == (4, "first")
    found._requests.clear()
    real.client._conns.clear()


async def test_connections_are_cut_where_they_are_open(real: Real) -> None:
    cut = []

    class Writer:
        transport: Any = None

        def abort(self) -> None:
            cut.append(self)

    open_one = AIOKafkaConnection("localhost", 9092)
    writer = open_one._writer = Writer()
    writer.transport = writer
    real.client._conns.update({1: real.connection, 2: open_one})
    connections.abort_connections(real.client)
    assert cut == [writer]
    open_one._writer = None
    real.client._conns.clear()


async def test_an_authenticator_gets_the_tokens_of_its_connection() -> None:
    class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
        async def token(self) -> str:
            return "token"

    tokens = Tokens()
    connection = AIOKafkaConnection(
        "localhost",
        9092,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=tokens,
    )
    assert connections.token_provider_of(connection) is tokens


async def test_a_client_logs_in_with_the_password_that_it_was_given_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[str] = []

    async def noted(*_: object, **options: Any) -> AIOKafkaConnection:  # noqa: ANN401
        used.append(options["sasl_plain_password"])
        raise OSError

    monkeypatch.setattr("aiokafka.client.create_conn", noted)
    client = AIOKafkaClient(
        bootstrap_servers="localhost:1",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="u",
        sasl_plain_password="one",
    )
    for password in ("one", "two"):
        connections.use_password(client, password)
        with pytest.raises(kafka_errors.KafkaConnectionError):
            await client.bootstrap()
    assert used == ["one", "two"]


async def test_a_queue_holds_the_batch_of_a_builder(real: Real) -> None:
    queue = batch_queues.queues_of(real.producer)[P0]
    batch = batch_queues.batch_of(queue, real.builder)
    assert batch is real.batch
    assert batch_queues.size_bytes(batch) == real.builder.size() > 0
    waiter = batch_queues.drain_waiter(batch)
    batch_queues.wake_waiting_senders(batch)
    batch_queues.wake_waiting_senders(batch)
    assert waiter.done()
    queue.remove(batch)
    batch_queues.forget_queue(real.producer, P0)
    assert not batch_queues.queues_of(real.producer)


async def test_the_sender_asks_what_was_put_in_the_place_of_the_drain(real: Real) -> None:
    asked: list[Mapping[str, object]] = []

    def drain(**about: object) -> tuple[Mapping[int, Any], bool]:
        asked.append(about)
        return earlier(**about | {"muted_partitions": {P0}})

    earlier = batch_queues.replace_drain(real.producer, drain)
    real.manager._pending_txn_partitions.clear()
    real.sender._sender_task = asyncio.create_task(real.sender._sender_routine())
    await settle()
    assert len(asked) == 1
    assert list(transactions.tasks_of(real.producer)) == [real.sender.sender_task]
    assert not transactions.sender_has_ended(real.producer)
    batch_queues.wake_sender(real.producer)
    await settle()
    assert len(asked) == 2
    assert set(asked[0]) == {"ignore_nodes", "muted_partitions"}


async def test_batches_never_expire(real: Real) -> None:
    batch_queues.never_expire(real.producer)
    batch = real.accumulator._append_batch(real.producer.create_batch(), P0)
    batch._ctime -= 1e9
    assert not batch.expired()


async def test_all_that_waits_fails_and_is_dropped(real: Real) -> None:
    error = kafka_errors.ProducerClosed()
    batch_queues.fail_all(real.producer, error)
    futures = list(transactions.unretrieved_futures(real.producer))
    assert futures == [
        real.batch.future,
        real.batch._drain_waiter,
        real.manager._transaction_waiter,
    ]
    assert [future.exception() for future in futures[:2]] == [error, error]
    batch_queues.drop_queues(real.producer)
    assert not batch_queues.queues_of(real.producer)


async def test_a_denial_is_heard_before_the_transaction_fails(real: Real) -> None:
    heard: list[tuple[Exception, bool]] = []
    transactions.before_denial(
        real.producer,
        lambda error: heard.append((error, transactions.is_in_transaction(real.producer))),
    )
    error = kafka_errors.TopicAuthorizationFailedError("labels")
    real.manager.error_transaction(error)
    assert heard == [(error, True)]
    assert not transactions.is_in_transaction(real.producer)
    assert real.manager.state is TransactionState.ABORTABLE_ERROR
    assert real.manager._transaction_waiter.exception() is error


async def test_another_epoch_numbers_anew(real: Real) -> None:
    assert transactions.transactional_id(real.producer) == "name"
    assert transactions.producer_id_and_epoch(real.producer) == (7, 1)
    real.manager.increment_sequence_number(P0, 5)
    transactions.start_epoch(real.producer, 7, 2)
    assert transactions.producer_id_and_epoch(real.producer) == (7, 2)
    assert real.manager.sequence_number(P0) == 0


def test_a_code_is_looked_up_in_the_table_that_was_completed() -> None:
    table = kafka_errors.kafka_errors
    try:
        error_table.complete_error_table(lambda code: f"NAME_{code}", is_temporary=lambda _: True)
        found = kafka_errors.for_code(20_000)
        assert issubclass(found, kafka_errors.UnknownError)
        assert (found.errno, found.message, found.retriable) == (20_000, "NAME_20000", True)
        assert kafka_errors.for_code(3) is table[3]
    finally:
        kafka_errors.kafka_errors = table
