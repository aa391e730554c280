"""An appeal against a decision about a record, as another system writes it for the console."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

__all__ = ["SCHEMA", "AppealMessage"]

SCHEMA: Final = "streamlabel.appeal/v1"

# The id of the review and of the appeal are one key of the console's database.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]


class AppealMessage(BaseModel):
    """Somebody does not agree with what was decided about a record.

    The record was in review, or it was labelled without a person: then the appeal has its text.
    Fields may be added in version 1, so unknown ones are ignored.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", populate_by_name=True, protected_namespaces=()
    )

    schema_: Literal["streamlabel.appeal/v1"] = Field(SCHEMA, alias="schema")
    appeal_id: Name = Field(description="Unique: an appeal that is written again is left out.")
    id: Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00]+$")] = Field(
        description="The id of the record."
    )
    task: Name | None = Field(None, description="Name of the task, if the stream has several.")
    reason: Annotated[str, Field(max_length=5_000)] | None = Field(
        None, description="What the person says. Shown to the reviewer, erased with the text."
    )
    appealed_at: str | None = Field(
        None, description="RFC 3339.", json_schema_extra={"format": "date-time"}
    )
    text: str | None = Field(None, description="Of the record; required if it was never in review.")
    labels: list[str] | None = Field(
        None, description="What was decided; required with text, else the console knows it."
    )
    metadata: JsonValue = Field(None, description="As in the review record.")

    @model_validator(mode="after")
    def _text_has_labels(self) -> Self:
        if self.text is not None and self.labels is None:
            raise ValueError("labels: say what was decided about the text")
        return self

    @property
    def review_id(self) -> str:
        """Of the record's first review."""
        return self.id if self.task is None else f"{self.task}/{self.id}"
