"""What is switched to maintenance: its requests are answered 503 with a text, without an apply."""
