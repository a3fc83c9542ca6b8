"""Hook hosts: processes that run the hooks of a configuration, forked from one that has loaded them."""
