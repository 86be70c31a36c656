"""Networks that name pictures, and their weights."""
