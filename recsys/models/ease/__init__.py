"""EASE: a linear item-to-item model in closed form."""
