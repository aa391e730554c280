"""Replaces lone surrogates, which JSON may contain and UTF-8 cannot encode. Pure."""

__all__ = ["without_surrogates"]


def without_surrogates(text: str) -> str:
    r"""Return the text with lone surrogates replaced by U+FFFD; pairs become their character.

    JSON may contain them ("\ud800"); UTF-8, and therefore a tokenizer, cannot encode them.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
