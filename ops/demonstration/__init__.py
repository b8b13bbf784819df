"""The demo: `plan` says who comes (`kinds`, `cast`), `system` runs all parts here, `course` lets it
happen, `pictures` and `view` show it, `verdict` and `costs` judge it, `closing` tells the result;
`performance` is the whole.
"""
