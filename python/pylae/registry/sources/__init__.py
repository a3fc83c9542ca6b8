"""The kinds of sources, one file each, and applications in this process. `pylae.registry.kinds` is their table."""
