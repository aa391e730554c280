"""The settings of the topic on which ``streamlabel deploy`` announces other models."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from streamlabel.config.input_topics import TopicName
from streamlabel.config.section import Section

__all__ = ["ControlSettings"]

_LEAST_KEY = 16


class ControlSettings(Section):
    """Deployments for all members of the group: see docs/several-models.md."""

    topic: TopicName | None = Field(
        None,
        description="Compacted topic with one partition on which `streamlabel deploy` announces"
        " deployments, and members say how they went. Default: members follow no deployments.",
    )
    key: SecretStr | None = Field(
        None,
        description="Secret of at least 16 characters that `streamlabel deploy` and all members"
        " share: members use only deployments that were signed with it.",
    )

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        if self.topic is not None and self.key is None:
            raise ValueError("key: required with topic, so that nobody else can change the models")
        if self.key is not None and len(self.key.get_secret_value()) < _LEAST_KEY:
            raise ValueError(f"key: at least {_LEAST_KEY} characters")
        return self
