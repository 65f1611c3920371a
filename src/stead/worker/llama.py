"""To be written in this change."""
