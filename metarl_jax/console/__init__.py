"""Output for a terminal, a pipe or a log file."""
