"""The parts of the page about consumers and keys."""
