"""The key of the draw of audit samples, and when it is required."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Self

from pydantic import Field, SecretStr, model_validator

from streamlabel.config.cascade import StageSettings
from streamlabel.config.kafka import InputSettings
from streamlabel.config.routing import RoutingSettings
from streamlabel.config.section import Section
from streamlabel.config.several import StreamTaskSettings

__all__ = ["AuditSettings", "audit_problem"]

# Characters of the key: fewer could be guessed from a few drawn records.
_LEAST_KEY: Final = 16


class AuditSettings(Section):
    """The draw of the audit samples that routing.audit_share asks for."""

    key: SecretStr | None = Field(
        None,
        description="Secret of at least 16 characters that decides, with the id of a record, which"
        " accepted records are audited. All members of the group need the same one. Required if"
        " records bring their own ids: without it, a producer could compute which of its records"
        " are never audited.",
    )

    @model_validator(mode="after")
    def _is_long_enough(self) -> Self:
        if self.key is not None and len(self.key.get_secret_value()) < _LEAST_KEY:
            raise ValueError(f"key: at least {_LEAST_KEY} characters; `openssl rand -hex 32`")
        return self


def audit_problem(
    audit: AuditSettings,
    source: InputSettings,
    sections: Mapping[str, RoutingSettings],
    cascade: Sequence[StageSettings],
    tasks: Mapping[str, StreamTaskSettings],
) -> str | None:
    """Return what is wrong with the audit; None if nothing is, or there is none.

    Args:
        audit: with or without a key.
        source: where ids come from.
        sections: sections of routing outside of stages and tasks, by their path.
        cascade: stages outside of tasks.
        tasks: by name.
    """
    if audit.key is not None:
        return None
    found = (_ids_from_outside(each) for _, each in source.each)
    ids = next((each for each in found if each is not None), None)
    if ids is None:
        return None
    for path, routing in _all_routing(sections, cascade, tasks):
        if 0 < routing.audit_share < 1:  # of all records, none can be missed
            return (
                f"audit.key: required by {path}.audit_share, because records bring their own ids"
                f" ({ids}), from which a producer could compute which of its records are never"
                " audited. Set a secret, equal for all members, in the variable"
                " STREAMLABEL__AUDIT__KEY or a secret file of that name; `openssl rand -hex 32`"
                " makes one"
            )
    return None


def _ids_from_outside(source: InputSettings) -> str | None:
    """Return what lets records choose their ids; None: each id is the record's position."""
    if source.format == "json":
        return None if source.id_path is None else f"input.id_path: {source.id_path}"
    # A format of another distribution may take ids from anywhere.
    return None if source.format == "text" else f"input.format: {source.format}"


def _all_routing(
    sections: Mapping[str, RoutingSettings],
    cascade: Sequence[StageSettings],
    tasks: Mapping[str, StreamTaskSettings],
) -> Iterator[tuple[str, RoutingSettings]]:
    yield from ((path, routing) for path, routing in sections.items())
    yield from ((f"cascade[{i}].routing", stage.routing) for i, stage in enumerate(cascade))
    for name, task in tasks.items():
        below = f"tasks.{name}"
        if task.model is not None:
            yield f"{below}.routing", task.routing
        for i, stage in enumerate(task.cascade):
            yield f"{below}.cascade[{i}].routing", stage.routing
