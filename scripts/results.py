"""Reads the TSV files under docs/results: comment lines "# field: value", a line of column names, a line a row."""
import csv


def read(path):
    """The fields of the comments, and the rows, each by its column names. A comment that is no field is None's."""
    fields, rows = {}, []
    with open(path) as file:
        lines = file.read().splitlines()
    for line in lines:
        if line.startswith("#"):
            name, colon, value = line[2:].partition(": ")
            fields.setdefault(name if colon else None, value if colon else name)
    rows = list(csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t"))
    return fields, rows


COMPARED = ("forward us", "/ floor", "MB", "backward us", "/ floor", "MB")


def compared(row):
    """The cells of these columns, of a row that bench/compare.py wrote; one that is wrong was not timed."""
    cells = []
    for direction in ("forward", "backward"):
        for name, factor, digits in (("ms", 1e3, 1), ("floors", 1, 2), ("bytes", 1e-6, 0)):
            value = row[f"{direction}_{name}"]
            cells.append("-" if value == "-" else f"{factor * float(value):.{digits}f}")
    return cells
