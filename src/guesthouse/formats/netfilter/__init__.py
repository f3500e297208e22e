"""Rule sets of networks for ``nft -f -``: in a network's namespace (`inside`, `change`), on the host (`outside`)."""

from guesthouse.formats.netfilter.inside import TABLES, change, inside
from guesthouse.formats.netfilter.outside import outside, table_of
from guesthouse.formats.netfilter.ruleset import without

__all__ = ["TABLES", "change", "inside", "outside", "table_of", "without"]
