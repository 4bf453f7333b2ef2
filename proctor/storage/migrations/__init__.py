"""How the relational schema came to be, step by step, for alembic."""
