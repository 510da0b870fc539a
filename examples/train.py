"""One trial under a launcher: all processes it starts make ONE run together.

    fabric run --accelerator=cpu --devices=2 -- examples/train.py --config digits
    torchrun --nproc-per-node=8 examples/train.py --config cifar10 --config submissions/nadamw

Options are those of ``algoperf fit``; devices, nodes and strategy come from the launcher. (``fabric run`` was called
``lightning run model`` before Lightning 2.4. The ``--`` matters: without it, ``fabric run`` keeps options it knows.)
"""

import sys

from algoperf_lightning.cli import main

if __name__ == "__main__":
    main(["fit", *sys.argv[1:]])
