"""A model in the middle of its training and the recipe's prompts come in; how it goes on from each goes out.

Always the likeliest token, so nothing is drawn and the curve is that of a run without samples. Every rank says the
same and takes as many steps over it, as ZeRO-3 needs, whose ranks gather each layer's weights together: so a reply is
cut at its end afterwards, and never ends the decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from model.decode import Sampling, reply
from pipeline.train.config import Verb
from utils.chat import conversation
from utils.codec import Codec
from utils.console import UserError

LONGEST = 60
"""Tokens of a sample."""


class Samples:
    """The prompts, and the model that is trained: the very weights, not a copy."""

    def __init__(self, verb: Verb, prompts: Sequence[str], model: PreTrainedModel, codec: Codec):
        self._prompts, self._model, self._codec = list(prompts), model, codec
        self._ids = [self._begun(verb, prompt) for prompt in prompts]
        room = model.config.max_position_embeddings
        for number, ids in enumerate(self._ids):
            if len(ids) >= room:
                raise UserError(
                    f"{verb}.samples[{number}]: {len(ids):,} tokens, the model has {room:,} positions, "
                    "the reply among them; give a shorter one"
                )

    def _begun(self, verb: Verb, prompt: str) -> list[int]:
        """Pretrain goes on with a text, finetune answers."""
        if verb == "pretrain":
            return [self._codec.end_of_text, *self._codec.encode(prompt).tolist()]
        ids, _ = self._codec.encode_segments(conversation([{"role": "user", "content": prompt}], ask=True))
        return ids.tolist()  # type: ignore[no-any-return]

    def speak(self) -> list[tuple[str, str]]:
        """Each prompt, and how the model goes on. Every rank has to call."""
        if not self._prompts:
            return []
        said = reply(self._model, self._ids, set(), self._codec.pad, Sampling(max_new_tokens=LONGEST))
        return list(zip(self._prompts, map(self._text, said), strict=True))

    def _text(self, ids: list[int]) -> str:
        ends = {self._codec.end_of_turn, self._codec.end_of_text}
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        text = self._codec.decode(ids[:end])
        return text.rstrip("\ufffd") if end is None else text  # a character may have been cut
