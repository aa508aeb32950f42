"""Tasks in a process of their own: who starts and ends it, and what it does."""
