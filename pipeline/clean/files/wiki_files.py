"""Wikipedia's articles, in the shapes in which people have them: title and text, one by one.

- a dump, `zhwiki-…-pages-articles.xml.bz2`: streamed; articles only, no redirects, wikitext made plain;
- WikiExtractor's `<doc id= url= title=>` blocks;
- apertium's `wiki.txt`: between blank lines a title with a colon, and below it the text;
- rows of {id, url, title, text}, as the hub's `wikimedia/wikipedia` and `wiki2019zh` have them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from xml.etree import ElementTree

from pipeline.clean.columns import text
from pipeline.clean.files.encodings import has_bad_bytes
from pipeline.clean.files.places import open_binary
from pipeline.clean.files.rows import rows
from pipeline.clean.files.text_files import lines
from pipeline.clean.protocol import Sample, Unreadable, excerpt
from pipeline.clean.wikitext import plain
from utils.console import UserError

_DOC = re.compile(r'<doc id="[^"]*" (?:revid="[^"]*" )?url="[^"]*" title="(.*)">\s*$')


@dataclass(frozen=True, slots=True)
class Article:
    """A page of the encyclopedia."""

    title: str
    text: str


Placed = tuple[int, Article | Unreadable]


def shape_of(sample: Sample) -> str:
    """`dump`, `docs`, `titles` or `rows`; nothing if the file holds no articles that we know."""
    if sample.container != "text":
        urls = [str(row.get("url")) for row in sample.first]
        return "rows" if {"title", "text"} <= set(sample.keys) and any("wikipedia.org" in url for url in urls) else ""
    begins = sample.beginning().lstrip()
    if "<mediawiki" in begins[:300]:
        return "dump"
    if _DOC.match(begins.partition("\n")[0]):
        return "docs"
    blocks = [block.split("\n") for block in re.split(r"\n\s*\n", begins.replace("\r", ""))[:-1]]
    titled = [_is_title(block[0]) and len(block) > 1 for block in blocks if block[0].strip()]
    return "titles" if len(titled) > 1 and all(titled) else ""


def articles(sample: Sample) -> Iterator[Placed]:
    """Every article, and where it begins."""
    shape = shape_of(sample)
    if shape == "dump":
        yield from _of_dump(sample)
    elif shape == "docs":
        yield from _of_docs(sample)
    elif shape == "rows" or sample.first:
        yield from _of_rows(sample)
    else:
        yield from _of_titles(sample)


def _of_dump(sample: Sample) -> Iterator[Placed]:
    with open_binary(sample.name) as file:
        events = ElementTree.iterparse(file, events=("start", "end"))
        try:
            _, root = next(events)
        except (ValueError, LookupError) as error:  # of the encoding that its first line names
            raise UserError(f"{sample.name}: {error}; save it as UTF-8") from None
        for event, element in events:
            if event == "end" and element.tag.rpartition("}")[2] == "page":
                name = element.tag.removesuffix("page")
                if element.findtext(f"{name}ns") == "0" and element.find(f"{name}redirect") is None:
                    wikitext = element.findtext(f"{name}revision/{name}text") or ""
                    yield -1, Article(element.findtext(f"{name}title") or "", plain(wikitext))
                root.clear()


def _of_docs(sample: Sample) -> Iterator[Placed]:
    begins, title, held = -1, "", list[str]()
    for at, line in lines(sample):
        if head := _DOC.match(line.lstrip("\ufeff")):
            begins, title, held = at, html.unescape(head[1]), []
        elif line.startswith("</doc>") and begins >= 0:
            yield begins, _article(title, held)
            begins = -1
        elif begins >= 0:
            held.append(line)
    if begins >= 0:
        yield begins, Unreadable("a <doc> that is not closed: the file is cut short", excerpt(title), ends=True)


def _of_titles(sample: Sample) -> Iterator[Placed]:
    for blank, block in groupby(lines(sample), key=lambda one: not one[1].strip("\ufeff \t\n")):
        if not blank:
            (at, head), *below = block
            if _is_title(head):
                yield at, _article(head.strip("\ufeff \t\n")[:-1], [line for _, line in below])
            else:
                yield at, Unreadable("no title with a colon above the text", excerpt(head))


def _of_rows(sample: Sample) -> Iterator[Placed]:
    for at, row in rows(sample):
        try:
            found = row if isinstance(row, Unreadable) else _article(text(row, "title"), [text(row, "text")])
        except ValueError as error:
            found = Unreadable(str(error), excerpt(row))
        yield at, found


def _article(title: str, held: list[str]) -> Article | Unreadable:
    """What stands below a title, without the title repeated at its beginning."""
    body = "".join(held).strip()
    if has_bad_bytes(body) or has_bad_bytes(title):
        return Unreadable("bytes that are not in the file's encoding", excerpt(title))
    first, _, others = body.partition("\n")
    return Article(title, others.strip() if first.strip() == title.strip() else body)


def _is_title(line: str) -> bool:
    return line.rstrip().endswith(("：", ":")) and len(line) < 200
