"""What pages say of verdicts: the scoreboard, and whether prose agrees with the ledger."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from synthprune.book.claims import Judgement
from synthprune.book.statements import Claim
from synthprune.chapters import CHAPTERS
from synthprune.chapters.plain import DEMO, NOT_RUN, PAPER, SCALE, UNFINISHED
from synthprune.problems import nearest


def scoreboard(claims: Sequence[Claim], judgements: Mapping[str, Judgement], reference: Mapping[str, Judgement] | None) -> str:
    """MyST Markdown: the book's own hypotheses, then every claim of the paper by section in its words, with this run's
    verdict and the reference run's (None: this run is that). An amended criterion stands under the one it amends."""
    runs = {"reference run": judgements} if reference is None else {"this run": judgements, "reference run": reference}
    header = ("claim", "what is said, and what counts", *runs)
    ours, papers = ([claim for claim in claims if bool(claim.statement) == own] for own in (True, False))
    lines = ["# Scoreboard", "",
             _count(ours, judgements, "hypotheses of this book"),
             _count(papers, judgements, "checkable statements of the paper"),
             "The criteria were fixed before the numbers, in the commit that the reference run is made from; every verdict is"
             " computed from them. A probe at one initialisation, which enters no verdict, had suggested H1 and H3.",
             "One that proved badly chosen keeps its verdict; the amended one stands under it, with its date and reason.",
             "A claim's name leads to the chapter that decides it.", "",
             '<div class="wide"><div class="table-scroll" tabindex="0" role="region" aria-label="Every claim with its verdict">',
             '<table class="stacked">', f"<thead><tr>{''.join(f'<th scope=col>{name}</th>' for name in header)}</tr></thead>"]
    for section, group in groupby([*_beside(ours), *_beside(papers)], lambda claim: claim.section):
        title = section if section[0].isalpha() else f"Section {section}"
        lines.append(f'<tbody><tr><th scope=rowgroup colspan={len(header)}>{html.escape(title)}</th></tr>')
        for claim in group:
            cells = "".join(_cell(name, run.get(claim.id)) for name, run in runs.items())
            lines.append(f'<tr id="claim-{claim.id}"><th scope=row class="key">{_linked(claim)}</th>'
                         f'<td class="text">{_words(claim)}</td>{cells}</tr>')
        lines.append("</tbody>")
    return "\n".join([*lines, "</table></div></div>", ""])


def _count(claims: Sequence[Claim], judgements: Mapping[str, Judgement], what: str) -> str:
    """How many there are, and how many have which verdict; an amendment is no further statement."""
    first = [claim for claim in claims if claim.amends is None]
    return f"{len(first)} {what}. This run: {tally([judgements[claim.id] for claim in first]) or 'none'}."


def tally(judgements: Iterable[Judgement]) -> str:
    """Markdown: '4 *not run*, 1 *holds at this scale*', the most frequent verdict first."""
    return ", ".join(f"{times} *{words}*" for words, times in Counter(one.words for one in judgements).most_common())


def _beside(claims: Sequence[Claim]) -> list[Claim]:
    """Every claim followed by those that amend it."""
    return [one for claim in claims if claim.amends is None
            for one in (claim, *(other for other in claims if other.amends == claim.id))]


def _words(claim: Claim) -> str:
    said = html.escape(claim.plain)
    amended = f"<p>Amends {claim.amends}, since {claim.since}: {html.escape(claim.because or '')}</p>" if claim.amends else ""
    return f"{f'<p>{said}</p>' if claim.statement else f'<q>{said}</q>'}<p>{html.escape(claim.says)}</p>{amended}"


def _linked(claim: Claim) -> str:
    return f'<a href="{claim.chapter}.html">{claim.title}</a>' if claim.chapter in CHAPTERS else claim.title


def _cell(run: str, judgement: Judgement | None) -> str:
    """The run's name is for a phone, where rows are stacked and columns have no head."""
    return f'<td class="text" data-run="{run}">none yet</td>' if judgement is None else (
        f'<td class="text" data-run="{run}"><div class="verdict verdict--{judgement.state}">'
        f'<p class="verdict__title">{judgement.words.capitalize()}</p>'
        f"<p>{html.escape(judgement.evidence)}</p></div></td>")


def _pattern(verdicts: Iterable[str]) -> str:
    """Any of these words, the longest first, however a paragraph breaks them."""
    return "|".join(re.sub(" ", r"\\s+", words) for words in sorted(verdicts, key=len, reverse=True))


_ANY = _pattern({*PAPER.values(), *SCALE.values(), DEMO, NOT_RUN, UNFINISHED})
_STATED = re.compile(rf"\bclaim\s+`([^`]+)`:\s*({_ANY}|)", re.IGNORECASE)
_MENTIONED = re.compile(rf"(?<![*\w])\*(?:{_ANY})\*(?!\*)", re.IGNORECASE)
_BARE = re.compile(rf"\b(?:{_pattern({PAPER['holds'], PAPER['fails'], *SCALE.values()})})\b", re.IGNORECASE)


def contradictions(prose: str, judgements: Mapping[str, Judgement]) -> list[str]:
    """What prose (Markdown) says of verdicts and may not, one message per place, with its line.

    Prose may state a verdict only as "claim `id`: words", and then as the ledger has it. A verdict's words on their own may
    be mentioned in emphasis, as in "*reproduced* is a word for the profile paper"; anywhere else they are an error, since
    nobody could tell whether they agree. ("Cannot be told", "not run", "not complete yet"
    and "demo data decide nothing" may stand anywhere.)
    """
    found = []
    for stated in _STATED.finditer(prose):
        name, words = stated[1], " ".join(stated[2].lower().split())
        if name not in judgements:
            found.append((stated.start(), f"there is no claim '{name}': {nearest(name, judgements)}"))
        elif words != judgements[name].words:
            found.append((stated.start(), f"claim '{name}' is said to be '{words or 'of no verdict'}', the ledger says"
                                          f" '{judgements[name].words}'"))
    rest = _MENTIONED.sub(_blank, _STATED.sub(_blank, prose))
    found += [(bare.start(), f"'{' '.join(bare[0].split())}' stands alone: write claim `id`: {' '.join(bare[0].lower().split())}")
              for bare in _BARE.finditer(rest)]
    return [f"line {prose.count(chr(10), 0, at) + 1}: {message}" for at, message in sorted(found)]


def _blank(match: re.Match[str]) -> str:
    """As many characters and lines, with nothing in them."""
    return re.sub(r"\S", " ", match[0])
