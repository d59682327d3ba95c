from sqlalchemy import select

from luigi_etl.database import Database
from luigi_etl.schema import complaints


def test_the_first_to_write_makes_the_tables(database: Database) -> None:
    with database.writing():
        pass
    with database.reading() as connection:
        assert connection.execute(select(complaints)).all() == []
