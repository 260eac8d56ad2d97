"""Config: TOML files, shipped recipes and overrides, checked and turned into a Trainer."""
