"""Stage tokenizer: split the corpus into training and validation text, train SentencePiece, write token files."""
