"""The sample shop: four HTTP services, each with its own database, and the configuration of a gateway in front of
them.
"""
