"""Check that links between the documents of the repository lead somewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {".venv", ".git", "node_modules", "build", "dist"}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|<img[^>]+src=\"([^\"]+)\"")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


def documents(root: Path = ROOT) -> Iterator[Path]:
    """All Markdown files of the repository."""
    for path in sorted(root.rglob("*.md")):
        if SKIPPED.isdisjoint(path.relative_to(root).parts):
            yield path


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as code hosts make them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {word.strip().replace(" ", "-") for word in words}


def broken_links(path: Path, root: Path = ROOT) -> list[str]:
    """One line per link of ``path`` that leads nowhere; links to other hosts are not followed."""
    found: list[str] = []
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for pair in LINK.findall(text):
        link = pair[0] or pair[1]
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        if not target.exists():
            found.append(f"{path.relative_to(root)}: {link} does not exist")
        elif anchor and target.suffix == ".md":
            other = FENCE.sub("", target.read_text(encoding="utf-8"))
            if anchor not in anchors(other):
                found.append(f"{path.relative_to(root)}: {link} has no such heading")
    return found


def main() -> int:
    """Print every broken link."""
    broken = [line for path in documents() for line in broken_links(path)]
    sys.stdout.write("".join(f"{line}\n" for line in broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
