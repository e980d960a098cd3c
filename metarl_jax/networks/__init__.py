"""Networks: layers, sequence models, and structures whose weights or modules depend on the task."""
