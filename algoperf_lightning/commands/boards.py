"""``algoperf boards``: the packaged boards, with descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.boards import ABOUT_FILE, ARCHIVE, About, find_board, packaged_boards, read_about
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.utilities import terminal


def run(arguments: Sequence[str]) -> None:
    """Print a table of the packaged boards, or the details of one."""
    parser = Parser(
        prog="algoperf boards", description="List the packaged boards: published runs to score your runs against."
    )
    parser.add_argument("board", nargs="?", metavar="BOARD", help="show this board: a packaged one, or a file")
    options = parser.parse(arguments)
    console = terminal.console()
    if options.board is not None:
        path = find_board(options.board)
        for line in _details(path, _about(path)):
            console.print(line)
        return
    console.print(_list())
    console.print(
        "algoperf score --board NAME           the scores of a board\n"
        "algoperf score RUNS --against NAME    your runs among them\n"
        "algoperf boards NAME                  its source, and what was changed",
        highlight=False,
    )


def _list() -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for column in ("board", "runs", "size", "machine, time", "licence and source"):
        table.add_column(column, no_wrap=column == "board", overflow="fold")
    for name, path in packaged_boards().items():
        about = _about(path)
        where = f"{about.hardware}, {about.made}"
        table.add_row(
            *map(escape, (name, about.title, "\n".join(_size(about)), where, f"{about.licence}: {about.source}"))
        )
    return table


def _details(path: Path, about: About) -> Iterator[str]:
    yield f"[bold]{escape(about.title)}[/]: {', '.join(_size(about))}"
    for label, text in (
        ("What", about.what),
        ("Made", f"{about.made}, on {about.hardware}"),
        ("Source", about.source),
        ("Licence", f"{about.licence}. {about.notice}"),
        ("File", str(path)),
    ):
        yield f"[bold]{label}:[/] {escape(text)}"


def _size(about: About) -> list[str]:
    return [
        counted(number, noun)
        for number, noun in ((about.submissions, "submission"), (about.workloads, "workload"), (about.trials, "trial"))
    ]


def _about(path: Path) -> About:
    about = read_about(path) if path.is_file() and path.name.endswith(ARCHIVE) else None
    if about is None:
        raise BadInputError(
            f"{path} has no description: only an archive ({ARCHIVE}) whose first member is {ABOUT_FILE} has one, see "
            f"docs/boards.md. `algoperf score --board {path}` scores the runs in it."
        )
    return about
