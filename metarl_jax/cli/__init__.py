"""The subcommands of `metarl`; `metarl_jax.cli.main` dispatches to them."""
