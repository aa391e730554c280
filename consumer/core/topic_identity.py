"""Distinguishes a topic, by its id, from an earlier one of the same name. Pure."""

__all__ = ["TopicIdentity"]


class TopicIdentity:
    """The input topic's id, as known to this process.

    Attributes:
        current: the present id; empty as long as none is known.
        was_recreated: whether the id was another one before.
    """

    def __init__(self) -> None:
        self.current = ""
        self.was_recreated = False
        self._earlier: set[str] = set()

    def saw(self, topic_id: str) -> bool:
        """Note an id that a broker reported; return True if it shows that the topic was recreated.

        An id that was replaced already is ignored: that broker does not know the new one yet.
        """
        if not topic_id or topic_id == self.current or topic_id in self._earlier:
            return False
        is_another = bool(self.current)
        if is_another:
            self._earlier.add(self.current)
            self.was_recreated = True
        self.current = topic_id
        return is_another
