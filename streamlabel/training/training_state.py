"""The state of a training in a folder: written while it runs, read to go on after it was stopped.

``state.json`` is replaced last, and names the other files with their hashes. So whatever ends the
process or the machine, the folder has one whole state, the newest or the one before.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamlabel.errors import ConfigError
from streamlabel.training.state_files import (
    is_hash,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

__all__ = ["Saved", "TrainingState", "differing"]

# Between two states within an epoch, in seconds: what a crash costs at most.
_PERIOD_S: Final = 180.0
# A state is written after this many times the duration of writing the last one: at most a twentieth
# of the time goes into states, however large the model and however short an epoch.
_TIMES: Final = 20
_FILE: Final = "state.json"


@dataclass(frozen=True, slots=True)
class Saved:
    """A state.

    Attributes:
        now: tensors by name: trained weights, and what the optimizer knows about them.
        best: tensors of the best epoch by name; None if there is none yet.
        best_number: of that epoch; 0 if there is none.
        position: everything else, as JSON has it; ``steps`` is the number of finished steps.
    """

    now: Mapping[str, Any]
    best: Mapping[str, Any] | None
    best_number: int
    position: Mapping[str, Any]


class TrainingState:
    """A folder with the state of one training.

    Args:
        folder: created when the first state is written.
        about: what makes the training, by name: hashes (``state_files.hashed``) and values of
            settings. A state of a training with other values is refused.
        versions: of the libraries; with other ones a training goes on, and ``say`` tells it.
        say: told what does not stop the training.
        period_s: between two states within an epoch.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        *,
        versions: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
        period_s: float = _PERIOD_S,
    ) -> None:
        self.folder = folder
        self._about = about
        self._versions = dict(versions or {})
        self._say = say
        self._period_s = period_s
        self._best: tuple[int, dict[str, str]] | None = None
        self._written_s: float | None = None
        self._rest_s = 0.0

    def is_due(self, now_s: float, *, ends_epoch: bool = False) -> bool:
        """Return whether to write a state now.

        Args:
            now_s: monotonic time.
            ends_epoch: an epoch has ended: due unless writing takes a large part of an epoch.
        """
        if self._written_s is None:
            self._written_s = now_s
        least_s = self._rest_s if ends_epoch else max(self._period_s, self._rest_s)
        return now_s - self._written_s >= least_s

    def position(self) -> Mapping[str, Any] | None:
        """Return the position of the state; None if the folder has none.

        Raises:
            ConfigError: it is damaged, or the state of another training; the message says what
                differs and what to delete.
        """
        found = self._read()
        position: Mapping[str, Any] | None = None if found is None else found["position"]
        return position

    def read(self) -> Saved | None:
        """Return the state; None if the folder has none.

        Raises:
            ConfigError: as for ``position``, or a file with tensors is damaged.
        """
        found = self._read()
        if found is None:
            return None
        for name, version in self._versions.items():
            before = found["versions"].get(name)
            if before != version:
                self._say(
                    f"warning: {self.folder} was written with {name} {before}, this is {version};"
                    " results may differ in the last digits from those of one run"
                )
        best_number, best = found["best"] or (0, None)
        self._best = None if best is None else (best_number, best)
        return Saved(
            self._tensors(found["now"]),
            None if best is None else self._tensors(best),
            best_number,
            found["position"],
        )

    def write(self, saved: Saved, *, clock: Callable[[], float]) -> None:
        """Replace the state; if that fails, say so and go on: the training matters more.

        Args:
            saved: of now.
            clock: returns the monotonic time.
        """
        began_s = clock()
        try:
            self._write(saved)
        except OSError as error:
            self._say(f"warning: {self.folder} cannot be written ({error}); the training goes on")
        self._written_s = clock()
        self._rest_s = _TIMES * (self._written_s - began_s)

    def remove(self) -> None:
        """Delete the state; other files of the folder stay."""
        # first what names the others: without it they are leftovers
        (self.folder / _FILE).unlink(missing_ok=True)
        for old in self.folder.glob("*.safetensors*"):
            old.unlink()

    def _write(self, saved: Saved) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if saved.best is None:
            self._best = None
        elif self._best is None or self._best[0] != saved.best_number:
            name = f"best-{saved.best_number}.safetensors"
            self._best = (saved.best_number, write_tensors(self.folder, name, saved.best))
        # a file of this name that is in use has the same tensors
        now = write_tensors(self.folder, f"now-{saved.position['steps']}.safetensors", saved.now)
        content = {
            "about": self._about,
            "versions": self._versions,
            "now": now,
            "best": self._best,
            "position": saved.position,
        }
        write_json(self.folder / _FILE, content)
        used = {now["file"], *([self._best[1]["file"]] if self._best else [])}
        for old in self.folder.glob("*.safetensors*"):
            if old.name not in used:
                old.unlink()

    def _read(self) -> dict[str, Any] | None:
        try:
            found = read_json(self.folder / _FILE)
        except (OSError, ValueError) as error:
            raise self._damaged(_FILE, error) from error
        if found is not None and (names := differing(found["about"], self._about)):
            raise ConfigError(
                f"{self.folder} has the state of another training. What differs:"
                f" {'; '.join(names)}. Go on with what it was begun with, or delete {self.folder}"
                " to begin again"
            )
        return found

    def _tensors(self, kept: Mapping[str, str]) -> dict[str, Any]:
        try:
            return read_tensors(self.folder, kept)
        except (OSError, ValueError) as error:
            raise self._damaged(kept["file"], error) from error

    def _damaged(self, name: str, error: Exception) -> ConfigError:
        return ConfigError(
            f"{self.folder / name} is damaged ({error}); delete {self.folder} to begin again"
        )


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two trainings, each as a phrase."""
    found = []
    for name in {**before, **now}:
        one, other = before.get(name), now.get(name)
        if one == other:
            continue
        if is_hash(one) or is_hash(other):
            found.append(name)
        else:
            found.append(f"{name} {_shown(one)}, now {_shown(other)}")
    return found


def _shown(value: Any) -> str:  # noqa: ANN401 any JSON
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
