"""The person behind a request, and what each role may do."""

from dataclasses import dataclass
from typing import Final, Literal

from streamlabel.console.store.items import Role, User

__all__ = ["Person", "Right", "Way"]

Right = Literal["review", "lead", "administer"]
# How somebody signed in. Only sessions can be ended by signing out; a proxy signs in every request.
Way = Literal["password", "provider", "link", "proxy"]

_RIGHTS: Final[dict[Role, frozenset[Right]]] = {
    "reviewer": frozenset({"review"}),
    "lead": frozenset({"review", "lead"}),
    "admin": frozenset({"review", "lead", "administer"}),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in.

    Attributes:
        name: of the account.
        role: as in the database at this moment.
        tasks: whose queues they see; None: all.
        way: how they signed in.
    """

    name: str
    role: Role
    tasks: tuple[str, ...] | None
    way: Way

    @classmethod
    def of(cls, user: User, *, way: Way) -> "Person":
        """Return the person of an account."""
        return cls(user.name, user.role, user.tasks, way)

    def may(self, right: Right) -> bool:
        """Return whether their role has this right."""
        return right in _RIGHTS[self.role]

    def sees(self, task: str | None) -> bool:
        """Return whether items of this task are theirs to review."""
        return self.tasks is None or (task or "") in self.tasks
