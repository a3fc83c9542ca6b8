"""What is said of an exchange."""
