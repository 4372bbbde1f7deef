"""`python -m eval report`: a page, a Markdown table and a CSV of what is in a folder."""
