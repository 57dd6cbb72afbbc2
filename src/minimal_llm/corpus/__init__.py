"""Stage download: builds one clean bilingual corpus from books, text files or the primer."""
