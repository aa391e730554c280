"""``streamlabel check`` names each right that is missing, and leaves nothing behind.

What is granted is read from the table in docs/operations.md, on a cluster that allows nothing else.
"""

import asyncio
import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka.needed_rights import service_rights
from streamlabel.consumer.kafka.rights import Right, spoken
from streamlabel.errors import BrokerError
from streamlabel.tools.broker_checks import check_broker
from testing.kafka_broker import SHORT_LIVED, Cluster, KafkaMissingError, LocalCluster, wait_until
from tests.kafka.test_security import unsigned_token
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Create": AclOperation.CREATE,
}
ALWAYS = ("always", "recommended")
ONCE = (*ALWAYS, "with `delivery.guarantee: exactly_once`")


class Row(NamedTuple):
    """Of the table: what is needed, on what, when."""

    kind: str
    names: Sequence[str]
    operations: Sequence[str]
    needed: str


def documented() -> Sequence[Row]:
    table = PAGE.read_text().partition("### Rights")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (`.+?) \| (.+?) \| (.+?) \|$", table, flags=re.MULTILINE)
    return [
        Row(
            kind.removesuffix(", prefixed"),
            re.findall("`(.+?)`", names),
            operations.split(", "),
            needed,
        )
        for kind, names, operations, needed in rows
    ]


@pytest.fixture(scope="module")
def strict() -> Iterator[LocalCluster]:
    """A cluster on which nobody may do what was not granted."""
    try:
        cluster = LocalCluster.start(
            secure=True,
            settings={"allow.everyone.if.no.acl.found": "false"},
            java=SHORT_LIVED,
        )
    except KafkaMissingError as error:
        missing(str(error))
    try:
        yield cluster
    finally:
        cluster.close()


class User:
    """Somebody without rights, and the settings of the service for them."""

    def __init__(
        self, cluster: LocalCluster, folder: Path, topics: Mapping[str, str], **more: object
    ) -> None:
        assert cluster.secured is not None
        self.cluster = cluster
        self.name = f"user-{uuid.uuid4()}"
        token = folder / f"{self.name}.token"
        token.write_text(unsigned_token(self.name))
        self.document: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": cluster.address("SASL_SSL"),
                "group_id": f"group-{uuid.uuid4()}",
                "security": {
                    "protocol": "SASL_SSL",
                    "ca_file": str(cluster.secured.ca_file),
                    "sasl_mechanism": "OAUTHBEARER",
                    "token_file": str(token),
                },
                **more,
            },
            "input": {"topic": topics["texts"]},
            "output": {
                "labels_topic": topics["labels"],
                "review_topic": topics["review"],
                "dead_letter_topic": topics["dead"],
            },
            "model": {"backend": "fake"},
            "delivery": {"guarantee": "exactly_once"},
            "http": {"port": 0},
        }
        self.file = folder / f"{self.name}.yaml"

    @property
    def settings(self) -> Settings:
        """Checked."""
        return Settings.model_validate(self.document)

    def grant(self, kind: str, name: str, *operations: str, denied: bool = False) -> None:
        """Allow operations on a resource; transactional ids by prefix, as documented."""
        is_prefix = kind == "transactional id" and not denied
        pattern = ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL
        permission = AclPermissionType.DENY if denied else AclPermissionType.ALLOW
        wanted = [
            AclBinding(
                KINDS[kind], name, pattern, f"User:{self.name}", "*", OPERATIONS[each], permission
            )
            for each in operations
        ]
        admin = self.cluster.admin()  # kept until the answers are there
        for done in admin.create_acls(wanted).values():
            done.result(60)
        theirs = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{self.name}", None,
            AclOperation.ANY, AclPermissionType.ANY,
        )  # fmt: skip

        def are_there() -> bool:  # the answer comes before every broker knows them
            return set(wanted) <= set(admin.describe_acls(theirs).result(60))

        wait_until(are_there, what="the rights are granted")

    def grant_documented(self, *needed: str, but: Right | None = None) -> None:
        """Grant the rows of the table that are needed then, one right of them excepted."""
        for row in documented():
            if not row.needed.startswith(needed):
                continue
            for setting in row.names:
                name = self._value(setting)
                operations = [
                    each
                    for each in row.operations
                    if but is None or (each, row.kind) != but[:2] or not but.name.startswith(name)
                ]
                if operations:
                    self.grant(row.kind, name, *operations)

    def _value(self, setting: str) -> str:
        section, _, name = setting.partition(".")
        return str(self.document[section][name]) if name else setting

    async def checked(self) -> Mapping[str, Any]:
        """What check finds on the brokers, by name."""
        return {each.name: each async for each in check_broker(self.settings)}

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it said."""
        self.file.write_text(json.dumps(self.document))
        result = CliRunner().invoke(app, [*arguments, "-c", str(self.file)])
        return result.exit_code, result.output


def topics_of(cluster: LocalCluster) -> dict[str, str]:
    return {name: cluster.topic(name) for name in ("texts", "labels", "review", "dead")}


@pytest.fixture(scope="module")
def topics(strict: LocalCluster) -> Mapping[str, str]:
    return topics_of(strict)


EXAMPLE = Settings.model_validate(
    {"model": {"backend": "fake"}, "delivery": {"guarantee": "exactly_once"}}
)
NEEDED = service_rights(EXAMPLE, partitions=1)


async def test_nothing_is_left_behind(
    strict: LocalCluster, topics: Mapping[str, str], tmp_path: Path
) -> None:
    """First of all here: the first look-up of a coordinator would create the topics of Kafka."""
    user = User(strict, tmp_path, topics)
    await asyncio.to_thread(user.grant_documented, *ONCE, "for `dlq")
    before = await asyncio.to_thread(strict.topics)
    found = await user.checked()
    assert all(each.is_ok for each in found.values()), found
    assert found["replay rights"].detail == "this user may run dlq replay"
    assert await asyncio.to_thread(strict.topics) == before
    admin = strict.admin()
    groups = await asyncio.to_thread(lambda: admin.list_consumer_groups().result(60))
    assert user.settings.kafka.group_id not in [group.group_id for group in groups.valid]
    for name in topics.values():
        assert await asyncio.to_thread(strict.read, name) == []


async def test_without_any_right_all_of_them_are_named(
    strict: LocalCluster, topics: Mapping[str, str], tmp_path: Path
) -> None:
    user = User(strict, tmp_path, topics)
    found = await user.checked()
    message = str(found["rights"].failure)
    for phrase in spoken(service_rights(user.settings, partitions=4)):
        assert phrase in message
    assert "kafka.security.token_file" in message
    assert found["topics"].is_ok  # whether they exist is hidden, so they are not called missing


@pytest.mark.parametrize("number", range(len(NEEDED)), ids=lambda n: "-".join(NEEDED[n]))
async def test_each_right_that_is_missing_is_named_and_no_other(
    strict: LocalCluster, topics: Mapping[str, str], tmp_path: Path, number: int
) -> None:
    user = User(strict, tmp_path, topics)
    right = service_rights(user.settings, partitions=1)[number]
    if right.operation == "Describe":  # it comes with the others, unless it is denied
        await asyncio.to_thread(user.grant_documented, *ONCE)
        await asyncio.to_thread(user.grant, right.kind, right.name, "Describe", denied=True)
    else:
        await asyncio.to_thread(user.grant_documented, *ONCE, but=right)
    found = await user.checked()
    failure = found["rights"].failure
    assert isinstance(failure, BrokerError)
    assert not failure.retriable
    [phrase] = spoken([right])
    assert f"grant this user {phrase}. The user is" in str(failure)
    assert [name for name, each in found.items() if not each.is_ok] == ["rights"]


async def test_topics_to_be_created_need_the_right_to_create(
    strict: LocalCluster, topics: Mapping[str, str], tmp_path: Path
) -> None:
    new = {**topics, "labels": f"labels-{uuid.uuid4()}"}
    user = User(strict, tmp_path, new, create_topics=True)
    await asyncio.to_thread(user.grant_documented, *ONCE)
    found = await user.checked()
    assert f"grant this user Create on the topic {new['labels']}. The" in str(
        found["rights"].failure
    )
    await asyncio.to_thread(user.grant_documented, "with `kafka.create_topics")
    found = await user.checked()
    assert all(each.is_ok for each in found.values()), found
    assert new["labels"] not in await asyncio.to_thread(strict.topics)


async def test_a_topic_that_cannot_be_created_as_planned_is_said(
    strict: LocalCluster, topics: Mapping[str, str], tmp_path: Path
) -> None:
    new = {**topics, "labels": f"labels-{uuid.uuid4()}"}
    user = User(strict, tmp_path, new, create_topics=True, replication_factor=3)
    await asyncio.to_thread(user.grant_documented, *ONCE, "with `kafka.create_topics")
    found = await user.checked()
    assert "replication" in str(found["topics"].failure).lower()
    assert found["rights"].is_ok


def test_a_cluster_without_an_authorizer_is_said(kafka: Cluster) -> None:
    names = {name: kafka.topic(name) for name in ("texts", "labels", "review", "dead")}
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka.bootstrap},
            "input": {"topic": names["texts"]},
            "output": {
                "labels_topic": names["labels"],
                "review_topic": names["review"],
                "dead_letter_topic": names["dead"],
            },
            "delivery": {"guarantee": "exactly_once"},
            "model": {"backend": "fake"},
        }
    )

    async def found() -> Mapping[str, Any]:
        return {each.name: each async for each in check_broker(settings)}

    rights = asyncio.run(found())["rights"]
    assert rights.is_ok
    assert rights.detail == "the cluster has no authorizer: every user has all rights"


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_the_documented_rights_are_enough(
    strict: LocalCluster, tmp_path: Path, guarantee: str
) -> None:
    topics = topics_of(strict)
    user = User(strict, tmp_path, topics)
    user.document["delivery"] = {"guarantee": guarantee}
    user.grant_documented(*(ONCE if guarantee == "exactly_once" else ALWAYS))
    code, output = user.run("check")
    assert code == 0, output
    assert re.search("^ok +rights", output, flags=re.MULTILINE), output
    broken = b"no json"
    strict.produce(topics["texts"], [b'{"text": "hello"}'] * 20 + [broken])
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "streamlabel", "run", "-c", str(user.file)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        group = user.document["kafka"]["group_id"]

        def is_done() -> bool:
            assert service.poll() is None, (tmp_path / "log").read_text()
            return (strict.committed(group, topics["texts"]) or 0) >= 21

        wait_until(is_done, what="all texts are committed", timeout_s=120, every_s=1)
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    finally:
        service.kill()
        service.wait()
    written = [len(strict.read(topics[name])) for name in ("labels", "review", "dead")]
    assert sum(written) == 21
    assert written[2] == 1

    # the same user looks at the dead letter, and then puts it back
    code, output = user.run("dlq", "replay", "--execute")
    assert code == 4
    assert f"Write on the topic {topics['texts']}" in output
    user.grant_documented("for `dlq`")
    code, output = user.run("dlq", "replay")
    assert code == 0, output
    code, output = user.run("dlq", "replay", "--execute")
    assert code == 4
    ids = [f"streamlabel/replay/{topics['dead']}/0"]
    for phrase in (f"Write on the topic {topics['texts']}", *ids):
        assert phrase in output
    user.grant_documented("for `dlq replay --execute`")
    code, output = user.run("dlq", "replay", "--execute")
    assert code == 0, output
    assert len(strict.read(topics["texts"])) == 22
