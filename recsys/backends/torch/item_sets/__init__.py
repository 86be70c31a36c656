"""Models of a user's set of items: batches and likelihood."""
