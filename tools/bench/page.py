"""The tables in Markdown, and the page that holds them."""

import os
import tempfile

from bench.machine import PROCESSES, file_system

BEGIN, END = "<!-- begin of make bench -->\n", "<!-- end of make bench -->\n"


def text(report):
    """Everything that a run has found."""
    parts = [head(report)]
    if report.figures:
        parts.append(table(["figure", "measured", "aim"], report.figures))
    if report.answers:
        costs = "us an answer: " + " / ".join(PROCESSES)
        heads = ["case", "answers a second", "ovs-testcontroller", "ratio", "p50 / p99 in us", costs, "of ovs-testcontroller"]
        parts.append(table(heads, report.answers))
    if report.wrong:
        parts.append("Not as it should be: " + "; ".join(wrong.splitlines()[0] for wrong in report.wrong) + ".\n")
    return "\n".join(parts)


def head(report):
    """How and where it was measured."""
    settings = report.settings
    state = file_system(tempfile.gettempdir())
    return (
        f"{settings.pairs} pairs of {settings.seconds:g} s, {settings.runs} runs where there is no pair; commit {report.commit}, "
        f"{os.cpu_count()} cores, Linux {os.uname().release}, state on {state}. Processors, read from /proc: "
        f"{processors(report)}.\n"
    )


def processors(report):
    """The processors on which each process might run."""
    texts = []
    for pinned, title in ((True, "pinned"), (False, "unpinned")):
        lists = [f"{name} {' or '.join(sorted(where))}" for (p, name), where in report.affinity.items() if p == pinned]
        if lists:
            texts.append(f"{title}: " + ", ".join(lists))
    return "; ".join(texts)


def table(heads, rows):
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in lines)


def replaced(page, new):
    """A page with this text between the marks."""
    before, mark, rest = page.partition(BEGIN)
    _, other, after = rest.partition(END)
    if not (mark and other):
        raise ValueError("the page has no marks")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def write(path, new):
    """Replaces what stands between the marks in a file."""
    with open(path, encoding="utf-8") as file:
        page = replaced(file.read(), new)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(page)
    os.rename(path + ".new", path)
