"""A machine's synonyms are seen where they stand, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.clean.text.codes import Codes
from pipeline.clean.text.phrases import WORDS, read_words
from pipeline.clean.text.swaps import swap_phrases, swaps
from tests.clean.test_text_phrases import modern, rows, share

SWAPPED = "给孩子麻醉乙肝疫苗，以此来增强体质放慢康复速度"
MEANT = "给孩子注射乙肝疫苗，以此来增强体质加快康复速度"


def swaps_T(codes: Codes) -> np.ndarray:
    return swap_phrases().count_T(codes)


def test_a_swap_says_which_words_were_exchanged() -> None:
    found = swap_phrases().hits(SWAPPED)
    assert found == ["麻醉乙", "质放慢"]
    assert [swaps()[phrase] for phrase in found] == ["注射 → 麻醉", "加快 → 放慢"]
    assert swaps_T(Codes([SWAPPED, MEANT, "", SWAPPED * 2])).tolist() == [2, 0, 0, 4]


@pytest.mark.parametrize(
    "text",
    [
        "手术前要做麻醉，请放慢脚步，不定期检查消防设施",
        "请仔细检查结果是否正确，如有提示音请留意",
        "运动用药与社会绝不会相同，拥有脑子的人",
        "救治伤员，积极救治，医疗救治能力",
    ],
)
def test_the_words_themselves_are_decent(text: str) -> None:
    assert swap_phrases().hits(text) == []


def test_the_list_is_whole() -> None:
    lines = read_words(WORDS / "swaps.txt")
    listed = [phrase for line in lines for phrase in line.partition(": ")[2].split(" ")]
    assert len(listed) == len(set(listed)) == len(swaps())
    assert min(map(len, listed)) >= 2
    inside = [(one, other) for one in listed for other in listed if one != other and one in other]
    assert inside == []


def test_the_medical_corpus_is_swapped() -> None:
    records = [f"{r['title']}\n{r['ask']}\n{r['answer']}" for r in rows("medical_neike_sample_gb18030.csv")]
    codes = Codes(records)
    assert share(swaps_T(codes)) > 0.85
    assert np.median(swaps_T(codes) * 100 / codes.lengths_T) > 1


def test_prose_instructions_and_preferences_are_not() -> None:
    assert share(swaps_T(modern())) < 0.00001
    alpaca = [r[part] for r in rows("alpaca_zh_demo.json") for part in ("instruction", "input", "output")]
    assert share(swaps_T(Codes(alpaca))) == 0
    chosen = [row["chosen"]["value"] for row in rows("dpo_zh_demo.json")]  # type: ignore[index]
    assert share(swaps_T(Codes(chosen))) == 0


def test_a_mixed_corpus_holds_a_few() -> None:
    records = [f"{row['prompt']}\n{row['response']}" for row in rows("chatlm_qa_3k.parquet")]
    assert 0.01 < share(swaps_T(Codes(records))) < 0.04
