"""The subcommands of ``algoperf``: one module each, with a function ``run(arguments)``."""
