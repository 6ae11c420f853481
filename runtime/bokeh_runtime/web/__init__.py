"""The pages that a browser opens: their files, a server for them, and the site to export."""
