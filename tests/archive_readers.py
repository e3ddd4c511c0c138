"""Reads an archive with DuckDB, Polars and pyarrow, hive partitions and all; prints what each sees as one JSON line.

Usage: archive_readers.py ARCHIVE        exit status 77: a module is missing
"""

import json
import os
import sys

try:
    import duckdb
    import polars
    import pyarrow.compute
    import pyarrow.dataset
except ImportError as missing:
    print(missing, file=sys.stderr)
    sys.exit(77)


archive = sys.argv[1]
db = duckdb.connect()
TEXT, NUMBER, LIST = "string", "int64", "list<string>"


def with_duckdb(table):
    """Rows, dates, the sum of ticks, the first and last time, the column types that the contract names."""
    source = f"read_parquet('{archive}/{table}/**/*.parquet', hive_partitioning=true)"
    columns = {name: kind for name, kind, *_ in db.execute(f"describe select * from {source}").fetchall()}
    names = {"VARCHAR": TEXT, "BIGINT": NUMBER, "VARCHAR[]": LIST, "TIMESTAMP WITH TIME ZONE": "time", "INTEGER": "int32",
             "DOUBLE": "double", "BOOLEAN": "bool", "FLOAT[]": "list<float>", "INTEGER[]": "list<int32>",
             "BIGINT[]": "list<int64>", "DATE": "date"}
    rows, dates, ticks = db.execute(f"select count(*), count(distinct date), sum(tick)::bigint from {source}").fetchone()
    # The folder's date is the tick's: DuckDB reads it as a date without being told.
    astray = db.execute(f"select count(*) from {source} where date <> (timestamp '1970-01-01' + to_seconds(tick))::date").fetchone()
    assert astray == (0,), (table, astray)
    if columns.get("time"):
        # epoch_ms needs no time zone data, and comparison with a timestamp literal must not either.
        db.execute(f"select min(epoch_ms(time)), count(*) filter (time > timestamptz '2020-01-01 00:00:00+00') from {source}").fetchall()
    kinds = {name: names.get(kind, kind) for name, kind in columns.items() if name != "date"}
    return {"rows": rows, "dates": dates, "ticks": ticks, "kinds": kinds}


def with_polars(table):
    frame = polars.scan_parquet(f"{archive}/{table}/**/*.parquet", hive_partitioning=True).collect()
    names = {"String": TEXT, "Int64": NUMBER, "Int32": "int32", "Float64": "double", "Boolean": "bool", "List(String)": LIST,
             "List(Float32)": "list<float>", "List(Int32)": "list<int32>", "List(Int64)": "list<int64>",
             "Datetime(time_unit='ms', time_zone='UTC')": "time"}
    kinds = {name: names.get(str(kind), str(kind)) for name, kind in frame.schema.items() if name != "date"}
    return {"rows": frame.height, "dates": frame["date"].n_unique(), "ticks": frame["tick"].sum(), "kinds": kinds}


def with_pyarrow(table):
    frame = pyarrow.dataset.dataset(f"{archive}/{table}", format="parquet", partitioning="hive").to_table()
    names = {"timestamp[ms, tz=UTC]": "time", "list<element: string>": LIST, "list<element: float>": "list<float>",
             "list<element: int32>": "list<int32>", "list<element: int64>": "list<int64>"}
    kinds = {field.name: names.get(str(field.type), str(field.type)) for field in frame.schema if field.name != "date"}
    ticks = pyarrow.compute.sum(frame["tick"]).as_py()
    return {"rows": frame.num_rows, "dates": len(frame["date"].unique()), "ticks": ticks, "kinds": kinds}


tables = sorted(os.listdir(archive))
print(json.dumps({reader.__name__: {table: reader(table) for table in tables}
                  for reader in (with_duckdb, with_polars, with_pyarrow)}))
