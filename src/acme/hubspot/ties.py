"""Which deals, contacts and companies belong together at the start, as arithmetic that either end can do."""

from math import gcd


class Ties:
    """A contact works for one company, a deal is made with one company and one or two of its people.

    One deal in ten has nobody yet. Numbers beyond the sizes were archived, and are tied to nothing.
    """

    def __init__(self, deals: int, contacts: int, companies: int) -> None:
        self.deals = deals
        self.contacts = contacts
        self.companies = companies
        self._stride = next(
            step for step in range(max(1, int(companies * 0.618)), companies + 2) if gcd(step, companies) == 1
        )
        self._stride_back = pow(self._stride, -1, companies) if companies > 1 else 0

    def company_of_deal(self, deal: int) -> int | None:
        return None if deal % 10 == 9 or deal >= self.deals else deal * self._stride % self.companies

    def company_of_contact(self, contact: int) -> int | None:
        return contact % self.companies if contact < self.contacts else None

    def contacts_of_company(self, company: int) -> list[int]:
        return list(range(company, self.contacts, self.companies)) if company < self.companies else []

    def deals_of_company(self, company: int) -> list[int]:
        if company >= self.companies:
            return []
        first = company * self._stride_back % self.companies
        return [deal for deal in range(first, self.deals, self.companies) if deal % 10 != 9]

    def contacts_of_deal(self, deal: int) -> list[int]:
        company = self.company_of_deal(deal)
        people = [] if company is None else self.contacts_of_company(company)
        if not people:
            return []
        turn = deal // self.companies
        chosen = {people[turn % len(people)]}
        if deal % 3 == 0:
            chosen.add(people[(turn + 1) % len(people)])
        return sorted(chosen)

    def deals_of_contact(self, contact: int) -> list[int]:
        company = self.company_of_contact(contact)
        deals = [] if company is None else self.deals_of_company(company)
        return [deal for deal in deals if contact in self.contacts_of_deal(deal)]
