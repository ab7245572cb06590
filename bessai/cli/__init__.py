"""The bessai command."""
