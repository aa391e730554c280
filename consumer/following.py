"""Follows the control topic: all members of the group get the deployment that was ordered last."""

import asyncio
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress

import structlog

from streamlabel.config.settings import Settings
from streamlabel.consumer.control.deployment_checks import refuse_other_digests
from streamlabel.consumer.control.messages import (
    MessageRefusedError,
    Order,
    Status,
    key_of,
    ordered_settings,
    read,
    write,
)
from streamlabel.consumer.core.ports import Clock, Metrics
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.core.starting import until_reachable
from streamlabel.consumer.kafka.control_topic import ControlTopic
from streamlabel.consumer.swapping import Swapper
from streamlabel.errors import BrokerError, ConfigError, DeploymentRefusedError
from streamlabel.models.core.classifier import Classifier

__all__ = ["Follower"]

_log = structlog.get_logger(__name__)


class Follower:
    """A member that follows orders; without a control topic it has none.

    At its start it takes the last order of its group, before it loads a model or reads a record.
    Then it follows new ones: the later one wins, by its offset, and one that is still loading is
    given up. If an order is refused, the present models stay; at a start, those of the order
    before the last, or of the member's own configuration, are not guessed: the start fails.

    Args:
        settings: of the member.
        clock: of the service.
        metrics: counts refused messages.
        start_timeout_s: how long to wait for a broker at start; None: for ever.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        start_timeout_s: float | None = None,
    ) -> None:
        self._own = settings
        self._clock = clock
        self._start_timeout_s = start_timeout_s
        self._control = settings.control
        self._metrics = metrics
        self._member = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        name = settings.control.topic
        self._topic = None if name is None else ControlTopic(settings.kafka, name, clock)
        self._done: str | None = None  # id of the last order that was begun
        self._digests: Mapping[str, str] = {}
        self._offset = -1  # of the last record that was seen

    async def first(self) -> Settings:
        """Return the settings to start with: those of the last order, or the member's own.

        Raises:
            ConfigError: the topic is missing, or the order cannot be used here.
            BrokerError: the topic cannot be read.
        """
        topic = self._topic
        if topic is None:
            return self._own
        records: list[SourceRecord] = []

        async def look() -> None:
            await topic.ensure()
            records[:] = await topic.stored()

        await until_reachable(look, timeout_s=self._start_timeout_s, clock=self._clock)
        orders = [order for each in records if (order := self._order(each))]
        if not orders:
            return self._own
        order = orders[-1]
        self._done, self._digests = order.id, order.digests
        _log.info("deployment_ordered", order=order.id, at_start=True)
        try:
            return ordered_settings(self._own, order.sections)
        except MessageRefusedError as error:
            raise ConfigError(
                f"control.topic: the last deployment cannot be used here: {error}; deploy another"
                " one, or leave out control.topic to start with the configuration of this member"
            ) from error

    def check(self, classifiers: Mapping[str, Classifier]) -> None:
        """Check the models that were loaded for the order of the start.

        Raises:
            DeploymentRefusedError: this member has others than the order means.
        """
        refuse_other_digests(classifiers, self._digests)

    async def run(self, swapper: Swapper) -> None:
        """Follow orders until cancelled."""
        if self._topic is None:
            return
        if self._done is not None:
            await self._say(self._done, "active")
        swapping: asyncio.Task[None] | None = None
        try:
            async for record in self._topic.follow():
                order = self._order(record)
                if order is None or order.id == self._done:
                    continue
                self._done = order.id
                if swapping is not None:
                    swapping.cancel()  # an earlier order that is still loading
                    await asyncio.wait([swapping])
                swapping = asyncio.ensure_future(self._follow(order, swapper))
        finally:
            if swapping is not None:
                swapping.cancel()
                await asyncio.wait([swapping])

    def _order(self, record: SourceRecord) -> Order | None:
        """Return the order of a record; None if it is none for us, or was seen before."""
        offset = record.position.offset
        is_new, self._offset = offset > self._offset, max(offset, self._offset)
        if not is_new or record.value is None or self._control.key is None:
            return None
        try:
            message = read(record.value, self._control.key)
        except MessageRefusedError as error:
            self._metrics.increment("control_refused")
            _log.warning("control_message_refused", offset=offset, why=str(error))
            return None
        is_ours = isinstance(message, Order) and message.group == self._own.kafka.group_id
        return message if is_ours and isinstance(message, Order) else None

    async def _follow(self, order: Order, swapper: Swapper) -> None:
        _log.info("deployment_ordered", order=order.id, at_start=False)
        await self._say(order.id, "loading")
        try:
            await swapper.swap(
                ordered_settings(self._own, order.sections),
                digests=order.digests,
                canary=None if order.canary is None else order.canary.limits(),
            )
        except DeploymentRefusedError as error:
            await self._say(order.id, "refused", str(error))
        except MessageRefusedError as error:
            self._metrics.increment("swaps", outcome="refused")
            _log.error("deployment_refused", why=str(error))
            await self._say(order.id, "refused", str(error))
        else:
            await self._say(order.id, "active")

    async def _say(self, order: str, state: str, why: str = "") -> None:
        """Publish a status, for ``deploy --wait``; nothing depends on it."""
        status = Status.model_validate(
            {
                "order": order,
                "group": self._own.kafka.group_id,
                "member": self._member,
                "state": state,
                "why": why[:500],
            }
        )
        key = self._control.key
        if key is not None and self._topic is not None:
            with suppress(BrokerError):
                await self._topic.publish(key_of(status), write(status, key))
