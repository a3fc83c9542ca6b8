"""Load against named peers: CPU time per request of Pylae, its peers and a floor, measured in one run."""
