"""Made-up complaints with the shares, lengths and peculiarities of real ones."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from luigi_etl.sandbox.eras import Era

Source = dict[str, Any]

NOW = datetime(2026, 9, 26, 22, 0, tzinfo=timezone.utc)
CREDIT = "Credit reporting or other personal consumer reports"
PRODUCTS = {
    CREDIT: 60.0,
    "Credit reporting, credit repair services, or other personal consumer reports": 17.0,  # until 2023
    "Debt collection": 7.5,
    "Mortgage": 3.5,
    "Checking or savings account": 2.6,
    "Credit card": 2.2,
    "Credit card or prepaid card": 1.6,
    "Money transfer, virtual currency, or money service": 1.3,
    "Student loan": 0.9,
    "Vehicle loan or lease": 3.4,
}
CREDIT_FORMERLY = "Credit reporting, credit repair services, or other personal consumer reports"
SUB_PRODUCTS = {
    CREDIT: ("Credit reporting", "Credit reporting", "Credit reporting", "Other personal consumer report"),
    CREDIT_FORMERLY: ("Credit reporting", "Credit reporting", "Other personal consumer report", None),
    "Debt collection": ("Medical debt", "Credit card debt", "I do not know"),
    "Mortgage": ("Conventional home mortgage", "FHA mortgage"),
    "Checking or savings account": ("Checking account", "Savings account"),
    "Credit card": ("General-purpose credit card or charge card", "Store credit card"),
    "Credit card or prepaid card": ("General-purpose credit card or charge card", "Government benefit card"),
    "Money transfer, virtual currency, or money service": (
        "Domestic (US) money transfer",
        "Virtual currency",
    ),
    "Student loan": ("Federal student loan servicing", "Private student loan"),
    "Vehicle loan or lease": ("Loan", "Lease", None),
}
REPORT_ISSUES = (
    ("Incorrect information on your report", "Information belongs to someone else"),
    ("Incorrect information on your report", "Account status incorrect"),
    ("Improper use of your report", "Reporting company used your report improperly"),
    ("Improper use of your report", "Credit inquiries on your report that you don't recognize"),
    (
        "Problem with a company's investigation into an existing problem",
        "Their investigation did not fix an error on your report",
    ),
)
CARD_ISSUES = (
    ("Problem with a purchase shown on your statement", "Credit card company isn't resolving a dispute"),
    ("Fees or interest", "Charged too much interest"),
    ("Getting a credit card", "Application denied"),
    ("Trouble using your card", None),
)
ISSUES = {  # with their sub-issues
    CREDIT: REPORT_ISSUES,
    CREDIT_FORMERLY: REPORT_ISSUES,
    "Debt collection": (
        ("Attempts to collect debt not owed", "Debt is not yours"),
        ("Attempts to collect debt not owed", "Debt was result of identity theft"),
        ("Written notification about debt", "Didn't receive enough information to verify debt"),
    ),
    "Mortgage": (
        ("Trouble during payment process", "Escrow, taxes, or insurance"),
        ("Struggling to pay mortgage", None),
    ),
    "Checking or savings account": (
        ("Managing an account", "Deposits and withdrawals"),
        ("Managing an account", "Problem using a debit or ATM card"),
        ("Closing an account", None),
    ),
    "Credit card": CARD_ISSUES,
    "Credit card or prepaid card": CARD_ISSUES,
    "Money transfer, virtual currency, or money service": (
        ("Fraud or scam", None),
        ("Other transaction problem", None),
    ),
    "Student loan": (
        ("Dealing with your lender or servicer", "Trouble with how payments are being handled"),
        ("Struggling to repay your loan", None),
    ),
    "Vehicle loan or lease": (
        ("Managing the loan or lease", "Billing problem"),
        ("Problems at the end of the loan or lease", None),
    ),
}
STATES = {"FL": 13.5, "TX": 12.7, "CA": 10.2, "GA": 7.4, "NY": 6.1, "IL": 4.3, "PA": 4.2} | dict.fromkeys(
    ("NJ", "NC", "OH", "MI", "VA", "AZ", "WA", "PR", "AE"), 4.6
)
ZIP_CODES = {  # the first and last three digits of a state's
    "FL": (320, 349),
    "TX": (750, 799),
    "CA": (900, 961),
    "GA": (300, 319),
    "NY": (100, 149),
    "IL": (600, 629),
    "PA": (150, 196),
    "NJ": (70, 89),
    "NC": (270, 289),
    "OH": (430, 459),
    "MI": (480, 499),
    "VA": (220, 246),
    "AZ": (850, 865),
    "WA": (980, 994),
    "PR": (6, 9),
    "AE": (90, 98),
}
BUREAUS = {
    "EQUIFAX, INC.": 26.0,
    "TRANSUNION INTERMEDIATE HOLDINGS, INC.": 25.0,
    "Experian Information Solutions Inc.": 23.0,
}
ODD_COMPANIES = (
    "Société Générique, S.A.",
    "\u00a0Leading Space\u00a0Lending",
    'The "Quoted" Company | Servicing',
    "Dash \u2014 Associates, LLC",
    "=SUM(A1:A9) Holdings",
)
IN_PROGRESS = "In progress"
CLOSED = (
    *["Closed with explanation"] * 14,
    *["Closed with non-monetary relief"] * 5,
    "Closed with monetary relief",
    "Untimely response",
)
RESPONSES = (*dict.fromkeys(CLOSED), IN_PROGRESS)
LONGEST_ANSWER = 60  # days
PUBLIC_RESPONSES = (
    "Company has responded to the consumer and the CFPB and chooses not to provide a public response",
    "Company believes it acted appropriately as authorized by contract or law",
)
TAGS = ("Older American", "Servicemember", "Older American, Servicemember")
WORDS = "my report account the bank dispute letter payment never was removed again".split()


class Generator:
    """An endless, seeded source of complaints, received in the `days` before `now`.

    A seed gives the same complaints all day; a complaint whose time is still to come is `days` older.
    """

    def __init__(self, seed: int, era: Era, days: int, now: datetime = NOW) -> None:
        self.era = era
        self.days = days
        self.now = now
        self.random = random.Random(seed)  # noqa: S311
        self._taken: set[int] = set()
        self._narrates = "complaint_what_happened" not in era.gone

    def complaints(self, number: int) -> Iterator[Source]:
        """Generate this number of complaints."""
        names = self.random
        products = names.choices(list(PRODUCTS), list(PRODUCTS.values()), k=number)
        states = names.choices(list(STATES), list(STATES.values()), k=number)
        for product, state in zip(products, states, strict=True):
            yield self._complaint(product, state)

    def apart(self, days: int, now: datetime) -> "Generator":
        """Return a generator of other complaints, with other ids, that leaves this one's series alone."""
        other = Generator(days, self.era, days, now)
        other._taken = self._taken
        return other

    def late(self) -> Source:
        """Generate a complaint, received in the last hour or, half of the time, weeks ago."""
        source = next(self.complaints(1))
        if self.random.random() < 0.5:
            received = self._instant(self.now - timedelta(seconds=self.random.randrange(3600)))
            source |= {"date_received": received, "date_sent_to_company": received}
            source |= {"company_response": IN_PROGRESS, "company_public_response": None}
        return source

    def changed(self, source: Source) -> Source:
        """Return a complaint with another response of its company."""
        response = self.random.choice(
            [one for one in RESPONSES[:-1] if one != source.get("company_response")]
        )
        return {
            **source,
            "company_response": response,
            "company_public_response": self.random.choice(PUBLIC_RESPONSES),
            "timely": "No" if source.get("timely") == "Yes" else "Yes",
        }

    def redated(self, source: Source, received: datetime) -> Source:
        """Return a complaint with another date."""
        return {**source, "date_received": self._instant(received)}

    def _complaint(self, product: str, state: str) -> Source:
        chance = self.random.random
        choose = self.random.choice
        received = self._received()
        age = (self.now - received).total_seconds() / 86_400
        sent = received + timedelta(hours=1 + self.random.expovariate(1 / 14))
        is_closed = age > min(LONGEST_ANSWER, self.random.expovariate(1 / 12))
        # Always draw both, so that the next complaints do not depend on `now`.
        response, public_response = choose(CLOSED), choose(PUBLIC_RESPONSES) if chance() < 0.6 else None
        issue, sub_issue = choose(ISSUES[product])
        narrative = self._narrative() if self._narrates and chance() < 0.29 else ""
        source = {
            "product": product,
            "complaint_what_happened": narrative,
            "date_sent_to_company": None if chance() < 0.001 else self._instant(min(sent, self.now)),
            "issue": issue,
            "sub_product": choose(SUB_PRODUCTS[product]),
            "zip_code": None if chance() < 0.01 else self._zip_code(state),
            "tags": choose(TAGS) if chance() < 0.06 else None,
            "has_narrative": bool(narrative),
            "complaint_id": self._complaint_id(),
            "timely": "Yes" if chance() < 0.98 else "No",
            "consumer_consent_provided": "Consent provided" if narrative else None,
            "company_response": response if is_closed else IN_PROGRESS,
            "submitted_via": choose(("Web", "Web", "Web", "Phone", "Referral")),
            "company": self._company(),
            "date_received": self._instant(received),
            "state": None if chance() < 0.005 else state,
            "consumer_disputed": "N/A",
            "company_public_response": public_response if is_closed else None,
            "sub_issue": sub_issue,
        }
        return {field: value for field, value in source.items() if field not in self.era.gone}

    def _received(self) -> datetime:
        """Return a seeded instant; if it is in the future, the same one `days` earlier."""
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        received = midnight - timedelta(milliseconds=self.random.randrange(1, self.days * 86_400_000))
        return received if received <= self.now else received - timedelta(days=self.days)

    def _instant(self, moment: datetime) -> str:
        if self.era.instants:
            return f"{moment.isoformat(timespec='milliseconds')[:23]}Z"
        return f"{moment.isoformat()[:10]}T12:00:00-05:00"

    def _complaint_id(self) -> str:
        """Return an unused id of 5 to 8 digits; ids do not follow the dates."""
        while True:
            digits = self.random.choices((5, 6, 7, 8), (1, 3, 36, 60))[0]
            identifier = self.random.randrange(10 ** (digits - 1), 10**digits)
            if identifier not in self._taken:
                self._taken.add(identifier)
                return str(identifier)

    def _zip_code(self, state: str) -> str:
        first, last = ZIP_CODES[state]
        digits = int(self.random.random() * (last + 1 - first) * 100) + first * 100
        return f"{digits // 100:03}XX" if self.random.random() < 0.3 else f"{digits:05}"

    def _company(self) -> str:
        draw = self.random.random() * 100
        for company, share in BUREAUS.items():
            draw -= share
            if draw < 0:
                return company
        if self.random.random() < 0.05:
            return self.random.choice(ODD_COMPANIES)
        return f"Sandbox Servicing No. {int(self.random.paretovariate(0.7)) % 6500}, LLC"

    def _narrative(self) -> str:
        length = min(22_000, int(self.random.lognormvariate(6.66, 0.83)))
        words = ["Generated by the sandbox."]
        for word, share in (("XXXX", 0.79), ("\n\n", 0.38), ("{$1200.00}", 0.38)):
            if self.random.random() < share:
                words.append(word)
        words += self.random.choices(WORDS, k=length // 6 + 1)
        return " ".join(words)[: max(length, 60)]
