"""The dataset directory: its schema, its writer and the handle that reads it."""
