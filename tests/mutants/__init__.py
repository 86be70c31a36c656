"""Small changes to the source, one at a time, each of which some test should notice."""
