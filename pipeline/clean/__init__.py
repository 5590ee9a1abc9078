"""Raw corpora in, clean records out: `python -m pipeline.clean RECIPE`."""
