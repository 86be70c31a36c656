"""Label mean: the mean label of the item, the user or a category."""
