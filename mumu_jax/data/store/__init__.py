"""ArrayRecord shards on disk, and the settings that made them."""
