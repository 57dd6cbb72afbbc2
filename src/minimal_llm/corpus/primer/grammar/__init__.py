"""English and Spanish grammar and the lexicon, for whoever writes or checks stories."""
