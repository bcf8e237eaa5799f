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
