"""``streamlabel deploy``: other models for all members of the group, without a restart."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.control.messages import CanaryPart, Order, Status
    from streamlabel.consumer.kafka.control_topic import ControlTopic

__all__ = ["deploy", "messages_of", "publish", "topic_of"]


def deploy(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    rollback: Annotated[
        bool,
        typer.Option("--rollback", help="Deploy what was deployed before the last deployment."),
    ] = False,
    canary: Annotated[
        float | None,
        typer.Option(
            "--canary",
            min=0,
            max=1,
            metavar="SHARE",
            help="Give this fraction of the records to the new deployment first, and refuse it if"
            " it is worse.",
            show_default=False,
        ),
    ] = None,
    canary_records: Annotated[
        int,
        typer.Option(
            "--canary-records", min=1, metavar="N", help="Outcomes of the canary to compare."
        ),
    ] = 500,
    max_dead_letters: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="A canary is worse if its share of dead letters is larger by more than this.",
        ),
    ] = 0.01,
    max_slowdown: Annotated[
        float,
        typer.Option(
            min=0.01,
            metavar="TIMES",
            help="A canary is worse if a record takes more than so many times as long.",
        ),
    ] = 3.0,
    max_label_shift: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="DISTANCE",
            help="A canary is worse if its labels differ by more than this total variation"
            " distance.",
        ),
    ] = 0.2,
    digest: Annotated[
        list[str] | None,
        typer.Option(
            "--digest",
            metavar="ID=DIGEST",
            help="Digest that a model must have, as `streamlabel check` prints it; the id is model,"
            " or that of a task or stage. May be repeated.",
            show_default=False,
        ),
    ] = None,
    wait_s: Annotated[
        float | None,
        typer.Option(
            "--wait",
            min=0,
            metavar="SECONDS",
            help="Wait until all members say that it is active. Exit code 2 if one refuses it, 4 if"
            " one does not answer in time.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Announce models, routing, tasks and cascade of the configuration to all members of the group.

    They are published on control.topic, signed with control.key. Each member loads the new models
    beside the present ones, checks them and swaps without losing a record. Paths must exist on
    every member. The last deployment counts, also for members that start later.

    \b
    Examples:
      streamlabel deploy -c new.yaml --wait 300
      streamlabel deploy -c new.yaml --canary 0.1 --wait 900
      streamlabel deploy -c streamlabel.yaml --rollback
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.commands.terminal import quiet_logs, say
    from streamlabel.consumer.control.messages import CanaryPart
    from streamlabel.errors import ConfigError

    settings = load_settings(config, overrides).settings
    quiet_logs(settings)
    if settings.control.topic is None:
        raise ConfigError("control.topic: set it, and control.key, here and on every member")
    if canary == 0:
        raise typer.BadParameter("--canary: must be greater than 0; leave it out for no trial")
    trial = None
    if canary is not None:
        trial = CanaryPart(
            share=canary,
            records=canary_records,
            max_dead_letters=max_dead_letters,
            max_slowdown=max_slowdown,
            max_label_shift=max_label_shift,
        )
    order = asyncio.run(publish(settings, trial, _digests(digest or []), rollback=rollback))
    say(f"deployment {order.id} is on {settings.control.topic} for the group {order.group}")
    if wait_s is not None:
        asyncio.run(_wait(settings, order, wait_s))


def _digests(pairs: list[str]) -> dict[str, str]:
    found = {name: digest for name, _, digest in (pair.partition("=") for pair in pairs)}
    if not all(found.values()):
        raise typer.BadParameter("--digest: write ID=DIGEST, for example model=3f2a9c")
    return found


async def publish(
    settings: "Settings",
    canary: "CanaryPart | None" = None,
    digests: "dict[str, str] | None" = None,
    *,
    rollback: bool = False,
) -> "Order":
    """Publish the models, routing, tasks and cascade of the settings; return the order.

    Raises:
        ConfigError: the control topic is missing, or there is nothing to roll back to.
        MessageRefusedError: a secret would be on the topic.
        BrokerError: the brokers cannot be reached, or refuse.
    """
    import uuid
    from datetime import UTC, datetime

    from streamlabel.consumer.control.messages import Order, key_of, sections_of, write
    from streamlabel.errors import ConfigError

    topic = topic_of(settings)
    await topic.ensure()
    found = [each for each in await messages_of(settings, topic) if isinstance(each, Order)]
    ours = [each for each in found if each.group == settings.kafka.group_id]
    last = ours[-1] if ours else None
    if rollback and last is None:
        raise ConfigError(f"--rollback: the group {settings.kafka.group_id} has no deployment yet")
    order = Order(
        schema="streamlabel.deployment/v1",
        id=uuid.uuid4().hex[:12],
        group=settings.kafka.group_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        sections=last.before if rollback and last is not None else sections_of(settings),
        before=None if last is None else last.sections,
        digests=digests or {},
        canary=canary,
    )
    if settings.control.key is not None:
        await topic.publish(key_of(order), write(order, settings.control.key))
    return order


async def messages_of(settings: "Settings", topic: "ControlTopic") -> "list[Order | Status]":
    """Return the signed messages on the control topic, in order."""
    from contextlib import suppress

    from streamlabel.consumer.control.messages import MessageRefusedError, read

    found = []
    for record in await topic.stored():
        with suppress(MessageRefusedError):  # members count and log these
            if settings.control.key is not None and record.value is not None:
                found.append(read(record.value, settings.control.key))
    return found


async def _wait(settings: "Settings", order: "Order", wait_s: float) -> None:
    import asyncio

    from streamlabel.commands.terminal import say
    from streamlabel.consumer.control.messages import Status
    from streamlabel.consumer.kafka.control_topic import members_of
    from streamlabel.errors import BrokerError, DeploymentRefusedError

    topic = topic_of(settings)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + wait_s
    while True:
        members = await members_of(settings.kafka)
        states = {
            each.member: each
            for each in await messages_of(settings, topic)
            if isinstance(each, Status) and each.order == order.id
        }
        for each in states.values():
            if each.state == "refused":
                raise DeploymentRefusedError(f"{each.member}: {each.why}")
        active = sorted(name for name, each in states.items() if each.state == "active")
        if len(active) >= max(1, members):
            say(f"active on {len(active)} members: {', '.join(active)}")
            return
        if loop.time() > deadline_s:
            raise BrokerError(
                f"active on {len(active)} of {members} members after {wait_s:g} s; the others may"
                " still follow: see their logs"
            )
        await asyncio.sleep(1.0)


def topic_of(settings: "Settings") -> "ControlTopic":
    """Return the control topic of the settings."""
    from streamlabel.consumer.kafka.control_topic import ControlTopic
    from streamlabel.models.core.system_clock import SystemClock

    return ControlTopic(settings.kafka, settings.control.topic or "", SystemClock())
