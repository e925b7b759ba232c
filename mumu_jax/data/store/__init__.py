"""Records on disk: ArrayRecord shards with the settings that made them."""
