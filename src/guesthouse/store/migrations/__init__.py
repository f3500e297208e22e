"""How the tables came to be, one step a version; applied by Alembic.

A new step, after a change in `guesthouse.store.schema`, against a database that is up to date::

    alembic -c src/guesthouse/store/migrations/alembic.ini -x url=sqlite:///scratch.db upgrade head
    alembic -c src/guesthouse/store/migrations/alembic.ini -x url=sqlite:///scratch.db \\
        revision --autogenerate --rev-id 0002 -m "what it is for"
"""
