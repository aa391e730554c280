"""The languages that a condition can name, as codes."""

from typing import Final

__all__ = ["LANGUAGES", "UNDETERMINED", "language_problem"]

# The text is too short, mixed, or not in a language: its code in ISO 639-2.
UNDETERMINED: Final = "und"

# Those that py3langid 0.4 knows; a test compares them.
LANGUAGES: Final = frozenset(
    [
        "ace", "af", "am", "an", "ar", "ary", "arz", "as", "az", "ba", "bcl", "be", "bg", "bn",
        "br", "bs", "ca", "crh", "cs", "cy", "da", "de", "dz", "el", "en", "eo", "es", "et",
        "eu", "ext", "fa", "fi", "fo", "fr", "fuv", "fy", "ga", "gcf", "gcr", "gd", "gl", "gom",
        "grc", "gu", "gug", "guw", "ha", "hbo", "he", "hi", "hr", "ht", "hu", "hy", "id", "ig",
        "is", "it", "ja", "jv", "ka", "kab", "kik", "kk", "km", "kn", "ko", "ku", "ky", "la",
        "lb", "lg", "lij", "ln", "lo", "lt", "ltg", "lv", "mg", "mk", "ml", "mn", "mr", "ms",
        "mt", "my", "ne", "nl", "nn", "no", "nso", "oc", "om", "or", "pa", "pcm", "pl", "ps",
        "pt", "qu", "ro", "ru", "rw", "sa", "sdh", "se", "si", "sk", "sl", "sn", "so", "sq",
        "sr", "st", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "ug", "uk",
        "ur", "uz", "uzs", "vec", "vi", "vo", "wa", "wuu", "xh", "yo", "yue", "zh", "zu",
    ]
)  # fmt: skip


def language_problem(code: str) -> str | None:
    """Return what is wrong with the code of a language; None if nothing is."""
    if code in LANGUAGES or code == UNDETERMINED:
        return None
    plain = code.strip().replace("_", "-").partition("-")[0].lower()
    if plain in LANGUAGES or plain == UNDETERMINED:
        return f"{code!r} is not the code of a language; did you mean {plain}?"
    return (
        f"{code!r} is not the code of a language that can be detected; use a code of ISO 639 such"
        f" as en, de or zh, or {UNDETERMINED} for texts whose language is unknown; all are listed"
        " in docs/several-models.md"
    )
