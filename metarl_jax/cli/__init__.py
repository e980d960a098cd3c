"""What stands behind the subcommands of `metarl`; `metarl_jax.cli.main` dispatches to it."""
