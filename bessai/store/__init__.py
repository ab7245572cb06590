"""Durable state through SQLAlchemy."""
