"""The alarms job in Python: alarms.py csv|pandas|polars INPUT OUTPUT REJECTS

The rules and the output are the same as in plugins/alarms. Each library is imported only by the function that uses it.
"""

import csv
import json
import re
import sys
from datetime import datetime

IDS = ["id", "station_id", "alarm_id", "parameter_id"]
TIMES = ["start_time", "end_time"]
NUMBERS = ["value", "threshold"]
NOT_SET = "999999"
ID = r"^[1-9][0-9]{0,17}$"
TIME = "%Y-%m-%d %H:%M:%S"
TIME_SHAPE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"


def with_csv(source, output, rejects):
    """Does the job as in the tutorial, with one dictionary for each record."""
    is_id, is_time, is_number = (re.compile(text).match for text in (ID, TIME_SHAPE, NUMBER))

    def time(text):
        if not is_time(text):
            raise ValueError("bad-time")
        return datetime.fromisoformat(text)

    def change(row):
        if None in row or None in row.values():
            raise ValueError("ragged-row")
        if not all(is_id(row[name]) for name in IDS):
            raise ValueError("bad-id")
        start = time(row["start_time"])
        duration = ""
        if row["end_time"]:
            end = time(row["end_time"])
            if end < start:
                raise ValueError("ends-before-start")
            duration = int((end - start).total_seconds())
            row["end_time"] = row["end_time"].replace(" ", "T")
        row["start_time"] = row["start_time"].replace(" ", "T")
        for name in NUMBERS:
            if row[name] == NOT_SET:
                row[name] = ""
            elif row[name] and not is_number(row[name]):
                raise ValueError("bad-number")
        row["duration_s"] = duration

    read = rejected = 0
    with open(source, newline="") as source, open(output, "w", newline="") as output, open(rejects, "w") as rejects:
        reader = csv.DictReader(source)
        writer = csv.DictWriter(output, [*reader.fieldnames, "duration_s"], lineterminator="\n")
        writer.writeheader()
        for row in reader:
            read += 1
            try:
                change(row)
            except ValueError as error:
                rejected += 1
                print(read, error, list(row.values()), file=rejects)
            else:
                writer.writerow(row)
    return read, rejected


def with_pandas(source, output, rejects):
    import pandas as pd

    frame = pd.read_csv(source, dtype=str, keep_default_na=False)
    good = frame[IDS[0]].str.match(ID)
    for name in IDS[1:]:
        good &= frame[name].str.match(ID)
    start, end = (pd.to_datetime(frame[name], format=TIME, errors="coerce") for name in TIMES)
    open_ended = frame["end_time"] == ""
    good &= start.notna() & (open_ended | (end >= start))
    for name in NUMBERS:
        frame[name] = frame[name].mask(frame[name] == NOT_SET, "")
        good &= (frame[name] == "") | frame[name].str.match(NUMBER)
    for name in TIMES:
        frame[name] = frame[name].str.replace(" ", "T", regex=False)
    frame["duration_s"] = ((end - start) / pd.Timedelta(seconds=1)).astype("Int64")
    frame[good].to_csv(output, index=False, lineterminator="\n")
    frame[~good].to_csv(rejects)
    return len(frame), int((~good).sum())


def with_polars(source, output, rejects):
    import polars as pl

    start, end = (pl.col(name).str.to_datetime(TIME, strict=False) for name in TIMES)
    good = pl.all_horizontal(
        *(pl.col(name).str.contains(ID) for name in IDS),
        start.is_not_null(),
        (pl.col("end_time") == "") | (end >= start).fill_null(False),
        *((pl.col(name) == "") | pl.col(name).str.contains(NUMBER) for name in NUMBERS),
    )
    # All fields are read as texts, and an empty text does not become a missing value.
    frame = pl.read_csv(source, infer_schema=False, empty_string_is_null=False)
    frame = frame.with_columns(good.alias("good"), (end - start).dt.total_seconds().alias("duration_s")).with_columns(
        *(pl.col(name).str.replace(" ", "T", literal=True) for name in TIMES),
        *(pl.when(pl.col(name) != NOT_SET).then(pl.col(name)) for name in NUMBERS),
    )
    kept = frame.filter("good").drop("good")
    bad = frame.filter(~pl.col("good"))
    kept.write_csv(output, quote_style="necessary")
    bad.write_csv(rejects)
    return len(frame), len(bad)


if __name__ == "__main__":
    library, *paths = sys.argv[1:]
    read, rejected = {"csv": with_csv, "pandas": with_pandas, "polars": with_polars}[library](*paths)
    print(json.dumps({"records": {"read": read, "rejected": rejected}}))
