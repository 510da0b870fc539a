"""A page as a test reads it: its words, the texts of its tables, the data of its charts, what it loads."""

import json
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "input", "link"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.open, self.tables, self._text, self.data = [], [], [], [], ""
        self.feed(text)
        self.data = json.loads(self.data)
        self.words = " ".join("".join(self._text).split())

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._text.append(" ")

    def handle_data(self, data):
        if "script" in self.open and data.startswith('{"submissions"'):
            self.data = data
        if {"script", "style"} & set(self.open):
            return
        self._text.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def row(self, first):
        """The first row of any table that begins with a text."""
        return next(row for table in self.tables for row in table if row and row[0] == first)
