"""The gpt family: a dense decoder with Qwen3's tensors. It is saved with models: it imports nothing above."""

from .configuration_yaya_gpt import YayaGPTConfig
from .modeling_yaya_gpt import YayaGPTForCausalLM, YayaGPTModel, YayaOutput

__all__ = ["YayaGPTConfig", "YayaGPTForCausalLM", "YayaGPTModel", "YayaOutput"]
