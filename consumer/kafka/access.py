"""Refuses to start without the necessary rights, and names all that are missing."""

from collections.abc import Collection

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka.missing_rights import missing_rights
from streamlabel.consumer.kafka.needed_rights import replay_rights
from streamlabel.consumer.kafka.rights import Right, principal_of, spoken
from streamlabel.consumer.kafka.topics import find_topics
from streamlabel.errors import BrokerError

__all__ = ["refuse_missing_rights", "refuse_replay"]


def refuse_missing_rights(kafka: KafkaSettings, missing: Collection[Right]) -> None:
    """Refuse to continue if rights are missing.

    Raises:
        BrokerError: not retriable; names each missing right, and the user to grant it to.
    """
    if missing:
        raise BrokerError(
            f"not authorized; grant this user {'; '.join(spoken(missing))}. The user is"
            f" {principal_of(kafka)}"
        )


async def refuse_replay(settings: Settings, *, execute: bool) -> None:
    """Refuse a replay without the necessary rights, before anything is read or written.

    Raises:
        BrokerError: rights are missing, or the cluster cannot be reached.
    """
    dead = settings.output.dead_letter_topic
    found = await find_topics(settings.kafka, [dead])
    needed = replay_rights(
        settings, partitions=found[dead].partitions if dead in found else 1, execute=execute
    )
    refuse_missing_rights(settings.kafka, (await missing_rights(settings.kafka, needed)).missing)
