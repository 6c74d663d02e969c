"""The store as a place: format, versions, what is refused, what is kept of secrets."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text

from rating_kit import label_plan, new_store
from reteach.errors import UserError
from reteach.rating import migrations, schema
from reteach.rating.assignment import Flow
from reteach.rating.export import ratings_of
from reteach.rating.raters import add_raters, by_token, new_link
from reteach.rating.store import open_store


def test_the_migrations_end_at_the_schema(where: str) -> None:
    store = new_store(where)
    with store.read() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == set(schema.metadata.tables)
        for name, table in schema.metadata.tables.items():
            columns = {c["name"]: c for c in found.get_columns(name)}
            assert list(columns) == [c.name for c in table.columns], name
            for column in table.columns:
                there = columns[column.name]
                assert there["nullable"] == column.nullable, column
                assert there["type"].python_type is column.type.python_type, column
            assert found.get_pk_constraint(name)["constrained_columns"] == [
                c.name for c in table.primary_key
            ]
            indices = {
                i["name"]: i["column_names"] for i in found.get_indexes(name) if not i["unique"]
            }
            assert indices == {i.name: [c.name for c in i.columns] for i in table.indexes}
            links = {
                (k["constrained_columns"][0], k["referred_table"])
                for k in found.get_foreign_keys(name)
            }
            assert links == {(k.parent.name, k.column.table.name) for k in table.foreign_keys}
            unique = {c.name for c in table.columns if c.unique}
            assert {u["column_names"][0] for u in found.get_unique_constraints(name)} == unique


def test_a_store_of_a_newer_version_is_refused(where: str) -> None:
    store = new_store(where)
    with store.write() as connection:
        connection.execute(text("UPDATE store SET value = '99' WHERE name = 'version'"))
    store.close()
    with pytest.raises(UserError, match="version 99, this reteach knows versions up to 3: update"):
        open_store(where)


def test_an_older_store_is_brought_up_to_date(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new_store(where).close()
    applied = []

    def more(connection: object) -> None:
        applied.append(connection)

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, more))
    for _ in range(2):
        store = open_store(where)
        with store.read() as connection:
            assert migrations.version(connection) == 4
        store.close()
    assert len(applied) == 1


def test_a_failed_migration_changes_nothing(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new_store(where).close()

    def broken(connection: object) -> None:
        connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")  # type: ignore[attr-defined]
        raise UserError("no")

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, broken))
    with pytest.raises(UserError):
        open_store(where)
    monkeypatch.undo()
    store = open_store(where)
    with store.read() as connection:
        assert not inspect(connection).has_table("half")
        assert migrations.version(connection) == 3


def test_a_store_in_use_is_not_built_over(where: str) -> None:
    new_store(where).close()
    with pytest.raises(UserError, match="holds ratings already"):
        new_store(where)


def test_a_store_that_was_never_filled_is_filled(where: str) -> None:
    open_store(where, "new").close()
    with pytest.raises(UserError, match="has no tasks"):
        _ = open_store(where).settings
    assert new_store(where).settings.wanted == 2


def test_names_that_no_database_keeps(where: str) -> None:
    for name in ("a\0.png", "\ud800.png", ""):
        plan = label_plan(2, items=["0.png", name])
        with pytest.raises(UserError, match="cannot be kept in a database"):
            new_store(where, plan)


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: make one"):
        open_store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("hello, this is not a database at all" * 100)
    with pytest.raises(UserError, match="not a database"):
        open_store(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE songs (id INTEGER)")
    with pytest.raises(UserError, match="is not a rating store"):
        open_store(tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("CREATE TABLE store (name TEXT, value TEXT)")
    with pytest.raises(UserError, match="is not a rating store"):
        open_store(tmp_path / "shop.db")
    with pytest.raises(UserError, match="not mysql://"):
        open_store("mysql://localhost/x")


def test_no_password_in_an_error(postgres: str) -> None:
    address = "postgresql://someone:s3cret@127.0.0.1:1/none"
    with pytest.raises(UserError, match="someone") as error:
        open_store(address)
    assert "s3cret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_sqlite_is_durable(tmp_path: Path) -> None:
    store = new_store(tmp_path / "r.db")
    with store.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_links_are_not_at_rest(tmp_path: Path) -> None:
    store = new_store(tmp_path / "r.db")
    (token,) = add_raters(store, ["ann"]).values()
    assert len(token) == 43
    with store.read() as connection:
        rater = by_token(connection, token)
        assert rater is not None
        assert rater.name == "ann"
        stored = connection.scalar(select(schema.raters.c.token_hash))
        assert by_token(connection, str(stored)) is None
    fresh = new_link(store, rater.id)
    with store.read() as connection:
        assert by_token(connection, token) is None
        assert by_token(connection, fresh) == rater
    store.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in kept
    assert fresh.encode() not in kept


def test_names_of_raters(tmp_path: Path) -> None:
    store = new_store(tmp_path / "r.db")
    assert list(add_raters(store, [" ann ", "Ünal"])) == ["ann", "Ünal"]
    for names, said in (
        (["ann"], "already"),
        (["b", "b"], "already"),
        ([""], "1 to 80"),
        (["a\nb"], "1 to 80"),
    ):
        with pytest.raises(UserError, match=said):
            add_raters(store, names)
    assert list(add_raters(store, ["b"])) == ["b"]  # what failed left nothing


OLD = """
INSERT INTO store VALUES ('version', '2'), ('id', 'abcd'), ('kind', 'labels'), ('wanted', '2'),
    ('gold_rate', '0.0');
INSERT INTO classes VALUES (0, 'cat', 'cat', ''), (1, 'dog', 'dog', '');
INSERT INTO items VALUES (0, 'a.png', 0, NULL), (1, 'b.png', 1, NULL), (2, 'c.png', 1, NULL);
INSERT INTO tasks VALUES (0, 0, false, 0, 'done'), (1, 1, false, 1, 'open'),
    (2, 2, false, 2, 'open');
INSERT INTO questions VALUES (0, 0, 0, 0, NULL), (1, 0, 1, 1, NULL), (2, 1, 0, 1, NULL), (3, 2, 0, 1, NULL);
INSERT INTO raters VALUES (1, 'ann', NULL, 'active'), (2, 'ben', NULL, 'active'),
    (3, 'eve', NULL, 'excluded');
INSERT INTO assignments VALUES (0, 1, 1, 1, 1, 2, 1, 1), (0, 2, 1, 1, 1, 2, 1, 1), (1, 1, 1, 1, 1, 2, 1, 1),
    (1, 3, 1, 1, 1, 2, 1, 1);
INSERT INTO answers VALUES (0, 1, 2), (1, 1, 0), (0, 2, 2), (1, 2, 1), (2, 1, 2), (2, 3, 0);
"""


def test_a_store_of_the_first_edition_goes_on_where_it_stood(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers, and what each task lacks: the excluded rater's answer does not count."""
    store = open_store(where, "new")
    store.close()
    with store.engine.begin() as connection:
        for name in inspect(connection).get_table_names():
            connection.exec_driver_sql(
                f"DROP TABLE {name}" + (" CASCADE" if "postgresql" in where else "")
            )
        for step in migrations.STEPS[:2]:
            step(connection)
        for statement in OLD.split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    store = open_store(where)
    with store.read() as connection:
        assert migrations.version(connection) == 3
        lacking = dict(connection.execute(select(schema.tasks.c.id, schema.tasks.c.lacking)).all())
    assert lacking == {0: 0, 1: 1, 2: 2}
    assert (store.settings.wanted, store.settings.agree) == (2, None)
    assert ratings_of(store).counts().tolist() == [[0, 0, 2], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
    flow = Flow(store)
    assert sorted(held.task for held in flow.hand(2)) == [1, 2]
    assert flow.submit(2, 1, {2: 2}, 1) == "stored"
    with store.read() as connection:
        row = connection.execute(select(schema.tasks).where(schema.tasks.c.id == 1)).one()
    assert (row.lacking, row.state) == (0, "done")


def test_raters_of_any_number_are_read_in_memory_of_their_count(tmp_path: Path) -> None:
    """A flipped bit in a store makes a number of rater 2 billion."""
    store = new_store(tmp_path / "s.db")
    add_raters(store, ["a", "b", "c"])
    flow = Flow(store)
    for rater in (1, 2, 3):
        (held, *_) = flow.hand(rater)
        said = dict.fromkeys(range(3 * held.task, 3 * held.task + 3), rater % 2 * 2)
        assert flow.submit(rater, held.task, said, 1) == "stored"
    before = ratings_of(store)
    store.close()
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table, column in (
            ("raters", "id"),
            ("assignments", "rater_id"),
            ("answers", "rater_id"),
        ):
            connection.execute(f"UPDATE {table} SET {column} = {1 << 62} WHERE {column} = 3")
    after = ratings_of(open_store(tmp_path / "s.db"))
    assert after.raters == before.raters
    assert after.rater.tolist() == before.rater.tolist()
    assert after.answer.tolist() == before.answer.tolist()
