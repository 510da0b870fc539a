"""``python -m algoperf_lightning``: the ``algoperf`` command."""

from algoperf_lightning.cli import main

if __name__ == "__main__":
    main()
