"""A smaller checkpoint that answers like a teacher: students, losses, and what they learn from."""
