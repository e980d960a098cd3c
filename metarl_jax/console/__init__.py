"""What is shown in a terminal, a pipe or a log file."""
