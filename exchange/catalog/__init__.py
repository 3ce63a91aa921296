"""The catalog: what members offer, searched (``index``) and written as DCAT-AP 3 (``dcat``).

Everything here is derived from the asset rows of one state of the ledger, the reader's own copy. Nothing is
looked up elsewhere and nothing is decided here.
"""

from exchange.catalog.dcat import dataset, document
from exchange.catalog.index import FACETS, CatalogIndex, CatalogQuery, Found, Sort

__all__ = ["FACETS", "CatalogIndex", "CatalogQuery", "Found", "Sort", "dataset", "document"]
