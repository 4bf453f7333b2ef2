"""New plugins: `proctor plugins new` writes a whole distribution, whose tests pass as written."""
