"""Drop-in dispatch policies."""
