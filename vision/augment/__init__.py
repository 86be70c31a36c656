"""Changes of training pictures, each drawn from a generator that is handed in."""
