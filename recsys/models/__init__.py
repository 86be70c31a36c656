"""Models, one folder each: `config.py` and one `on_<backend>.py` per backend."""
