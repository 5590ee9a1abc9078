"""Wikipedia as text: an article's title, and below it what it says."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.files.wiki_files import articles, shape_of
from pipeline.clean.protocol import Card, Found, Located, Sample, Unreadable

CARD = Card(
    about="Wikipedia: a dump (XML), WikiExtractor's <doc> blocks, apertium's wiki.txt, or rows of title, url, text",
    homepage="https://dumps.wikimedia.org/zhwiki/",
    files=("zhwiki-*-pages-articles*.xml.bz2", "wiki.txt", "wiki_[0-9][0-9]"),
    size="about 3 GB packed; 1.4 million articles",
    licence="CC BY-SA 4.0",
    profile="prose",
    repairs=("wiki_brackets",),
)


def sniff(sample: Sample) -> int:
    """By how it begins."""
    return 2 if shape_of(sample) else 0


def read(sample: Sample) -> Iterator[Located]:
    """An article a record; a page that says nothing is an empty one, which the rules drop."""
    for at, one in articles(sample):
        if isinstance(one, Unreadable):
            yield at, one
        else:
            yield at, Found(text=f"{one.title}\n\n{one.text}" if one.text else "", meta={"title": one.title})
