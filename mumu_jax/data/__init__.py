"""The host side: sources, preparation, storage and loading.  Never imports a model."""
