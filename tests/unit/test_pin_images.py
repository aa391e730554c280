"""Base images by digest: what the script writes, what it refuses, and that a release runs it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "pin_images.py"
FILES = [*sorted((ROOT / "docker").glob("Dockerfile.*")), ROOT / "docker" / "compose.yaml"]
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pin_images", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_image_of_our_files_is_found_and_pinned(script: ModuleType, file: Path) -> None:
    text = file.read_text()
    asked: list[str] = []

    def digest_of(name: str) -> str:
        asked.append(name)
        return DIGEST

    pinned = script.pinned(text, digest_of)
    assert asked
    assert not any("$" in name or "@" in name for name in asked)
    found = list(script.images_in(pinned))
    assert len(found) == len(asked)
    assert all(image.is_pinned for image in found)
    assert pinned.replace(f"@{DIGEST}", "") == text
    assert script.pinned(pinned, digest_of) == pinned
    assert len(asked) == len(found), "what has a digest is not asked about again"


@pytest.mark.parametrize(
    ("line", "is_pinned"),
    [
        ("FROM python:3.12", False),
        ("FROM python:3.12@sha256:abc", False),
        ("FROM python:latest@latest", False),
        (f"FROM python:3.12@{DIGEST}", True),
        (f"FROM --platform=linux/amd64 python:3.12@{DIGEST} AS base", True),
        (f"ARG PYTHON=3.12@{DIGEST}\nFROM python:${{PYTHON}}", True),
        ("ARG PYTHON=3.12\nFROM python:${PYTHON}", False),
        (f"    image: prom/prometheus:v3@{DIGEST}", True),
        ("    image: prom/prometheus:v3", False),
    ],
)
def test_only_a_whole_digest_counts(script: ModuleType, line: str, is_pinned: bool) -> None:
    [image] = script.images_in(line + "\n")
    assert image.is_pinned is is_pinned


def test_stages_and_our_own_images_are_not_looked_up(script: ModuleType) -> None:
    text = "FROM python:3 AS wheel\nFROM wheel\n    image: streamlabel:cpu\n"
    assert [image.name for image in script.images_in(text)] == ["python:3"]


def test_an_answer_that_is_no_digest_changes_nothing(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="the registry answered 'latest' instead of a digest"):
        script.pinned("FROM python:3\n", lambda _: "latest")


def run(
    *arguments: str, docker: str | None = None, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the program with a docker that answers with these lines of shell."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    if docker is not None:
        (tools / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tools / "docker").chmod(0o755)
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": f"{tools}{os.pathsep}/bin" if docker else str(tools)},
    )


def test_the_program_pins_and_then_finds_nothing_to_refuse(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("ARG PYTHON=3.12\nFROM python:${PYTHON}\n")
    refused = run("--check", str(file), folder=tmp_path)
    assert refused.returncode == 1
    assert "Dockerfile: python:3.12" in refused.stderr
    done = run(str(file), docker=f"echo {DIGEST}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == f"ARG PYTHON=3.12@{DIGEST}\nFROM python:${{PYTHON}}\n"
    assert run("--check", str(file), folder=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("docker", "says"),
    [(None, "docker is not installed"), ("echo no such image >&2; exit 1", "no such image")],
)
def test_without_a_registry_the_file_stays(tmp_path: Path, docker: str | None, says: str) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python:3.12\n")
    done = run(str(file), docker=docker, folder=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert file.read_text() == "FROM python:3.12\n"


def test_a_release_checks_before_it_builds() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    steps = workflow["jobs"]["image"]["steps"]
    [checks] = [at for at, step in enumerate(steps) if "--check" in step.get("run", "")]
    [builds] = [at for at, step in enumerate(steps) if "build-push-action" in step.get("uses", "")]
    assert checks < builds
    assert steps[builds]["with"]["file"] in steps[checks]["run"]
