"""The subcommands of `prediff`, a file a group."""
