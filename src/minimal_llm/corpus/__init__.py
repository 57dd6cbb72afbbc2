"""From sources of text to one clean bilingual corpus. Nothing here knows of torch."""
