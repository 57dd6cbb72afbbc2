"""Stage tokenizer: the split into training and validation text, a SentencePiece tokenizer, token files."""
