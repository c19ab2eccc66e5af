"""Every notebook runs from top to bottom against a real instance: two processes, HTTP, real data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from sandbox.demo import people
from sandbox.demo.city import Size
from sandbox.demo.stage import RESEARCHER, Stage, prepare
from sandbox.instance import Embedded

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def signed_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A small instance, ready for questions; what a notebook needs in its environment."""
    folder = tmp_path_factory.mktemp("instance")
    with Embedded(folder / "home") as instance:
        stage = Stage(url=instance.url, logins=people.seed(instance.house))
        prepare(stage, folder, size=Size(persons=3_000, visits=12_000, enterprises=500))
        with stage.enter(RESEARCHER) as hub:
            yield {
                "SANDBOX_URL": instance.url,
                "SANDBOX_TOKEN": hub.wire.token,
                "SANDBOX_CONFIG": str(folder / "config.json"),
            }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_a_notebook_runs_and_shows_no_value_without_its_interval(
    path: Path, lang: str, signed_in: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**signed_in, "SANDBOX_LANG": lang}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the kernel's own libraries, not ours
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error"]
    pages = [out.data["text/html"] for out in outputs if "text/html" in out.get("data", {})]
    texts = [out.data["text/plain"] for out in outputs if "text/plain" in out.get("data", {})]
    assert any("±" in page and "<svg" in page for page in pages)
    assert "True" in texts
    refusals = "".join(out.text for out in outputs if out.output_type == "stream")
    assert "[ledger.exhausted]" in refusals
    assert ("提示" if lang == "zh-CN" else "Hint") in refusals


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_speaks_both_languages(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert prose
    assert all(any("\u4e00" <= c <= "\u9fff" for c in text) and any("a" <= c <= "z" for c in text) for text in prose)
