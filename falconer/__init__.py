"""Falconer: from raw interaction logs to recommendations that someone can trust."""
