"""Parts of the models' configurations: pydantic only."""
