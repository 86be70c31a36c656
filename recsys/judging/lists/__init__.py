"""The task lists: recommendations for queries."""
