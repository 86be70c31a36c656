"""The search for knobs, for any wing."""
