"""Small things that several stages need and that know nothing of any stage, any model, or torch."""
