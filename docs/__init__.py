"""The course's website: documents, the pages in `site/`, and `build`, which makes the site."""
