"""How grammatical the stories of a model are that was trained on the primer."""
