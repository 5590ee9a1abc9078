"""How far a text was paraphrased by a machine that exchanges words for "synonyms".

    swap_phrases().hits("给孩子麻醉乙肝疫苗，以此来增强体质放慢康复速度") == ["麻醉乙", "质放慢"]

The Chinese medical dialogue corpus was, and not to its good: 注射 (inject) became 麻醉 (anaesthetise), 加快 (faster)
放慢 (slower), 定期 (regularly) 不定期 (irregularly), 提示 (suggest) 提示音 (beep). The list is `words/swaps.txt`.

How it was made, from the even rows of the corpus's sample of 7,644. Sentences alike but for one stretch of at most
four characters were aligned, and the stretches counted over different surroundings: that gave most of the pairs;
reading gave the rest. A good half of the exchanged words are decent elsewhere (救治, 留意, 再次出现), so what is
listed is the word with the neighbours that no natural text gives it: all its surroundings of one to three characters
seen at least four times in the sample, and at most in passing in 2.6 M characters of alpaca_zh, dpo_zh, glaive, the
rest of chatlm_qa and answers of a language model about medicine, and 32 M of classics_bitext "modern". They were
chosen by hand, narrowed wherever a decent reading came to mind (动用药 in 运动用药, 拥有脑 in 拥有脑子), and kept where
the even rows have them twice. Swaps that turned 减少 (less) into 增加 (more) and the like are mostly not found: the
sentence stays good Chinese, and only says the contrary.

Texts that show a swap (measured with question and answer as one text; `score`: swaps in 100 characters):

    medical sample, the odd rows      86.9 %   score >= 0.5: 76 %, >= 1: 58 %, median 1.25
    its answers alone                 82.0 %
    chatlm_qa (of 4,000)               2.3 %   91 rows, all of them from the medical corpus, other departments
    alpaca_zh, dpo_zh, classics modern 0       of 1,000, 300 and 946,153 (the list was narrowed by them)
    shop, hotel and meal reviews, MSRA news, CMMLU, sayings   0 of 163,904 (9 M characters, not used to make the
                                        list; there were 3 until as many phrases were narrowed)

Read by hand: 60 of 60 flagged odd rows and 91 of 91 flagged rows of chatlm_qa were swapped; so were 59 of 60 unflagged
odd rows. So a flag is to be believed, and its absence in that corpus is not: it misses about one row in eight. (Before
those 60 were read, and the list grew by what they showed, the odd rows had 85.5 %.) Of 49 rows of chatlm_qa that end
like the corpus (`phrases.tails`) 35 show a swap: other departments have words that this sample has not.
"""

from __future__ import annotations

from functools import cache

from pipeline.clean.text.phrases import WORDS, Phrases, read_words


@cache
def swaps() -> dict[str, str]:
    """What only a swap leaves behind, and which words were exchanged: 麻醉疫苗, by 注射 → 麻醉."""
    meant = {}
    for line in read_words(WORDS / "swaps.txt"):
        pair, _, phrases = line.partition(": ")
        meant.update(dict.fromkeys(phrases.split(" "), pair))
    return meant


@cache
def swap_phrases() -> Phrases:
    """What only a swap leaves behind, to be looked for."""
    return Phrases(swaps())
