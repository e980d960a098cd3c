"""Shows trained agents at work: a page for a browser, or an animation."""
