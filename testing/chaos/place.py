"""Where a chaos run takes place: a cluster, the ways to it, and the topics of one run."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from testing.chaos.proxy import Proxy
from testing.chaos.reaper import Reaper
from testing.kafka_broker import SHORT_LIVED, LocalCluster, wait_until

__all__ = ["COMPACTED", "Place", "Topics", "Way"]

# How the service reaches the brokers; driver and readers always go straight there.
Way = Literal["straight", "proxy", "sasl"]

_SETTINGS: Mapping[str, Any] = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # who comes without SASL: brokers, driver, readers
    "allow.everyone.if.no.acl.found": "true",
    # A killed node is noticed within seconds, also by a machine with two cores.
    "broker.session.timeout.ms": 6000,
    "broker.heartbeat.interval.ms": 1000,
    "log.cleaner.backoff.ms": 2000,  # between two looks for what can be compacted
}

# A topic that is compacted within seconds, and not before a reader that follows has seen all.
COMPACTED: Mapping[str, str | int] = {
    "cleanup_policy": "compact",
    "segment_ms": 1000,
    "min_cleanable_dirty_ratio": "0.01",
    "min_compaction_lag_ms": 5000,
}


class Topics(NamedTuple):
    """Of one run; the consumer group has the name of the input topic."""

    texts: str
    labels: str
    review: str
    dead: str

    @property
    def outputs(self) -> Sequence[str]:
        """Where outcomes are."""
        return self.labels, self.review, self.dead


@dataclass(slots=True)
class Place:
    """A running cluster, with a proxy in front of each node.

    Attributes:
        reaper: told about every process that is started here.
    """

    cluster: LocalCluster
    proxies: Sequence[Proxy]
    reaper: Reaper
    _watched: set[int] = field(default_factory=set)

    @classmethod
    @contextlib.contextmanager
    def open(cls, *, brokers: int = 1) -> Iterator["Place"]:
        """Start brokers and proxies. Raises KafkaMissingError."""
        with contextlib.ExitStack() as stack:
            reaper = stack.enter_context(Reaper.open())
            proxies = []
            for _ in range(brokers):
                proxies.append(proxy := Proxy.start())
                stack.callback(proxy.close)
            cluster = LocalCluster.start(
                brokers=brokers,
                secure=brokers == 1,
                proxy_ports=[proxy.port for proxy in proxies],
                settings=_SETTINGS,
                java=SHORT_LIVED,
            )
            stack.callback(cluster.close)
            for number, proxy in enumerate(proxies, start=1):
                proxy.target = cluster.nodes[number - 1].ports["PROXIED"]
            place = cls(cluster, proxies, reaper)
            place.watch_nodes()
            yield place
            cluster.close()
            place.watch_nodes()

    @property
    def brokers(self) -> int:
        """How many nodes."""
        return len(self.cluster.nodes)

    def watch_nodes(self) -> None:
        """Tell the reaper which nodes run now; after one was started."""
        now = {node.process.pid for node in self.cluster.nodes if node.process is not None}
        for pid in self._watched - now:
            self.reaper.forget(pid)
        for pid in now - self._watched:
            self.reaper.watch(pid)
        self._watched = now

    def topics(
        self, name: str, partitions: int, *, labels: Mapping[str, str | int] | None = None
    ) -> Topics:
        """Create the four topics of a run; ``labels`` are settings of that one."""
        replicas = min(3, self.brokers)
        config: dict[str, str | int] = {"min_insync_replicas": 2} if replicas > 1 else {}
        made = [
            self.cluster.topic(
                f"{name}-{each}",
                partitions=partitions,
                replicas=replicas,
                **{**config, **((labels or {}) if each == "labels" else {})},
            )
            for each in Topics._fields
        ]
        return Topics(*made)

    def connection(self, way: Way) -> dict[str, Any]:
        """Return the service's settings below ``kafka`` for a way to the brokers."""
        if way == "proxy":
            servers = ",".join(f"localhost:{proxy.port}" for proxy in self.proxies)
            return {"bootstrap_servers": servers}
        if way == "sasl":
            secured = self.cluster.secured
            if secured is None:
                raise AssertionError("only the single broker has SASL")
            return {
                "bootstrap_servers": self.cluster.address("SASL_PLAINTEXT"),
                "security": {
                    "protocol": "SASL_PLAINTEXT",
                    "sasl_mechanism": "PLAIN",
                    "username": secured.username,
                    "password": secured.password,
                    "allow_insecure": True,
                },
            }
        return {"bootstrap_servers": self.cluster.bootstrap}

    def leader(self, topic: str, partition: int = 0) -> int:
        """Number of the node that leads a partition."""
        return int(self.cluster.partitions(topic)[partition].leader)

    def wait_in_sync(self, topics: Sequence[str]) -> None:
        """Wait until every partition has all its replicas."""

        def in_sync() -> bool:
            parts = [part for topic in topics for part in self.cluster.partitions(topic).values()]
            return all(len(part.isrs) == len(part.replicas) for part in parts)

        wait_until(in_sync, what="all replicas are in sync", timeout_s=120, every_s=0.5)

    def deny_writes(self, topic: str, *, allow_again: bool = False) -> None:
        """Deny the SASL user to write a topic, or take that back."""
        secured = self.cluster.secured
        user = f"User:{secured.username}" if secured is not None else ""
        rule = (
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL,
            user, "*", AclOperation.WRITE, AclPermissionType.DENY,
        )  # fmt: skip
        admin = self.cluster.admin()
        if allow_again:
            futures = admin.delete_acls([AclBindingFilter(*rule)])
        else:
            futures = admin.create_acls([AclBinding(*rule)])
        for future in futures.values():
            future.result(30)

    def set_limit(self, topic: str, max_message_bytes: int) -> None:
        """Change what a topic takes while it is being written."""
        self.cluster.configure(topic, max_message_bytes=max_message_bytes)
