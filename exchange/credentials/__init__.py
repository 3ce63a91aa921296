"""Identity beyond the member record: DIDs, verifiable credentials, pseudonyms, consent, predicate proofs.

What is signed here follows the W3C's recommendations: DIDs 1.0, Verifiable Credentials Data Model 2.0, Data
Integrity with ``eddsa-jcs-2022``, Bitstring Status List 1.0. Nothing is ever fetched to understand a
document: contexts and schemas are a closed set that this package knows. Whose key counted when is the
ledger's word; a DID document from the web is believed only where it agrees with the member's record.
"""
