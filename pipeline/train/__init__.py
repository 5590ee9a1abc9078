"""Token shards and a model come in; checkpoints, a loadable model and a report go out.

One loop (`loop.py`) for pretrain and finetune, on one process, DDP or DeepSpeed ZeRO (`engine.py`, `zero.py`).
Run it with `accelerate launch train.py train` or as a part of `python -m pipeline`.
"""
