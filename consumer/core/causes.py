"""Finds the error of an exception group to report."""

from streamlabel.errors import StreamlabelError

__all__ = ["first_cause"]


def first_cause(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of our own errors in the group, else the first of all."""
    ours, _ = errors.split(StreamlabelError)
    cause: BaseException = errors if ours is None else ours
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause
