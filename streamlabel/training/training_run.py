"""All that changes in a training: what a state holds, and how a training goes on from it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from streamlabel.errors import ConfigError
from streamlabel.training.epoch_trainer import EpochTrainer
from streamlabel.training.fit_settings import EpochReport, FitSettings
from streamlabel.training.state_files import tensor_of, text_of
from streamlabel.training.training_rows import TrainingRows
from streamlabel.training.training_state import Saved, TrainingState

__all__ = ["Course", "Judged", "TrainingRun"]

# Names of tensors in a state: trained weights, and what the optimizer has for each of them.
_WEIGHTS, _OPTIMIZER = "weights", "optimizer"


@dataclass(slots=True)
class Course:
    """The history of a training.

    Attributes:
        before_s: duration of the processes before this one, if it goes on from a state.
    """

    steps: int = 0
    loss: float = 0.0
    epochs: list[EpochReport] = field(default_factory=list)
    was_interrupted: bool = False
    before_s: float = 0.0


class Judged(NamedTuple):
    """How good a model is on held-out rows.

    Attributes:
        loss: mean negative log-likelihood.
        accuracy: share of rows of which every label is right.
        macro_f1: mean over the labels that occur in the rows.
    """

    loss: float
    accuracy: float
    macro_f1: float


@dataclass(slots=True)
class _Best:
    """The weights of the epoch with the lowest held-out loss."""

    loss: float = float("inf")
    number: int = 0
    state: dict[str, Any] | None = None


class TrainingRun:
    """One training, with its state in a folder if there is one.

    Args:
        model: in training.
        rows: to train on.
        trainer: of the model on the rows.
        settings: of the training.
        state: None: the training cannot go on in another process.
        now_s: returns the monotonic time.

    Attributes:
        course: its history so far.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 transformers is untyped
        rows: TrainingRows,
        trainer: EpochTrainer,
        settings: FitSettings,
        *,
        state: TrainingState | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.course = Course()
        self._best = _Best()
        self._model = model
        self._rows = rows
        self._trainer = trainer
        self._settings = settings
        self._state = state
        self._now_s = now_s
        self._began_s = now_s()

    @property
    def wants_an_epoch(self) -> bool:
        """Whether there is an epoch to go on with, or to begin."""
        done, minutes, best = len(self.course.epochs), self._settings.minutes, self._best
        if self._trainer.order_before is not None or done == 0:
            return True
        is_past = best.state is not None and done - best.number >= self._settings.patience
        if done >= self._settings.epochs or is_past:
            return False
        with_one_more_s = self._spent_s() * (done + 1) / done
        return minutes is None or with_one_more_s <= 60 * minutes

    def end_epoch(self, held_out: Judged | None) -> EpochReport:
        """Add an epoch with what it made of the held-out examples; keep the best weights."""
        trainer, course, best = self._trainer, self.course, self._best
        number = len(course.epochs) + 1
        trainer.is_between_steps = False  # neither in the epoch nor after it
        is_best = held_out is None or held_out.loss < best.loss
        if held_out is not None and is_best:
            best.state = {name: tensor.clone() for name, tensor in _learned(self._model).items()}
            best.loss, best.number = held_out.loss, number
        loss, accuracy, macro_f1 = held_out or (None, None, None)
        report = EpochReport(number, course.loss, loss, is_best, accuracy, macro_f1)
        course.epochs.append(report)
        trainer.end()
        trainer.is_between_steps = True
        self.save_if_due(ends_epoch=True)
        return report

    def interrupt(self) -> None:
        """End it early, with the state of now.

        Raises:
            KeyboardInterrupt: there is no best epoch yet.
        """
        if self._state is not None and self._trainer.is_between_steps and self._trainer.steps:
            self._save(self._state)
        if self._best.state is None:
            raise KeyboardInterrupt
        self.course.was_interrupted = True

    def finish(self) -> None:
        """Give the model the weights of the best epoch, or leave those of the last step."""
        if self._best.state is not None:
            # frozen weights are not in it
            self._model.load_state_dict(self._best.state, strict=False)
        self._model.eval()

    def save_if_due(self, *, ends_epoch: bool = False) -> None:
        """Write the state of now, if the last one is old enough."""
        if self._state is not None and self._state.is_due(self._now_s(), ends_epoch=ends_epoch):
            self._save(self._state)

    def _save(self, state: TrainingState) -> None:
        trainer, best, course = self._trainer, self._best, self.course
        now = {f"{_WEIGHTS}/{name}": tensor for name, tensor in _learned(self._model).items()}
        for name, weight in trainer.learning.items():
            for key, tensor in trainer.optimizer.state[weight].items():
                now[f"{_OPTIMIZER}/{key}/{name}"] = tensor
        order = self._rows.order
        position = {
            "steps": trainer.steps,
            "batches_done": trainer.batches_done,
            "loss_sum": trainer.loss_sum,
            "loss": course.loss,
            "epochs": [asdict(epoch) for epoch in course.epochs],
            "best_loss": best.loss if best.number else None,
            "order": trainer.order.getstate(),
            "order_before": trainer.order_before,
            "rows_order": None if order is None else order.getstate(),
            "random": {kind: text_of(get()) for kind, (get, _) in self._generators().items()},
            "spent_s": self._spent_s(),
        }
        state.write(Saved(now, best.state, best.number, position), clock=self._now_s)

    def restore(self) -> None:
        """Go on from the state, if the folder has one.

        Raises:
            ConfigError: it is damaged, or that of another training.
        """
        saved = None if self._state is None else self._state.read()
        if saved is None:
            return
        trainer, best, course, position = self._trainer, self._best, self.course, saved.position
        learned = _learned(self._model)
        weights = _part(saved.now, _WEIGHTS)
        if {n: t.shape for n, t in weights.items()} != {n: t.shape for n, t in learned.items()}:
            raise ConfigError("the state of the training has weights of another model; delete it")
        self._model.load_state_dict(weights, strict=False)
        self._restore_optimizer(_part(saved.now, _OPTIMIZER))
        if saved.best is not None:
            best.state = {n: t.to(learned[n].device) for n, t in saved.best.items()}
            best.number, best.loss = saved.best_number, float(position["best_loss"])
        trainer.steps = course.steps = position["steps"]
        trainer.batches_done = position["batches_done"]
        trainer.loss_sum = position["loss_sum"]
        trainer.order.setstate(_state_of(position["order"]))
        if position["order_before"] is not None:
            trainer.order_before = _state_of(position["order_before"])
        if self._rows.order is not None:
            self._rows.order.setstate(_state_of(position["rows_order"]))
        course.loss = position["loss"]
        course.epochs = [EpochReport(**epoch) for epoch in position["epochs"]]
        course.before_s = position["spent_s"]
        for kind, (_, put) in self._generators().items():
            if kind in position["random"]:
                put(tensor_of(position["random"][kind]))

    def _restore_optimizer(self, kept: Mapping[str, Any]) -> None:
        found: dict[int, dict[str, Any]] = {}
        places = {name: place for place, name in enumerate(self._trainer.learning)}
        for full, tensor in kept.items():
            key, _, name = full.partition("/")
            found.setdefault(places[name], {})[key] = tensor
        fresh = self._trainer.optimizer.state_dict()
        self._trainer.optimizer.load_state_dict(fresh | {"state": found})

    def _spent_s(self) -> float:
        return self.course.before_s + self._now_s() - self._began_s

    def _generators(self) -> Mapping[str, tuple[Callable[[], Any], Callable[[Any], None]]]:
        """Return how to get and set the state of each generator that the training draws from."""
        import torch

        found: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
            "cpu": (torch.get_rng_state, torch.set_rng_state)
        }
        device = next(iter(self._trainer.learning.values())).device
        module = getattr(torch, device.type, None)
        if device.type != "cpu" and module is not None and hasattr(module, "get_rng_state"):
            found[device.type] = (
                lambda: module.get_rng_state(device),
                lambda state: module.set_rng_state(state, device),
            )
        return found


def _learned(model: Any) -> dict[str, Any]:  # noqa: ANN401 transformers is untyped
    """Return all that training changes, each tensor once: trained weights, and buffers."""
    found = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    weights = {n for n, _ in model.named_parameters(remove_duplicate=False)}
    return found | {n: t for n, t in model.state_dict().items() if n not in weights}


def _part(tensors: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {n.removeprefix(f"{kind}/"): t for n, t in tensors.items() if n.startswith(f"{kind}/")}


def _state_of(listed: list[Any]) -> tuple[Any, ...]:
    """Return the state of a ``random.Random``, whose tuples JSON has as lists."""
    version, internal, following = listed
    return version, tuple(internal), following
