"""The reference names everything public, and nothing else."""

import re
from pathlib import Path

import hessop

DOCS = Path(__file__).parent.parent / "docs"


def test_the_reference_lists_every_public_name_once():
    page = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(hessop.__all__)


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        name = str(page.relative_to(DOCS).with_suffix(""))
        assert name == "index" or re.search(rf"^{name}$", index, re.MULTILINE), name
