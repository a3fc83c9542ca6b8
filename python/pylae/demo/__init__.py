"""The sample shop: four real HTTP services, each with its own database, and the configuration of a gateway in front."""
