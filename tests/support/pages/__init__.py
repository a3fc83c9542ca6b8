"""The pages of the documentation, walked: every fenced block of them runs, or is checked as the fragment that it is."""
