"""Opens the store: the database of the settings, with tables of the present version."""

import secrets
from collections.abc import Callable
from random import SystemRandom
from typing import Final

from sqlalchemy import insert, select

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.accounts import Accounts
from streamlabel.console.store.arriving import Arriving
from streamlabel.console.store.database import Database, connected
from streamlabel.console.store.deciding import Deciding
from streamlabel.console.store.erasing import Erasing
from streamlabel.console.store.finding import Finding
from streamlabel.console.store.finding_verdicts import FindingVerdicts
from streamlabel.console.store.gold_items import Golds
from streamlabel.console.store.items import Event
from streamlabel.console.store.migrating import migrate
from streamlabel.console.store.revising import Revising
from streamlabel.console.store.rules import StoreRules
from streamlabel.console.store.sending import Sending
from streamlabel.console.store.settling import Settling
from streamlabel.console.store.tables import duty, secret

__all__ = ["SqlStore", "open_store"]

_PSEUDONYM_KEY: Final = "pseudonym_key"
_INSTANCE: Final = "instance"
_PROBE: Final = "health"


class SqlStore(
    Revising,
    Deciding,
    Settling,
    Finding,
    FindingVerdicts,
    Golds,
    Accounts,
    Arriving,
    Sending,
    Erasing,
):
    """The store on SQLite or PostgreSQL. Implements ``api.Store``, ``Intake`` and ``Outbox``.

    Attributes:
        instance: id of the database; equal for all consoles on it.
    """

    def __init__(self, database: Database, rules: StoreRules, *, instance: str) -> None:
        super().__init__(database, rules)
        self.instance = instance

    async def append_event(self, event: Event) -> None:
        """See ``api.Store``."""
        async with self.database.writing() as connection:
            await self._append(connection, [event])

    async def health(self) -> None:
        """See ``api.Store``."""
        async with self.database.writing() as connection:  # a write, which a full disk refuses
            await connection.execute(duty.delete().where(duty.c.name == _PROBE))
            await connection.execute(insert(duty).values(name=_PROBE, holder="", until_ms=0))

    async def close(self) -> None:
        """See ``api.Store``."""
        await self.database.close()


async def open_store(
    settings: ConsoleSettings, *, random: Callable[[], float] | None = None
) -> SqlStore:
    """Return the store of the settings, its tables brought to the present version.

    Args:
        settings: the section ``console``.
        random: next number in [0, 1), for second looks and gold items. Default: of the system.

    Raises:
        ConfigError: the database is of another kind, or of a newer version.
        StoreUnavailableError: it cannot be written.
    """
    password = settings.database_password
    database = connected(
        settings.database_place, None if password is None else password.get_secret_value()
    )
    try:
        await database.check()
        await migrate(database)
        key = settings.pseudonym_key
        rules = StoreRules(
            lease_s=settings.lease_s,
            undo_s=settings.undo_s,
            second_look_share=settings.second_look_share,
            gold_share=settings.gold_share,
            pseudonym_key=(
                (await _stored(database, _PSEUDONYM_KEY)).encode()
                if key is None
                else key.get_secret_value().encode()
            ),
            random=SystemRandom().random if random is None else random,
            audit_overdue_s=settings.audit_overdue_h * 3600,
        )
        instance = await _stored(database, _INSTANCE)
    except BaseException:
        await database.close()
        raise
    return SqlStore(database, rules, instance=instance[:16])


async def _stored(database: Database, name: str) -> str:
    """Return a random text of this database, made when it was first opened."""
    async with database.writing() as connection:
        await database.lock(connection, name)
        query = select(secret.c.value).where(secret.c.name == name)
        found: str | None = (await connection.execute(query)).scalar_one_or_none()
        if found is None:
            found = secrets.token_hex(32)
            await connection.execute(insert(secret).values(name=name, value=found))
    return found
