from __future__ import annotations

from pathlib import Path

import pytest

from tools.doclinks import ROOT, broken_links, documents


@pytest.mark.parametrize("path", list(documents()), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Two words\n", encoding="utf-8")
    page = tmp_path / "a.md"
    page.write_text(
        "[ok](b.md) [ok](b.md#two-words) [web](https://example.com/x) ![gone](pic.png)\n"
        "[gone](b.md#three)\n```\n[not a link](nowhere.md)\n```\n",
        encoding="utf-8",
    )
    assert broken_links(page, tmp_path) == [
        "a.md: pic.png does not exist",
        "a.md: b.md#three has no such heading",
    ]
