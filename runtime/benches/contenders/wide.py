"""The wide job in Python: wide.py polars INPUT OUTPUT REJECTS

The rules are the same as in the config in benches/compare/jobs.rs.
"""

import json
import sys

import polars as pl


def run(source, output, rejects):
    order, quantity, discount = pl.col("order_id"), pl.col("quantity"), pl.col("discount")
    good = pl.all_horizontal(
        (order.cast(pl.Int64, strict=False) >= 1).fill_null(False),
        pl.col("status").is_in(["open", "paid", "shipped", "returned"]),
        quantity.cast(pl.Int64, strict=False).is_between(1, 1000).fill_null(False),
        discount.is_in(["", "N/A"]) | discount.cast(pl.Float64, strict=False).is_between(0, 100).fill_null(False),
    )
    frame = pl.read_csv(source, infer_schema=False, empty_string_is_null=False)
    frame = frame.with_columns(good.alias("good"), pl.when(discount != "N/A").then(discount).alias("discount"))
    kept = frame.filter("good").drop("good")
    bad = frame.filter(~pl.col("good"))
    kept.write_csv(output)
    bad.write_csv(rejects)
    return len(frame), len(bad)


if __name__ == "__main__":
    library, *paths = sys.argv[1:]
    assert library == "polars"
    read, rejected = run(*paths)
    print(json.dumps({"records": {"read": read, "rejected": rejected}}))
