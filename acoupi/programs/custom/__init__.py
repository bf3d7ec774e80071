"""Programs for special purposes."""
