"""Complaints that look like real ones and are not: shares, lengths and oddities as measured."""

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
    "Credit reporting, credit repair services, or other personal consumer reports": 17.0,
    "Debt collection": 7.5,
    "Mortgage": 3.5,
    "Checking or savings account": 2.6,
    "Credit card": 2.2,
    "Credit card or prepaid card": 1.6,
    "Money transfer, virtual currency, or money service": 1.3,
    "Student loan": 0.9,
    "Vehicle loan or lease": 3.4,
}
SUB_PRODUCTS = {
    "Debt collection": ("Medical debt", "Credit card debt", "I do not know"),
    "Mortgage": ("Conventional home mortgage", "FHA mortgage"),
    "Checking or savings account": ("Checking account", "Savings account"),
    "Student loan": ("Federal student loan servicing", "Private student loan"),
}
ISSUES = {
    "Incorrect information on your report": (
        "Information belongs to someone else",
        "Account status incorrect",
    ),
    "Improper use of your report": ("Reporting company used your report improperly",),
    "Attempts to collect debt not owed": ("Debt is not yours", "Debt was result of identity theft"),
    "Managing an account": ("Deposits and withdrawals", None),
    "Trouble during payment process": (None,),
}
STATES = {"FL": 13.5, "TX": 12.7, "CA": 10.2, "GA": 7.4, "NY": 6.1, "IL": 4.3, "PA": 4.2} | dict.fromkeys(
    ("NJ", "NC", "OH", "MI", "VA", "AZ", "WA", "PR", "AE"), 4.6
)
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
RESPONSES = ("Closed with explanation", "Closed with non-monetary relief", "In progress", "Untimely response")
PUBLIC_RESPONSES = (
    "Company has responded to the consumer and the CFPB and chooses not to provide a public response",
    "Company believes it acted appropriately as authorized by contract or law",
)
TAGS = ("Older American", "Servicemember", "Older American, Servicemember")
WORDS = "my report account the bank dispute letter payment never was removed again".split()


class Generator:
    """An endless, seeded source of complaints received in the `days` before `now`."""

    def __init__(self, seed: int, era: Era, days: int, now: datetime = NOW) -> None:
        self.era = era
        self.days = days
        self.now = now
        self.random = random.Random(seed)  # noqa: S311
        self._taken: set[int] = set()

    def complaints(self, number: int) -> Iterator[Source]:
        """Generate complaints."""
        names = self.random
        products = names.choices(list(PRODUCTS), list(PRODUCTS.values()), k=number)
        states = names.choices(list(STATES), list(STATES.values()), k=number)
        for product, state in zip(products, states, strict=True):
            yield self._complaint(product, state)

    def late(self) -> Source:
        """Generate a complaint received today or, for every other one, weeks ago."""
        source = next(self.complaints(1))
        if self.random.random() < 0.5:
            source["date_received"] = self._instant(self.now + timedelta(seconds=self.random.randrange(3600)))
        return source

    def changed(self, source: Source) -> Source:
        """Return a complaint after its company went on with it."""
        response = self.random.choice([r for r in RESPONSES if r != source.get("company_response")])
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
        received = self.now - timedelta(milliseconds=self.random.randrange(self.days * 86_400_000))
        issue = choose(list(ISSUES))
        narrative = self._narrative() if chance() < 0.29 else ""
        source = {
            "product": product,
            "complaint_what_happened": narrative,
            "date_sent_to_company": None if chance() < 0.001 else self._instant(received),
            "issue": issue,
            "sub_product": choose(SUB_PRODUCTS.get(product, ("Credit reporting", None))),
            "zip_code": None if chance() < 0.01 else self._zip_code(),
            "tags": choose(TAGS) if chance() < 0.06 else None,
            "has_narrative": bool(narrative),
            "complaint_id": self._complaint_id(),
            "timely": "Yes" if chance() < 0.98 else "No",
            "consumer_consent_provided": "Consent provided" if narrative else None,
            "company_response": choose(RESPONSES),
            "submitted_via": choose(("Web", "Web", "Web", "Phone", "Referral")),
            "company": self._company(),
            "date_received": self._instant(received),
            "state": None if chance() < 0.005 else state,
            "consumer_disputed": "N/A",
            "company_public_response": None if chance() < 0.48 else choose(PUBLIC_RESPONSES),
            "sub_issue": choose(ISSUES[issue]),
        }
        return {field: value for field, value in source.items() if field not in self.era.gone}

    def _instant(self, moment: datetime) -> str:
        if self.era.instants:
            return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
        return f"{moment:%Y-%m-%d}T12:00:00-05:00"

    def _complaint_id(self) -> str:
        """Return an unused id, of 5 to 8 digits and not in the order of dates."""
        while True:
            digits = self.random.choices((5, 6, 7, 8), (1, 3, 36, 60))[0]
            identifier = self.random.randrange(10 ** (digits - 1), 10**digits)
            if identifier not in self._taken:
                self._taken.add(identifier)
                return str(identifier)

    def _zip_code(self) -> str:
        zip_code = f"{self.random.randrange(501, 99_951):05}"
        return f"{zip_code[:3]}XX" if self.random.random() < 0.3 else zip_code

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
