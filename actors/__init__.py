"""Ray shells: a process, a name and a restart policy for domain objects."""
