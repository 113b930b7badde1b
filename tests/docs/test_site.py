"""The site of the documentation is built, whole, and needs no other server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools import site

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The front pages, and a folder docs with one page; a config that names them all."""
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    for name in site.FRONT:
        (root / name).write_text(f"# {name}\n\n[one](docs/one.md)\n")
    (root / "docs" / "one.md").write_text("# One\n\n## Part\n\n[back](../README.md)\n")
    names = ", ".join(f'"{name}"' for name in (*site.FRONT, "docs/one.md"))
    (root / "zensical.toml").write_text(
        '[project]\nsite_name = "x"\ndocs_dir = "pages"\nsite_dir = "site"\n'
        f"use_directory_urls = false\nnav = [{names}]\n[project.theme]\nfont = false\n"
    )
    return root


def problems(root: Path, tmp_path: Path) -> str:
    return "\n".join(site.build(root, root / "zensical.toml", tmp_path / "place"))


@pytest.mark.timeout(60)
def test_the_site_is_built_and_needs_no_other_server(tmp_path: Path) -> None:
    assert site.build(ROOT, site.CONFIG, tmp_path) == []
    assert "Awaken" in (tmp_path / "site" / "index.html").read_text()
    assert (tmp_path / "site" / "docs" / "tutorial.html").is_file()
    found = (tmp_path / "site" / "search.json").read_text()
    assert "idempotency_key" in found, "the search does not know the pages"


def test_a_page_that_is_right_has_no_problems(small: Path, tmp_path: Path) -> None:
    assert problems(small, tmp_path) == ""


@pytest.mark.parametrize(
    "text", ["[x](nowhere.md)", "[x](one.md#nowhere)", "[x](../docs/nowhere.md)"]
)
def test_a_link_that_leads_nowhere_fails(small: Path, tmp_path: Path, text: str) -> None:
    with (small / "docs" / "one.md").open("a") as page:
        page.write(f"\n{text}\n")
    assert "does not exist" in problems(small, tmp_path)


def test_a_page_outside_the_navigation_fails(small: Path, tmp_path: Path) -> None:
    shutil.copy(small / "docs" / "one.md", small / "docs" / "two.md")
    assert "docs/two.md is not in the navigation" in problems(small, tmp_path)


def test_an_entry_of_the_navigation_without_a_page_fails(small: Path, tmp_path: Path) -> None:
    (small / "CHANGELOG.md").write_text("# Changes\n")
    config = small / "zensical.toml"
    config.write_text(config.read_text().replace('"docs/one.md"', '"docs/one.md", "docs/no.md"'))
    assert "docs/no.md, which is no page" in problems(small, tmp_path)


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<img src=//cdn.example/x.png>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
    ],
)
def test_what_is_loaded_from_elsewhere_fails(small: Path, tmp_path: Path, tag: str) -> None:
    with (small / "docs" / "one.md").open("a") as page:
        page.write(f"\n{tag}\n")
    assert "docs/one.html loads" in problems(small, tmp_path)
