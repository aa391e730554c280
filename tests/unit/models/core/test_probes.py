"""Every back end asks the same fixed texts and allows the same drift."""

from pathlib import Path
from typing import get_args

from streamlabel.config.model import CausalSettings
from streamlabel.models.core.probes import DRIFT, PROBE, PROBES

_ROOT = Path(__file__).parents[4]


def test_no_other_module_has_a_fixed_text_of_its_own() -> None:
    found = [
        path.relative_to(_ROOT).as_posix()
        for folder in ("consumer", "models")
        for path in (_ROOT / folder).rglob("*.py")
        if PROBE in path.read_text()
    ]
    assert found == ["models/core/probes.py"]
    assert PROBES[0] == PROBE


def test_the_drift_is_known_for_every_data_type_that_can_be_set() -> None:
    types = get_args(CausalSettings.model_fields["dtype"].annotation)
    assert set(DRIFT) == set(types) - {"auto"}
