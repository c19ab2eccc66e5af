"""The dataset description, from YAML text to public facts.

`description` is the shape of the file and the door; `located` reads YAML and remembers where everything stands;
`column_rules` and `table_rules` say what makes sense; `words` puts pydantic's findings into sentences.
"""
