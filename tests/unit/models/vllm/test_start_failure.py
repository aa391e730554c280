"""An engine that does not start names the setting to change, with the figure that would fit."""

import subprocess
import sys

import pytest

from streamlabel.models.vllm.start_failure import Start, explain
from streamlabel.models.vllm.stderr_tail import StderrTail

GIB = 2**30
START = Start(weights_bytes=6 * GIB, kv_cache_bytes=4 * GIB, free_bytes=9 * GIB)
RAISED = "Engine core initialization failed. See root cause above. Failed core proc(s): {0}"
ENGINE = "(EngineCore pid=4711) "


def written(message: str) -> str:
    """Return what a process of vLLM writes about an exception."""
    lines = ["EngineCore failed to start.", "Traceback (most recent call last):", '  File "x"']
    return "".join(f"{ENGINE}{line}\n" for line in [*lines, f"ValueError: {message}"])


NEEDED = (
    "To serve at least one request with the model's max seq len (4097), (5.63 GiB KV cache is"
    " needed, which is larger than the available KV cache memory (4.0 GiB). Based on the available"
    " memory, the estimated maximum model length is 2900. Try increasing"
)
TOO_LARGE = (
    "Available memory on node 0 (7.5/16.0 GiB) on kv cache allocation is less than requested"
    " memory for kv (12.0 GiB). Decrease --kv-cache-memory-bytes"
)
TAKEN = (
    "Free memory on device cuda:0 (20.15/79.1 GiB) on startup is less than desired GPU memory"
    " utilization (0.9, 71.2 GiB). Decrease GPU memory"
)


@pytest.mark.parametrize(
    ("raised", "wrote", "said"),
    [
        (
            RAISED,
            written(NEEDED),
            "set model.kv_cache_gib to at least 5.7, or model.max_tokens to at most 2899",
        ),
        (RAISED, written(TOO_LARGE), "model.kv_cache_gib: 12.0 GiB are asked for"),
        (RAISED, written(TOO_LARGE), "lower it to at most 6.7"),
        (RAISED, written(TAKEN), "model.gpu_memory_utilization: 0.9 of the device"),
        (RAISED, written(TAKEN), "lower it to at most 0.25"),
        (RAISED, written("No available memory for the cache blocks."), "raise it, split the model"),
        (
            RAISED.replace("{0}", "{'EngineCore_DP0': -9}"),
            "",
            "9.0 GiB were available; set model.kv_cache_gib to at most 1.2",
        ),
        (RAISED, "torch.OutOfMemoryError: CUDA out of memory. Tried", "memory ran out while"),
        (RAISED, written("no such quantization"), "cannot start it: ValueError: no such quant"),
        ("what it says", "", "model.path: vLLM cannot start it: what it says"),
    ],
)
def test_a_failed_start_names_setting_and_figure(raised: str, wrote: str, said: str) -> None:
    assert said in explain(raised, wrote, START)


def test_a_machine_that_is_too_small_is_told_so() -> None:
    small = Start(weights_bytes=30 * GIB, kv_cache_bytes=4 * GIB, free_bytes=9 * GIB)
    killed = RAISED.replace("{0}", "{'EngineCore_DP0': -9}")
    assert "choose a smaller model, or a machine with more memory" in explain(killed, "", small)


def test_the_last_words_of_a_child_are_kept_and_passed_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with StderrTail() as tail:
        subprocess.run(
            [sys.executable, "-c", "import sys; sys.exit('no memory')"], check=False, timeout=30
        )
        assert tail.last_words() == "no memory\n"
    print("afterwards", file=sys.stderr)  # noqa: T201 where standard error goes now
    assert capfd.readouterr().err == "no memory\nafterwards\n"
