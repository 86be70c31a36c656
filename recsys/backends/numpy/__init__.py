"""Arrays, factors and histories that the plain models share."""
