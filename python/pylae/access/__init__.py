"""Who may do what over the admin API."""
