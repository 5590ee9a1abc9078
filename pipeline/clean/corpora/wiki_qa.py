"""Wikipedia as questions: somebody asks about an article's title, and its beginning answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import xxhash

from pipeline.clean.corpora import wiki
from pipeline.clean.files.wiki_files import articles
from pipeline.clean.protocol import Card, Located, Sample, Unreadable, pair

CARD = Card(
    about="Wikipedia as questions and answers",
    homepage=wiki.CARD.homepage,
    files=wiki.CARD.files,
    size=wiki.CARD.size,
    licence=wiki.CARD.licence,
    profile=wiki.CARD.profile,
    repairs=wiki.CARD.repairs,
    only_named="the same files can be read as texts, by the reader wiki",
)
PROMPTS = (
    "介绍一下{}", "{}是什么？", "什么是{}？", "请介绍{}。", "你知道{}吗？", "你了解{}吗？", "请简单说说{}。",
    "讲讲{}。", "我想了解{}。", "跟我说说{}吧", "请解释一下{}。", "{}指的是什么？", "请写一段关于{}的介绍。",
    "能告诉我{}是什么吗？", "可以介绍一下{}吗？", "请概括地介绍{}。", "关于{}，你知道些什么？",
    "有关{}的信息能分享一下吗？", "请提供{}的背景知识。", "请用几句话描述{}。",
)  # fmt: skip
LONGEST = 400
"""Characters of an answer."""
_ENDS = re.compile(r"[。！？!?…]+[”’』」）)]*|\.(?=\s)|\n")

sniff = wiki.sniff


def read(sample: Sample) -> Iterator[Located]:
    """An article a question; the title alone decides how it is asked."""
    for at, one in articles(sample):
        if isinstance(one, Unreadable):
            yield at, one
        else:
            prompt = PROMPTS[xxhash.xxh3_64_intdigest(one.title.encode()) % len(PROMPTS)]
            yield at, pair(prompt.format(one.title), beginning(one.text), {"title": one.title})


def beginning(text: str, longest: int = LONGEST) -> str:
    """The first sentences that fit; if not even one does, what fits of it."""
    if len(text) <= longest:
        return text
    ends = [found.end() for found in _ENDS.finditer(text, 0, longest)]
    return text[: ends[-1] if ends else longest].rstrip()
