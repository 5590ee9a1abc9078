"""What a run would take before it begins, from a recipe alone: `python -m pipeline.train.plan`."""
