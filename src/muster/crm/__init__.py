"""Customers: deals, contacts and companies of HubSpot, read from our own copy and edited in HubSpot."""
