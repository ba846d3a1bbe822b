"""The book: claims and what was found of them, pages, what ships, and one build."""
