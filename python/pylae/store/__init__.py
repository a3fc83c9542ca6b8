"""What is kept and shared: keys and values with revisions, in SQLite, PostgreSQL or etcd.

`store.py` is the interface, and says what all engines promise. Who keeps something in a store

1. opens it with `pylae.store.engines.opened`,
2. has a prefix of its own, such as `history/`,
3. changes several keys together with `Store.txn`, and does nothing half if it is killed in between,
4. reads all with `Store.snapshot`, and then follows with `Store.watch` from the revision of what it has read,
5. starts again with 4 after a `CompactedError`, and goes on as before after a `StoreUnavailableError`,
6. puts `Hold.compare` into each `txn` that only one node may make.
"""
