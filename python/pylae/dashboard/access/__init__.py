"""Who is let in, and what pages may do."""
