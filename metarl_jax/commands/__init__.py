"""What stands behind the subcommands of `metarl`; `metarl_jax.cli` dispatches to it."""
