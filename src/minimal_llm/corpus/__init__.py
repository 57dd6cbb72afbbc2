"""Stage download: from books, files or the primer to one clean bilingual corpus."""
