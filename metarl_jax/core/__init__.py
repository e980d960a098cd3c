"""The base of all other folders: types, statistics, registries, validation."""
