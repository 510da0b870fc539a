"""The subcommands of ``algoperf``, one a module with a function ``run(arguments)``."""
