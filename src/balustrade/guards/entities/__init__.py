"""What the patterns guard knows: each kind of thing with its pattern and its test."""

from __future__ import annotations

from balustrade.guards.entities.assigned import ASSIGNED
from balustrade.guards.entities.contact import CONTACT
from balustrade.guards.entities.entity import Candidate, Entity
from balustrade.guards.entities.finance import FINANCE
from balustrade.guards.entities.hosts import HOSTS
from balustrade.guards.entities.national import NATIONAL
from balustrade.guards.entities.secrets import SECRETS

ENTITIES = (*CONTACT, *FINANCE, *NATIONAL, *HOSTS, *SECRETS, *ASSIGNED)
"""All of them; a name may have several patterns."""

NAMES = tuple(dict.fromkeys(entity.name for entity in ENTITIES))
CATEGORIES = tuple(dict.fromkeys(entity.category for entity in ENTITIES))

__all__ = ["CATEGORIES", "ENTITIES", "NAMES", "Candidate", "Entity"]
