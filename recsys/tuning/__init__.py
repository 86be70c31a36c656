"""The search for a model's knobs on the validation fold."""
