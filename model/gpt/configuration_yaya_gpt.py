"""The shape of a `yaya_gpt` model: fields come in from a recipe or a config.json, a checked config goes out.

The names are Qwen3's, because the tensors are too (see `modeling_yaya_gpt.py`). What is left out follows
from what is given, so a recipe may say `hidden_size` alone. A shape that cannot be built is refused here,
in one line, before any weight exists.
"""

from typing import ClassVar

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN


class YayaGPTConfig(PreTrainedConfig):
    """A dense decoder: RMSNorm, rotary positions, grouped-query attention with QK-norm, SwiGLU."""

    model_type = "yaya_gpt"
    keys_to_ignore_at_inference: ClassVar = ["past_key_values"]
    default_theta = 10_000.0

    vocab_size: int = 6400
    """Pieces of the tokenizer; training takes it from there."""

    hidden_size: int = 512
    """Width of the residual stream."""

    num_hidden_layers: int = 8
    """Blocks of attention and feed-forward."""

    num_attention_heads: int = 8
    """Query heads."""

    num_key_value_heads: int | None = 4
    """Key and value heads, shared by groups of query heads; null = as many as query heads."""

    head_dim: int | None = None
    """Width of one head, even; null = hidden_size / num_attention_heads."""

    intermediate_size: int | None = None
    """Width of the feed-forward; null = 8/3 of hidden_size, up to the next 64."""

    max_position_embeddings: int = 2048
    """Longest text the model reads, prompt and reply together."""

    rope_parameters: dict | None = None
    """Rotary positions; a recipe says `rope_theta` (default 10,000: enough for a few thousand positions)."""

    tie_word_embeddings: bool = True
    """One matrix for reading and writing tokens; a small model has few parameters to spare."""

    hidden_act: str = "silu"
    """Gate of the feed-forward."""

    rms_norm_eps: float = 1e-6
    """Added to the mean square before its root."""

    initializer_range: float = 0.02
    """Standard deviation of the first weights."""

    attention_bias: bool = False
    """Biases in the attention projections."""

    attention_dropout: float = 0.0
    """Share of attention weights dropped in training. Above 0, curves of different world sizes differ."""

    use_cache: bool = True
    """Whether `generate` keeps keys and values. Calling the model makes a cache only when asked."""

    pad_token_id: int | None = None
    """The tokenizer's padding mark."""

    bos_token_id: int | None = None
    """The mark before a text."""

    eos_token_id: int | list[int] | None = None
    """The mark or marks that end a text or a turn."""

    def __post_init__(self, **kwargs) -> None:
        self._check_counts()
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self._derived_head_dim()
        if self.intermediate_size is None:
            self.intermediate_size = -(-8 * self.hidden_size // (3 * 64)) * 64
        self._check_heads(self.num_attention_heads, self.num_key_value_heads, self.head_dim)
        super().__post_init__(**kwargs)
        self._check_rotation(self.rope_parameters or {})
        # An AutoModel entry beside the two that saving adds by itself (for the config and the saved class).
        if not getattr(self, "auto_map", None):
            self.auto_map = {"AutoModel": "modeling_yaya_gpt.YayaGPTModel"}

    @classmethod
    def from_qwen3(cls, config: PreTrainedConfig) -> "YayaGPTConfig":
        """The same shape as a Qwen3 config's; its windows, if it has any, are refused."""
        if getattr(config, "use_sliding_window", False):
            raise ValueError("use_sliding_window=true is not supported: set it to false in config.json")
        own = cls.__dataclass_fields__
        return cls(**{name: value for name, value in config.to_dict().items() if name in own and name != "auto_map"})

    def _check_counts(self) -> None:
        names = [
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
        ]
        derived = ["num_key_value_heads", "head_dim", "intermediate_size"]
        for name in names + [name for name in derived if getattr(self, name) is not None]:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
        if not 0.0 <= self.attention_dropout < 1.0:
            raise ValueError(f"attention_dropout={self.attention_dropout!r} must be at least 0 and below 1")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act={self.hidden_act!r} must be one of {', '.join(sorted(ACT2FN))}")
        for name in ["initializer_range", "rms_norm_eps"]:
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be a small number of 0 or more")

    def _derived_head_dim(self) -> int:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not divisible by "
                f"num_attention_heads={self.num_attention_heads}: change one of them, or set head_dim"
            )
        return self.hidden_size // self.num_attention_heads

    def _check_heads(self, heads: int, key_value_heads: int, head_dim: int) -> None:
        if heads % key_value_heads:
            divisors = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
            raise ValueError(
                f"num_attention_heads={heads} is not divisible by num_key_value_heads={key_value_heads}: "
                f"set num_key_value_heads to one of {divisors}"
            )
        if head_dim % 2:
            raise ValueError(
                f"head_dim={head_dim} is odd, and rotation turns pairs: set head_dim to {head_dim + 1}, "
                "or change hidden_size or num_attention_heads"
            )

    def _check_rotation(self, rope_parameters: dict) -> None:
        rope_type, theta = rope_parameters.get("rope_type"), rope_parameters.get("rope_theta")
        if rope_type != "default":
            raise ValueError(f"rope_parameters.rope_type={rope_type!r} is not supported: set it to 'default'")
        if not isinstance(theta, int | float) or theta <= 1:
            raise ValueError(f"rope_theta={theta!r} must be a number above 1, as 10000.0")


YayaGPTConfig.register_for_auto_class()

__all__ = ["YayaGPTConfig"]
