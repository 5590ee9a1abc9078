"""Clean records in, a tokenizer out: `python -m pipeline.tokenizer RECIPE`."""
