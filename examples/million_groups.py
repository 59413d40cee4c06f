"""A million groups in DuckDB, judged batch by batch: needs the extras ``ledger`` and ``parquet``, and duckdb.

`judge_table` is a function of one record batch, so any engine can call it: Polars (`map_batches`), Spark
(`mapInArrow`), Ray Data (`map_batches` with ``batch_format="pyarrow"``), Dask.
"""

import sys
import time
from collections import Counter

import duckdb

from crynux_validate.tables import judge_table

GROUPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000

# An answer a row, as a service would store them. Each task has its own hash; one answer in a hundred is another
# picture, and one in fifty is off by two bits, as on another card.
database = duckdb.connect()
database.execute(f"""
    create table answers as
    select task, node, case when chance < 0.01 then hash(task, node, 'another picture')
                            when chance < 0.03 then xor(hash(task, 'right'), 3::ubigint << (task % 60)::int)
                            else hash(task, 'right') end as bits
    from (select t as task, n as node, hash(t, n, 'chance') / 18446744073709551616.0 as chance
          from range({GROUPS}) a(t), range(3) b(n))
""")

groups = database.sql("""
    select task, list(unhex(printf('%016x', bits)) order by node) as scores from answers group by task
""")

started = time.perf_counter()
counts: Counter[str] = Counter()
for batch in groups.to_arrow_reader(65_536):
    counts.update(judge_table(batch).column("outcome").to_pylist())
seconds = time.perf_counter() - started
print(f"{GROUPS:,} groups in {seconds:.1f} s: {dict(counts)}")
