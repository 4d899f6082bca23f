/* How Sphinx ranks search results: its own numbers, except that the glossary comes first and the changelog last. */
var Scorer = {
  score: ([page, title, anchor, description, score]) =>
    score + ({ glossary: 30, changelog: -30 }[page] || 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
