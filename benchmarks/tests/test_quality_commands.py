"""The benchmark runs the commands of the page as they stand there."""

import itertools
from pathlib import Path

from benchmarks.quality_commands import BLOCKS, blocks_of_page, measured
from benchmarks.quality_models import DATA_SETS

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


def test_every_block_makes_a_model_and_measures_it() -> None:
    blocks = blocks_of_page(PAGE)
    assert len(blocks) == 3
    for places in BLOCKS.values():
        commands = [command for place in places for command in blocks[place]]
        kinds = [" ".join(command.split()[:3]) for command in commands]
        assert kinds[:2] == ["streamlabel train base", "streamlabel train encoder"]
        assert sum(command.startswith("streamlabel evaluate") for command in commands) == 2
        assert any(command.startswith("streamlabel calibrate") for command in commands)


def test_the_commands_have_the_settings_of_the_quality_table() -> None:
    blocks = blocks_of_page(PAGE)
    for data_set in DATA_SETS:
        if not data_set.is_chinese:
            continue
        (command,) = [c for c in blocks[BLOCKS[data_set.name][0]] if " train encoder " in c]
        words = command.split()
        given = dict(itertools.pairwise(words))
        settings = data_set.settings
        assert int(given["--epochs"]) == settings.epochs
        assert float(given["--learning-rate"]) == settings.learning_rate
        assert int(given["--max-tokens"]) == settings.max_tokens
        assert float(given["--label-smoothing"]) == settings.label_smoothing


def test_the_figures_are_those_of_the_report() -> None:
    report = {
        "evaluation": {
            "accuracy": {"value": 0.9},
            "macro_f1": {"value": 0.8},
            "calibration": {"excess": 0.01},
        },
        "accepted": {"texts": 200, "accepted": 150, "wrong": 3},
    }
    found = measured(report)
    assert (found["accuracy"], found["macro_f1"]) == (0.9, 0.8)
    assert (found["coverage"], found["accepted_error"]) == (0.75, 0.02)
    nothing = measured(report | {"accepted": {"texts": 200, "accepted": 0, "wrong": 0}})
    assert nothing["accepted_error"] == 0.0
