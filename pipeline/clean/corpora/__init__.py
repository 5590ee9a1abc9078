"""The readers, one small file a corpus; `pipeline/clean/readers.py` finds them by listing this folder."""
