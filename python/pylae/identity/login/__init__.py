"""Logins at an OpenID provider: discovery, attempts, sessions and their end. What each request needs is in Rust."""
