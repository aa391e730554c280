"""A real Apache Kafka for tests, benchmarks and chaos runs.

Where it comes from, in this order: an address in STREAMLABEL_TEST_BOOTSTRAP, the jars below
KAFKA_HOME (Java 17), the Docker image named in STREAMLABEL_TEST_KAFKA_IMAGE.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    PartitionMetadata,
)

__all__ = [
    "SHORT_LIVED",
    "Cluster",
    "DockerCluster",
    "KafkaMissingError",
    "LocalCluster",
    "Secured",
    "wait_until",
]

# Options of Java for brokers that start often and never run long: optimising their code costs more
# processor time than it saves. Not for brokers whose speed matters.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-Xshare:auto")

_T = TypeVar("_T")

_START_TIMEOUT_S = 90.0  # a loaded two-core machine needs about 15 s
_QUIET = {"log_level": 0}  # refused connections while a broker is down are no news
# What a broker answers while leaders and coordinators change, and what it never answers when it has
# just come back. librdkafka's own errors begin with an underscore.
_IN_BETWEEN = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
)
_IMAGE = os.environ.get("STREAMLABEL_TEST_KAFKA_IMAGE", "apache/kafka:4.1.0")


class KafkaMissingError(Exception):
    """No Kafka can be had here; the message says what is missing."""


def wait_until(
    claim: Callable[[], bool], *, what: str, timeout_s: float = 30.0, every_s: float = 0.1
) -> None:
    """Return when ``claim`` holds; fail when it does not within the time."""
    deadline_s = time.monotonic() + timeout_s
    while not claim():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(every_s)


def _ask(question: Callable[[], _T], *, what: str, timeout_s: float = 60.0) -> _T:
    """Ask again while the cluster is in between; only for what may be asked twice."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return question()
        except KafkaException as error:
            if error.args[0].code() not in _IN_BETWEEN:
                raise
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not within {timeout_s} s: {what}") from error
        time.sleep(0.1)


@dataclass(slots=True)
class Cluster:
    """A running cluster, seen from outside, with the operations tests need."""

    bootstrap: str

    @staticmethod
    def open(*, java: Sequence[str] = ()) -> "Cluster":
        """Start what the environment offers. Raises KafkaMissingError.

        Args:
            java: options of the virtual machine, where it is ours.
        """
        if bootstrap := os.environ.get("STREAMLABEL_TEST_BOOTSTRAP"):
            return Cluster(bootstrap)
        if os.environ.get("KAFKA_HOME"):
            return LocalCluster.start(java=java)
        return DockerCluster.start()

    def close(self) -> None:
        """Stop what ``open`` started."""

    def topic(
        self, name: str, *, partitions: int = 1, replicas: int = 1, **config: str | int
    ) -> str:
        """Create a topic with a unique name that begins with ``name``; return the name.

        Keywords are topic settings with underscores for dots.
        """
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        topic = NewTopic(unique, partitions, replicas, config=settings)
        admin = self.admin()  # a name of its own: dropping the client drops its requests
        admin.create_topics([topic])[unique].result(60)

        def has_leaders() -> bool:  # the answer comes before all brokers know the topic
            try:
                return len(self.ends(unique)) == partitions
            except (KafkaException, KeyError):  # a broker does not know it yet
                return False

        wait_until(has_leaders, what=f"the leaders of {unique} answer")
        return unique

    def fresh(self, names: Sequence[str], *, partitions: int = 1) -> None:
        """Create topics with exactly these names, which nobody has created before."""
        admin = self.admin()
        for done in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            done.result(60)

        def have_leaders() -> bool:
            try:
                return all(len(self.ends(name)) == partitions for name in names)
            except (KafkaException, KeyError):
                return False

        wait_until(have_leaders, what=f"the leaders of {', '.join(names)} answer")

    def configure(self, topic: str, **config: str | int) -> None:
        """Change settings of a topic; keywords as in ``topic``."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        for key, value in config.items():
            resource.add_incremental_config(
                ConfigEntry(
                    key.replace("_", "."),
                    str(value),
                    incremental_operation=AlterConfigOpType.SET,
                )
            )
        admin = self.admin()

        def change() -> None:
            [done] = admin.incremental_alter_configs([resource]).values()
            done.result(60)

        _ask(change, what=f"the settings of {topic} are changed")

    def limit_writes(self, client_id: str, bytes_s: float | None) -> None:
        """Let clients of this name write no faster; None takes the limit away."""
        self.limit_client(client_id, producer_byte_rate=bytes_s)

    def limit_client(self, client_id: str, **rates: float | None) -> None:
        """Set quotas for clients of this name, by Kafka's names of them; None takes one away.

        The request is put together here (AlterClientQuotas v0): no Python client has it.
        """

        def text(value: str) -> bytes:
            return struct.pack(">h", len(value)) + value.encode()

        entity = struct.pack(">i", 1) + text("client-id") + text(client_id)
        rules = struct.pack(">i", len(rates))
        for name, rate in rates.items():
            rules += text(name) + struct.pack(">d?", rate or 0.0, rate is None)
        body = struct.pack(">i", 1) + entity + rules + b"\0"
        header = struct.pack(">hhi", 49, 0, 1) + text("tests")
        host, port = self.bootstrap.split(",")[0].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(struct.pack(">i", len(header + body)) + header + body)
            with connection.makefile("rb") as answer:
                [size] = struct.unpack(">i", answer.read(4))
                [_, _, entries, error] = struct.unpack(">iiih", answer.read(size)[:14])
        if (entries, error) != (1, 0):
            raise KafkaException(f"the quota was not set: error {error}")

    def admin(self) -> AdminClient:
        """A fresh admin client."""
        return AdminClient({"bootstrap.servers": self.bootstrap, **_QUIET})

    def topics(self) -> set[str]:
        """Names of all topics."""
        return set(_ask(lambda: self.admin().list_topics(timeout=10).topics, what="Kafka answers"))

    def partitions(self, topic: str) -> dict[int, PartitionMetadata]:
        """Leader and replicas of each partition of a topic."""
        return _ask(
            lambda: dict(self.admin().list_topics(topic, timeout=10).topics[topic].partitions),
            what=f"Kafka describes {topic}",
        )

    def produce(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Write values to one partition, in order, and wait for the acknowledgements."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", **_QUIET})
        for value in values:
            producer.produce(
                topic, value=value, key=key, partition=partition, headers=list(headers)
            )
        if producer.flush(30):
            raise TimeoutError("not all records were acknowledged")

    def read(self, topic: str, *, committed_only: bool = True) -> list[Message]:
        """Everything in a topic, partition by partition, in offset order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"reader-{uuid.uuid4()}",
                "enable.auto.commit": False,
                **_QUIET,
                "enable.partition.eof": True,
                "isolation.level": "read_committed" if committed_only else "read_uncommitted",
            }
        )
        try:
            return list(_read_to(self.ends(topic), consumer, topic))
        finally:
            consumer.close()

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """The group's next offset, None without one."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, **_QUIET})
        place = TopicPartition(topic, partition)
        try:
            [found] = _ask(
                lambda: consumer.committed([place], timeout=10),
                what=f"a coordinator of {group} answers",
            )
        finally:
            consumer.close()
        return None if found.offset < 0 else int(found.offset)

    def group_offsets(
        self, group: str, topic: str, partitions: Iterable[int]
    ) -> dict[int, int | None]:
        """The group's next offset per partition, None without one; asked at once."""
        places = [TopicPartition(topic, number) for number in partitions]
        admin = self.admin()
        wanted = ConsumerGroupTopicPartitions(group, places)

        def offsets() -> list[TopicPartition]:
            [answer] = admin.list_consumer_group_offsets([wanted]).values()
            return list(answer.result(60).topic_partitions)

        found = _ask(offsets, what=f"a coordinator of {group} answers")
        return {each.partition: None if each.offset < 0 else each.offset for each in found}

    def commit(self, group: str, topic: str, next_offset: int, partition: int = 0) -> None:
        """Set the next offset of a group without members."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, **_QUIET})
        place = TopicPartition(topic, partition, next_offset)
        try:
            _ask(
                lambda: consumer.commit(offsets=[place], asynchronous=False),
                what=f"a coordinator of {group} answers",
            )
        finally:
            consumer.close()

    def ends(self, topic: str) -> dict[int, int]:
        """Where each partition ends, transaction markers included."""
        admin = self.admin()

        def offsets() -> dict[int, int]:
            numbers = admin.list_topics(topic, timeout=10).topics[topic].partitions
            places = {TopicPartition(topic, number): OffsetSpec.latest() for number in numbers}
            found = admin.list_offsets(places)
            return {place.partition: int(each.result(30).offset) for place, each in found.items()}

        return _ask(offsets, what=f"the leaders of {topic} say where it ends")

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions: so many in all. Return when they take records."""
        admin = self.admin()
        admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(60)
        wait_until(
            lambda: len(self.ends(topic)) == partitions,
            what=f"the leaders of {partitions} partitions of {topic} answer",
        )

    def recreate(self, topic: str, *, partitions: int | None = None) -> None:
        """Delete a topic and create it again, with as many partitions if not said otherwise."""
        admin = self.admin()
        found = self.partitions(topic)
        count, replicas = partitions or len(found), len(found[0].replicas)
        admin.delete_topics([topic])[topic].result(30)

        def created() -> bool:  # the name is free only a moment later
            try:
                admin.create_topics([NewTopic(topic, count, replicas)])[topic].result(30)
            except KafkaException:
                return False
            return True

        def is_empty() -> bool:  # until then a broker takes records for the deleted one
            try:
                return set(self.ends(topic).values()) == {0}
            except (KafkaException, KeyError):
                return False

        wait_until(created, what="the topic is created again")
        wait_until(is_empty, what="the brokers have the new topic")

    def drop_before(self, topic: str, offset: int, partition: int = 0) -> None:
        """Delete the oldest records of a partition, as retention would."""
        at = TopicPartition(topic, partition, offset)
        admin = self.admin()
        _ask(
            lambda: admin.delete_records([at])[TopicPartition(topic, partition)].result(60),
            what=f"the leader of {topic}-{partition} deletes records",
        )


def _read_to(ends: Mapping[int, int], consumer: Consumer, topic: str) -> Iterator[Message]:
    """Read each partition to its end, or to the offset in ``ends`` if that comes first.

    A topic that is written to all the time may never say that it is read to its end.
    """
    for number, end in sorted(ends.items()):
        place = TopicPartition(topic, number, 0)
        consumer.assign([place])
        while end:
            message = consumer.poll(30)
            if message is None:
                raise TimeoutError(f"no end of {topic}-{number} within 30 s")
            error = message.error()
            if error is None:
                if message.offset() < end:
                    yield message
                if message.offset() >= end - 1:
                    break
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 as above
                break
            else:
                raise KafkaException(error)


@dataclass(frozen=True, slots=True)
class Secured:
    """What a client needs for the listeners with TLS and SASL.

    Attributes:
        expired_file: a certificate that has expired, and its key.
        locked_key_file: ``key_file`` under ``key_password``.
    """

    ca_file: Path
    cert_file: Path
    key_file: Path
    expired_file: Path
    locked_key_file: Path
    key_password: str = field(repr=False)
    username: str = "alice"
    password: str = field(default_factory=lambda: secrets.token_hex(8), repr=False)


@dataclass(slots=True)
class _Node:
    number: int
    ports: Mapping[str, int]  # listener -> port
    folder: Path
    advertised: Mapping[str, int] = field(default_factory=dict)  # where it differs
    process: subprocess.Popen[bytes] | None = None


@dataclass(slots=True)
class LocalCluster(Cluster):
    """KRaft nodes (broker and controller in one) as child processes, from KAFKA_HOME."""

    nodes: list[_Node]
    folder: Path
    home: Path
    secured: Secured | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    java: Sequence[str] = ()

    @classmethod
    def start(
        cls,
        *,
        brokers: int = 1,
        secure: bool = False,
        proxy_ports: Sequence[int] = (),
        settings: Mapping[str, Any] | None = None,
        java: Sequence[str] = (),
    ) -> Self:
        """Format and start the nodes; return when all have joined.

        Args:
            brokers: how many nodes.
            secure: the first node also listens with SSL, SASL_PLAINTEXT and SASL_SSL, and with
                certificates that nobody should take, as EXPIRED and ELSEWHERE; rights are checked,
                and who comes without SASL or a certificate has all of them.
            proxy_ports: one per node: it also listens as PROXIED and says that it does so at this
                port, where the test runs a proxy in front of ``address("PROXIED", node)``.
            settings: of the brokers, over what is set here.
            java: options of the virtual machines.
        """
        home = Path(os.environ.get("KAFKA_HOME", "missing"))
        if not (home / "libs").is_dir():
            raise KafkaMissingError("KAFKA_HOME does not name a folder with Kafka's libs/")
        if shutil.which("java") is None:
            raise KafkaMissingError("java (17 or newer) is not on the PATH")
        folder = Path(tempfile.mkdtemp(prefix="streamlabel-kafka-"))
        listeners = ["PLAINTEXT", "CONTROLLER"]
        secured = None
        if secure:
            listeners += ["SSL", "SASL_PLAINTEXT", "SASL_SSL", "EXPIRED", "ELSEWHERE"]
            secured = _make_certificates(folder)
        if proxy_ports:
            listeners.append("PROXIED")
        ports = _free_ports(brokers * len(listeners))
        nodes = [
            _Node(
                number,
                dict(zip(listeners, ports[index * len(listeners) :], strict=False)),
                folder / f"node{number}",
                {"PROXIED": proxy_ports[index]} if proxy_ports else {},
            )
            for index, number in enumerate(range(1, brokers + 1))
        ]
        bootstrap = ",".join(f"localhost:{node.ports['PLAINTEXT']}" for node in nodes)
        cluster = cls(bootstrap, nodes, folder, home, secured, settings or {}, java)
        try:
            cluster._format()
            for node in nodes:
                cluster.start_node(node.number)
            cluster.wait_ready()
        except BaseException:
            cluster.close()
            raise
        return cluster

    def address(self, listener: str, number: int = 1) -> str:
        """host:port of a listener of a node."""
        return f"localhost:{self._node(number).ports[listener]}"

    def close(self) -> None:
        """Kill the nodes and delete their folders."""
        for node in self.nodes:
            self.kill(node.number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_node(self, number: int = 1) -> None:
        """Start a node that is not running; does not wait for it."""
        node = self._node(number)
        with (node.folder / "out.log").open("ab") as log:
            node.process = subprocess.Popen(
                [*self._java("-Xmx512m"), "kafka.Kafka", str(node.folder / "server.properties")],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, number: int = 1) -> None:
        """SIGKILL, and wait until it is gone."""
        self._end(number, signal.SIGKILL)

    def stop_node(self, number: int = 1) -> None:
        """SIGTERM: controlled shutdown; wait until it is gone."""
        self._end(number, signal.SIGTERM)

    def pause(self, number: int = 1) -> None:
        """SIGSTOP: the node answers nobody, its connections stay open."""
        self._signal(number, signal.SIGSTOP)

    def resume(self, number: int = 1) -> None:
        """SIGCONT."""
        self._signal(number, signal.SIGCONT)

    def wait_ready(self) -> None:
        """Wait until all running nodes are in the cluster's metadata and elect leaders."""
        running = sum(node.process is not None for node in self.nodes)

        def joined() -> bool:
            for node in self.nodes:
                if node.process is not None and node.process.poll() is not None:
                    log = (node.folder / "out.log").read_text(errors="replace")[-2000:]
                    raise KafkaMissingError(f"Kafka ended at start:\n{log}")
            try:
                return len(self.admin().list_topics(timeout=2).brokers) >= running
            except KafkaException:
                return False

        wait_until(joined, what="Kafka answers", timeout_s=_START_TIMEOUT_S)

    def _node(self, number: int) -> _Node:
        return next(node for node in self.nodes if node.number == number)

    def _signal(self, number: int, name: signal.Signals) -> None:
        process = self._node(number).process
        if process is not None:
            process.send_signal(name)

    def _end(self, number: int, name: signal.Signals) -> None:
        node = self._node(number)
        if node.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            node.process.send_signal(signal.SIGCONT)
            node.process.send_signal(name)
        try:
            node.process.wait(60)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait(30)
        node.process = None

    def data(self, number: int = 1) -> Path:
        """Return the folder with a node's logs."""
        return self._node(number).folder / "logs"

    def tool(self, name: str) -> list[str]:
        """Return the command of one of Kafka's own programs, without its arguments."""
        return [*self._java("-Xmx256m"), name]

    def _java(self, *options: str) -> list[str]:
        return ["java", *options, *self.java, "-XX:+UseSerialGC", "-cp", f"{self.home}/libs/*"]

    def _format(self) -> None:
        cluster_id = "c3RyZWFtbGFiZWwtdGVzdA"  # any 16 bytes in URL-safe base64
        for node in self.nodes:
            node.folder.mkdir()
            path = node.folder / "server.properties"
            path.write_text(_properties(node, self.nodes, self.secured, self.settings))
            command = [*self.tool("kafka.tools.StorageTool"), "format"]
            command += ["-t", cluster_id, "-c", str(path)]
            if self.secured is not None:
                for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                    user = f"name={self.secured.username},password={self.secured.password}"
                    command += ["--add-scram", f"{mechanism}=[{user}]"]
            done = subprocess.run(command, capture_output=True, timeout=120, check=False)
            if done.returncode:
                raise KafkaMissingError(f"StorageTool failed: {done.stderr.decode()[-2000:]}")


def _free_ports(count: int) -> list[int]:
    """Choose ports below the range of outgoing connections (32768 to 60999 on Linux).

    One of these could take the port of a broker that is about to start, or is down for a while.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = random.randrange(10_000, 32_000)
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # taken
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found


def _properties(
    node: _Node, nodes: Sequence[_Node], secured: Secured | None, more: Mapping[str, Any]
) -> str:
    replicas = min(3, len(nodes))
    voters = ",".join(f"{each.number}@localhost:{each.ports['CONTROLLER']}" for each in nodes)
    advertised = {name: port for name, port in node.ports.items() if name != "CONTROLLER"}
    advertised |= node.advertised
    settings: dict[str, Any] = {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(f"{name}://localhost:{port}" for name, port in node.ports.items()),
        "advertised.listeners": ",".join(f"{n}://localhost:{p}" for n, p in advertised.items()),
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,"
        "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,PROXIED:PLAINTEXT,"
        "EXPIRED:SSL,ELSEWHERE:SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": node.folder / "logs",
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": min(2, replicas),
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    }
    if secured is not None:
        settings |= _security(secured)
    settings |= more
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _security(secured: Secured) -> dict[str, Any]:
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    bearer = "org.apache.kafka.common.security.oauthbearer"
    user = f'user_{secured.username}="{secured.password}"'
    settings: dict[str, Any] = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": secured.cert_file.with_name("broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": secured.ca_file,
        "ssl.client.auth": "none",
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
    }
    for listener in ("expired", "elsewhere"):
        name = f"listener.name.{listener}"
        settings[f"{name}.ssl.keystore.type"] = "PEM"
        settings[f"{name}.ssl.keystore.location"] = secured.cert_file.with_name(f"{listener}.pem")
    for listener in ("sasl_plaintext", "sasl_ssl"):
        name = f"listener.name.{listener}"
        settings |= {
            f"{name}.plain.sasl.jaas.config": f"{plain} required {user};",
            f"{name}.scram-sha-256.sasl.jaas.config": f"{scram} required;",
            f"{name}.scram-sha-512.sasl.jaas.config": f"{scram} required;",
            f"{name}.oauthbearer.sasl.jaas.config": f"{bearer}.OAuthBearerLoginModule required"
            ' unsecuredLoginStringClaim_sub="broker";',
            f"{name}.oauthbearer.sasl.server.callback.handler.class": f"{bearer}.internals"
            ".unsecured.OAuthBearerUnsecuredValidatorCallbackHandler",
        }
    return settings


def _make_certificates(folder: Path) -> Secured:
    """One authority, and certificates of it: one for broker and client, and two that are wrong."""
    if shutil.which("openssl") is None:
        raise KafkaMissingError("openssl is not on the PATH")
    ca, ca_key, key, cert = (folder / n for n in ("ca.pem", "ca.key", "client.key", "client.pem"))
    request = folder / "request.csr"
    locked = folder / "locked.key"
    password = secrets.token_hex(8)
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    _run(*new, "-x509", "-days", "2", "-subj", "/CN=test-ca", "-keyout", ca_key, "-out", ca)
    _run(*new, "-subj", "/CN=localhost", "-keyout", key, "-out", request)
    _run("openssl", "rsa", "-aes256", "-passout", f"pass:{password}", "-in", key, "-out", locked)

    def signed(names: str, out: Path, days: int) -> str:
        extension = folder / "names.ext"
        extension.write_text(f"subjectAltName={names}\n")
        sign = ["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key]
        _run(*sign, "-CAcreateserial", "-days", days, "-extfile", extension, "-out", out)
        return key.read_text() + out.read_text() + ca.read_text()

    ours = "DNS:localhost,IP:127.0.0.1"
    (folder / "expired.pem").write_text(signed(ours, cert, -1))
    (folder / "elsewhere.pem").write_text(signed("DNS:elsewhere.example", cert, 2))
    (folder / "broker.pem").write_text(signed(ours, cert, 2))
    return Secured(ca, cert, key, folder / "expired.pem", locked, password)


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)


def _fails(*command: str) -> bool:
    return bool(subprocess.run(command, capture_output=True, check=False).returncode)


@dataclass(slots=True)
class DockerCluster(Cluster):
    """One node in a container, for machines without the jars."""

    container: str

    @classmethod
    def start(cls) -> Self:
        """Run the image on a free port. Raises KafkaMissingError."""
        docker = shutil.which("docker")
        if docker is None or _fails(docker, "info"):
            raise KafkaMissingError(
                "neither STREAMLABEL_TEST_BOOTSTRAP nor KAFKA_HOME is set, and no Docker engine"
                " answers"
            )
        [port] = _free_ports(1)
        environment = {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:{port + 1}",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{port + 1}",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        }
        command = [docker, "run", "--rm", "-d", "-p", f"127.0.0.1:{port}:{port}"]
        for name, value in environment.items():
            command += ["-e", f"{name}={value}"]
        done = subprocess.run([*command, _IMAGE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise KafkaMissingError(f"docker run {_IMAGE} failed: {done.stderr[-500:]}")
        cluster = cls(f"localhost:{port}", done.stdout.strip())
        try:
            cluster.wait_ready()
        except BaseException:
            cluster.close()
            raise
        return cluster

    def wait_ready(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            try:
                return bool(self.admin().list_topics(timeout=2).brokers)
            except KafkaException:
                return False

        wait_until(answers, what="Kafka in Docker answers", timeout_s=_START_TIMEOUT_S)

    def close(self) -> None:
        """Remove the container."""
        subprocess.run(["docker", "rm", "-f", self.container], capture_output=True, check=False)
