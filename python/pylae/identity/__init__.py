"""Authenticators that ask others: what is rare about them. What each request needs is in the data plane."""
