"""The exceptions that transformers raises for an unusable folder; they have no common base."""

__all__ = ["one_line", "unusable"]

_MOST_CHARS = 200


def unusable() -> tuple[type[Exception], ...]:
    """Return the exceptions to catch around ``from_pretrained``; imports its libraries."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return (
        OSError,
        ValueError,
        RuntimeError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        SafetensorError,
        StrictDataclassError,  # a value of config.json is of the wrong type
    )


def one_line(error: Exception) -> str:
    """Return the error's message on one line, shortened: libraries append pages of advice."""
    paragraph = str(error).strip().partition("\n\n")[0]
    return " ".join(paragraph.split())[:_MOST_CHARS]
