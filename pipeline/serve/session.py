"""A conversation with one model: what a person says comes in, the answer goes out piece by piece.

The session keeps the turns, forms the prompt as in training (`utils/chat.py`), forgets the oldest turns where the
model's positions end, and never shows half a character. Terminal, HTTP and web all speak through it. A base model,
which was only pretrained, goes on with each text as it stands.

    session = Session.open(Path("runs/demo/finetune/model"), ChatConfig())
    for piece in session.say("你好"): print(piece, end="", flush=True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

import model as families
from model.decode import Sampling, stream
from pipeline.serve.config import ChatConfig
from utils.chat import Message, conversation
from utils.codec import Codec
from utils.console import UserError, tell, warn, well_formed
from utils.published import check, is_base, opened, same_vocabulary

SMALL = 100_000_000
"""Below so many parameters one thread answers as fast as two (3 M: 262 and 282 tokens/s, 64 M: 46 and 46, measured on
two idle cores), and where other programs want the cores, several times faster."""


class Session:
    """The turns of one conversation."""

    def __init__(
        self,
        model: PreTrainedModel,
        codec: Codec,
        sampling: Sampling,
        base: bool = False,
        system: str = "",
        notice: Callable[[str], None] = warn,
    ):
        self.model, self.codec, self.sampling, self.base = model, codec, sampling, base
        self.context: int = model.config.max_position_embeddings
        self.notice = notice
        self._system: list[Message] = [{"role": "system", "content": system}] if system else []
        self.new()

    @classmethod
    def open(cls, folder: Path, config: ChatConfig, notice: Callable[[str], None] = warn) -> Session:
        """A session with the model in a folder."""
        check(folder)
        sampling = sampling_of(config)
        device = device_of(config.device)
        codec = Codec(folder)
        model = opened(folder, families.load).eval()
        same_vocabulary(folder, codec.vocab_size, model.config.vocab_size)
        if device == "cpu":
            torch.set_num_threads(config.threads or threads_for(sum(p.numel() for p in model.parameters())))
        return cls(model.to(device), codec, sampling, is_base(folder), config.system, notice)  # type: ignore[arg-type]

    def new(self) -> None:
        """Forget what was said."""
        self.messages: list[Message] = []
        self._told_forgetting = False

    def say(self, text: str) -> Iterator[str]:
        """The answer, as it grows. An answer that is broken off stays in the conversation as far as it came."""
        prompt = self._prompt(well_formed(text))
        said: list[str] = []
        try:
            stop = {self.codec.end_of_turn, self.codec.end_of_text}
            for piece in self.codec.stream(stream(self.model, prompt, stop, self.sampling)):
                said.append(piece)
                yield piece
        finally:
            if not self.base:
                self.messages.append({"role": "assistant", "content": "".join(said)})

    # ------------------------------------------------------------ the prompt

    @property
    def room(self) -> int:
        """Tokens that a prompt may have, so that an answer fits behind it."""
        return self.context - min(self.sampling.max_new_tokens, self.context // 2)

    def _prompt(self, text: str) -> list[int]:
        if self.base:
            ids = self.codec.encode(text).tolist()
            if len(ids) > self.room - 1:
                self._tell_shortened(len(ids))
            return [self.codec.end_of_text, *ids[-(self.room - 1) :]]  # what goes on is the end
        self.messages.append({"role": "user", "content": text})
        while len(ids := self._encode(self.messages)) > self.room and len(self.messages) > 1:
            self._forget_oldest()
        if len(ids) > self.room:
            self._tell_shortened(len(ids))
            self.messages[-1]["content"] = self._shortened(text)
            ids = self._encode(self.messages)
        return ids

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        ids, _ = self.codec.encode_segments(conversation([*self._system, *messages], ask=True))
        return ids.tolist()

    def _forget_oldest(self) -> None:
        """A question goes with its answer, so that the conversation still begins with the person."""
        del self.messages[0]
        while self.messages[0]["role"] != "user":
            del self.messages[0]
        if not self._told_forgetting:
            self._told_forgetting = True
            self.notice(
                tell(
                    f"the conversation outgrew the model's {self.context} tokens; its oldest turns are forgotten",
                    f"对话超过模型能读的 {self.context} 个词元，最早的几轮已忘记",
                )
            )

    def _shortened(self, text: str) -> str:
        """As much of the text's beginning as fits."""
        frame = len(self._encode([{"role": "user", "content": ""}]))
        left = self.room - frame
        if left < 1:
            raise UserError(f"--system: {frame} tokens leave no room in the model's {self.context}; shorten it")
        text = text[: left * max(len(piece) for piece in self.codec.piece_bytes)]  # no token is longer
        ids = self.codec.encode(text)[:left].tolist()
        while len(self._encode([{"role": "user", "content": self.codec.decode(ids)}])) > self.room:
            ids = ids[:-1]  # decoding may have cut a character, whose remains take more tokens
        return self.codec.decode(ids)

    def _tell_shortened(self, tokens: int) -> None:
        self.notice(
            tell(
                f"{tokens} tokens are more than the model's {self.context}; only part of the message was read",
                f"这段话有 {tokens} 个词元，超过模型能读的 {self.context} 个；只读了其中一部分",
            )
        )


def sampling_of(config: ChatConfig) -> Sampling:
    """The decoder's settings; a value out of bounds is the user's mistake."""
    try:
        return Sampling(
            config.max_new_tokens,
            config.temperature,
            config.top_k,
            config.top_p,
            config.repetition_penalty,
            config.seed,
        )
    except ValueError as error:
        raise UserError(f"--{error}") from None


def device_of(name: str) -> str:
    """Where the model runs; what is not there is told before it is loaded."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[name]:
        raise UserError(f"--device={name}: this machine has none that torch can use; leave it out, or say --device=cpu")
    return name


def threads_for(parameters: int) -> int:
    """See SMALL; above it, every core."""
    return 1 if parameters < SMALL else torch.get_num_threads()
