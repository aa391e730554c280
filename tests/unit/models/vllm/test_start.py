"""What an engine that has started can do, and what it is asked for in vain."""

from typing import Any, cast

import pytest

from streamlabel.errors import ConfigError
from streamlabel.models.vllm.platform import Capabilities
from streamlabel.models.vllm.start import Engine


def engine(*, label_ids: bool) -> Engine:
    capabilities = Capabilities("npu", "0", label_ids=label_ids, fp32_head=False)
    nothing = cast("Any", None)
    return Engine(nothing, nothing, capabilities, "float32", 0, 0, {})


def test_an_engine_that_cannot_read_by_id_is_refused_with_what_to_change() -> None:
    wanted = "model.task.scoring: trie needs"
    engine(label_ids=True).require_label_ids(wanted, remedy="set one_token")
    with pytest.raises(ConfigError) as refused:
        engine(label_ids=False).require_label_ids(wanted, remedy="set one_token")
    assert str(refused.value) == (
        "model.task.scoring: trie needs an engine that reads tokens by id, and this one cannot;"
        " set one_token"
    )
